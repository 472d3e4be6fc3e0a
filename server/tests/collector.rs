//! What a build with the `otlp` feature sends to a collector: here one that speaks as little HTTP and protobuf as counts spans.
#![cfg(feature = "otlp")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const PATIENCE: Duration = Duration::from_secs(20);

/// A message's fields that have a length: number and bytes. <https://protobuf.dev/programming-guides/encoding/>
fn fields(mut message: &[u8]) -> Result<Vec<(u64, &[u8])>> {
    fn varint(bytes: &mut &[u8]) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().context("a number that breaks off")?;
            *bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        bail!("a number without an end")
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let length = match tag & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => varint(&mut message)? as usize,
            5 => 4,
            other => bail!("wire type {other}"),
        };
        let (value, rest) = message.split_at_checked(length).context("a field that breaks off")?;
        message = rest;
        if tag & 7 == 2 {
            found.push((tag >> 3, value));
        }
    }
    Ok(found)
}

fn inside(message: &[u8], field: u64) -> Result<impl Iterator<Item = &[u8]>> {
    Ok(fields(message)?.into_iter().filter(move |(number, _)| *number == field).map(|(_, value)| value))
}

/// The names of the spans in an `ExportTraceServiceRequest`: resource_spans 1, scope_spans 2, spans 2, name 5.
fn names(request: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for resource in inside(request, 1)? {
        for scope in inside(resource, 2)? {
            for span in inside(scope, 2)? {
                let name = inside(span, 5)?.next().context("a span without a name")?;
                names.push(String::from_utf8(name.to_vec())?);
            }
        }
    }
    Ok(names)
}

/// One request: its line and its body; the answer says that all is well.
fn post(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", number)) => length = number.trim().parse()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok((request, body))
}

#[test]
fn a_session_and_its_chunks_reach_the_collector_as_spans() -> Result<()> {
    let collector = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", collector.local_addr()?);
    let (sent, received) = mpsc::channel();
    // Ends with the test.
    std::thread::Builder::new().name("collector".into()).spawn(move || {
        for stream in collector.incoming() {
            let came = stream.map_err(anyhow::Error::from).and_then(|mut stream| post(&mut stream));
            if sent.send(came).is_err() {
                return;
            }
        }
    })?;
    let mut causeway = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["serve", "--world", "testcard", "--port", "0", "--otlp-endpoint", &endpoint])
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut first = String::new();
    BufReader::new(causeway.stdout.take().context("piped")?).read_line(&mut first)?;
    let address =
        first.trim().strip_prefix("causeway: http://").context("an address")?.trim_end_matches('/').to_owned();

    // Three chunks of two by two pixels, and a close; masked with zeros.
    let init = b"\x85\xa4type\xa4init\xa6prompt\xa1p\xa4size\xa32x2\xaamax_chunks\x03\xa4seed\x07";
    let mut stream = TcpStream::connect(&address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(stream, "GET /v1/realtime_video HTTP/1.1\r\nHost: {address}\r\n{upgrade}\r\n")?;
    stream.write_all(&[&[0x82, 0x80 | init.len() as u8, 0, 0, 0, 0], &init[..]].concat())?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    ensure!(all.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&all));

    // What is not sent by then is sent at the end.
    let told = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", causeway.id())).status()?;
    ensure!(told.success() && causeway.wait()?.success());
    let mut counts = BTreeMap::new();
    while let Ok(came) = received.recv_timeout(Duration::from_millis(200)) {
        let (request, body) = came?;
        ensure!(request.starts_with("POST /v1/traces "), "{request}");
        for name in names(&body)? {
            *counts.entry(name).or_insert(0) += 1;
        }
    }
    ensure!(counts == BTreeMap::from([("chunk".to_owned(), 3), ("session".to_owned(), 1)]), "{counts:?}");
    Ok(())
}
