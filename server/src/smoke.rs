//! The whole server over a real socket, with worlds that misbehave. The wire itself is tested from outside this crate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pipeline::testcard::Testcard;
use pipeline::world::{
    Cancel, Card, ChunkInput, ChunkPlan, Frames, Init, Rollout, RolloutBytes, Timings, World, WorldError,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::realtime::wire::message;
use crate::{Limits, LoadWorld, Phase, serve};

struct Running {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    served: JoinHandle<anyhow::Result<()>>,
}

async fn start(load: LoadWorld, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let (phase, said) = watch::channel(Phase::Serving);
    Running { address, phase, served: tokio::spawn(serve(listener, load, limits, said)) }
}

fn testcard() -> LoadWorld {
    Box::new(|| Ok(Box::new(Testcard::new(Duration::from_millis(5)))))
}

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Running {
    async fn client(&self, init: &str) -> Client {
        let url = format!("ws://{}/v1/realtime_video", self.address);
        let (mut client, _) = tokio_tungstenite::connect_async(url).await.expect("the upgrade");
        client.send(Message::Binary(message(init).into())).await.expect("sent");
        client
    }

    async fn status(&self) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer.split(' ').nth(1).expect("a status").to_owned()
    }
}

/// What a client was told until the close: `frame_batch`, `chunk_stats`, an error's words, the close code.
async fn told(client: &mut Client) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(message) = client.next().await {
        match message.expect("an orderly close") {
            Message::Binary(bytes) => {
                let value = rmpv::decode::read_value(&mut &bytes[..]).expect("MessagePack: the frames are small");
                let field = |name: &str| {
                    let found = value.as_map().expect("a map").iter().find(|(key, _)| key.as_str() == Some(name));
                    found.and_then(|(_, value)| value.as_str()).map(str::to_owned)
                };
                told.extend(field("content").or(field("type")));
            }
            Message::Close(frame) => told.push(format!("close {}", u16::from(frame.expect("a code").code))),
            _ => {}
        }
    }
    told
}

const TWO_CHUNKS: &str = r#"{"type":"init","prompt":"p","size":"32x24","max_chunks":2}"#;

/// The test card, but for its third chunk.
struct Fragile(Testcard, fn() -> Result<Timings, WorldError>);

struct FragileRollout(Box<dyn Rollout>, fn() -> Result<Timings, WorldError>);

impl World for Fragile {
    fn card(&self) -> &Arc<Card> {
        self.0.card()
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        self.0.rollout_bytes()
    }

    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError> {
        Ok(Box::new(FragileRollout(self.0.open(init)?, self.1)))
    }
}

impl Rollout for FragileRollout {
    fn plan(&self) -> ChunkPlan {
        self.0.plan()
    }

    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError> {
        if self.plan().index == 2 { self.1() } else { self.0.generate(input, cancel, sink) }
    }
}

fn fragile(third_chunk: fn() -> Result<Timings, WorldError>) -> LoadWorld {
    Box::new(move || Ok(Box::new(Fragile(Testcard::new(Duration::ZERO), third_chunk))))
}

#[tokio::test]
async fn the_server_listens_while_its_world_loads_and_an_init_waits_for_it() {
    let (loaded, until_loaded) = std_mpsc::channel();
    let load: LoadWorld = Box::new(move || {
        until_loaded.recv()?;
        Ok(Box::new(Testcard::new(Duration::ZERO)))
    });
    let server = start(load, Limits::default()).await;
    assert_eq!(server.status().await, "503");
    let mut client = server.client(TWO_CHUNKS).await;
    loaded.send(()).expect("the engine waits");
    let expected = [
        "frame_batch",
        "frame_batch",
        "frame_batch",
        "chunk_stats",
        "frame_batch",
        "frame_batch",
        "frame_batch",
        "chunk_stats",
        "close 1000",
    ];
    assert_eq!(told(&mut client).await, expected);
    assert_eq!(server.status().await, "200");
}

#[tokio::test]
async fn a_world_that_does_not_load_ends_the_server_with_the_reason() {
    let server = start(Box::new(|| anyhow::bail!("no such shard")), Limits::default()).await;
    let error = server.served.await.expect("it does not panic").expect_err("nothing to serve");
    assert!(format!("{error:#}").contains("no such shard"), "{error:#}");
}

