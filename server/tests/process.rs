//! The program itself, as an operator's machine runs it: its signals, its file descriptors, what it prints.
//!
//! What is recorded is drawn again by other processes, too.
//!
//! Everything else is tested in the `tests` crate, on a server inside the test. A signal, though, goes to a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use server::access::rules::keys::new_key;
use sha2::{Digest, Sha256};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(20);

/// `causeway serve` with the test card, on a free port, until it is dropped.
struct Process {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// `before` is what the shell does first.
    fn serve(before: &str, arguments: &[&str]) -> Result<Process> {
        Process::serve_any(before, &[&["--world", "testcard"], arguments].concat())
    }

    fn serve_any(before: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{before} exec \"$0\" serve --port 0 \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_causeway")).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let log = Arc::<Mutex<String>>::default();
        let (mut stderr, lines) = (BufReader::new(child.stderr.take().context("piped")?), log.clone());
        // Ends with the process.
        std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                lines.lock().expect("nothing panics under this lock").push_str(&line);
                line.clear();
            }
        })?;
        let mut first = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut first)?;
        let address = first.trim().strip_prefix("causeway: http://").and_then(|rest| rest.strip_suffix('/'));
        let address = address.with_context(|| format!("instead of an address: {first}"))?.to_owned();
        Ok(Process { child, address, log })
    }

    fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status()?;
        ensure!(sent.success(), "no {name} was sent");
        Ok(())
    }

    /// The status of `/server_info` for whoever shows this.
    fn answer(&self, key: &str) -> Result<u16> {
        let mut stream = self.connect()?;
        let head = format!("GET /server_info HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        write!(stream, "{head}Authorization: Bearer {key}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split(' ').nth(1).context("a status")?.parse()?)
    }

    /// A session that draws small pictures for ever.
    fn session(&self) -> Result<WebSocket<TcpStream>> {
        let url = format!("ws://{}/v1/realtime_video", self.address);
        let (mut socket, _) = tungstenite::client(url, self.connect()?)?;
        let init = json!({ "type": "init", "prompt": "p", "size": "32x32" });
        socket.send(Message::Binary(rmp_serde::to_vec(&init)?.into()))?;
        Ok(socket)
    }

    /// How it ended, by itself.
    fn ended(&mut self) -> Result<std::process::ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "it goes on; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn log(&self) -> String {
        self.log.lock().expect("nothing panics under this lock").clone()
    }

    /// Until it is so.
    fn wait(&self, what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !so()? {
            ensure!(Instant::now() < deadline, "{what} is not so; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A key file for one test.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(name: &str, text: &str) -> Result<KeyFile> {
        let file = KeyFile(std::env::temp_dir().join(format!("causeway-{name}-{}", std::process::id())));
        file.write(text)?;
        Ok(file)
    }

    fn write(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(&self.0, text)?)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a name of ours in the system's folder")
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `NOTIFY_SOCKET`, as systemd sets it for a unit of `Type=notify`.
#[test]
fn a_service_manager_is_told_when_the_world_is_ready_and_when_the_server_stops() -> Result<()> {
    let path = std::env::temp_dir().join(format!("causeway-notify-{}", std::process::id()));
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(PATIENCE))?;
    let hear = || -> Result<String> {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes)?;
        Ok(String::from_utf8(bytes[..length].to_vec())?)
    };
    let mut server = Process::serve(&format!("export NOTIFY_SOCKET={};", path.display()), &[])?;
    assert_eq!(hear()?, "STATUS=loading the world");
    assert_eq!(hear()?, "READY=1\nSTATUS=serving testcard");
    server.signal("TERM")?;
    assert_eq!(hear()?, "STOPPING=1\nSTATUS=draining");
    ensure!(server.ended()?.success(), "{}", server.log());
    std::fs::remove_file(path)?;
    Ok(())
}

