//! The server that has none of our features (`tests::reference`), for tests of clients that are not written in Rust.
//!
//! It writes where it listens in the words of `causeway serve`, and runs until it is ended.

use std::io::Write;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "causeway: http://{}/", listener.local_addr()?)?;
    out.flush()?;
    tests::reference::serve(listener).await
}
