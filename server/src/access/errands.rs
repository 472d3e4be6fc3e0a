//! What a connection that is no WebSocket is waiting for, and so how long it may live.
//!
//! A connection lives for a minute, so that nobody holds a permit by reading or sending byte by byte. A clip takes longer to
//! draw than that: while an answer is awaited the minute does not count, and then its client has time to read it. It must
//! go on reading: for such a connection the minute becomes a limit on silence.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::metered::Meter;

/// Bytes of an answer that a client must take in a second. Slower lines carry no video.
const BYTES_A_SECOND: u64 = 16 << 10;

/// What a connection waits for.
#[derive(Default)]
pub(crate) struct Errands(Mutex<State>);

#[derive(Default)]
struct State {
    /// Answers that are awaited: at most one, as HTTP/1.1 goes.
    awaited: usize,
    /// When the last answer was ready, and how long its client may take to read it.
    answered: Option<(Instant, Duration)>,
}

/// An answer is awaited, until this is dropped.
pub(crate) struct Awaited(Arc<Errands>);

impl Errands {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics under this lock")
    }

    /// An answer is awaited that may take long.
    pub(crate) fn awaited(self: &Arc<Self>) -> Awaited {
        self.state().awaited += 1;
        Awaited(Arc::clone(self))
    }

    /// The answer has so many bytes.
    pub(crate) fn allow(&self, bytes: u64) {
        self.state().answered = Some((Instant::now(), Duration::from_secs(bytes / BYTES_A_SECOND)));
    }

    /// Returns when the connection has lived long enough: `life` after its beginning, or after `life` of silence once it
    /// has asked for something that takes long.
    pub(crate) async fn lived_long_enough(&self, meter: &Meter, life: Duration) {
        let mut end = Instant::now() + life;
        while end > Instant::now() {
            sleep_until(end.into()).await;
            match self.state().end(meter.wrote(), Instant::now(), life) {
                Some(later) => end = later,
                None => return,
            }
        }
    }
}

impl State {
    /// Until when the connection may live; `None`: it has lived for a minute, and asked for nothing that takes long.
    fn end(&self, wrote: Option<Instant>, now: Instant, life: Duration) -> Option<Instant> {
        match (self.awaited, self.answered) {
            (1.., _) => Some(now + life),
            (0, None) => None,
            (0, Some((at, to_read))) => {
                let heard = wrote.map_or(at, |wrote| wrote.max(at));
                Some((heard + life).min(at + life + to_read))
            }
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.awaited -= 1;
        state.answered.get_or_insert((Instant::now(), Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// V065.
    #[test]
    fn while_an_answer_is_awaited_the_minute_does_not_count() {
        let (errands, now) = (Arc::<Errands>::default(), Instant::now());
        assert_eq!(errands.state().end(None, now, LIFE), None, "it asks for nothing long");
        let awaited = errands.awaited();
        assert_eq!(errands.state().end(None, now + seconds(900), LIFE), Some(now + seconds(960)));
        drop(awaited);
        assert!(errands.state().end(None, now, LIFE).is_some_and(|end| end <= Instant::now() + LIFE));
    }

    #[test]
    fn a_client_that_reads_slowly_has_time_and_one_that_does_not_read_has_a_minute() {
        let now = Instant::now();
        let state = State { awaited: 0, answered: Some((now, seconds(600))) };
        assert_eq!(state.end(None, now + LIFE, LIFE), Some(now + LIFE), "it took nothing");
        assert_eq!(state.end(Some(now + seconds(50)), now + LIFE, LIFE), Some(now + seconds(110)));
        assert_eq!(state.end(Some(now + seconds(650)), now + seconds(650), LIFE), Some(now + seconds(660)));
    }
}
