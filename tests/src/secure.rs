//! TLS before a server, with a certificate that nobody but its maker vouches for.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Listens on a free port of `localhost` until the runtime ends.
pub struct Secure {
    /// Where.
    pub port: u16,
    /// The certificate, as the files that `SSL_CERT_FILE` names hold it.
    pub pem: String,
}

impl Secure {
    /// Takes TLS off what comes, and passes the rest on to `server`.
    pub async fn before(server: SocketAddr) -> Result<Secure> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(acceptor.clone(), stream, server));
            }
        });
        Ok(Secure { port, pem: made.cert.pem() })
    }
}

async fn carry(acceptor: TlsAcceptor, stream: TcpStream, server: SocketAddr) -> Result<()> {
    let mut client = acceptor.accept(stream).await.context("a client that does not trust the certificate")?;
    let mut server = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
