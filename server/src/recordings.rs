//! Recordings of sessions on disk: a file for each, which grows as the session goes. It holds what steered the session,
//! so `causeway replay` can draw it again (`pipeline/src/recording.rs` has the format).
//!
//! One thread writes. The engine hands it the bytes of a chunk, about 35, and never waits for a disk: where that is too
//! slow, the recording ends early, and the log says so. A chunk is written at once, so whatever ends the process, a
//! recording has every chunk that was drawn before.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use anyhow::Context;
use pipeline::recording::{Invalid, Origin, encode_chunk, encode_init};
use pipeline::world::{ChunkInput, Init};
use tracing::{info, warn};

/// What the names of recordings end in.
pub const ENDING: &str = "causeway";

/// Parts that may wait for the disk.
const PARTS_WAITING: usize = 4096;

/// Where recordings go.
#[derive(Debug)]
pub struct Recordings {
    folder: PathBuf,
    parts: SyncSender<Part>,
}

/// Bytes for the file of a session.
#[derive(Debug)]
struct Part {
    session: Arc<str>,
    bytes: Vec<u8>,
}

/// The recording of one session. The file is whole when this is dropped.
pub(crate) struct Tape {
    session: Arc<str>,
    parts: SyncSender<Part>,
    /// A part was lost: what came after it would be steered by the wrong values.
    has_ended: bool,
}

impl Recordings {
    /// Recordings in this folder, which is made if it is not there. All files of recordings in it, those of earlier runs
    /// included, take `bytes_max` bytes at most.
    ///
    /// # Errors
    /// If the folder cannot be made or read, or the thread that writes cannot be started.
    pub fn open(folder: &Path, bytes_max: u64) -> anyhow::Result<Recordings> {
        let there = || format!("--record {}", folder.display());
        std::fs::create_dir_all(folder).with_context(there)?;
        let mut bytes = 0;
        for entry in folder.read_dir().with_context(there)? {
            let entry = entry.with_context(there)?;
            if entry.path().extension().is_some_and(|ending| ending == ENDING) {
                bytes += entry.metadata().with_context(there)?.len();
            }
        }
        let (parts, to_write) = sync_channel(PARTS_WAITING);
        let writer = Writer { folder: folder.to_owned(), files: HashMap::new(), bytes, bytes_max };
        let thread = std::thread::Builder::new().name("recordings".into());
        thread.spawn(move || writer.run(&to_write)).context("starting the thread that writes recordings")?;
        Ok(Recordings { folder: folder.to_owned(), parts })
    }

    /// The file of a session's recording, whether or not there is one.
    pub(crate) fn path(&self, session: &str) -> PathBuf {
        path(&self.folder, session)
    }

    /// Begin the recording of a session with these bytes.
    pub(crate) fn begin(&self, session: &str, beginning: Vec<u8>) -> Tape {
        let mut tape = Tape { session: session.into(), parts: self.parts.clone(), has_ended: false };
        tape.push(Ok(beginning));
        tape
    }
}

/// The first bytes of a recording.
pub(crate) fn beginning(init: &Init, origin: &Origin) -> Result<Vec<u8>, Invalid> {
    encode_init(init, Some(origin))
}

impl Tape {
    /// A chunk was drawn with this.
    pub(crate) fn chunk(&mut self, input: &ChunkInput) {
        if !self.has_ended {
            self.push(encode_chunk(input));
        }
    }

    fn push(&mut self, bytes: Result<Vec<u8>, Invalid>) {
        let reason = match bytes {
            Ok(bytes) => match self.parts.try_send(Part { session: Arc::clone(&self.session), bytes }) {
                Ok(()) => return,
                Err(TrySendError::Full(_)) => "the disk is too slow".to_owned(),
                Err(TrySendError::Disconnected(_)) => "its thread has ended".to_owned(),
            },
            Err(invalid) => invalid.to_string(),
        };
        warn!(session = &*self.session, reason, "the recording of a session ends early");
        self.has_ended = true;
    }
}

fn path(folder: &Path, session: &str) -> PathBuf {
    folder.join(format!("{session}.{ENDING}"))
}

/// What the thread owns.
struct Writer {
    folder: PathBuf,
    /// Of sessions that run. `None`: nothing more is written to it.
    files: HashMap<Arc<str>, Option<File>>,
    bytes: u64,
    bytes_max: u64,
}

impl Writer {
    fn run(mut self, parts: &Receiver<Part>) {
        while let Ok(Part { session, bytes }) = parts.recv() {
            if let Err(reason) = self.write(&session, &bytes) {
                warn!(%session, reason, "the recording of a session ends early");
                self.files.insert(Arc::clone(&session), None);
            }
            drop(session);
            // Nobody else has the name of a session that is over and whose parts are all written.
            self.files.retain(|session, _| Arc::strong_count(session) > 1);
        }
    }

    fn write(&mut self, session: &Arc<str>, bytes: &[u8]) -> Result<(), String> {
        let path = path(&self.folder, session);
        if self.bytes + bytes.len() as u64 > self.bytes_max && !matches!(self.files.get(session), Some(None)) {
            return Err(format!("recordings take {} bytes, and --record-bytes allows {}", self.bytes, self.bytes_max));
        }
        let file = match self.files.get_mut(session) {
            Some(None) => return Ok(()),
            Some(Some(file)) => file,
            None => {
                let file = OpenOptions::new().append(true).create_new(true).open(&path);
                let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
                info!(%session, path = %path.display(), "recording");
                self.files.entry(Arc::clone(session)).or_default().insert(file)
            }
        };
        file.write_all(bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
