//! Faults between a client and a server, made on purpose, while another session on the server must not notice.
//!
//! A fault here is the client's or the line's. After each, [`Ground::recovers`] checks three things: the other session still
//! gets its chunks, the list of sessions no longer has the one that is gone, and a newcomer gets its seat.

use crate::bystander::Bystander;
use crate::chance::Chance;
use crate::client::Client;
use crate::message::Init;
use crate::raw::{BINARY, CLOSE, Raw};
use crate::shaper::{Cut, How, Shape, Shaper};
use crate::small;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    CutInHeader,
    CutInPayload,
    HalfOpen,
    StalledReader,
    SlowReader,
    Flood,
    SlowLoris,
    Oversized,
    CloseInEveryState,
}

impl Fault {
    pub const ALL: [Fault; 9] = [
        Fault::CutInHeader,
        Fault::CutInPayload,
        Fault::HalfOpen,
        Fault::StalledReader,
        Fault::SlowReader,
        Fault::Flood,
        Fault::SlowLoris,
        Fault::Oversized,
        Fault::CloseInEveryState,
    ];
}

/// Seats of a server that faults are tried on: the bystander's and one more, so that a seat that leaks is missed at once.
pub const SEATS: usize = 2;

/// Time in which a server forgets a client that is gone, also on a busy machine. Its write deadline must be shorter.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(20);

/// Limit for something that the server should have ended. What a fault itself waits for has limits of its own.
const STRUCK_WITHIN: Duration = Duration::from_secs(120);

const FLOOD_MESSAGES: usize = 10_000;

/// A server with a bystander.
pub struct Ground {
    pub address: SocketAddr,
    pub bystander: Bystander,
    /// Bytes of the server's answer to an upgrade: a session's first byte comes after them.
    head_bytes: u64,
}

impl Ground {
    /// On a server with [`SEATS`] seats. `quiet` is what the bystander asks for.
    pub async fn on(address: SocketAddr, quiet: Init) -> Result<Ground> {
        let (_raw, head) = Raw::upgrade(address, &[]).await?;
        let bystander = Bystander::at(url(address), quiet).await?;
        Ok(Ground { address, bystander, head_bytes: head.len() as u64 })
    }

    /// Make the fault once. The seed chooses which of its forms.
    pub async fn strike(&self, fault: Fault, seed: u64) -> Result<()> {
        let struck = tokio::time::timeout(STRUCK_WITHIN, self.attempt(fault, seed)).await;
        struck.with_context(|| format!("the server let it go on for {STRUCK_WITHIN:?}"))?
    }

    async fn attempt(&self, fault: Fault, seed: u64) -> Result<()> {
        let mut chance = Chance::at(seed, fault as u64);
        match fault {
            Fault::CutInHeader if chance.one_in(2) => self.cut_an_init(chance).await,
            Fault::CutInHeader => self.cut_a_chunk(1, 300, chance).await,
            Fault::CutInPayload => self.cut_a_chunk(1000, 600_000, chance).await,
            Fault::HalfOpen => {
                let how = How::Silent;
                let cut = Some(Cut { after_bytes: self.head_bytes + chance.below(2_000_000) as u64, how });
                self.abandon(Shape { cut, ..Shape::default() }, seed).await
            }
            Fault::StalledReader => {
                let stall = Some((self.head_bytes + chance.below(2_000_000) as u64, Duration::from_secs(3600)));
                self.abandon(Shape { stall, ..Shape::default() }, seed).await
            }
            Fault::SlowReader => {
                let line = Shape { bytes_per_second: Some(10_000), ..Shape::default() };
                // A large chunk would take minutes and misses the write deadline; small ones arrive, as slowly as they do.
                if chance.one_in(2) { self.abandon(line, seed).await } else { self.read_slowly(line, seed).await }
            }
            Fault::Flood => self.flood(chance).await,
            Fault::SlowLoris => self.slow_loris(chance).await,
            Fault::Oversized => self.oversized(chance).await,
            Fault::CloseInEveryState => self.close_in_every_state(chance).await,
        }
    }

