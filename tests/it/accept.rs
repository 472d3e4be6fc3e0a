//! The listener and its bounds: clients that hold a connection and send little, nothing, or too much.

use anyhow::{Context, Result, ensure};
use server::Limits;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tests::bystander::Scene;
use tests::exposition::Exposition;
use tests::puppet::Puppet;
use tests::raw::Raw;
use tests::{Server, small};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A header deadline: long enough for an honest request on a busy machine, short enough for a test to wait for.
const HEADER_TIMEOUT: Duration = Duration::from_millis(500);

const PATIENCE: Duration = Duration::from_secs(20);

/// Connections beside the WebSockets that a server has places for.
const BESIDE: usize = 64;

fn limits() -> Limits {
    Limits { header_timeout: HEADER_TIMEOUT, ..Limits::default() }
}

/// A connection on which nothing has been said.
async fn silent(address: SocketAddr) -> Result<TcpStream> {
    Ok(TcpStream::connect(address).await?)
}

/// Everything that is received until the server ends the connection.
async fn until_the_end(stream: &mut TcpStream) -> Result<String> {
    let mut heard = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut heard)).await.context("the server does not hang up")?;
    Ok(String::from_utf8(heard)?)
}

/// The status of a page, or of whatever was said instead.
async fn status(address: SocketAddr, path: &str) -> Result<u16> {
    let (head, _) = Raw::get(address, path).await?;
    Ok(head.split(' ').nth(1).context("a status")?.parse()?)
}

async fn counted(address: SocketAddr, series: &str) -> Result<f64> {
    let (_, body) = Raw::get(address, "/metrics").await?;
    Exposition::parse(&body)?.get(series)
}