#[test]
fn sighup_reads_the_key_file_again_and_a_bad_file_changes_nothing() -> Result<()> {
    let ((alice, alice_line), (bob, bob_line)) = (new_key("alice")?, new_key("bob")?);
    let file = KeyFile::new("sighup", &alice_line)?;
    let process = Process::serve("", &["--keys", file.path()])?;
    ensure!((process.answer(&alice)?, process.answer(&bob)?) == (200, 401));

    file.write(&format!("{alice_line}\nbob sha256:short"))?;
    process.signal("HUP")?;
    process.wait("a complaint", || Ok(process.log().contains("the keys stay as they were")))?;
    ensure!(process.log().contains("line 2"), "{}", process.log());
    ensure!((process.answer(&alice)?, process.answer(&bob)?) == (200, 401));

    file.write(&bob_line)?;
    process.signal("HUP")?;
    process.wait("the new key", || Ok(process.answer(&bob)? == 200))?;
    ensure!(process.answer(&alice)? == 401);

    std::fs::remove_file(&file.0)?;
    process.signal("HUP")?;
    let complaints = || process.log().matches("the keys stay as they were").count();
    process.wait("another complaint", || Ok(complaints() == 2))?;
    ensure!(process.answer(&bob)? == 200);
    for secret in [&alice, &bob, &bob_line] {
        ensure!(!process.log().contains(secret.as_str()), "a secret in the log");
    }
    Ok(())
}

#[test]
fn a_server_that_has_no_file_descriptor_left_goes_on_when_it_has_again() -> Result<()> {
    let process = Process::serve("ulimit -n 48;", &["--header-timeout", "60"])?;
    ensure!(process.answer("")? == 200);
    let held = (0..64).map(|_| process.connect()).collect::<Result<Vec<_>>>()?;
    process.wait("a complaint", || Ok(process.log().contains("no connection can be accepted")))?;
    drop(held);
    process.wait("an answer", || Ok(process.answer("").is_ok_and(|status| status == 200)))?;
    // It waited between its attempts, and did not fill a disk with complaints.
    let complaints = process.log().matches("no connection can be accepted").count();
    ensure!(complaints < 300, "{complaints} complaints");
    Ok(())
}

/// Whether this message is the last of a chunk.
fn ends_a_chunk(message: &Message) -> bool {
    matches!(message, Message::Binary(bytes) if bytes.windows(11).take(16).any(|words| words == b"chunk_stats"))
}

#[test]
fn sigterm_lets_chunks_end_tells_everybody_and_the_process_ends_well() -> Result<()> {
    let mut process = Process::serve("", &["--chunk-ms", "50"])?;
    let mut sessions = (0..3).map(|_| process.session()).collect::<Result<Vec<_>>>()?;
    for session in &mut sessions {
        while !ends_a_chunk(&session.read()?) {}
    }
    process.signal("TERM")?;
    for session in &mut sessions {
        let mut between_chunks = true;
        loop {
            match session.read()? {
                Message::Close(close) => {
                    ensure!(close.is_some_and(|close| u16::from(close.code) == 1012) && between_chunks);
                    break;
                }
                message => between_chunks = ends_a_chunk(&message),
            }
        }
    }
    drop(sessions);
    ensure!(process.ended()?.code() == Some(0), "{}", process.log());
    Ok(())
}

#[test]
fn a_second_sigterm_does_not_wait_for_a_chunk() -> Result<()> {
    let mut process = Process::serve("", &["--chunk-ms", "3600000", "--drain", "3600"])?;
    let _session = process.session()?;
    process.wait("a session", || Ok(process.log().contains("running")))?;
    process.signal("TERM")?;
    process.wait("a drain", || Ok(process.log().contains("draining")))?;
    process.signal("TERM")?;
    ensure!(process.ended()?.code() == Some(0), "{}", process.log());
    Ok(())
}

/// One client that asks for each chunk, in the world that the binary brings.
struct Walker {
    socket: WebSocket<TcpStream>,
    token: String,
    session: String,
}

