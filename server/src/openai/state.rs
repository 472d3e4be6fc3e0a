//! The state that the routes share: the book of jobs, the turn of the device, and what the server lends them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, mpsc, watch};

use super::request::job::Now;
use super::request::jobs::{Bounds, Jobs, Levels};
use super::request::resolve::Rules;
use super::stop::Stop;
use crate::access::http::Entrance;
use crate::engine::thread::Engine;
use crate::fetch::Fetcher;
use crate::guardrails::Guardrails;
use crate::media::picture_reader::PictureReader;
use crate::observe::Observer;
use crate::phase::Phase;

/// What an operator bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenAiBounds {
    /// Of the book of jobs.
    pub(crate) jobs: Bounds,
    /// Of requests.
    pub(crate) rules: Rules,
    /// A job's own time on the device.
    pub(crate) job_timeout: Duration,
    /// From the arrival of a request whose client waits to its answer.
    pub(crate) sync_timeout: Duration,
    /// The longest body.
    pub(crate) body_bytes: u64,
    /// The longest picture.
    pub(crate) picture_bytes: usize,
}

/// Pictures that are fetched or decoded at once: a fetched file counts nowhere else. As many as are fetched at once.
const PICTURING_MAX: usize = 8;

/// The state that the routes share.
pub(crate) struct OpenAi {
    pub(crate) engine: Engine,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) pictures: Arc<PictureReader>,
    /// What prompts and frames must pass.
    pub(crate) guardrails: Guardrails,
    pub(crate) observer: Arc<Observer>,
    pub(crate) entrance: Entrance,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Work that is under way holds a sender made from this, so that a drain waits for it.
    pub(crate) present: mpsc::WeakSender<()>,
    pub(crate) bounds: OpenAiBounds,
    /// Where profiles of requests go. `None`: nobody may ask for one.
    pub(crate) profile_dir: Option<PathBuf>,
    /// Requests whose picture is fetched and decoded. The others wait, and hold no more than their body, which is counted.
    pub(crate) picturing: Semaphore,
    /// One clip is drawn at a time, in the order of arrival: a job of several outputs draws them one after the other.
    pub(crate) turn: Arc<Semaphore>,
    book: Mutex<Jobs>,
    /// How a job's task is told to stop. Of jobs that have not ended.
    stops: Mutex<HashMap<String, Stop>>,
    started: Instant,
}

impl OpenAi {
    pub(crate) fn new(
        engine: Engine,
        (fetcher, pictures): (Arc<Fetcher>, Arc<PictureReader>),
        guardrails: Guardrails,
        (observer, entrance): (Arc<Observer>, Entrance),
        (phase, present): (watch::Receiver<Phase>, mpsc::WeakSender<()>),
        (bounds, profile_dir): (OpenAiBounds, Option<PathBuf>),
    ) -> Arc<OpenAi> {
        Arc::new(OpenAi {
            engine,
            fetcher,
            pictures,
            guardrails,
            observer,
            entrance,
            phase,
            present,
            bounds,
            profile_dir,
            picturing: Semaphore::new(PICTURING_MAX),
            turn: Arc::new(Semaphore::new(1)),
            book: Mutex::new(Jobs::new(bounds.jobs)),
            stops: Mutex::default(),
            started: Instant::now(),
        })
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Jobs> {
        self.book.lock().expect("nothing panics under this lock")
    }

    pub(super) fn stops(&self) -> MutexGuard<'_, HashMap<String, Stop>> {
        self.stops.lock().expect("nothing panics under this lock")
    }

    pub(super) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now { since_start: self.started.elapsed(), unix }
    }

    /// Whether nothing more will be drawn.
    pub(crate) fn engine_is_gone(&self) -> bool {
        self.engine.commands.is_closed()
    }

    /// How many jobs there are.
    pub(crate) fn levels(&self) -> Levels {
        self.book().levels(self.now())
    }
}
