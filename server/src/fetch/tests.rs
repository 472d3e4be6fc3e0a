//! A host on this machine that answers as it pleases. Its address is one that nobody may connect to, so each fetcher here is
//! told to; but for one, which shows that it must be.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

const BYTES_MAX: usize = 1000;

const PATIENCE: Duration = Duration::from_secs(20);

fn picture(bytes: usize) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/png")], vec![7; bytes])
}

/// `/bytes/N`, `/endless`, `/hops/N` to get there after N redirects, `/to/URL`, `/status/N`, `/type/…`, `/never`.
fn router() -> Router {
    let hops = async |Path(hops): Path<u32>| match hops {
        0 => picture(3).into_response(),
        hops => Redirect::temporary(&format!("{}", hops - 1)).into_response(),
    };
    let endless = async || {
        let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![7; 100]));
        ([(header::CONTENT_TYPE, "image/png")], Body::from_stream(pieces))
    };
    let status = async |Path(status): Path<u16>| (StatusCode::from_u16(status).expect("a status"), picture(3));
    let kind = async |Path(kind): Path<String>| ([(header::CONTENT_TYPE, kind)], "what?");
    Router::new()
        .route("/bytes/{bytes}", get(async |Path(bytes): Path<usize>| picture(bytes)))
        .route("/endless", get(endless))
        .route("/hops/{hops}", get(hops))
        .route("/to/{*url}", get(async |Path(url): Path<String>| Redirect::permanent(&url)))
        .route("/nowhere", get(async || StatusCode::FOUND))
        .route("/status/{status}", get(status))
        .route("/type/{*kind}", get(kind))
        .route("/never", get(async || std::future::pending::<()>().await))
}

/// Gives its port.
async fn host() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(axum::serve(listener, router()).into_future());
    port
}

fn fetcher(hosts: &[String], address: fn(IpAddr) -> bool, within: Duration) -> Fetcher {
    let hosts = hosts.iter().map(|host| host.parse().expect("a host")).collect();
    let rules = Rules { hosts, address };
    Fetcher::with_roots(rules, BYTES_MAX, within, RootCertStore::empty()).expect("a fetcher")
}

/// A fetcher that may ask that host, and its address.
async fn at_home() -> (Fetcher, String) {
    let here = format!("127.0.0.1:{}", host().await);
    (fetcher(std::slice::from_ref(&here), |_| true, PATIENCE), format!("http://{here}"))
}

#[tokio::test]
async fn a_picture_is_fetched_and_what_is_none_is_refused_with_the_reason() {
    let (fetcher, home) = at_home().await;
    assert_eq!(fetcher.fetch(&format!("{home}/bytes/3")).await, Ok(vec![7; 3]));
    assert!(fetcher.fetch(&format!("{home}/type/Image/webp; q=1")).await.is_ok());
    let check = async |path: &str, reason: &str| {
        let refused = fetcher.fetch(&format!("{home}{path}")).await.expect_err(path);
        assert!(refused.starts_with("could not be fetched: ") && refused.contains(reason), "{path}: {refused}");
    };
    check("/none", "answered 404").await;
    check("/status/500", "answered 500").await;
    check("/status/206", "answered 206").await;
    check("/status/304", "redirected to nowhere").await;
    check("/nowhere", "redirected to nowhere").await;
    check("/type/text/html", "no picture").await;
    check("/type/imagery", "no picture").await;
    let nobody = format!(
        "127.0.0.1:{}",
        TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("one").port()
    );
    let fetcher = self::fetcher(std::slice::from_ref(&nobody), |_| true, PATIENCE);
    let refused = fetcher.fetch(&format!("http://{nobody}/")).await.expect_err("nobody is there");
    assert!(refused.contains("takes no connection"), "{refused}");
}

