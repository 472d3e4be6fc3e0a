//! A connection's stream, with a meter: how much was read that nobody has handled, and when something was last written.
//!
//! Only here can both be seen. A WebSocket gives a message when all of it has come, and takes one until all of it has gone.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::inbound::Account;

/// Of a frame from a client before its content: two bytes, and the mask.
const CONTROL_HEAD_BYTES: u64 = 6;

/// What is known of a connection's bytes. Shared by the stream and by whoever speaks over it.
#[derive(Default)]
pub(crate) struct Meter {
    state: Mutex<State>,
    /// There was no room for what was read.
    overdrawn: Notify,
}

#[derive(Default)]
struct State {
    /// `None` while the connection is no WebSocket: a request's bytes have a bound of their own.
    account: Option<Account>,
    /// Read since the last message was handled.
    unhandled: u64,
    /// Nothing more is read.
    overdrawn: bool,
    /// When bytes were last written.
    wrote: Option<Instant>,
}

impl Meter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// From now on what is read is held on this account.
    pub(crate) fn begin(&self, account: Account) {
        let mut state = self.state();
        (state.account, state.unhandled) = (Some(account), 0);
    }

    /// A message has come, and is held until what this gives is dropped. `None` before [`Meter::begin`].
    pub(crate) fn message(&self) -> Option<Account> {
        let mut state = self.state();
        state.unhandled = 0;
        state.account.as_mut().map(Account::split)
    }

    /// A ping or a pong of so many bytes has come, and is done with. It may stand between the parts of a message.
    pub(crate) fn control(&self, bytes: usize) {
        let mut state = self.state();
        state.unhandled = state.unhandled.saturating_sub(bytes as u64 + CONTROL_HEAD_BYTES);
    }

    /// Returns once there was no room for what came. From then on nothing is read.
    pub(crate) async fn overdrawn(&self) {
        let told = self.overdrawn.notified();
        if !self.state().overdrawn {
            told.await;
        }
    }

    /// When bytes were last written: the stream takes some only where the client has taken earlier ones.
    pub(crate) fn wrote(&self) -> Option<Instant> {
        self.state().wrote
    }

    fn read(&self, bytes: usize) {
        let mut state = self.state();
        state.unhandled += bytes as u64;
        let unhandled = state.unhandled;
        if let Some(account) = &mut state.account
            && account.hold(unhandled).is_err()
        {
            state.overdrawn = true;
            self.overdrawn.notify_waiters();
        }
    }

    fn written(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(1..)) = result {
            self.state().wrote = Some(Instant::now());
        }
    }
}

/// The stream.
pub(crate) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    /// Of the bytes that wait to be written, so many have gone: [`Metered::poll_write`].
    gone: usize,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S) -> (Metered<S>, Arc<Meter>) {
        let meter = Arc::<Meter>::default();
        (Metered { stream, meter: Arc::clone(&meter), gone: 0 }, meter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.meter.state().overdrawn {
            // Nobody wakes this: whoever was told of it ends the connection.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.meter.read(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    /// Takes all bytes or, while it waits, none; it is then called again with the same bytes, and perhaps more behind them, as
    /// both hyper and tungstenite do. tungstenite moves all that is left of its buffer after each write: for a picture of a
    /// megabyte, of which the system takes a part at a time, that was a third of a session's processor time.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        while this.gone < bytes.len() {
            let written = Pin::new(&mut this.stream).poll_write(cx, &bytes[this.gone..]);
            this.meter.written(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Ok(0)),
                written => this.gone += written,
            }
        }
        if mem::take(&mut this.gone) > bytes.len() {
            return Poll::Ready(Err(io::Error::other("bytes that wait to be written were taken back")));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.meter.written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::super::inbound::{FREE_BYTES, Inbound};
    use super::*;

    #[tokio::test]
    async fn what_is_read_is_held_until_its_message_is_handled() {
        let inbound = Inbound::new(4 << 20);
        let (client, server) = duplex(1 << 20);
        let (mut stream, meter) = Metered::new(server);
        let mut client = client;
        let mut read = vec![0; 512 << 10];
        client.write_all(&read).await.expect("there is room");
        stream.read_exact(&mut read).await.expect("all of it");
        assert_eq!(inbound.bytes(), 0, "it is no WebSocket yet");

        meter.begin(Account::new(Arc::clone(&inbound), IpAddr::from([192, 0, 2, 1]).into()));
        client.write_all(&read).await.expect("there is room");
        stream.read_exact(&mut read).await.expect("all of it");
        assert_eq!(inbound.bytes(), (512 << 10) - FREE_BYTES);
        let message = meter.message();
        assert_eq!(inbound.bytes(), (512 << 10) - FREE_BYTES, "it is being handled");
        drop(message);
        assert_eq!(inbound.bytes(), 0);
    }

    #[tokio::test]
    async fn past_its_account_nothing_more_is_read() {
        let inbound = Inbound::new(4 * FREE_BYTES);
        let (mut client, server) = duplex(4 << 20);
        let (mut stream, meter) = Metered::new(server);
        meter.begin(Account::new(Arc::clone(&inbound), IpAddr::from([192, 0, 2, 1]).into()));
        client.write_all(&vec![0; 3 << 20]).await.expect("there is room");
        let mut read = 0;
        // As the WebSocket layer reads: a piece at a time.
        let mut piece = vec![0; 64 << 10];
        let reading = async {
            loop {
                read += stream.read(&mut piece).await.expect("the client is there");
            }
        };
        let told = timeout(Duration::from_secs(20), async {
            tokio::select! {
                () = reading => false,
                () = meter.overdrawn() => true,
            }
        });
        assert!(told.await.expect("it is told"));
        assert!(read as u64 <= 2 * FREE_BYTES + (64 << 10), "{read} bytes were read");
        timeout(Duration::from_secs(20), meter.overdrawn()).await.expect("who asks later hears it too");
    }

    #[tokio::test]
    async fn it_is_known_when_something_was_written() {
        let (mut client, server) = duplex(10);
        let (mut stream, meter) = Metered::new(server);
        assert_eq!(meter.wrote(), None);
        assert!(timeout(Duration::from_millis(10), stream.write_all(&[0; 20])).await.is_err(), "half of it fits");
        let first = meter.wrote().expect("half of it was written");
        assert!(timeout(Duration::from_millis(10), stream.write_all(&[0; 20])).await.is_err(), "nothing fits");
        assert_eq!(meter.wrote(), Some(first), "nothing was taken");
        client.read_exact(&mut [0; 10]).await.expect("what was written");
        stream.write_all(&[0; 20]).await.expect("there is room for the rest");
        assert!(meter.wrote() > Some(first));
    }

    #[tokio::test]
    async fn what_has_gone_is_not_sent_again_and_more_may_follow_it() {
        let (mut client, server) = duplex(10);
        let (mut stream, _) = Metered::new(server);
        let bytes: Vec<u8> = (0..40).collect();
        let few = timeout(Duration::from_millis(10), stream.write(&bytes[..25]));
        assert!(few.await.is_err(), "ten of them fit");
        let (mut read, write) = (vec![0; 40], stream.write(&bytes));
        let (read_all, written) = tokio::join!(client.read_exact(&mut read), write);
        read_all.expect("all of them");
        assert_eq!((written.expect("all are written"), read), (40, bytes));

        let few = timeout(Duration::from_millis(10), stream.write(&[0; 25]));
        assert!(few.await.is_err(), "ten of them fit");
        stream.write(&[0; 5]).await.expect_err("five that are no part of what has gone");
    }
}
