//! The line to a session: one connection after another. A line that breaks is replaced by a thread, so that a game's loop does
//! not wait for it.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use super::Error;

/// Between two attempts to come back.
const RETURN_EVERY: Duration = Duration::from_millis(250);
/// For the answer to the first message of a connection that comes back.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A line that says nothing for so long, not even a ping, is dead: servers ping every 20 s.
const SILENT_MAX: Duration = Duration::from_secs(45);
/// A server that hears no pong ends the connection; a client that comes back finds its session.
const NO_PONG: &str = "keepalive ping timeout";

/// What one read of the socket takes at most.
const READ_BYTES: usize = 32 << 10;

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// What a look at the line found.
pub(super) enum Came {
    Nothing,
    Message(Bytes),
    /// The line broke, and the session may be taken up again. Told once.
    Lost,
    Closed {
        code: u16,
        reason: String,
    },
}

pub(super) struct Line {
    url: String,
    state: State,
    /// When the session was lost that a connection tries to take up again; its first answer ends that.
    lost_at: Option<Instant>,
    heard_at: Instant,
    /// How a read of the socket waits.
    waits: Option<Duration>,
    /// The session goes on at another server: the close that follows is no end.
    moved: bool,
}

enum State {
    Open(Box<Socket>),
    Away { attempt: Option<JoinHandle<Result<Socket, Error>>>, next: Instant },
    Over,
}

impl Line {
    /// A connection on which `first` was said.
    pub(super) fn open(url: &str, first: Vec<u8>) -> Result<Line, Error> {
        let socket = connect(url, first)?;
        Ok(Line {
            url: url.to_owned(),
            state: State::Open(Box::new(socket)),
            lost_at: None,
            heard_at: Instant::now(),
            waits: None,
            moved: false,
        })
    }

    /// The session goes on at this address, or by the one that is known, once the server has closed.
    pub(super) fn moves(&mut self, url: Option<&str>) {
        self.moved = true;
        url.into_iter().for_each(|url| url.clone_into(&mut self.url));
    }

    /// Say something. On a line that is cut it is lost.
    pub(super) fn send(&mut self, message: Vec<u8>) {
        if let State::Open(socket) = &mut self.state {
            // An error here is one for the next read too.
            let _ = socket.send(Message::Binary(message.into()));
        }
    }

    /// The session is taken up again; `true` once after each cut.
    pub(super) fn answered(&mut self) -> bool {
        self.lost_at.take().is_some()
    }

    /// What comes within `wait`. `token` and grace: how a session is taken up again, if it can be, with what `first` says.
    pub(super) fn receive(
        &mut self,
        wait: Duration,
        token: Option<(&str, Duration)>,
        first: impl FnOnce(&str) -> Vec<u8>,
    ) -> Came {
        match &mut self.state {
            State::Over => Came::Closed { code: 1006, reason: "the walk is over".to_owned() },
            State::Away { attempt, next } => {
                let Some((token, grace)) = token else { return self.end(1006, "the line broke") };
                if let Some(running) = attempt {
                    if !running.is_finished() {
                        std::thread::sleep(wait.min(Duration::from_millis(5)));
                        return Came::Nothing;
                    }
                    let tried = attempt.take().map(JoinHandle::join);
                    if let Some(Ok(Ok(socket))) = tried {
                        (self.state, self.waits) = (State::Open(Box::new(socket)), None);
                        self.heard_at = Instant::now();
                        return Came::Nothing;
                    }
                    *next = Instant::now() + RETURN_EVERY;
                }
                let now = Instant::now();
                if self.lost_at.is_some_and(|lost| now.duration_since(lost) > grace) {
                    return self.end(1006, "the line broke, and the server could not be reached again in time");
                }
                if now < *next {
                    std::thread::sleep(wait.min(*next - now));
                    return Came::Nothing;
                }
                let (url, first) = (self.url.clone(), first(token));
                let connecting = std::thread::Builder::new().name("causeway resume".to_owned());
                *attempt = connecting.spawn(move || connect(&url, first)).ok();
                if attempt.is_none() {
                    *next = now + RETURN_EVERY;
                }
                Came::Nothing
            }
            State::Open(_) => self.read(wait, token.is_some()),
        }
    }