    /// Nothing of a fault is left, as the file's head says.
    pub async fn recovers(&mut self) -> Result<()> {
        let deadline = Instant::now() + FORGOTTEN_WITHIN;
        loop {
            let listed = self.sessions().await?;
            ensure!(listed >= 1, "the bystander's session is gone");
            if listed == 1 {
                break;
            }
            ensure!(Instant::now() < deadline, "{listed} sessions are listed where there is one");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut newcomer = Client::connect(&url(self.address)).await?;
        newcomer.send(small().max_chunks(1)).await?;
        newcomer.chunk().await.context("a newcomer")?;
        ensure!(newcomer.closed().await?.code == 1000);
        self.bystander.goes_on().await
    }

    /// How many the server lists.
    async fn sessions(&self) -> Result<usize> {
        let (_, body) = Raw::get(self.address, "/v1/realtime_video/sessions").await?;
        let page: serde_json::Value = serde_json::from_str(&body)?;
        Ok(page["sessions"].as_array().context("no list of sessions")?.len())
    }

    /// The line breaks somewhere in the first messages of a session, as the client sees them.
    async fn cut_a_chunk(&self, from: u64, bytes: usize, mut chance: Chance) -> Result<()> {
        let how = *chance.pick(&[How::Closed, How::Reset]);
        let after_bytes = self.head_bytes + from + chance.below(bytes) as u64;
        let down = Shape { cut: Some(Cut { after_bytes, how }), ..Shape::default() };
        let line = Shaper::before(self.address, Shape::default(), down, chance.next()).await?;
        let mut client = Client::connect(&line.url()).await?;
        client.send(large()).await?;
        // The client checks whatever arrives until the line is gone.
        while client.chunk().await.is_ok() {}
        Ok(())
    }

    /// The line breaks within what the client says: the upgrade, or the init.
    async fn cut_an_init(&self, mut chance: Chance) -> Result<()> {
        let how = *chance.pick(&[How::Closed, How::Reset]);
        let up = Shape { cut: Some(Cut { after_bytes: 1 + chance.below(400) as u64, how }), ..Shape::default() };
        let line = Shaper::before(self.address, up, Shape::default(), chance.next()).await?;
        if let Ok(mut client) = Client::connect(&line.url()).await {
            let _ = client.send(large().set("filler", "x".repeat(400))).await;
            ensure!(client.chunk().await.is_err(), "a chunk for an init that was cut");
        }
        Ok(())
    }

    /// Begin a session on a line on which little arrives, and wait until the server gives it up.
    async fn abandon(&self, down: Shape, seed: u64) -> Result<()> {
        let line = Shaper::before(self.address, Shape::default(), down, seed).await?;
        let mut raw = Raw::open(line.address).await?;
        raw.send(BINARY, &bytes_of(large())).await?;
        // Only once it has a seat: before that, the wait would end at once.
        let deadline = Instant::now() + FORGOTTEN_WITHIN;
        for seated in [true, false] {
            while (self.sessions().await? > 1) != seated {
                ensure!(
                    Instant::now() < deadline,
                    "a session on a dead line is {}",
                    if seated { "never begun" } else { "never ended" }
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }

    async fn read_slowly(&self, down: Shape, seed: u64) -> Result<()> {
        let line = Shaper::before(self.address, Shape::default(), down, seed).await?;
        let mut client = Client::connect(&line.url()).await?;
        // 48 bytes a frame: ten such chunks are one second.
        client.send(Init::new("a meadow").size(4, 4)).await?;
        for index in 0..5 {
            ensure!(client.chunk().await.context("a slow reader")?.stats.chunk_index == index);
        }
        Ok(())
    }

    async fn flood(&self, mut chance: Chance) -> Result<()> {
        let mut raw = Raw::open(self.address).await?;
        if chance.one_in(2) {
            raw.send(BINARY, &bytes_of(small())).await?;
        }
        let mut messages = Vec::new();
        for _ in 0..FLOOD_MESSAGES {
            let length = chance.below(40);
            messages.extend([0x80 | BINARY, 0x80 | length as u8, 0, 0, 0, 0]);
            // Never MessagePack: the byte that means nothing comes first.
            messages.extend((0..length).map(|at| if at == 0 { 0xc1 } else { chance.next() as u8 }));
        }
        let (mut read, mut write) = raw.stream.split();
        // Answers are read as they come, or the server could say that this client does not read.
        let mut sink = tokio::io::sink();
        let (_, _) = tokio::join!(write.write_all(&messages), tokio::io::copy(&mut read, &mut sink));
        Ok(())
    }

    /// Twenty upgrades, a byte at a time, that never end.
    async fn slow_loris(&self, mut chance: Chance) -> Result<()> {
        let head = b"GET /v1/realtime_video/generate HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nX-Filler: ";
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(&head[..chance.below(head.len())]).await?;
            streams.push(stream);
        }
        for _ in 0..10 {
            for stream in &mut streams {
                // The server may have closed it already.
                let _ = stream.write_all(b"x").await;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        Ok(())
    }

    /// Longer than any limit: announced, or sent in pieces that are each short enough.
    async fn oversized(&self, mut chance: Chance) -> Result<()> {
        let mut raw = Raw::open(self.address).await?;
        if chance.one_in(2) {
            raw.send(BINARY, &bytes_of(small())).await?;
        }
        match chance.below(3) {
            0 => raw.announce(BINARY, 1 << 62).await?,
            1 => raw.announce(BINARY, 33 << 20).await?,
            _ => {
                let piece = vec![0; 1 << 20];
                let mut head = vec![BINARY, 0x80 | 127];
                head.extend((piece.len() as u64).to_be_bytes());
                head.extend([0; 4]);
                for _ in 0..40 {
                    let sent = [raw.stream.write_all(&head).await, raw.stream.write_all(&piece).await];
                    if sent.iter().any(Result::is_err) {
                        return Ok(());
                    }
                    // A continuation, and not the last.
                    head[0] = 0;
                }
            }
        }
        // Frames that were under way come first. With bytes unread, the end may be a reset that overtakes the close.
        while let Ok(Some(frame)) = raw.receive().await {
            if frame.opcode == CLOSE {
                ensure!(frame.payload.starts_with(&1009_u16.to_be_bytes()), "{:?}", frame.payload);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Leave, in one of the two ways, from every state that a connection can be in.
    async fn close_in_every_state(&self, mut chance: Chance) -> Result<()> {
        let url = url(self.address);
        for state in 0..7 {
            let mut client = Client::connect(&url).await?;
            let mut seated = None;
            match state {
                // Nothing said yet.
                0 => {}
                // Refused, and asked again.
                1 => {
                    client.send_bytes(vec![0xc1]).await?;
                    client.error().await?;
                }
                // Somewhere between asking and sitting.
                2 => {
                    client.send(large()).await?;
                    tokio::time::sleep(Duration::from_micros(chance.below(2000) as u64)).await;
                }
                // Waiting for a seat that another has.
                3 => {
                    let mut other = Client::connect(&url).await?;
                    other.send(small()).await?;
                    other.chunk().await?;
                    seated = Some(other);
                    client.send(small()).await?;
                    client.ping().await?;
                }
                // Within a chunk.
                4 => {
                    client.send(large()).await?;
                    client.next().await?;
                }
                // Between chunks, with an event not answered yet.
                5 => {
                    client.send(small()).await?;
                    client.chunk().await?;
                    client.send(crate::message::Event::hold("w").id(1)).await?;
                }
                // Just as the server closes.
                _ => {
                    client.send(small().max_chunks(1)).await?;
                    client.chunk().await?;
                }
            }
            if chance.one_in(2) {
                // The line may end before the goodbye does, if the server was first.
                let _ = client.close().await;
            } else {
                drop(client);
            }
            drop(seated);
            // The next needs the seat.
            let deadline = Instant::now() + FORGOTTEN_WITHIN;
            while self.sessions().await? > 1 {
                ensure!(Instant::now() < deadline, "left from state {state}, and still listed");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }
}

fn url(address: SocketAddr) -> String {
    format!("ws://{address}/v1/realtime_video/generate")
}

/// 76.8 kB a frame: its payload is a message of its own, and a few chunks fill every buffer on the way.
fn large() -> Init {
    Init::new("a meadow").size(160, 160)
}

fn bytes_of(init: Init) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &init.into()).expect("a Vec takes every byte");
    bytes
}
