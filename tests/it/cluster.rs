//! Independent servers behind HAProxy, with the configuration that ships (`dist/haproxy.cfg`): the sentences of docs/cluster.md.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use server::Limits;
use server::access::policy::AccessPolicy;
use tests::client::Client;
use tests::message::{Init, Message, resume};
use tests::puppet::{Puppet, Strings};
use tests::raw::Raw;
use tests::{Server, small};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// HAProxy, as it ships but for addresses and file names, until it is dropped.
struct Door {
    haproxy: Child,
    /// Its port 443, with TLS taken off.
    address: SocketAddr,
    plain: SocketAddr,
    folder: PathBuf,
}

impl Door {
    async fn before(nodes: [SocketAddr; 2]) -> Result<Door> {
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("causeway-cluster-{process}"));
        fs::create_dir_all(&folder)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = folder.join("causeway.pem");
        fs::write(&certificate, format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()))?;
        // A loopback address of this process, so that its ports are free.
        let host = format!("127.{}.{}.1", process / 250 % 250 + 1, process % 250 + 1);
        let [secure, plain, peer] = [30443, 30080, 31000].map(|port| format!("{host}:{port}"));
        // As whom it runs: only root may be somebody else.
        let me = |what: &str| -> Result<String> {
            Ok(String::from_utf8(Command::new("id").arg(what).output()?.stdout)?.trim().to_owned())
        };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/haproxy.cfg");
        let mut text = fs::read_to_string(shipped)?;
        for (from, to) in [
            ("user haproxy", format!("user {}", me("-un")?)),
            ("group haproxy", format!("group {}", me("-gn")?)),
            ("bind :443", format!("bind {secure}")),
            ("bind :80", format!("bind {plain}")),
            ("/etc/haproxy/causeway.pem", certificate.to_string_lossy().into_owned()),
            ("/run/haproxy/causeway.sock", folder.join("causeway.sock").to_string_lossy().into_owned()),
            ("127.0.0.1:10000", peer),
            ("10.0.0.1:30000", nodes[0].to_string()),
            ("10.0.0.2:30000", nodes[1].to_string()),
        ] {
            ensure!(text.contains(from), "dist/haproxy.cfg has no {from}");
            text = text.replace(from, &to);
        }
        let configuration = folder.join("haproxy.cfg");
        fs::write(&configuration, text)?;
        let log = fs::File::create(folder.join("log"))?;
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("env");
        command.arg(format!("PATH={path}")).args(["haproxy", "-db", "-f"]).arg(&configuration);
        let haproxy = command.stdout(Stdio::null()).stderr(log).spawn()?;
        let secure: SocketAddr = secure.parse()?;
        let address = without_tls(secure, made.cert.der().clone()).await?;
        let door = Door { haproxy, address, plain: plain.parse()?, folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(secure).await.is_err() {
            ensure!(Instant::now() < deadline, "HAProxy does not listen: {}", door.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(door)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    async fn connect(&self, path: &str) -> Result<Client> {
        let url = format!("ws://{}{path}", self.address);
        Client::connect(&url).await.with_context(|| format!("{path}; HAProxy says: {}", self.log()))
    }

    /// A session that its client can come back to.
    async fn session(&self, path: &str) -> Result<(Client, String)> {
        let mut client = self.connect(path).await?;
        client.send(lasting()).await?;
        let token = client.hello().await?.resume_token;
        client.chunk().await?;
        Ok((client, token))
    }

    /// Whether a session's client, whose line was cut, finds it on this path.
    async fn finds(&self, path: &str, token: &str) -> Result<bool> {
        let mut client = self.connect(path).await?;
        client.send(resume(token, Some(0))).await?;
        match client.next().await? {
            Message::Session(hello) => {
                ensure!(hello.resume_token == token && hello.next_chunk == 1, "{hello:?}");
                client.chunk().await?;
                Ok(true)
            }
            Message::Error(error) => {
                ensure!(error.code.as_deref() == Some("invalid_resume_request"), "{error:?}");
                Ok(false)
            }
            other => anyhow::bail!("instead of an answer to a resume: {other:?}"),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It may have ended by itself; then a test has failed for that.
        self.haproxy.kill().ok();
        self.haproxy.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn lasting() -> Init {
    small().features(["session"])
}

/// A free port of this machine behind which `secure` can be reached without TLS.
async fn without_tls(
    secure: SocketAddr,
    certificate: tokio_rustls::rustls::pki_types::CertificateDer<'static>,
) -> Result<SocketAddr> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let name = "localhost".try_into().expect("a name");
                let mut line = connector.connect(name, TcpStream::connect(secure).await?).await?;
                tokio::io::copy_bidirectional(&mut client, &mut line).await
            });
        }
    });
    Ok(address)
}

