//! Walk forward for four chunks: `cargo run -p causeway-client --example walk -- ws://127.0.0.1:30000/v1/realtime_video`

use causeway_client::{Error, Event, Init, News, Walk};

fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or("ws://127.0.0.1:30000/v1/realtime_video".to_owned());
    let mut walk = Walk::connect(&url, Init::new("a meadow").format("jpeg").max_chunks(4))?;
    walk.send(Event::hold("w"));
    loop {
        match walk.news()? {
            News::Frame(frame) => println!("{} {:?} {} bytes", frame.chunk, frame.event_id, frame.data.len()),
            News::Complete => return Ok(()),
            other => println!("{other:?}"),
        }
    }
}
