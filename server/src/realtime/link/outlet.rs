//! The outlet of a session's chunks: the client's connection and, for a client that may come back, the backlog.
//!
//! For such a client sending never fails: messages that the connection did not take stay in the backlog, and are sent
//! on the next one.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use pipeline::world::Refusal;
use tokio::sync::Notify;

use super::connection::{Took, Writer};
use crate::cluster::tickets::MaySend;
use crate::realtime::session::backlog::{Backlog, PackedBacklog};
use crate::realtime::wire::frames::Group;

pub(super) struct Outlet {
    inner: Mutex<Inner>,
    /// Notifies senders that the connection has changed, so that they stop waiting for the old one.
    changed: Notify,
    /// Of a session that another node may go on with: nothing is sent while that may have happened.
    may_send: Option<MaySend>,
}

struct Inner {
    writer: Option<Writer>,
    backlog: Option<Backlog>,
}

impl Outlet {
    pub(super) fn new(writer: Writer, backlog: Option<Backlog>) -> Outlet {
        Outlet { inner: Mutex::new(Inner { writer: Some(writer), backlog }), changed: Notify::new(), may_send: None }
    }

    /// Of a session that another node may go on with.
    pub(super) fn fenced(self, may_send: Option<MaySend>) -> Outlet {
        Outlet { may_send, ..self }
    }

    /// Of a session whose client is away.
    pub(super) fn without_a_line(backlog: Backlog) -> Outlet {
        Outlet {
            inner: Mutex::new(Inner { writer: None, backlog: Some(backlog) }),
            changed: Notify::new(),
            may_send: None,
        }
    }

    /// The newest chunks that were sent, as many as are no more than these bytes.
    pub(super) fn pack(&self, bytes_max: usize) -> PackedBacklog {
        self.inner().backlog.as_ref().map(|backlog| backlog.pack(bytes_max)).unwrap_or_default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics under this lock")
    }

    pub(super) fn begin(&self, chunk: usize) {
        if let Some(backlog) = &mut self.inner().backlog {
            backlog.begin(chunk);
        }
    }

    /// Returns once the group was handed to the socket, or put into the backlog.
    pub(super) async fn send(&self, group: Group) -> anyhow::Result<Took> {
        self.steady().await;
        let Some(writer) = self.keep([Some(&group.header), group.payload.as_ref()]) else { return Ok(Took::default()) };
        self.or_kept(writer.send(group, self.may_send.clone())).await
    }

    pub(super) async fn say(&self, message: Bytes) -> anyhow::Result<()> {
        self.steady().await;
        let Some(writer) = self.keep([Some(&message), None]) else { return Ok(()) };
        self.or_kept(writer.say(message)).await
    }

    fn keep(&self, messages: [Option<&Bytes>; 2]) -> Option<Writer> {
        let mut inner = self.inner();
        if let Some(backlog) = &mut inner.backlog {
            messages.into_iter().flatten().for_each(|message| backlog.keep(message));
        }
        inner.writer.clone()
    }

    /// Returns once this node may send.
    async fn steady(&self) {
        if let Some(may_send) = &self.may_send {
            may_send.wait().await;
        }
    }

    async fn or_kept<T: Default>(&self, sent: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        if self.inner().backlog.is_none() {
            return sent.await;
        }
        tokio::select! {
            sent = sent => Ok(sent.unwrap_or_default()),
            () = self.changed.notified() => Ok(T::default()),
        }
    }

    /// For a client that may come back.
    pub(super) fn kept_bytes(&self) -> usize {
        self.inner().backlog.as_ref().map_or(0, Backlog::bytes)
    }

    /// The line was cut.
    pub(super) fn detach(&self) {
        self.inner().writer = None;
        self.changed.notify_waiters();
    }

    /// Whether all is kept that a client has not which has this as its last chunk.
    pub(super) fn check(&self, last: Option<usize>) -> Result<(), Refusal> {
        self.inner()
            .backlog
            .as_ref()
            .expect("only a session that keeps what it sends can be resumed")
            .after(last)
            .map(drop)
    }

    /// Continue on another connection: send `hello`, then all messages that the client lacks, from this chunk on.
    pub(super) fn attach(
        &self,
        writer: Writer,
        last: Option<usize>,
        hello: impl FnOnce(usize) -> Vec<Bytes>,
    ) -> Result<(), Refusal> {
        let mut inner = self.inner();
        let backlog = inner.backlog.as_ref().expect("only a session that keeps what it sends can be resumed");
        let (next, missed) = backlog.after(last)?;
        writer.begin_with(hello(next).into_iter().chain(missed).collect());
        inner.writer = Some(writer);
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }
}
