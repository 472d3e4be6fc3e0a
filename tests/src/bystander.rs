//! A bystander: a session that only receives, and notices when it is disturbed.

use crate::client::Client;
use crate::message::Init;
use crate::puppet::{Puppet, Strings};
use crate::{Server, small};
use anyhow::{Context, Result};
use server::Limits;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// On a thread of its own, so that it keeps receiving whatever the test is busy with.
pub struct Bystander {
    chunks: watch::Receiver<u64>,
    /// Times between the ends of neighbouring chunks.
    gaps: Arc<Mutex<Vec<Duration>>>,
    leave: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Bystander {
    /// Returns once the bystander has received a chunk.
    pub async fn on(server: &Server) -> Result<Bystander> {
        Bystander::at(server.url(), small()).await
    }

    /// The same, of any server and in a session of any kind.
    pub async fn at(url: String, init: Init) -> Result<Bystander> {
        let (count, chunks) = watch::channel(0);
        let (leave, left) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let gaps = Arc::<Mutex<Vec<Duration>>>::default();
        let measured = gaps.clone();
        let receive = async move {
            let mut client = Client::connect(&url).await?;
            client.send(init).await?;
            let mut last = None;
            loop {
                // The client checks that chunks come in order, whole and without a gap.
                client.chunk().await?;
                let now = Instant::now();
                let gap = last.replace(now).map(|last| now - last);
                measured.lock().expect("nothing panics under this lock").extend(gap);
                count.send_modify(|chunks| *chunks += 1);
            }
        };
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    disturbed = receive => disturbed,
                    _ = left => Ok(()),
                }
            })
        };
        let thread = std::thread::Builder::new().name("bystander".into()).spawn(run)?;
        let mut bystander = Bystander { chunks, gaps, leave: Some(leave), thread: Some(thread) };
        bystander.goes_on().await?;
        Ok(bystander)
    }

    /// Two more chunks come: one could have been under way.
    pub async fn goes_on(&mut self) -> Result<()> {
        let seen = *self.chunks.borrow();
        let more = self.chunks.wait_for(|&chunks| chunks >= seen + 2);
        let more = tokio::time::timeout(Duration::from_secs(20), more).await.map(|chunks| chunks.map(drop));
        match more.context("the bystander gets no chunks any more")? {
            Ok(()) => Ok(()),
            Err(_) => self.join().context("the bystander was disturbed"),
        }
    }

    /// Gaps between chunks since this was last asked.
    pub fn gaps(&self) -> Vec<Duration> {
        std::mem::take(&mut self.gaps.lock().expect("nothing panics under this lock"))
    }

    pub fn chunks(&self) -> u64 {
        *self.chunks.borrow()
    }

    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow::anyhow!("the bystander panicked"))?
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.leave.take());
        // `goes_on` reports how it ended; a test that no longer asks has seen enough.
        let _ = self.join();
    }
}

/// A server with a bystander on it.
pub struct Scene {
    pub bystander: Bystander,
    pub server: Server,
    pub strings: Strings,
}

impl Scene {
    pub async fn set() -> Result<Scene> {
        Scene::limited(Limits::default()).await
    }

    pub async fn limited(limits: Limits) -> Result<Scene> {
        let (server, mut strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits)?;
        let bystander = Bystander::on(&server).await?;
        strings.opened().await?;
        Ok(Scene { bystander, server, strings })
    }

    /// The bystander still gets its chunks, and a newcomer gets some.
    pub async fn ends_well(&mut self) -> Result<()> {
        self.bystander.goes_on().await?;
        self.server.session(small().max_chunks(1)).await?.chunk().await.context("a newcomer")?;
        self.bystander.goes_on().await
    }
}
