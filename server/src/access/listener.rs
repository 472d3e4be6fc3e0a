//! The listener: every connection gets a permit before its first byte is read, and a deadline for its request.
//!
//! It replaces axum's own loop, which has no deadline and no count: a client that sends one byte a second, or none,
//! would hold what a session needs. A connection that becomes a WebSocket keeps its permit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::access::door::{Connected, Door};
use crate::access::errands::Errands;
use crate::access::metered::Metered;
use crate::access::rules::denied::Denied;
use crate::observe::{Dropped, Observer};
use crate::phase::Phase;

/// Connections beside the WebSockets: a full server still answers for its page, health check and metrics.
const PERMITS_BESIDE_SOCKETS: usize = 64;

/// Bytes of a request's line and headers together; a longer one is answered with 431. Twice what common proxies pass
/// on.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Header lines of a request; one more is answered with 431.
const HEADERS_MAX: usize = 100;

/// Lifetime of a connection that is no WebSocket and awaits no clip: a client cannot hold a permit by reading or sending byte by byte. The
/// page and all of its files load within this time over any line that could carry video.
const HTTP_LIFE: Duration = Duration::from_secs(60);

/// Connections that are being told that no permit is free. Further ones are closed without an answer.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// How long a refused client may take to read the reason.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// Pause after an error that the next `accept` would repeat: usually the process has no file descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the system takes of a connection before it is sent; what is under way is not counted. By default it is
/// megabytes, and then nobody sees for a long time whether a slow client reads: a write succeeds only once a third of
/// them has gone.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 << 10;

/// Gives out permits.
pub(crate) struct Gate {
    door: Arc<Door>,
    observer: Arc<Observer>,
    permits: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    header_timeout: Duration,
    life: Duration,
}

impl Gate {
    /// `sockets`: WebSockets allowed. That many connections, and a few more, get a permit.
    pub(crate) fn new(sockets: usize, header_timeout: Duration, door: Arc<Door>, observer: Arc<Observer>) -> Gate {
        Gate {
            door,
            observer,
            permits: Arc::new(Semaphore::new(sockets + PERMITS_BESIDE_SOCKETS)),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)),
            header_timeout,
            life: HTTP_LIFE,
        }
    }

    fn permit(&self, peer: SocketAddr) -> Result<ConnectionPermit, Denied> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Denied::Full)?;
        // Only a request says for which client a proxy asks.
        let of_address = match self.door.is_proxy(peer.ip()) {
            true => None,
            false => Some(self.door.connect(peer.ip().into())?),
        };
        Ok(ConnectionPermit { _permit: permit, of_address })
    }
}

/// A connection's permit: counted in all and for its address. Held by each of its requests, and by the WebSocket that
/// one of them opens.
pub(crate) struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
    of_address: Option<Connected>,
}

impl ConnectionPermit {
    pub(crate) fn is_counted_by_address(&self) -> bool {
        self.of_address.is_some()
    }
}

/// Serve until the server stops and every connection that is no WebSocket has ended. Dropping the future cuts the rest.
pub(crate) async fn serve(listener: TcpListener, router: Router, gate: Gate, mut phase: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    let told = phase.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = Phase::Stopping.reached(&mut phase) => break,
            // Remove finished tasks, so that the set holds only running ones.
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                warn!(%error, "no connection can be accepted");
                tokio::select! {
                    () = Phase::Stopping.reached(&mut phase) => break,
                    () = sleep(ACCEPT_AGAIN) => continue,
                }
            }
        };
        match gate.permit(peer) {
            Ok(permit) => {
                // Send a frame at once, without waiting for the next one to fill the packet.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "TCP_NODELAY");
                }
                #[cfg(target_os = "linux")]
                if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES) {
                    debug!(%error, "TCP_NOTSENT_LOWAT");
                }
                let deadlines = Deadlines { header: gate.header_timeout, life: gate.life };
                let observer = gate.observer.clone();
                connections.spawn(converse(stream, peer, permit, router.clone(), deadlines, observer, told.clone()));
            }
            Err(denied) => {
                gate.observer.denied(denied.reason());
                debug!(%peer, why = %denied, "turned away");
                if let Ok(permit) = gate.turned_away.clone().try_acquire_owned() {
                    connections.spawn(async move {
                        let _ = timeout(TURNED_AWAY_WITHIN, turn_away(stream, denied)).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop((listener, router));
    while connections.join_next().await.is_some() {}
}

/// Whether the error concerns this connection only, which is gone already: the next one may succeed.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[derive(Clone, Copy)]
struct Deadlines {
    /// Time for a request's head, counted from the end of the previous request: it also bounds how long a connection
    /// idles.
    header: Duration,
    life: Duration,
}

/// Serve the requests of one connection, until it ends or becomes a WebSocket.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
    router: Router,
    deadlines: Deadlines,
    observer: Arc<Observer>,
    mut phase: watch::Receiver<Phase>,
) {
    let permit = Arc::new(permit);
    let (stream, meter) = Metered::new(stream);
    let errands = Arc::<Errands>::default();
    let routes = TowerToHyperService::new(router);
    let asked = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(permit.clone());
        request.extensions_mut().insert(meter.clone());
        request.extensions_mut().insert(errands.clone());
        join_lines(request.headers_mut(), header::CONNECTION);
        join_lines(request.headers_mut(), header::UPGRADE);
        routes.call(request)
    });
    let mut http = http1::Builder::new();
    let http = http.timer(TokioTimer::new()).header_read_timeout(deadlines.header);
    let http = http.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = Phase::Stopping.reached(&mut phase) => None,
        () = errands.lived_long_enough(&meter, deadlines.life) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // An idle connection ends now; one with a request under way ends after its answer, if the client takes it.
            connection.as_mut().graceful_shutdown();
            match timeout(deadlines.header, connection).await {
                Ok(ended) => ended,
                Err(_elapsed) => return,
            }
        }
    };
    match ended {
        Err(error) if error.is_timeout() && !asked.load(Ordering::Relaxed) => {
            observer.dropped(Dropped::HeaderDeadline);
            debug!(%peer, "no request in time");
        }
        Err(error) => debug!(%peer, %error, "connection"),
        Ok(()) => {}
    }
}

