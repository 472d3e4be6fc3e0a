//! First frames from the internet: one picture from a host that the operator named, within bounds, or a sentence why
//! not.
//!
//! The connection goes to the very address that was checked: an HTTP client would look the name up again, and the owner
//! of the name could answer differently the second time.

pub mod rules;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use futures_util::StreamExt;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::{Host, Url};

use self::rules::Rules;

/// Time from the init to the last byte, the wait for a free slot included: a player waits for it.
pub const FETCHED_WITHIN: Duration = Duration::from_secs(5);

/// Fetches at once. Each may hold a picture of `--message-bytes`. Further ones wait, within their time.
const AT_ONCE: usize = 8;

const REDIRECTS_MAX: usize = 3;

/// Addresses of one host to try, one after the other.
const ADDRESSES_MAX: usize = 4;

/// Bytes of an answer's headers; also the read-ahead buffer.
const HEAD_BYTES_MAX: usize = 32 << 10;

pub(crate) struct Fetcher {
    rules: Rules,
    tls: TlsConnector,
    places: Arc<Semaphore>,
    bytes_max: usize,
    within: Duration,
}

/// One connection and the answer to its request. Dropping it closes the connection.
struct Answer {
    response: Response<Incoming>,
    _connection: JoinSet<()>,
}

impl Fetcher {
    /// Accepts certificates signed by Mozilla's trusted roots.
    pub(crate) fn new(rules: Rules, bytes_max: usize) -> anyhow::Result<Fetcher> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        Fetcher::with_roots(rules, bytes_max, FETCHED_WITHIN, roots)
    }

    fn with_roots(rules: Rules, bytes_max: usize, within: Duration, roots: RootCertStore) -> anyhow::Result<Fetcher> {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.context("TLS")?.with_root_certificates(roots).with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Fetcher { rules, tls, places: Arc::new(Semaphore::new(AT_ONCE)), bytes_max, within })
    }

    /// Fetch the picture file at this URL. `Err`: the reason, for the client.
    pub(crate) async fn fetch(&self, asked: &str) -> Result<Vec<u8>, String> {
        let url = self.rules.asked(asked)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let fetched = match timeout(self.within, self.follow(url)).await {
            Ok(fetched) => fetched,
            Err(_elapsed) => Err(format!("it took longer than {} s", self.within.as_secs_f64())),
        };
        fetched.map_err(|reason| {
            tracing::info!(host, reason, "first frame not fetched");
            format!("could not be fetched: {reason}")
        })
    }

    async fn follow(&self, mut url: Url) -> Result<Vec<u8>, String> {
        let place = Arc::new(self.places.clone().acquire_owned().await.expect("never closed"));
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(&url, &place).await?;
            let head = &answer.response;
            match head.status() {
                StatusCode::OK => return self.picture(answer).await,
                status if status.is_redirection() => {
                    let location = head.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
                    let location = location.ok_or("its host redirected to nowhere")?;
                    url = self.rules.redirected(&url, location)?;
                }
                status => return Err(format!("its host answered {}", status.as_u16())),
            }
        }
        Err(format!("its host redirected more than {REDIRECTS_MAX} times"))
    }

    async fn ask(&self, url: &Url, place: &Arc<OwnedSemaphorePermit>) -> Result<Answer, String> {
        let stream = self.connect(url, place).await?;
        let answered = match (url.scheme(), url.host().expect("the rules name hosts")) {
            ("https", host) => {
                let name = match host {
                    Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| "its host has no name")?,
                    Host::Ipv4(address) => ServerName::from(IpAddr::V4(address)),
                    Host::Ipv6(address) => ServerName::from(IpAddr::V6(address)),
                };
                let secure = self.tls.connect(name, stream).await;
                let secure = secure.map_err(|error| {
                    tracing::debug!(%error, "TLS");
                    "its host has no certificate that we trust"
                })?;
                request(secure, url).await
            }
            _ => request(stream, url).await,
        };
        answered.map_err(|error| {
            tracing::debug!(error = format!("{error:#}"), "fetching");
            "its host does not answer as HTTP asks".into()
        })
    }

    /// Connect to an address that the rules allow.
    async fn connect(&self, url: &Url, place: &Arc<OwnedSemaphorePermit>) -> Result<TcpStream, String> {
        let port = url.port_or_known_default().expect("http and https have one");
        let addresses = match url.host().expect("the rules name hosts") {
            Host::Ipv4(address) => vec![address.into()],
            Host::Ipv6(address) => vec![address.into()],
            Host::Domain(name) => look_up(name.to_owned(), place.clone()).await.ok_or("its host was not found")?,
        };
        if !self.rules.may_connect(&addresses) {
            return Err("its host has an address that is not public".into());
        }
        for &address in addresses.iter().take(ADDRESSES_MAX) {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => tracing::debug!(%error, "connecting"),
            }
        }
        Err("its host takes no connection".into())
    }

    async fn picture(&self, answer: Answer) -> Result<Vec<u8>, String> {
        let too_long = || format!("it is longer than {} bytes", self.bytes_max);
        if !is_picture(answer.response.headers()) {
            return Err("its host says that it is no picture".into());
        }
        if answer.response.body().size_hint().lower() > self.bytes_max as u64 {
            return Err(too_long());
        }
        let mut body = Body::new(answer.response.into_body()).into_data_stream();
        let mut file = Vec::new();
        while let Some(data) = body.next().await {
            let data = data.map_err(|_| "it broke off")?;
            if file.len() + data.len() > self.bytes_max {
                return Err(too_long());
            }
            file.extend_from_slice(&data);
        }
        Ok(file)
    }
}

fn is_picture(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.get(..6)).is_some_and(|kind| kind.eq_ignore_ascii_case("image/"))
}

async fn request(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Url) -> anyhow::Result<Answer> {
    let mut http = http1::Builder::new();
    let (mut sender, connection) = http.max_buf_size(HEAD_BYTES_MAX).handshake::<_, Body>(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "fetching");
        }
    });
    let host = url.host_str().context("the rules name hosts")?;
    let host = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("causeway/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "image/png, image/jpeg, image/webp")
        .header(header::CONNECTION, "close")
        .body(Body::empty())?;
    Ok(Answer { response: sender.send_request(request).await?, _connection: driver })
}

/// All addresses of a name. Runs on a thread of its own, because the system's resolver may block for long, and tokio's
/// blocking threads encode other sessions' frames. A slot is held until it ends, so there are at most [`AT_ONCE`].
async fn look_up(name: String, place: Arc<OwnedSemaphorePermit>) -> Option<Vec<IpAddr>> {
    let (found, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("look up a host".into()).spawn(move || {
        let addresses = (name.as_str(), 0).to_socket_addrs();
        // The receiver may be gone.
        let _ = found.send(addresses.map(|found| found.map(|address| address.ip()).collect()));
        drop(place);
    });
    match (thread, answer.await) {
        (Ok(_detached), Ok(Ok(addresses))) => Some(addresses),
        (Ok(_), Ok(Err(error))) | (Err(error), _) => {
            tracing::debug!(%error, "looking up a host");
            None
        }
        (Ok(_), Err(_gone)) => None,
    }
}

#[cfg(test)]
mod tests;
