//! The WebSocket layer against RFC 6455, by an echo route with the server's own settings and frames made by hand.
//!
//! The sections and numbers are those of Autobahn|Testsuite, which itself needs a Python that is no longer there. As it
//! does, a failed connection may end with a close frame of the right code or with none, never with a wrong one.
//!
//! Over 400 lines: the sections of the RFC in their order.

mod text;

use anyhow::{Context, Result, ensure};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::{Router, routing::get};
use std::net::SocketAddr;
use tests::raw::{BINARY, CLOSE, PING, PONG, Raw};
use tokio::io::AsyncWriteExt;

const TEXT: u8 = 0x1;
const MORE: u8 = 0x0;
/// The first byte's highest bit: this frame is its message's last.
const FIN: u8 = 0x80;

const PROTOCOL: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// We close, and it is echoed.
    Ours,
    /// It was sent among the frames: it is answered with this code, or with none where it had none.
    Answered(Option<u16>),
    /// The server ends it for this reason. What came before the mistake may or may not have been answered.
    Failed(u16),
}

struct Echo {
    address: SocketAddr,
}

impl Echo {
    async fn serve() -> Result<Echo> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let bytes = server::Limits::default().message_bytes;
        let route = get(move |upgrade: WebSocketUpgrade| async move {
            server::bounded_websocket(upgrade, bytes).on_upgrade(echo)
        });
        tokio::spawn(axum::serve(listener, Router::new().route("/echo", route)).into_future());
        Ok(Echo { address })
    }

    async fn open(&self) -> Result<Raw> {
        let lines = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let (raw, head) = Raw::ask(self.address, "/echo", &lines).await?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Ok(raw)
    }

    /// `sent` in pieces of `chop` bytes; `answers` come, and then it ends as it should.
    async fn check(
        &self,
        case: &str,
        sent: &[Vec<u8>],
        chop: usize,
        answers: &[(u8, Vec<u8>)],
        end: End,
    ) -> Result<()> {
        self.try_one(sent, chop, answers, end).await.with_context(|| format!("case {case}"))
    }

    async fn try_one(&self, sent: &[Vec<u8>], chop: usize, answers: &[(u8, Vec<u8>)], end: End) -> Result<()> {
        let raw = self.open().await?;
        let mut bytes = sent.concat();
        if let End::Ours = end {
            bytes.extend(frame(FIN | CLOSE, &1000_u16.to_be_bytes()));
        }
        // Read while it is written, or both sides could wait for each other's buffers.
        let (read, mut write) = raw.stream.into_split();
        let writing = tokio::spawn(async move {
            for piece in bytes.chunks(chop) {
                // A server that has failed the connection need not read on.
                if write.write_all(piece).await.is_err() {
                    break;
                }
            }
            write
        });
        let mut read = tokio::io::BufReader::new(read);
        let mut answers = answers.iter();
        loop {
            let came = tests::raw::receive(&mut read).await;
            let came = if let End::Failed(_) = end { came.unwrap_or(None) } else { came? };
            match came {
                Some(frame) if frame.opcode == CLOSE => {
                    let code = frame.payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                    let right = match end {
                        End::Ours => Some(1000),
                        End::Answered(code) => code,
                        End::Failed(code) => Some(code),
                    };
                    ensure!(code == right, "closed with {code:?}, not {right:?}");
                    break;
                }
                Some(frame) => {
                    let due = answers.next().with_context(|| format!("an answer too many: {:?}", frame.opcode))?;
                    let (opcode, payload) = (frame.opcode, frame.payload.len());
                    ensure!(
                        due.0 == opcode && due.1 == frame.payload,
                        "opcode {opcode}, {payload} bytes: not what was due"
                    );
                    ensure!(frame.whole, "an answer in fragments");
                }
                None => {
                    ensure!(matches!(end, End::Failed(_)), "the connection ended without a close");
                    break;
                }
            }
        }
        ensure!(matches!(end, End::Failed(_)) || answers.len() == 0, "{} answers are missing", answers.len());
        drop(writing.await?);
        Ok(())
    }
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Masked, as a client must; with a mask that changes every byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A message in frames of `size` bytes.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(size).max(1);
    let first = |at: usize| (if at == 0 { opcode } else { MORE }) | (if at + 1 == count { FIN } else { 0 });
    (0..count).map(|at| frame(first(at), &payload[at * size..payload.len().min((at + 1) * size)])).collect()
}

