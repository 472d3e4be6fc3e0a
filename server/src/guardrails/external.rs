//! A classifier that runs elsewhere, asked over HTTP about each prompt.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::{Host, Url};

use super::guard::{TextGuardrail, Verdict};
use super::rules::answer::{Dialect, Opinion};

/// Time for one prompt, connecting included: a player waits for the answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of an answer. A verdict is some dozens.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A classifier at a URL of the operator's.
pub struct External {
    url: Url,
    dialect: Dialect,
    tls: TlsConnector,
    within: Duration,
}

impl External {
    /// At this URL, which is of http or https.
    pub fn new(url: Url, dialect: Dialect) -> anyhow::Result<External> {
        External::within(ANSWERED_WITHIN, url, dialect)
    }

    fn within(within: Duration, url: Url, dialect: Dialect) -> anyhow::Result<External> {
        ensure!(
            matches!(url.scheme(), "http" | "https") && url.host().is_some(),
            "--guardrail-url {url}: a URL of http or https"
        );
        let provider = Arc::new(crypto::ring::default_provider());
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.context("TLS")?.with_root_certificates(roots).with_no_client_auth();
        Ok(External { url, dialect, tls: TlsConnector::from(Arc::new(config)), within })
    }

    async fn ask(&self, prompt: &str) -> anyhow::Result<Opinion> {
        let host = self.url.host().context("it has a host")?;
        let port = self.url.port_or_known_default().context("it has a port")?;
        let stream = match &host {
            Host::Domain(name) => TcpStream::connect((*name, port)).await,
            Host::Ipv4(address) => TcpStream::connect((*address, port)).await,
            Host::Ipv6(address) => TcpStream::connect((*address, port)).await,
        };
        let stream = stream.context("connecting")?;
        let answer = if self.url.scheme() == "https" {
            let name = match host {
                Host::Domain(name) => ServerName::try_from(name.to_owned())?,
                Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(address)),
                Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(address)),
            };
            self.post(self.tls.connect(name, stream).await.context("TLS")?, prompt).await?
        } else {
            self.post(stream, prompt).await?
        };
        self.dialect.opinion(&answer).map_err(|reason| anyhow::anyhow!("its answer is not understood: {reason}"))
    }

    async fn post(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        prompt: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
        // Ends with the runtime of this one question.
        tokio::spawn(connection);
        let host = self.url.host_str().context("it has a host")?;
        let host = self.url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let request = Request::post(&self.url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("causeway/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Body::from(self.dialect.question(prompt).to_string()))?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            bail!("it answered {}", response.status().as_u16());
        }
        let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await.context("reading its answer")?;
        Ok(body.to_vec())
    }
}

impl TextGuardrail for External {
    fn name(&self) -> &'static str {
        "classifier"
    }

    /// On a thread for blocking work, with a small runtime of its own: the command line has no other.
    fn check(&self, prompt: &str) -> Verdict {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Verdict::Error { reason: error.to_string() },
        };
        let opinion = runtime.block_on(async { timeout(self.within, self.ask(prompt)).await });
        // A look-up of a name cannot be cut short, and is not waited for.
        runtime.shutdown_background();
        match opinion {
            Ok(Ok(Opinion::Safe)) => Verdict::Allow,
            Ok(Ok(Opinion::Unsafe { category })) => {
                Verdict::Block { code: category.unwrap_or_else(|| "unsafe".into()) }
            }
            Ok(Err(error)) => Verdict::Error { reason: format!("{error:#}") },
            Err(_elapsed) => Verdict::Error { reason: format!("no answer within {} s", self.within.as_secs_f64()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A classifier for one question: gives `answer`, word for word, and what it was asked. `None`: it only listens.
    fn classifier(answer: Option<&'static str>) -> (Url, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/check?v=1", listener.local_addr().expect("bound"));
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a question");
            let (mut asked, mut piece) = (String::new(), [0; 4096]);
            while !asked.contains('}') {
                let read = stream.read(&mut piece).expect("bytes");
                asked.push_str(std::str::from_utf8(&piece[..read]).expect("text"));
            }
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).expect("written"),
                // Until the other side has given up.
                None => _ = stream.read(&mut piece),
            }
            asked
        });
        (Url::parse(&url).expect("a URL"), thread)
    }

    fn verdict(answer: Option<&'static str>) -> (Verdict, String) {
        let (url, thread) = classifier(answer);
        let external = External::within(Duration::from_millis(300), url, Dialect::Verdict).expect("http");
        let verdict = external.check("a \"quiet\" road");
        (verdict, thread.join().expect("it answered"))
    }

    #[test]
    fn a_prompt_is_posted_as_json_and_the_answer_decides() {
        let (allowed, asked) = verdict(Some("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"safe\": true}"));
        assert_eq!(allowed, Verdict::Allow);
        assert!(
            asked.starts_with("POST /check?v=1 HTTP/1.1\r\n") && asked.ends_with(r#"{"prompt":"a \"quiet\" road"}"#)
        );
        let no = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"safe\": false, \"category\": \"violence\"}";
        assert_eq!(verdict(Some(no)).0, Verdict::Block { code: "violence".into() });
    }

    #[test]
    fn what_cannot_tell_is_an_error_that_says_why() {
        let error = |answer| match verdict(answer).0 {
            Verdict::Error { reason } => reason,
            other => panic!("{other:?}"),
        };
        assert!(error(Some("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")).contains("503"));
        assert!(error(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).contains("not understood"));
        assert!(error(Some("no HTTP\r\n\r\n")).len() > 3);
        assert!(error(None).contains("no answer within 0.3 s"));
        let nobody = External::new("http://127.0.0.1:1/".parse().expect("a URL"), Dialect::Verdict).expect("http");
        assert!(matches!(nobody.check("p"), Verdict::Error { reason } if reason.contains("connecting")));
        assert!(External::new("file:///etc".parse().expect("a URL"), Dialect::Verdict).is_err());
    }
}