    fn read(&mut self, wait: Duration, can_come_back: bool) -> Came {
        let State::Open(socket) = &mut self.state else { return Came::Nothing };
        if self.waits != Some(wait) {
            // A read that waits for zero is told so in another way.
            let stream = tcp(socket);
            let set = stream.set_nonblocking(wait.is_zero());
            let set = set.and_then(|()| stream.set_read_timeout((!wait.is_zero()).then_some(wait)));
            if set.is_err() {
                return self.lost(can_come_back, 1006, "the line broke");
            }
            self.waits = Some(wait);
        }
        match socket.read() {
            Ok(Message::Binary(bytes)) => {
                self.heard_at = Instant::now();
                Came::Message(bytes)
            }
            Ok(Message::Close(close)) => {
                let (code, reason) = match &close {
                    Some(CloseFrame { code, reason }) => (u16::from(*code), reason.to_string()),
                    None => (1005, String::new()),
                };
                // The answer to the close is written by the next flush; nobody waits for it.
                let _ = socket.flush();
                let moved = std::mem::take(&mut self.moved);
                let broke = moved || code == 1001 || code == 1005 || reason == NO_PONG;
                self.lost(can_come_back && broke, code, &reason)
            }
            Ok(_) => {
                self.heard_at = Instant::now();
                let _ = socket.flush();
                Came::Nothing
            }
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                let patience = if self.lost_at.is_some() { ANSWER_WITHIN } else { SILENT_MAX };
                if self.heard_at.elapsed() > patience {
                    return self.lost(can_come_back, 1006, "the server has fallen silent");
                }
                Came::Nothing
            }
            Err(error) => self.lost(can_come_back, 1006, &format!("the line broke: {error}")),
        }
    }

    /// The connection is over.
    fn lost(&mut self, can_come_back: bool, code: u16, reason: &str) -> Came {
        if !can_come_back {
            return self.end(code, reason);
        }
        let now = Instant::now();
        self.state = State::Away { attempt: None, next: now };
        let told = self.lost_at.is_some();
        self.lost_at.get_or_insert(now);
        // A connection that broke before it was answered is one more attempt.
        if told { Came::Nothing } else { Came::Lost }
    }

    fn end(&mut self, code: u16, reason: &str) -> Came {
        self.state = State::Over;
        Came::Closed { code, reason: reason.to_owned() }
    }
}

fn connect(url: &str, first: Vec<u8>) -> Result<Socket, Error> {
    // A raw chunk is one message of any size. What is read at once decides how far the buffer grows beyond a message.
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None).read_buffer_size(READ_BYTES);
    let connected = tungstenite::client::connect_with_config(url, Some(config), 3);
    let (mut socket, _) = connected.map_err(|error| match error {
        tungstenite::Error::Http(response) => {
            let said = response.body().as_deref().unwrap_or_default();
            Error::Refused(format!("HTTP {}: {}", response.status(), String::from_utf8_lossy(said).trim()))
        }
        other => Error::Unreachable(format!("{url}: {other}")),
    })?;
    // Without Nagle's delay: a key press is a small message that nothing follows.
    tcp(&socket).set_nodelay(true).map_err(|error| Error::Unreachable(error.to_string()))?;
    socket.send(Message::Binary(first.into())).map_err(|error| Error::Unreachable(error.to_string()))?;
    Ok(socket)
}

/// What carries the WebSocket, below TLS if there is any.
fn tcp(socket: &Socket) -> &TcpStream {
    match socket.get_ref() {
        MaybeTlsStream::Plain(stream) => stream,
        MaybeTlsStream::Rustls(stream) => &stream.sock,
        // The type has a third form where another crate switches on the system's TLS, which is never chosen beside rustls.
        _ => unreachable!("rustls carries wss://"),
    }
}