#[tokio::test]
async fn an_error_in_a_rollout_ends_that_session_after_what_was_drawn() {
    let server = start(fragile(|| Err(WorldError::Failed("lost a shard\nat line 7".into()))), Limits::default()).await;
    let mut client = server.client(r#"{"type":"init","prompt":"p","size":"32x24"}"#).await;
    let words = "error during generate loop: lost a shard";
    let expected = [
        "frame_batch",
        "frame_batch",
        "frame_batch",
        "chunk_stats",
        "frame_batch",
        "frame_batch",
        "frame_batch",
        "chunk_stats",
        words,
        "close 1011",
    ];
    assert_eq!(told(&mut client).await, expected);
    let mut other = server.client(TWO_CHUNKS).await;
    assert_eq!(told(&mut other).await.last().map(String::as_str), Some("close 1000"));
}

#[tokio::test]
async fn a_panic_of_the_engine_ends_the_server() {
    let server = start(fragile(|| panic!("an invariant, in words")), Limits::default()).await;
    let mut client = server.client(r#"{"type":"init","prompt":"p","size":"32x24"}"#).await;
    assert!(told(&mut client).await.last().is_some_and(|last| last.starts_with("close 101")));
    let error = server.served.await.expect("serve itself does not panic").expect_err("the engine did");
    assert!(format!("{error:#}").contains("an invariant, in words"), "{error:#}");
}

#[tokio::test]
async fn a_size_that_memory_cannot_hold_is_refused_and_another_is_not() {
    let server = start(testcard(), Limits { memory_bytes: 100_000, ..Limits::default() }).await;
    let mut client = server.client(r#"{"type":"init","prompt":"p","size":"832x480"}"#).await;
    let Some(Ok(Message::Binary(bytes))) = client.next().await else { panic!("an error was due") };
    let error = rmpv::decode::read_value(&mut &bytes[..]).expect("MessagePack").to_string();
    assert!(error.contains("invalid generate request") && error.contains("100000 are there for all"), "{error}");
    assert!(error.contains(r#""field": "size""#), "{error}");
    client.send(Message::Binary(message(TWO_CHUNKS).into())).await.expect("the connection goes on");
    assert_eq!(told(&mut client).await.last().map(String::as_str), Some("close 1000"));
}

#[tokio::test]
async fn when_memory_is_taken_the_next_session_waits_and_is_then_told_so() {
    let busy_wait = Duration::from_millis(50);
    let server = start(testcard(), Limits { memory_bytes: 20_000, busy_wait, ..Limits::default() }).await;
    let mut first = server.client(r#"{"type":"init","prompt":"p","size":"32x24"}"#).await;
    let _drawn = first.next().await;
    let mut second = server.client(TWO_CHUNKS).await;
    let expected = ["another realtime session is already active", "close 1008"];
    assert_eq!(told(&mut second).await, expected);
    drop(first);
    // Not before the engine has noticed: the wait covers it.
    let mut third = server.client(TWO_CHUNKS).await;
    assert_eq!(told(&mut third).await.last().map(String::as_str), Some("close 1000"));
}

/// At the level where every library says what it reads and writes, of a key in each place where one may stand.
#[tokio::test]
async fn no_key_is_ever_logged() {
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    struct Log;
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LOG.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let levels = crate::observe::log::without_secrets(tracing_subscriber::EnvFilter::new("trace"));
    let _ = tracing_subscriber::fmt().with_env_filter(levels).with_ansi(false).with_writer(|| Log).try_init();

    let (good, line) = crate::access::rules::keys::new_key("alice").expect("a name");
    let (wrong, _) = crate::access::rules::keys::new_key("alice").expect("a name");
    let keys = crate::access::rules::keys::ApiKeys::parse(&line, Default::default()).expect("a key");
    let access = crate::access::policy::AccessPolicy {
        entry: crate::access::policy::Entry::Keys(keys.into()),
        ..Default::default()
    };
    let server = start(testcard(), Limits { access, ..Limits::default() }).await;
    let ask = async |path: &str, header: &str, then: &[u8]| {
        let mut stream = TcpStream::connect(server.address).await.expect("it listens");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        stream.write_all(&[head.as_bytes(), then].concat()).await.expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer[..12]).into_owned()
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (key, status) in [(&good, "HTTP/1.1 200"), (&wrong, "HTTP/1.1 401")] {
        assert_eq!(ask(&format!("/server_info?key={key}"), "Connection: close\r\n", b"").await, status);
        let header = format!("Connection: close\r\nAuthorization: Bearer {key}\r\n");
        assert_eq!(ask("/server_info", &header, b"").await, status);
        let init =
            message(&format!(r#"{{"type":"init","prompt":"p","size":"32x24","max_chunks":1,"api_key":"{key}"}}"#));
        // One masked frame of fewer than 126 bytes, and then a close.
        let frame = [&[0x82, 0x80 | init.len() as u8, 0, 0, 0, 0], &init[..], &[0x88, 0x80, 0, 0, 0, 0]].concat();
        assert!(init.len() < 126);
        assert_eq!(ask("/v1/realtime_video", upgrade, &frame).await, "HTTP/1.1 101");
    }
    let log = String::from_utf8_lossy(&LOG.lock().expect("no writer panics")).into_owned();
    assert!(log.contains("denied") && log.contains("this key is not known here"), "nothing was logged: {log}");
    for key in [&good, &wrong] {
        assert!(!log.contains(key.as_str()), "{log}");
        let hexadecimal: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!log.to_lowercase().contains(&hexadecimal), "a frame, as its bytes: {log}");
        assert!(!log.contains(format!("{:?}", key.as_bytes()).trim_matches(['[', ']'])), "a frame, as a list: {log}");
    }
}

#[tokio::test]
async fn stopping_says_goodbye_to_everyone_and_returns() {
    let server = start(testcard(), Limits::default()).await;
    let mut idle = server.client("[]").await;
    let _refused = idle.next().await;
    let mut running = server.client(r#"{"type":"init","prompt":"p","size":"32x24"}"#).await;
    let _drawn: Option<_> = running.next().await;
    server.phase.send_replace(Phase::Stopping);
    assert_eq!(told(&mut idle).await, ["close 1012"]);
    assert_eq!(told(&mut running).await.last().map(String::as_str), Some("close 1012"));
    server.served.await.expect("it does not panic").expect("an orderly stop");
}
