//! How a job's task is told to stop.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use pipeline::world::Cancel;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a deletion waits until the device has let go of its job. A forward pass of a large model takes longer.
pub(crate) const LET_GO_WITHIN: Duration = Duration::from_secs(2);

/// How a job's task is told to stop, and how it says that it has.
pub(crate) struct Stop {
    tell: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl Stop {
    pub(crate) fn new(tell: watch::Sender<bool>, ended: watch::Receiver<bool>) -> Stop {
        Stop { tell, ended }
    }

    /// Tell the task, and wait until the device has let go of its job; not for long.
    pub(crate) async fn stop(mut self) {
        self.tell.send_replace(true);
        // An error means that the task has ended.
        let _ = timeout(LET_GO_WITHIN, self.ended.wait_for(|&ended| ended)).await;
    }
}

/// Cancels whatever output of some work is drawn: each output has a cancel of its own, which its drawing uses up.
#[derive(Default)]
pub(crate) struct Current(Mutex<State>);

#[derive(Default)]
struct State {
    /// Of the output that is drawn, once the turn has come.
    drawn: Option<Cancel>,
    cancelled: bool,
}

impl Current {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics under this lock")
    }

    /// The cancel of the next output.
    pub(crate) fn next(&self) -> Cancel {
        let (mut state, cancel) = (self.state(), Cancel::default());
        if state.cancelled {
            cancel.cancel();
        }
        state.drawn = Some(cancel.clone());
        cancel
    }

    /// Cancel what is drawn. Whether anything is: work whose turn has not come has nothing on the device.
    pub(crate) fn cancel(&self) -> bool {
        let mut state = self.state();
        state.cancelled = true;
        state.drawn.as_ref().inspect(|drawn| drawn.cancel()).is_some()
    }
}
