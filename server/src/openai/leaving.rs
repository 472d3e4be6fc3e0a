//! A client whose connection is its job: when it leaves, the work ends.
//!
//! hyper drops the handler's future when the connection closes, and with it the clip's seat on the engine, which then stops
//! between two passes. This guard takes the work out of the book, and counts and logs it once, as status 499.

use std::sync::Arc;

use super::request::job::{Account, Facts};
use super::request::jobs::Full;
use super::state::OpenAi;
use crate::observe::jobs::{JobKind, JobOutcome};

/// Work that ends when this is dropped.
pub(crate) struct Leaving {
    openai: Arc<OpenAi>,
    pub(crate) id: String,
    kind: JobKind,
    /// Its client waits.
    armed: bool,
}

impl Leaving {
    /// Enter work into the book, for as long as its client waits.
    pub(crate) fn enter(
        openai: &Arc<OpenAi>,
        id: String,
        kind: JobKind,
        account: Account,
        facts: Facts,
    ) -> Result<Leaving, Full> {
        openai.book().enter(&id, account, facts, false, openai.now())?;
        Ok(Leaving { openai: Arc::clone(openai), id, kind, armed: true })
    }

    /// It has ended, well or badly, and its client is answered.
    pub(crate) fn ended(mut self, outcome: JobOutcome) {
        self.armed = false;
        self.openai.observer.job_ended(self.kind, outcome);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.openai.book().remove(&self.id);
        if self.armed {
            self.openai.observer.job_ended(self.kind, JobOutcome::Cancelled);
            self.openai.observer.request_cancelled();
            tracing::info!(id = self.id, status = 499, "its client left: the work ends");
        }
    }
}
