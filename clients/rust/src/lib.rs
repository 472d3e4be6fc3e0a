//! Walk in a Causeway world: frames in, keys and prompts out.
//!
//! [`Walk`] is the client: one session over as many connections as it takes, polled from a program's own loop, without a
//! runtime. [`Connection`](connection::Connection), with the feature `tokio`, is one connection of an asynchronous program: it
//! hands out every message as it comes and does nothing by itself.
//!
//! Both read leniently, as a player wants it: what a server does not send is absent, and messages of unknown types are passed
//! by. So they work with SGLang's realtime servers too.
//!
//! ```no_run
//! use causeway_client::{Event, Init, News, Walk};
//!
//! # fn walk() -> Result<(), causeway_client::Error> {
//! let mut walk = Walk::connect("ws://127.0.0.1:30000/v1/realtime_video", Init::new("a meadow").format("jpeg"))?;
//! let held = walk.send(Event::hold("w"));
//! loop {
//!     match walk.news()? {
//!         News::Frame(frame) => println!("frame {}: {} bytes", frame.index, frame.data.len()),
//!         News::Receipt(receipt) if receipt.event_id == held => println!("shown by chunk {}", receipt.chunk),
//!         News::Complete => return Ok(()),
//!         _ => {}
//!     }
//! }
//! # }
//! ```

#[cfg(feature = "tokio")]
pub mod connection;
#[cfg(feature = "tokio")]
mod incoming;
pub mod message;
mod read;
mod request;
mod walk;

pub use message::{Event, Init, Message, Watch};
pub use rmpv::Value;
pub use walk::{Error, Frame, News, Receipt, Walk};