fn node() -> Result<(Server, Strings)> {
    let access = AccessPolicy { proxies: vec!["127.0.0.1".parse()?], ..AccessPolicy::default() };
    Server::limited(Puppet::default(), Limits { access, sessions: 16, ..Limits::default() })
}

/// How many sessions a node has, asked beside the proxy.
async fn sessions(node: &Server) -> Result<usize> {
    let (_, body) = Raw::get(node.address, "/v1/realtime_video/sessions").await?;
    let told: serde_json::Value = serde_json::from_str(&body)?;
    Ok(told["sessions"].as_array().context("sessions")?.len())
}

#[tokio::test]
async fn sessions_spread_over_nodes_and_are_found_again_and_a_node_that_drains_gets_none() -> Result<()> {
    let ((a, _strings_of_a), (b, _strings_of_b)) = (node()?, node()?);
    let door = Door::before([a.address, b.address]).await?;

    // A page that is asked for without encryption is asked for again with it.
    let (head, page) = Raw::get(door.address, "/a/").await?;
    ensure!(head.starts_with("HTTP/1.1 200 ") && page.contains("<title>Causeway</title>"), "{head}");
    let (_, head) = Raw::ask(door.plain, "/a/", &[]).await?;
    ensure!(head.starts_with("HTTP/1.1 301 ") && head.contains("location: https://"), "{head}");

    // The node with the fewest connections gets the next session.
    let mut walks = Vec::new();
    for _ in 0..4 {
        walks.push(door.session("/v1/realtime_video").await?);
    }
    ensure!(
        (sessions(&a).await?, sessions(&b).await?) == (2, 2),
        "{} and {}",
        sessions(&a).await?,
        sessions(&b).await?
    );

    // A session below a node's name is found below that name, and nowhere else.
    // Two of them: by its connections alone, node b would get neither the second nor the one that comes back.
    let _another = door.session("/b/v1/realtime_video").await?;
    let (client, token) = door.session("/b/v1/realtime_video").await?;
    ensure!(sessions(&b).await? == 4, "{} sessions on node b", sessions(&b).await?);
    // A visitor of the page is sent to the name of the node with the fewest connections.
    for _ in 0..2 {
        let (_, head) = Raw::ask(door.address, "/", &[]).await?;
        ensure!(head.starts_with("HTTP/1.1 302 ") && head.contains("\r\nlocation: /a/\r\n"), "{head}");
    }
    drop(client);
    ensure!(!door.finds("/a/v1/realtime_video", &token).await?, "node a has a session of node b");
    ensure!(door.finds("/b/v1/realtime_video", &token).await?, "a session is lost that was begun below /b/");

    // So is one whose client tells its walks apart, wherever it was sent to.
    for walk in 0..3 {
        let path = format!("/v1/realtime_video?walk=of-player-{walk}");
        let (client, token) = door.session(&path).await?;
        drop(client);
        ensure!(door.finds(&path, &token).await?, "walk {walk} is lost");
    }

    // A node that drains: its sessions are told, and newcomers are sent to the other, from the first moment on.
    let before = sessions(&b).await?;
    a.drain();
    let mut newcomers = Vec::new();
    for _ in 0..3 {
        newcomers.push(door.session("/v1/realtime_video").await?);
    }
    newcomers.push(door.session("/a/v1/realtime_video").await?);
    ensure!(sessions(&b).await? >= before + 4, "{} sessions before, {} after", before, sessions(&b).await?);
    let mut told = 0;
    for (client, _) in &mut walks {
        // Those of node b go on; the two of node a end with the reason.
        if let Ok(Some(close)) = shut_down(client).await {
            ensure!(close == 1012, "closed with {close}");
            told += 1;
        }
    }
    ensure!(told == 2, "{told} sessions were told that their node stops");
    Ok(())
}

/// The code of the close that comes within a second, if one comes.
async fn shut_down(client: &mut Client) -> Result<Option<u16>> {
    let deadline = Instant::now() + Duration::from_secs(1);
    while let Some(message) = client.next_before(deadline).await? {
        if let Message::Closed(close) = message {
            return Ok(Some(close.code));
        }
    }
    Ok(None)
}
