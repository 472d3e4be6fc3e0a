//! The thread that reads first frames: one at a time, and after everything else that wants the processor.
//!
//! On the threads that encode frames, three large pictures made every chunk of another session late, and each of them held its
//! memory at once. The engine's thread is spared too: what it is given has the video's size.

use anyhow::Context;
use bytes::Bytes;
use pipeline::first_frame::Target;
use pipeline::world::Picture;
use tokio::sync::{mpsc, oneshot};

use crate::media::first_frame;

/// How far it stands back in Linux's scheduler: it gets a tenth of a processor that the engine wants whole, and all of one that
/// idles. At 19 it would get an eightieth, and a photograph would take a minute beside sessions that draw as fast as they can.
const NICENESS: i32 = 10;

struct Job {
    file: Bytes,
    to: Target,
    reply: oneshot::Sender<Result<Picture, String>>,
}

/// Asks the thread. The thread ends when this is dropped and the picture before it is done.
pub(crate) struct PictureReader {
    jobs: mpsc::Sender<Job>,
}

impl PictureReader {
    pub(crate) fn start() -> anyhow::Result<PictureReader> {
        // One is handed over while another is read; the next wait with those who ask, in order.
        let (jobs, mut queue) = mpsc::channel::<Job>(1);
        let run = move || {
            stand_back();
            while let Some(Job { file, to, reply }) = queue.blocking_recv() {
                // Its client may have left while it waited.
                if !reply.is_closed() {
                    let _ = reply.send(first_frame::read(&file, to));
                }
            }
        };
        std::thread::Builder::new()
            .name("pictures".into())
            .spawn(run)
            .context("starting the thread that reads pictures")?;
        Ok(PictureReader { jobs })
    }

    /// The picture in `file`, at the size of `to`. `Err` is for the client, as of [`first_frame::read`].
    pub(crate) async fn read(&self, file: Bytes, to: impl Into<Target>) -> Result<Picture, String> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { file, to: to.into(), reply }).await.expect("the thread ends only when this is dropped");
        answer.await.expect("a decoder that panics is a picture that cannot be read")
    }
}

/// Of this thread alone: on Linux every thread has a niceness of its own.
fn stand_back() {
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::setpriority_process(None, NICENESS)
    {
        tracing::warn!(%error, "pictures are read at the same priority as chunks are drawn");
    }
}