impl Walker {
    fn begin(process: &Process, first: &serde_json::Value) -> Result<Walker> {
        let url = format!("ws://{}/v1/realtime_video", process.address);
        let (mut socket, _) = tungstenite::client(url, process.connect()?)?;
        socket.send(Message::Binary(rmp_serde::to_vec(first)?.into()))?;
        let Message::Binary(hello) = socket.read()? else { bail!("no hello") };
        let hello: serde_json::Value = rmp_serde::from_slice(&hello)?;
        let text = |name: &str| hello[name].as_str().map(str::to_owned).with_context(|| format!("{name} in {hello}"));
        Ok(Walker { token: text("resume_token")?, session: text("session_id")?, socket })
    }

    fn ask(&mut self, keys: &str) -> Result<()> {
        let transitions = json!([{ "actions": keys.chars().map(String::from).collect::<Vec<_>>() }]);
        let payload = json!({ "input_types": ["camera_actions"], "camera_actions": { "mode": "state", "transitions": transitions } });
        let step = json!({ "type": "event", "kind": "step", "payload": payload });
        Ok(self.socket.send(Message::Binary(rmp_serde::to_vec(&step)?.into()))?)
    }

    /// The bytes of the next chunk's frames.
    fn chunk(&mut self) -> Result<Vec<u8>> {
        let (mut frames, mut payload_follows) = (Vec::new(), false);
        loop {
            let Message::Binary(message) = self.socket.read()? else { continue };
            if std::mem::take(&mut payload_follows) {
                frames.extend_from_slice(&message);
                continue;
            }
            let map = rmpv::decode::read_value(&mut &message[..])?;
            match map["type"].as_str() {
                Some("frame_batch") => frames.extend_from_slice(map["payload"].as_slice().context("a payload")?),
                Some("frame_batch_header") => payload_follows = true,
                Some("chunk_stats") => return Ok(frames),
                other => bail!("{other:?}: {map}"),
            }
        }
    }
}

#[test]
fn a_recording_draws_what_its_client_received_after_a_cut_a_kill_and_with_any_number_of_threads() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("causeway-killed-{}", std::process::id()));
    let at = folder.to_str().context("a path")?;
    let mut process = Process::serve_any("", &["--record", at, "--threads", "2"])?;
    let init = json!({ "type": "init", "prompt": "a red tower", "seed": 3, "protocol_features": ["step", "session"] });
    let mut walker = Walker::begin(&process, &init)?;
    let mut chunks = Vec::new();
    for keys in ["w", "wl"] {
        walker.ask(keys)?;
        chunks.push(walker.chunk()?);
    }
    let (token, session) = (walker.token.clone(), walker.session.clone());
    // The line is cut without a goodbye, and the rest comes on another.
    drop(walker);
    let mut walker = Walker::begin(&process, &json!({ "type": "resume", "token": token, "last_chunk": 1 }))?;
    for keys in ["d", "sj"] {
        walker.ask(keys)?;
        chunks.push(walker.chunk()?);
    }
    // In the middle of a chunk.
    walker.ask("k")?;
    process.signal("KILL")?;
    ensure!(process.ended()?.code().is_none(), "it was killed");
    let file = folder.join(format!("{session}.causeway"));
    let (_, recorded) = pipeline::recording::read(&std::fs::read(&file)?)
        .map(|(init, all)| (init, all.filter(Result::is_ok).count()))?;
    ensure!(recorded >= 3, "{recorded} chunks: one is written while the next is asked for");
    let whole = recorded.min(chunks.len());
    let mut hash = Sha256::new();
    chunks[..whole].iter().for_each(|chunk| hash.update(chunk));
    let expected: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    for threads in ["1", "2"] {
        let mut again = Command::new(env!("CARGO_BIN_EXE_causeway"));
        let again =
            again.arg("replay").arg(&file).args(["--until", &whole.to_string(), "--threads", threads]).output()?;
        let told = format!("{}{}", String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
        ensure!(again.status.success() && told.contains(&expected), "{threads} threads: {told}");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
