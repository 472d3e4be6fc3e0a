//! Servers of NATS and nodes of a cluster, each a process of its own, so that a test can kill or stop one.

pub mod walk;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::Raw;

/// How long a process may take to begin.
const BEGUN_WITHIN: Duration = Duration::from_secs(20);

/// A process that is killed when this is dropped.
pub struct Process(Child);

impl Process {
    /// As `kill -9`.
    pub fn kill(&mut self) {
        // An error: it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Send it a signal by its name: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status()?;
        ensure!(status.success(), "kill -{name}: {status}");
        Ok(())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Process {
    /// Memory that it has now.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
    }

    /// CPU time so far, in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        [11, 12].iter().filter_map(|&at| fields.get(at)?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Servers of NATS with JetStream, which form one cluster.
pub struct Nats {
    pub servers: Vec<Process>,
    pub urls: Vec<String>,
    /// Where each says how it is.
    monitors: Vec<SocketAddr>,
    commands: Vec<Vec<String>>,
    folder: PathBuf,
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.servers.clear();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn nats(arguments: &[String]) -> Result<Process> {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("env");
    command.arg(format!("PATH={path}")).arg("nats-server").args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.map(Process).context("nats-server: `apt-get install nats-server`")
}

impl Nats {
    /// One server, or three.
    pub fn start(servers: usize) -> Result<Nats> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("causeway-nats-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let ports: Vec<(u16, u16)> = (0..servers).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<_>>()?;
        let routes: Vec<String> = ports.iter().map(|(_, route)| format!("nats://127.0.0.1:{route}")).collect();
        let mut nats =
            Nats { servers: Vec::new(), urls: Vec::new(), monitors: Vec::new(), commands: Vec::new(), folder };
        for (at, (port, route)) in ports.iter().enumerate() {
            let monitor = free_port()?;
            nats.monitors.push(SocketAddr::from(([127, 0, 0, 1], monitor)));
            let store = nats.folder.join(at.to_string());
            std::fs::create_dir_all(&store)?;
            let (store, port, monitor) = (store.to_string_lossy(), port.to_string(), monitor.to_string());
            let arguments = ["-js", "-a", "127.0.0.1", "-sd", &store, "-p", &port, "-m", &monitor];
            let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
            if servers > 1 {
                let (own, name) = (format!("nats://127.0.0.1:{route}"), format!("n{at}"));
                let more = ["--cluster", &own, "--cluster_name", "causeway", "--server_name", &name, "--routes"];
                arguments.extend(more.map(str::to_owned));
                // Nodes use the addresses that they are given: a test may have put a bad line before them.
                arguments.extend([routes.join(","), "--no_advertise".to_owned()]);
            }
            nats.servers.push(self::nats(&arguments)?);
            nats.urls.push(format!("nats://127.0.0.1:{port}"));
            nats.commands.push(arguments);
        }
        let deadline = Instant::now() + BEGUN_WITHIN;
        for (port, _) in ports {
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                ensure!(Instant::now() < deadline, "nats-server does not listen");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(nats)
    }

    /// The server that leads the records of a line, as the servers' own monitor has it.
    pub async fn leader(&self) -> Result<usize> {
        for monitor in &self.monitors {
            let Ok(mut stream) = tokio::net::TcpStream::connect(monitor).await else { continue };
            // Of this version the answer comes in one piece.
            stream.write_all(b"GET /jsz?streams=true HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            let (_, page) = answer.split_once("\r\n\r\n").context("no answer of a monitor")?;
            let page: serde_json::Value = serde_json::from_str(page)?;
            let streams = page["account_details"][0]["stream_detail"].as_array().cloned().unwrap_or_default();
            let line = streams
                .iter()
                .find(|stream| stream["name"].as_str().is_some_and(|name| name.starts_with("causeway_line_")));
            if let Some(leader) = line.and_then(|line| line["cluster"]["leader"].as_str()) {
                return leader.trim_start_matches('n').parse().context("the name of a server");
            }
        }
        anyhow::bail!("no server says who leads")
    }

    /// Start a server again that was killed.
    pub fn restart(&mut self, at: usize) -> Result<()> {
        self.servers[at] = nats(&self.commands[at])?;
        Ok(())
    }
}

/// A node: the program `cluster` of these tests, which serves the test card.
pub struct Node {
    pub process: Process,
    pub address: SocketAddr,
}

impl Node {
    /// `program` is the path of `cluster`. 0 `sessions`: a door.
    pub fn start(program: &str, nats: &Nats, sessions: usize, more: &[&str]) -> Result<Node> {
        Node::start_at(program, &nats.urls, sessions, more)
    }

    /// As [`Node::start`], with servers of NATS at these addresses.
    pub fn start_at(program: &str, nats: &[String], sessions: usize, more: &[&str]) -> Result<Node> {
        let mut command = Command::new(program);
        command.args(["node", "--cluster", &nats.join(","), "--sessions", &sessions.to_string()]).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stdout.take().context("its output")?);
        let process = Process(child);
        let first = said.lines().next().context("a node that says nothing")??;
        Ok(Node { process, address: first.parse().with_context(|| format!("instead of its address: {first}"))? })
    }

    pub fn url(&self) -> String {
        format!("ws://{}/v1/realtime_video", self.address)
    }

    /// The value of one of its metrics without labels.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let (_, page) = Raw::get(self.address, "/metrics").await?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("no {name} in {page}"))?.parse().context(name.to_owned())
    }

    /// Wait until a metric has this value.
    pub async fn reaches(&self, name: &str, value: f64, within: Duration) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let now = self.metric(name).await?;
            if now == value {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < within, "{name} is {now} and not {value} after {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