fn closing(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

const WHOLE: usize = usize::MAX;

#[tokio::test]
async fn section_1_a_message_of_any_length_comes_back() -> Result<()> {
    let echo = Echo::serve().await?;
    for (section, opcode) in [("1.1", TEXT), ("1.2", BINARY)] {
        for (case, length) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
            let payload = vec![if opcode == TEXT { b'*' } else { 0xfe }; length];
            let sent = [frame(FIN | opcode, &payload)];
            let case = format!("{section}.{}", case + 1);
            echo.check(&case, &sent, WHOLE, &[(opcode, payload.clone())], End::Ours).await?;
            echo.check(&case, &sent, 997, &[(opcode, payload)], End::Ours).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn section_2_a_ping_is_answered_with_its_payload_and_a_pong_is_not() -> Result<()> {
    let echo = Echo::serve().await?;
    let long = vec![0xfe; 125];
    for (case, payload) in [("2.1", &b""[..]), ("2.2", b"Hello, world!"), ("2.3", b"\x00\xff\xfe\xfd"), ("2.4", &long)]
    {
        let answer = [(PONG, payload.to_vec())];
        echo.check(case, &[frame(FIN | PING, payload)], WHOLE, &answer, End::Ours).await?;
    }
    echo.check("2.5", &[frame(FIN | PING, &[0xfe; 126])], WHOLE, &[], End::Failed(PROTOCOL)).await?;
    echo.check("2.6", &[frame(FIN | PING, &long)], 1, &[(PONG, long.clone())], End::Ours).await?;
    echo.check("2.7", &[frame(FIN | PONG, b"")], WHOLE, &[], End::Ours).await?;
    echo.check("2.8", &[frame(FIN | PONG, b"unasked")], WHOLE, &[], End::Ours).await?;
    let both = [frame(FIN | PONG, b"unasked"), frame(FIN | PING, b"asked")];
    echo.check("2.9", &both, WHOLE, &[(PONG, b"asked".to_vec())], End::Ours).await?;
    // Ten, one after another: an endpoint may answer only the newest, but never another, and those in order.
    let pings: Vec<_> = (0..10).map(|i| frame(FIN | PING, format!("payload-{i}").as_bytes())).collect();
    for (case, chop) in [("2.10", WHOLE), ("2.11", 1)] {
        let mut raw = echo.open().await?;
        for piece in pings.concat().chunks(chop) {
            raw.stream.write_all(piece).await?;
        }
        let mut newest = None;
        while newest != Some(9) {
            let pong = raw.receive().await?.with_context(|| format!("case {case}: no pong"))?;
            let number = (0..10).find(|i| pong.payload == format!("payload-{i}").as_bytes());
            ensure!(pong.opcode == PONG && number > newest, "case {case}: {pong:?} after {newest:?}");
            newest = number;
        }
    }
    Ok(())
}

#[tokio::test]
async fn section_3_a_reserved_bit_fails_the_connection() -> Result<()> {
    let echo = Echo::serve().await?;
    let hello = b"Hello, world!";
    let good = (TEXT, hello.to_vec());
    for rsv in 1..=7_u8 {
        for (opcode, payload) in [(TEXT, &hello[..]), (BINARY, b"\x00\xff"), (PING, b"p"), (CLOSE, b"")] {
            for chop in [WHOLE, 1] {
                let sent = [
                    frame(FIN | TEXT, hello),
                    frame(FIN | rsv << 4 | opcode, payload),
                    frame(FIN | PING, b"still there?"),
                ];
                echo.check(&format!("3.{rsv}"), &sent, chop, std::slice::from_ref(&good), End::Failed(PROTOCOL))
                    .await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn section_4_a_reserved_opcode_fails_the_connection() -> Result<()> {
    let echo = Echo::serve().await?;
    for opcode in (3..=7).chain(11..=15) {
        for payload in [&b""[..], b"reserved"] {
            let sent = [frame(FIN | TEXT, b"before"), frame(FIN | opcode, payload), frame(FIN | PING, b"after")];
            let answers = [(TEXT, b"before".to_vec())];
            echo.check(&format!("4, opcode {opcode}"), &sent, WHOLE, &answers, End::Failed(PROTOCOL)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn section_5_fragments_become_a_message_and_control_frames_may_come_between() -> Result<()> {
    let echo = Echo::serve().await?;
    let failed = End::Failed(PROTOCOL);
    echo.check("5.1", &[frame(PING, b"frag"), frame(FIN | MORE, b"ment")], WHOLE, &[], failed).await?;
    echo.check("5.2", &[frame(PONG, b"frag"), frame(FIN | MORE, b"ment")], WHOLE, &[], failed).await?;
    let two = [frame(TEXT, b"frag"), frame(FIN | MORE, b"ment")];
    let message = (TEXT, b"fragment".to_vec());
    for (case, chop) in [("5.3", WHOLE), ("5.4", 4), ("5.5", 1)] {
        echo.check(case, &two, chop, std::slice::from_ref(&message), End::Ours).await?;
    }
    let between = [two[0].clone(), frame(FIN | PING, b"ping"), two[1].clone()];
    for (case, chop) in [("5.6", WHOLE), ("5.7", 4), ("5.8", 1)] {
        echo.check(case, &between, chop, &[(PONG, b"ping".to_vec()), message.clone()], End::Ours).await?;
    }
    let stray = [(FIN, "5.9"), (FIN, "5.10"), (0, "5.12"), (0, "5.13")];
    for (fin, case) in stray {
        for chop in [WHOLE, 1] {
            let sent = [frame(fin | MORE, b"nothing to continue"), frame(FIN | TEXT, b"Hello")];
            echo.check(case, &sent, chop, &[], failed).await?;
        }
    }
    let after = [&two[..], &[frame(FIN | MORE, b"more"), frame(FIN | TEXT, b"Hello")]].concat();
    echo.check("5.15", &after, WHOLE, std::slice::from_ref(&message), failed).await?;
    for (fin, case) in [(0, "5.16"), (FIN, "5.17")] {
        let sent = [&[frame(fin | MORE, b"first")], &two[..]].concat();
        echo.check(case, &[&sent[..], &sent].concat(), WHOLE, &[], failed).await?;
    }
    echo.check("5.18", &[frame(TEXT, b"one"), frame(FIN | TEXT, b"two")], WHOLE, &[], failed).await?;
    let many = [
        frame(TEXT, b"a"),
        frame(MORE, b"b"),
        frame(FIN | PING, b"1"),
        frame(MORE, b"c"),
        frame(MORE, b"d"),
        frame(FIN | PING, b"2"),
        frame(FIN | MORE, b"e"),
    ];
    for (case, chop) in [("5.19", WHOLE), ("5.20", 1)] {
        let answers = [(PONG, b"1".to_vec()), (PONG, b"2".to_vec()), (TEXT, b"abcde".to_vec())];
        echo.check(case, &many, chop, &answers, End::Ours).await?;
    }
    Ok(())
}

#[tokio::test]
async fn section_7_a_close_is_answered_and_is_the_last_word() -> Result<()> {
    let echo = Echo::serve().await?;
    let answered = |code| End::Answered(Some(code));
    let hello = (TEXT, b"Hello".to_vec());
    echo.check("7.1.1", &[frame(FIN | TEXT, b"Hello")], WHOLE, std::slice::from_ref(&hello), End::Ours).await?;
    let close = closing(1000, b"");
    echo.check("7.1.2", &[close.clone(), close.clone()], WHOLE, &[], answered(1000)).await?;
    echo.check("7.1.3", &[close.clone(), frame(FIN | PING, b"p")], WHOLE, &[], answered(1000)).await?;
    echo.check("7.1.4", &[close.clone(), frame(FIN | TEXT, b"late")], WHOLE, &[], answered(1000)).await?;
    let inside = [frame(TEXT, b"frag"), close, frame(FIN | MORE, b"ment")];
    echo.check("7.1.5", &inside, WHOLE, &[], answered(1000)).await?;
    let long = vec![b'*'; 256 << 10];
    let sent = [frame(FIN | TEXT, &long), frame(FIN | TEXT, b"Hello")];
    echo.check("7.1.6", &sent, WHOLE, &[(TEXT, long), hello], End::Ours).await?;

    echo.check("7.3.1", &[frame(FIN | CLOSE, b"")], WHOLE, &[], End::Answered(None)).await?;
    echo.check("7.3.2", &[frame(FIN | CLOSE, b"a")], WHOLE, &[], End::Failed(PROTOCOL)).await?;
    echo.check("7.3.3", &[closing(1000, b"")], WHOLE, &[], answered(1000)).await?;
    echo.check("7.3.4", &[closing(1000, b"Hello World!")], WHOLE, &[], answered(1000)).await?;
    echo.check("7.3.5", &[closing(1000, &[b'*'; 123])], WHOLE, &[], answered(1000)).await?;
    echo.check("7.3.6", &[closing(1000, &[b'*'; 124])], WHOLE, &[], End::Failed(PROTOCOL)).await?;
    let half_good = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    echo.check("7.5.1", &[closing(1000, half_good)], WHOLE, &[], End::Failed(NOT_UTF8)).await?;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        echo.check(&format!("7.7, {code}"), &[closing(code, b"")], WHOLE, &[], answered(code)).await?;
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535] {
        echo.check(&format!("7.9, {code}"), &[closing(code, b"")], WHOLE, &[], End::Failed(PROTOCOL)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn section_9_long_messages_and_many_messages_come_back() -> Result<()> {
    let echo = Echo::serve().await?;
    for (section, opcode) in [("9.1", TEXT), ("9.2", BINARY)] {
        for length in [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20] {
            let payload = vec![b'*'; length];
            let sent = [frame(FIN | opcode, &payload)];
            let case = format!("{section}, {length}");
            echo.check(&case, &sent, WHOLE, &[(opcode, payload)], End::Ours).await?;
        }
    }
    for (section, opcode) in [("9.3", TEXT), ("9.4", BINARY)] {
        for size in [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20] {
            let payload = vec![b'*'; 1 << 20];
            let sent = fragments(opcode, &payload, size);
            echo.check(&format!("{section}, {size}"), &sent, WHOLE, &[(opcode, payload)], End::Ours).await?;
        }
    }
    for (section, opcode) in [("9.5", TEXT), ("9.6", BINARY)] {
        for chop in [64, 128, 256, 512, 1024, 2048] {
            let payload = vec![b'*'; 1 << 18];
            let sent = [frame(FIN | opcode, &payload)];
            echo.check(&format!("{section}, {chop}"), &sent, chop, &[(opcode, payload)], End::Ours).await?;
        }
    }
    for (section, opcode) in [("9.7", TEXT), ("9.8", BINARY)] {
        for length in [0, 16, 64, 256, 1024, 4096] {
            let payload = vec![b'*'; length];
            let sent = vec![frame(FIN | opcode, &payload); 1000];
            let answers = vec![(opcode, payload); 1000];
            echo.check(&format!("{section}, {length}"), &sent, WHOLE, &answers, End::Ours).await?;
        }
    }
    // Ours: what is over the server's limit fails with its own code, announced in one frame or grown of many.
    let limit = server::Limits::default().message_bytes;
    let whole = [frame(FIN | BINARY, &vec![0; limit + 1])];
    echo.check("over the limit", &whole, WHOLE, &[], End::Failed(TOO_BIG)).await?;
    let grown = fragments(BINARY, &vec![0; limit + 1], 8 << 20);
    echo.check("over the limit, in fragments", &grown, WHOLE, &[], End::Failed(TOO_BIG)).await
}

#[tokio::test]
async fn section_10_and_what_is_not_in_the_suite() -> Result<()> {
    let echo = Echo::serve().await?;
    let payload = vec![b'*'; 65_536];
    let sent = fragments(TEXT, &payload, 1300);
    echo.check("10.1.1", &sent, WHOLE, &[(TEXT, payload)], End::Ours).await?;
    // RFC 6455, 5.1: a client masks.
    let unmasked = vec![FIN | TEXT, 5, b'H', b'e', b'l', b'l', b'o'];
    echo.check("without a mask", &[unmasked], WHOLE, &[], End::Failed(PROTOCOL)).await?;
    // 5.2: the highest bit of a long length is zero.
    let endless = [&[FIN | BINARY, 0x80 | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    echo.check("a length of 64 bits", &[endless], WHOLE, &[], End::Failed(TOO_BIG)).await?;
    // 5.5: a close cannot be in fragments.
    echo.check("half a close", &[frame(CLOSE, &[3, 232])], WHOLE, &[], End::Failed(PROTOCOL)).await
}

/// The realtime route itself, before a session and during one: a client that breaks a rule is told which.
#[tokio::test]
async fn a_client_of_a_video_that_breaks_the_rules_is_closed_with_the_code_for_it() -> Result<()> {
    let (server, _strings) = tests::Server::with(tests::puppet::Puppet::on_strings())?;
    let mut init = Vec::new();
    rmpv::encode::write_value(&mut init, &tests::small().into())?;
    let mistakes = [
        (PROTOCOL, frame(FIN | 0x3, b"reserved")),
        (PROTOCOL, frame(FIN | 0x40 | BINARY, b"compressed")),
        (PROTOCOL, vec![FIN | BINARY, 1, 0xc0]),
        (NOT_UTF8, frame(FIN | TEXT, b"\xed\xa0\x80")),
    ];
    for (code, mistake) in mistakes {
        for begun in [false, true] {
            let mut raw = Raw::open(server.address).await?;
            if begun {
                raw.send(BINARY, &init).await?;
            }
            raw.stream.write_all(&mistake).await?;
            let closed = raw.receive().await?.with_context(|| format!("hung up, not {code}"))?;
            let reason = closed.payload.strip_prefix(&code.to_be_bytes()[..]);
            ensure!(closed.opcode == CLOSE && reason.is_some_and(|reason| !reason.is_empty()), "{code}: {closed:?}");
        }
    }
    Ok(())
}