/// Until a newcomer gets a page.
async fn there_is_room_again(address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while status(address, "/liveness").await? != 200 {
        ensure!(Instant::now() < deadline, "a place is never given back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test]
async fn headers_that_come_a_byte_at_a_time_are_cut_at_the_deadline_and_a_session_streams_on() -> Result<()> {
    let mut scene = Scene::limited(limits()).await?;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let (mut read, mut write) = silent(scene.server.address).await?.into_split();
        let saying = async move {
            write.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Filler: ").await?;
            loop {
                write.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let hearing = async move {
            let mut heard = Vec::new();
            let _ = read.read_to_end(&mut heard).await;
            anyhow::Ok(began.elapsed())
        };
        slow.push(tokio::spawn(async move {
            let saying: tokio::task::JoinHandle<Result<()>> = tokio::spawn(saying);
            let cut_after = timeout(PATIENCE, hearing).await.context("never cut")?;
            saying.abort();
            cut_after
        }));
    }
    scene.bystander.goes_on().await?;
    for slow in slow {
        let cut_after = slow.await??;
        ensure!(cut_after >= HEADER_TIMEOUT, "cut after {cut_after:?}");
    }
    ensure!(counted(scene.server.address, "causeway_drops_total{reason=\"header_deadline\"}").await? == 20.0);
    scene.ends_well().await
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_cut_and_so_is_one_that_idles_after_its_request() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), limits())?;
    let began = Instant::now();
    let mut never = silent(server.address).await?;
    ensure!(until_the_end(&mut never).await?.is_empty());
    ensure!(began.elapsed() >= HEADER_TIMEOUT, "cut after {:?}", began.elapsed());

    let (mut idle, head) = Raw::ask(server.address, "/liveness", &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let answered = Instant::now();
    until_the_end(&mut idle.stream).await?;
    ensure!(answered.elapsed() >= HEADER_TIMEOUT / 2, "cut after {:?}", answered.elapsed());
    // Somebody who asked and then was quiet has done nothing wrong.
    ensure!(counted(server.address, "causeway_drops_total{reason=\"header_deadline\"}").await? == 1.0);
    Ok(())
}

#[tokio::test]
async fn a_websocket_outlives_the_deadline_of_its_request() -> Result<()> {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let mut client = server.connect().await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

#[tokio::test]
async fn a_connection_counts_on_its_address_before_it_speaks() -> Result<()> {
    let limits = Limits { connections_per_address: 3, header_timeout: Duration::from_secs(2), ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let _socket = server.connect().await?;
    let (_kept, head) = Raw::ask(server.address, "/liveness", &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let _never = silent(server.address).await?;
    let mut fourth = silent(server.address).await?;
    let told = until_the_end(&mut fourth).await?;
    ensure!(told.starts_with("HTTP/1.1 429 ") && told.ends_with("too many connections from this address"), "{told}");
    there_is_room_again(server.address).await?;
    ensure!(counted(server.address, "causeway_denied_total{reason=\"connections\"}").await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn silent_connections_disturb_no_session_and_give_their_places_back() -> Result<()> {
    let limits = Limits { connections: 2, header_timeout: Duration::from_secs(2), ..Limits::default() };
    let mut scene = Scene::limited(limits).await?;
    let address = scene.server.address;
    let mut holders = Vec::new();
    // The bystander has one place.
    for _ in 0..2 + BESIDE - 1 {
        holders.push(silent(address).await?);
    }
    let told = until_the_end(&mut silent(address).await?).await?;
    ensure!(told.starts_with("HTTP/1.1 503 ") && told.ends_with("too many connections"), "{told}");
    scene.bystander.goes_on().await?;
    for mut holder in holders {
        ensure!(until_the_end(&mut holder).await?.is_empty(), "had a place");
    }
    ensure!(counted(address, "causeway_denied_total{reason=\"full\"}").await? >= 1.0);
    scene.ends_well().await
}

#[tokio::test]
async fn a_server_whose_sockets_are_all_taken_still_answers_health_and_metrics() -> Result<()> {
    let (server, _strings) = Server::limited(Puppet::default(), Limits { connections: 1, ..Limits::default() })?;
    let mut only = server.session(small()).await?;
    only.chunk().await?;
    let (_raw, head) = Raw::upgrade(server.address, &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 503 "), "{head}");
    for path in ["/health", "/metrics", "/"] {
        ensure!(status(server.address, path).await? == 200, "{path}");
    }
    Ok(())
}

/// A request for `/liveness` with so many header lines and bytes in all.
fn request(headers: usize, bytes: usize) -> String {
    let mut request = "GET /liveness HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".to_owned();
    for header in 3..headers {
        request += &format!("X-{header}: y\r\n");
    }
    // The last line takes what is left, less its own name and the two ends.
    let filler = bytes.saturating_sub(request.len() + "X: \r\n\r\n".len());
    request + &format!("X: {}\r\n\r\n", "z".repeat(filler))
}

#[tokio::test]
async fn a_head_may_have_a_hundred_lines_and_32_kib_and_not_one_more() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let check = async |headers, bytes, expected: &str| {
        let mut stream = silent(server.address).await?;
        stream.write_all(request(headers, bytes).as_bytes()).await?;
        let answer = until_the_end(&mut stream).await?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{headers} lines, {bytes} bytes: {answer}");
        Ok(())
    };
    check(100, 0, "200").await?;
    check(101, 0, "431").await?;
    check(4, (32 << 10) - 1, "200").await?;
    // Not ended where it must: nothing is left unread, so the answer is not lost with it.
    let mut stream = silent(server.address).await?;
    stream.write_all(&request(4, 40 << 10).as_bytes()[..32 << 10]).await?;
    let answer = until_the_end(&mut stream).await?;
    ensure!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    Ok(())
}

#[tokio::test]
async fn behind_a_proxy_the_places_are_those_of_its_clients() -> Result<()> {
    let access = server::access::policy::AccessPolicy { proxies: vec!["127.0.0.1".parse()?], ..Default::default() };
    let limits = Limits { connections_per_address: 1, access, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let ask = async |client: &str| Raw::upgrade(server.address, &[&format!("X-Forwarded-For: {client}")]).await;
    let (_one, head) = ask("198.51.100.1").await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_two, head) = ask("198.51.100.1").await?;
    ensure!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let (_three, head) = ask("198.51.100.2").await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Ok(())
}