#[tokio::test]
async fn a_picture_may_be_as_long_as_a_message_and_not_longer() {
    let (fetcher, home) = at_home().await;
    assert_eq!(fetcher.fetch(&format!("{home}/bytes/{BYTES_MAX}")).await.map(|file| file.len()), Ok(BYTES_MAX));
    for path in ["/bytes/1001", "/endless"] {
        let refused = fetcher.fetch(&format!("{home}{path}")).await.expect_err(path);
        assert!(refused.contains("longer than 1000 bytes"), "{path}: {refused}");
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_fourth() {
    let (fetcher, home) = at_home().await;
    assert_eq!(fetcher.fetch(&format!("{home}/hops/3")).await, Ok(vec![7; 3]));
    let refused = fetcher.fetch(&format!("{home}/hops/4")).await.expect_err("four");
    assert!(refused.contains("more than 3 times"), "{refused}");
}

/// Loopback is allowed here, so that what is refused is refused for what it is.
#[tokio::test]
async fn a_redirect_leads_to_no_other_host_and_to_no_private_address() {
    let port = host().await;
    let hosts = ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254"].map(|host| format!("{host}:{port}"));
    let fetcher = fetcher(&hosts, |address| address.is_loopback(), PATIENCE);
    let to = async |host: &str| fetcher.fetch(&format!("http://127.0.0.1:{port}/to/{host}:{port}/bytes/3")).await;
    assert_eq!(to("http://localhost").await, Ok(vec![7; 3]));
    for there in ["http://10.0.0.1", "http://169.254.169.254"] {
        let refused = to(there).await.expect_err(there);
        assert!(refused.ends_with("has an address that is not public"), "{refused}");
    }
    for there in ["http://127.0.0.2", "http://evil.example", "ftp://localhost", "http://a@localhost"] {
        let refused = to(there).await.expect_err(there);
        assert!(refused.contains("its host redirected, and "), "{refused}");
    }
}

#[tokio::test]
async fn by_default_this_machine_is_no_host_by_whatever_name_it_is_called() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    let names = ["127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]"].map(|host| format!("{host}:{port}"));
    let fetcher = fetcher(&names, Rules::default().address, PATIENCE);
    for name in names {
        let refused = fetcher.fetch(&format!("http://{name}/")).await.expect_err("named, and still refused");
        assert!(refused.ends_with("its host has an address that is not public"), "{name}: {refused}");
    }
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "it was connected to");
}

#[tokio::test]
async fn a_host_that_never_answers_is_waited_for_only_so_long() {
    let here = format!("127.0.0.1:{}", host().await);
    let fetcher = fetcher(std::slice::from_ref(&here), |_| true, Duration::from_millis(200));
    let began = std::time::Instant::now();
    let refused = fetcher.fetch(&format!("http://{here}/never")).await.expect_err("no answer");
    assert!(refused.contains("longer than 0.2 s") && began.elapsed() < PATIENCE, "{refused}");
}

/// A host that never says a word, and counts who connects.
#[tokio::test]
async fn only_eight_are_fetched_at_once_and_the_next_when_one_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let here = format!("127.0.0.1:{}", listener.local_addr().expect("it listens").port());
    let fetcher = Arc::new(fetcher(std::slice::from_ref(&here), |_| true, PATIENCE));
    let fetching: Vec<_> = (0..AT_ONCE + 2)
        .map(|_| {
            let (fetcher, url) = (fetcher.clone(), format!("http://{here}/"));
            tokio::spawn(async move { fetcher.fetch(&url).await })
        })
        .collect();
    let mut held = Vec::new();
    while held.len() < AT_ONCE {
        held.push(timeout(PATIENCE, listener.accept()).await.expect("eight come").expect("a connection"));
    }
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "a ninth came");
    drop(held.pop());
    assert!(timeout(PATIENCE, listener.accept()).await.is_ok(), "the ninth never came");
    fetching.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Answers each with what it was asked, over TLS, as `name`; gives its port and what vouches for it.
async fn secure_host(name: &str) -> (u16, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let certificate = made.cert.der().clone();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).expect("a key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let routes = hyper_util::service::TowerToHyperService::new(router());
            // Whoever asked hangs up.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), routes).await;
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn https_is_believed_from_a_host_that_is_vouched_for_under_its_own_name() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let count = |_| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        true
    };
    for (name, known, good) in [("localhost", true, true), ("localhost", false, false), ("other.example", true, false)]
    {
        let (port, certificate) = secure_host(name).await;
        let mut roots = RootCertStore::empty();
        if known {
            roots.add(certificate).expect("a certificate");
        }
        let rules = Rules { hosts: vec![format!("localhost:{port}").parse().expect("a host")], address: count };
        let fetcher = Fetcher::with_roots(rules, BYTES_MAX, PATIENCE, roots).expect("a fetcher");
        let fetched = fetcher.fetch(&format!("https://localhost:{port}/bytes/3")).await;
        match good {
            true => assert_eq!(fetched, Ok(vec![7; 3])),
            false => assert!(fetched.expect_err(name).contains("no certificate that we trust")),
        }
        if good {
            let down = format!("https://localhost:{port}/to/http://localhost:{port}/bytes/3");
            assert!(fetcher.fetch(&down).await.expect_err("down").contains("from https to http"));
        }
    }
    assert!(ASKED.load(Ordering::Relaxed) >= 3, "over TLS too, every address is judged");
}
