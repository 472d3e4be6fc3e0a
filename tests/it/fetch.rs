//! A first frame that is a URL, on a server whose operator allows it. What may be fetched at all is tested with the fetcher.

use anyhow::{Context, Result, ensure};
use server::Limits;
use server::fetch::rules::Rules;
use std::io::Cursor;
use std::time::Duration;
use tests::Server;
use tests::message::{Init, Message, Refused};
use tests::puppet::{Puppet, Seen};
use tests::{refusal, small};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A host for pictures, every answer of it given by the test.
struct Host {
    listener: TcpListener,
    name: String,
}

impl Host {
    async fn new() -> Result<Host> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let name = listener.local_addr()?.to_string();
        Ok(Host { listener, name })
    }

    /// A server with one seat that may fetch pictures from this host, although its address is not public.
    fn limits(&self) -> Result<Limits> {
        let hosts = vec![self.name.parse().map_err(anyhow::Error::msg)?];
        Ok(Limits { sessions: 1, fetch: Rules { hosts, address: |_| true }, ..Limits::default() })
    }

    fn init(&self) -> Init {
        small().max_chunks(1).set("first_frame", format!("http://{}/a.png?b", self.name))
    }

    /// Whoever asks, and what they ask.
    async fn asked(&self) -> Result<(TcpStream, String)> {
        let (mut stream, _) = timeout(PATIENCE, self.listener.accept()).await.context("nobody asks")??;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.context("no request")??);
        }
        Ok((stream, String::from_utf8(head)?))
    }

    async fn answer(&self, status: &str, body: &[u8]) -> Result<()> {
        let (mut stream, _) = self.asked().await?;
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        // It may have heard enough by then.
        let _ = stream.write_all(body).await;
        Ok(())
    }
}

fn picture() -> Result<Vec<u8>> {
    let mut file = Vec::new();
    image::RgbImage::from_pixel(3, 2, image::Rgb([9, 8, 7]))
        .write_to(&mut Cursor::new(&mut file), image::ImageFormat::Png)?;
    Ok(file)
}

#[tokio::test]
async fn a_first_frame_on_an_allowed_host_is_fetched_and_given_to_the_world() -> Result<()> {
    let host = Host::new().await?;
    let (server, mut strings) = Server::limited(Puppet::default(), host.limits()?)?;
    let mut client = server.session(host.init()).await?;
    let (mut stream, head) = host.asked().await?;
    ensure!(
        head.starts_with("GET /a.png?b HTTP/1.1\r\n") && head.contains(&format!("host: {}\r\n", host.name)),
        "{head}"
    );
    let file = picture()?;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", file.len());
    stream.write_all(&[answer.as_bytes(), &file].concat()).await?;
    client.chunk().await?;
    let picture = strings.opened().await?.first_frame.context("the world was given no picture")?;
    // At the size of the video: one colour stays one colour.
    ensure!((picture.size.width, picture.size.height) == (16, 16) && picture.rgb[..3] == [9, 8, 7]);
    Ok(())
}

/// C24: no slot is held meanwhile.
#[tokio::test]
async fn while_a_picture_is_fetched_no_seat_is_held_and_who_leaves_stops_the_fetching() -> Result<()> {
    let host = Host::new().await?;
    let (server, mut strings) = Server::limited(Puppet::default(), host.limits()?)?;
    let waiting = server.session(host.init()).await?;
    let (mut stream, _) = host.asked().await?;
    // The only seat.
    let mut other = server.session(small().max_chunks(1)).await?;
    other.chunk().await?;
    waiting.close().await?;
    let ended = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.context("it is still fetched")?;
    ensure!(ended.is_ok_and(|bytes| bytes == 0));
    strings.opened().await?;
    ensure!(!strings.so_far().iter().any(|seen| matches!(seen, Seen::Opened { .. })), "opened for one who left");
    Ok(())
}

#[tokio::test]
async fn a_picture_that_cannot_be_fetched_is_refused_by_its_field_and_the_client_may_try_another() -> Result<()> {
    let host = Host::new().await?;
    let limits = Limits { message_bytes: 1000, ..host.limits()? };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let mut client = server.connect().await?;
    let say = |refused: &Refused, reason: &str| -> Result<()> {
        let said = refused.to_string();
        ensure!(said.contains("first_frame") && said.contains(reason), "{said}, not {reason}");
        // It is the host that the client named, but nobody's address or path.
        ensure!(!said.contains("127.0.0.1") && !said.contains("a.png"), "{said}");
        Ok(())
    };
    for (status, body, reason) in [
        ("404 Not Found", &[][..], "its host answered 404"),
        ("302 Found", &[], "redirected to nowhere"),
        ("200 OK", b"no picture", "first_frame"),
        ("200 OK", &[0; 1001], "longer than 1000 bytes"),
    ] {
        client.send(host.init()).await?;
        let (answered, refused) = tokio::join!(host.answer(status, body), refusal(&mut client));
        answered?;
        say(&refused?, reason)?;
    }
    client.send(small().set("first_frame", "http://elsewhere.example/a.png")).await?;
    say(&refusal(&mut client).await?, "does not fetch from that host")?;
    client.send(host.init()).await?;
    let file = picture()?;
    host.answer("200 OK", &file).await?;
    ensure!(matches!(client.next().await?, Message::Batch(_)), "after all it is drawn");
    Ok(())
}
