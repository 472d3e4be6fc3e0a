//! One request of ours to a URL of the operator's, and its answer.

use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::{Host, Url};

/// Who is asked. Certificates signed by Mozilla's trusted roots are believed.
pub(crate) struct Post {
    url: Url,
    tls: TlsConnector,
}

/// What is said, beside its address.
pub(crate) struct Said {
    /// The bytes.
    pub(crate) body: Body,
    /// What they are.
    pub(crate) content_type: &'static str,
    /// A secret that lets us in.
    pub(crate) bearer: Option<String>,
}

impl Post {
    /// At this URL, which must be of http or https; `flag` is its name in an error.
    pub(crate) fn new(flag: &str, url: Url) -> anyhow::Result<Post> {
        ensure!(
            matches!(url.scheme(), "http" | "https") && url.host().is_some(),
            "{flag} {url}: a URL of http or https"
        );
        let provider = Arc::new(crypto::ring::default_provider());
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.context("TLS")?.with_root_certificates(roots).with_no_client_auth();
        Ok(Post { url, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Post it on a connection of its own. Gives the answer's status and its bytes, which must be no more than these.
    pub(crate) async fn send(&self, said: Said, answer_max: usize) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let host = self.url.host().context("it has a host")?;
        let port = self.url.port_or_known_default().context("it has a port")?;
        let stream = match &host {
            Host::Domain(name) => TcpStream::connect((*name, port)).await,
            Host::Ipv4(address) => TcpStream::connect((*address, port)).await,
            Host::Ipv6(address) => TcpStream::connect((*address, port)).await,
        };
        let stream = stream.context("connecting")?;
        if self.url.scheme() != "https" {
            return self.post(stream, said, answer_max).await;
        }
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.to_owned())?,
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(address)),
        };
        self.post(self.tls.connect(name, stream).await.context("TLS")?, said, answer_max).await
    }

    async fn post(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        Said { body, content_type, bearer }: Said,
        answer_max: usize,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
        // Ends with this one answer: the connection is not kept.
        tokio::spawn(connection);
        let host = self.url.host_str().context("it has a host")?;
        let host = self.url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let mut request = Request::post(&self.url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("causeway/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONNECTION, "close");
        if let Some(secret) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
        }
        let response = sender.send_request(request.body(body)?).await?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), answer_max).await.context("reading its answer")?;
        Ok((status, body.to_vec()))
    }
}