/// A list may stand on several lines, and means what it would on one (RFC 9110, section 5.3). What decides on an
/// upgrade looks at the first line only.
fn join_lines(headers: &mut HeaderMap, name: HeaderName) {
    let lines: Vec<_> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1 {
        let joined = HeaderValue::from_bytes(&lines.join(&b", "[..])).expect("lines and commas make a line");
        headers.insert(name, joined);
    }
}

/// Send the reason and close. Incoming bytes are read meanwhile: closing on unread bytes would discard the answer.
async fn turn_away(mut stream: TcpStream, denied: Denied) -> io::Result<()> {
    let (status, why) = (denied.status(), denied.to_string());
    let reason = StatusCode::canonical_reason(&status).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {reason}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n\r\n{why}",
        status.as_u16(),
        why.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::body::Bytes;
    use axum::routing::{get, post};

    use super::*;
    use crate::access::policy::AccessPolicy;

    const LONG: Duration = Duration::from_secs(20);

    struct Scene {
        address: SocketAddr,
        phase: watch::Sender<Phase>,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn scene(header_timeout: Duration, life: Duration) -> Scene {
        let door = Arc::new(Door::new(AccessPolicy::default(), 256, Instant::now()).expect("a door"));
        let gate = Gate { life, ..Gate::new(2048, header_timeout, door, Arc::new(Observer::new(None, &[]))) };
        let slow = || async {
            sleep(Duration::from_millis(200)).await;
            "at last"
        };
        let large = || async { vec![0; 64 << 20] };
        let router = Router::new()
            .route("/read", post(|_body: Bytes| async { "read" }))
            .route("/slow", get(slow))
            .route("/large", get(large));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (phase, told) = watch::channel(Phase::Serving);
        Scene { address, phase, serving: tokio::spawn(serve(listener, router, gate, told)) }
    }

    impl Scene {
        async fn ask(&self, head: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.expect("it listens");
            stream.write_all(format!("{head}\r\nHost: localhost\r\n\r\n").as_bytes()).await.expect("it reads");
            stream
        }

        async fn ends(self) {
            self.phase.send_replace(Phase::Stopping);
            timeout(LONG, self.serving).await.expect("it ends").expect("without a panic");
        }
    }

    async fn heard(mut stream: TcpStream) -> String {
        let mut heard = String::new();
        let _ = timeout(LONG, stream.read_to_string(&mut heard)).await.expect("it hangs up");
        heard
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_cut_with_its_connection() {
        let scene = scene(Duration::from_millis(100), Duration::from_millis(200)).await;
        let began = Instant::now();
        let stream = scene.ask("POST /read HTTP/1.1\r\nContent-Length: 1000").await;
        assert_eq!(heard(stream).await, "");
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        scene.ends().await;
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_cut_with_its_connection() {
        let scene = scene(Duration::from_millis(100), Duration::from_millis(200)).await;
        let mut stream = scene.ask("GET /large HTTP/1.1").await;
        // Only after the connection was cut: no more bytes come than the system had received by then.
        sleep(Duration::from_secs(1)).await;
        let mut taken = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut taken)).await.expect("it was cut");
        assert!(taken.len() < 64 << 20, "all of it came");
        scene.ends().await;
    }

    #[tokio::test]
    async fn told_to_stop_it_ends_who_idles_at_once_and_who_is_answered_with_the_answer() {
        let scene = scene(LONG, LONG).await;
        let never_spoke = TcpStream::connect(scene.address).await.expect("it listens");
        let mut idle = scene.ask("POST /read HTTP/1.1").await;
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        let asked = scene.ask("GET /slow HTTP/1.1").await;
        // Its head has been read by now, since it arrived before the request below.
        let _ = heard(scene.ask("GET /none HTTP/1.0").await).await;
        let (began, address) = (Instant::now(), scene.address);
        scene.ends().await;
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
        assert!(heard(asked).await.ends_with("at last"));
        assert_eq!(heard(never_spoke).await, "");
        assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    }
}
