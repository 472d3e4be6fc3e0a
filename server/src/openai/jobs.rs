//! The task of a job: it draws, whoever hangs up, until it is done, deleted, or the server stops.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::door::Caller;
use super::errors::ApiError;
use super::prepare::Prepared;
use super::request::job::{Failure, FailureCode};
use super::state::OpenAi;
use super::stop::{Current, LET_GO_WITHIN, Stop};
use super::work::Work;
use crate::observe::jobs::{JobKind, JobOutcome};
use crate::phase::Phase;

impl OpenAi {
    /// Begin a job: it waits from now on. Gives its id.
    pub(crate) fn begin_job(self: &Arc<Self>, caller: &Caller, prepared: Prepared) -> Result<String, ApiError> {
        let Prepared { card, facts, picture, answer, recorder, guardrails, blocked } = prepared;
        let present = self.present.upgrade().ok_or_else(ApiError::draining)?;
        let id = uuid::Uuid::new_v4().to_string();
        let resolved = facts.resolved.clone();
        self.book().enter(&id, caller.account.clone(), facts, true, self.now())?;
        if blocked {
            self.book().fail(&id, Failure::guardrail_blocked(), self.now());
            self.observer.job_ended(JobKind::Video, JobOutcome::Failed);
            return Ok(id);
        }
        let (tell, told) = watch::channel(false);
        let (say_ended, ended) = watch::channel(false);
        self.stops().insert(id.clone(), Stop::new(tell, ended));
        let (id_of_work, format) = (id.clone(), answer.format);
        let work = Work { id: id_of_work, card, resolved, picture, format, recorder, guardrails };
        let openai = Arc::clone(self);
        tokio::spawn(async move {
            openai.run_job(work, told).await;
            say_ended.send_replace(true);
            drop(present);
        });
        Ok(id)
    }

    async fn run_job(&self, work: Work, mut told: watch::Receiver<bool>) {
        let (id, current) = (work.id.clone(), Current::default());
        let mut phase = self.phase.clone();
        let drawing = work.draw(self, &current);
        let mut drawing = std::pin::pin!(drawing);
        let (cut_short, ended) = tokio::select! {
            ended = drawing.as_mut() => (false, ended),
            _ = told.wait_for(|&told| told) => (true, Err(Failure::cancelled())),
            () = Phase::Stopping.reached(&mut phase) => (true, Err(Failure::shutting_down())),
        };
        self.stops().remove(&id);
        let outcome = match ended {
            Ok((outputs, costs)) => {
                self.book().complete(&id, outputs, costs, self.now());
                JobOutcome::Completed
            }
            Err(failure) => {
                let outcome = match failure.code {
                    FailureCode::Cancelled => JobOutcome::Cancelled,
                    _ => JobOutcome::Failed,
                };
                tracing::info!(id, code = failure.code.name(), "a job ended early");
                self.book().fail(&id, failure, self.now());
                outcome
            }
        };
        // The engine gives the device back after the pass that it is in. A job that waits is dropped at once.
        if cut_short && current.cancel() {
            let _ = timeout(LET_GO_WITHIN, drawing).await;
        }
        self.observer.job_ended(JobKind::Video, outcome);
    }

    /// Take a job out, and end its work.
    pub(crate) async fn delete_job(&self, id: &str) {
        let stop = self.stops().remove(id);
        self.book().remove(id);
        if let Some(stop) = stop {
            stop.stop().await;
        }
    }
}
