//! Recordings of sessions on disk: a file for each, which grows as the session goes. It holds what steered the session,
//! so `causeway replay` can draw it again (`pipeline/src/recording.rs` has the format).
//!
//! One thread writes, a few milliseconds after a chunk was drawn. The engine never waits for it: where the disk is too slow,
//! a recording ends early, and the log says so. What is in a file is good whatever ends the process.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::Context;
use pipeline::recording::{Invalid, encode_chunk};
use pipeline::world::ChunkInput;
use tracing::{info, warn};

/// What the names of recordings end in.
const ENDING: &str = "causeway";

/// Bytes that may wait for the disk, of all recordings together.
const WAITING_BYTES_MAX: u64 = 64 << 20;

/// Chunks at the end of a recording whose lengths are known, so that they can be cut off: more than a client can go back.
const LENGTHS_MAX: usize = 4096;

/// What a part takes beside its bytes.
const PART_BYTES: u64 = 64;

/// The name of a session's recording: a file in the folder of its account, where the server has keys.
pub(crate) fn name(account: Option<&str>, session: &str) -> String {
    match account {
        Some(account) => format!("{account}/{session}.{ENDING}"),
        None => format!("{session}.{ENDING}"),
    }
}

/// Whether this could be the id of a session, or of a later video of one (`ID-2`): so it names no other file.
pub(crate) fn is_session_id(id: &str) -> bool {
    let (session, video) = id.split_once('-').unwrap_or((id, "2"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|digit| digit.is_ascii_digit());
    session.len() == 32 && session.bytes().all(|digit| digit.is_ascii_hexdigit()) && digits(video)
}

/// Where recordings go.
#[derive(Debug)]
pub(crate) struct Recordings {
    folder: PathBuf,
    /// Only sessions whose client asks for it are recorded.
    asked_only: bool,
    parts: Sender<Part>,
    waiting_bytes: Arc<AtomicU64>,
}

/// Ends the thread that writes, once all that was handed to it is written.
pub(crate) struct RecordingsWriter {
    parts: Sender<Part>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Part {
    /// Bytes for the file of this name.
    Bytes(Arc<str>, Vec<u8>),
    /// This many bytes at its end are not wanted any more.
    Cut(Arc<str>, u64),
    /// All before this is written: say so.
    Reached(Sender<()>),
    End,
}

/// A recording that goes on at another server.
pub(crate) struct SoFar {
    name: Arc<str>,
    to: Arc<Recordings>,
    /// The number of its video in the session, from 1.
    pub(crate) video: u32,
}

impl std::fmt::Debug for SoFar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoFar({})", self.name)
    }
}

impl SoFar {
    /// Its bytes, which must be no more than these. Waits for the disk. `Err` says why there are none.
    pub(crate) fn read(&self, bytes_max: u64) -> Result<Vec<u8>, String> {
        let (reached, written) = channel();
        self.to.parts.send(Part::Reached(reached)).map_err(|_| "the thread that writes has ended")?;
        written.recv().map_err(|_| "the thread that writes has ended")?;
        self.to.read(&self.name, bytes_max)
    }
}

/// The recording of one session.
pub(crate) struct Tape {
    name: Arc<str>,
    to: Arc<Recordings>,
    /// Bytes of the last chunks.
    lengths: VecDeque<u64>,
    /// A part was lost: what came after it would be steered by the wrong values.
    has_ended: bool,
    /// The number of its video in the session, from 1.
    video: u32,
}

impl Recordings {
    /// Recordings in this folder, which is made if it is not there. All files in it, those of earlier runs included, take
    /// `bytes_max` bytes at most. What the second gives is dropped last: it ends the files. `asked_only`: only sessions
    /// whose client asks for it are recorded.
    pub(crate) fn open(
        folder: &Path,
        bytes_max: u64,
        asked_only: bool,
    ) -> anyhow::Result<(Arc<Recordings>, RecordingsWriter)> {
        let there = || format!("--record {}", folder.display());
        std::fs::create_dir_all(folder).with_context(there)?;
        let bytes = bytes_in(folder).with_context(there)?;
        let (parts, to_write) = channel();
        let recordings = Recordings { folder: folder.to_owned(), asked_only, parts, waiting_bytes: Arc::default() };
        let writer = Writer {
            folder: folder.to_owned(),
            waiting_bytes: Arc::clone(&recordings.waiting_bytes),
            files: HashMap::new(),
            bytes,
            bytes_max,
        };
        let thread = std::thread::Builder::new().name("recordings".into()).spawn(move || writer.run(&to_write));
        let thread = Some(thread.context("starting the thread that writes recordings")?);
        let parts = recordings.parts.clone();
        Ok((Arc::new(recordings), RecordingsWriter { parts, thread }))
    }

    /// The file of this name, whether or not it is there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether a session is recorded whose client wishes this, or says nothing. `Err` says why it cannot be as it wishes.
    pub(crate) fn records(recordings: Option<&Recordings>, wish: Option<bool>) -> Result<bool, &'static str> {
        match (recordings, wish) {
            (None, Some(true)) => Err("this server records no session: leave it out"),
            (Some(Recordings { asked_only: false, .. }), Some(false)) => {
                Err("this server records every session: leave it out, or say true")
            }
            (None, _) => Ok(false),
            (Some(Recordings { asked_only, .. }), wish) => Ok(wish.unwrap_or(!asked_only)),
        }
    }

    /// The bytes so far of the recording of this name, which must be no more than these. `Err` says why there are none.
    pub(crate) fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let file = File::open(self.path(name)).map_err(|_| "no session of this id was recorded for this account")?;
        let mut bytes = Vec::new();
        let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
        read.map_err(|error| format!("cannot be read: {}", error.kind()))?;
        match bytes.len() as u64 <= bytes_max {
            true => Ok(bytes),
            false => Err(format!("is longer than {bytes_max} bytes")),
        }
    }

    /// Begin the recording of this name with these bytes.
    pub(crate) fn begin(self: &Arc<Self>, name: &str, beginning: Vec<u8>) -> Tape {
        Tape::begin(self, name.into(), 1, beginning)
    }

    /// Go on with a recording of another server, of the session's video of this number.
    pub(crate) fn go_on(self: &Arc<Self>, name: &str, video: u32, so_far: Vec<u8>) -> Tape {
        let stem = name.strip_suffix(&format!(".{ENDING}")).unwrap_or(name);
        let name = if video > 1 { format!("{stem}-{video}.{ENDING}") } else { name.to_owned() };
        Tape::begin(self, name.into(), video, so_far)
    }
}

/// Of all files in a folder and its folders.
fn bytes_in(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        let there = entry.metadata()?;
        bytes += if there.is_dir() { bytes_in(&entry.path())? } else { there.len() };
    }
    Ok(bytes)
}

impl Tape {
    fn begin(to: &Arc<Recordings>, name: Arc<str>, video: u32, beginning: Vec<u8>) -> Tape {
        let mut tape = Tape { name, to: Arc::clone(to), lengths: VecDeque::new(), has_ended: false, video };
        tape.push(Ok(beginning));
        tape.lengths.clear();
        tape
    }

    /// The recording of the session's next video, in a file of its own: `ID-2.causeway` after `ID.causeway`.
    pub(crate) fn next(self, beginning: Vec<u8>) -> Tape {
        let (video, stem) = (self.video + 1, self.name.strip_suffix(&format!(".{ENDING}")).unwrap_or(&self.name));
        let session = stem.strip_suffix(&format!("-{}", self.video)).filter(|_| self.video > 1).unwrap_or(stem);
        Tape::begin(&self.to, format!("{session}-{video}.{ENDING}").into(), video, beginning)
    }

    /// What goes on at another server; `None` if it ended early.
    pub(crate) fn so_far(&self) -> Option<SoFar> {
        let so_far = SoFar { name: Arc::clone(&self.name), to: Arc::clone(&self.to), video: self.video };
        (!self.has_ended).then_some(so_far)
    }

    /// A chunk was drawn with this.
    pub(crate) fn chunk(&mut self, input: &ChunkInput) {
        if !self.has_ended {
            self.push(encode_chunk(input));
        }
    }

    /// The client has gone back: the last so many chunks are not part of the video any more.
    pub(crate) fn cut(&mut self, chunks: usize) {
        if self.has_ended || chunks == 0 {
            return;
        }
        let Some(kept) = self.lengths.len().checked_sub(chunks) else {
            return self.end("the client went back further than the lengths of chunks are known");
        };
        let bytes = self.lengths.drain(kept..).sum();
        if self.to.parts.send(Part::Cut(Arc::clone(&self.name), bytes)).is_err() {
            self.end("the thread that writes has ended");
        }
    }

    fn push(&mut self, bytes: Result<Vec<u8>, Invalid>) {
        let bytes = bytes.map_err(|invalid| invalid.to_string());
        let length = bytes.as_ref().map_or(0, Vec::len) as u64;
        match bytes.and_then(|bytes| self.hand_over(bytes)) {
            Ok(()) => {
                if self.lengths.len() == LENGTHS_MAX {
                    self.lengths.pop_front();
                }
                self.lengths.push_back(length);
            }
            Err(reason) => self.end(&reason),
        }
    }

    fn end(&mut self, reason: &str) {
        warn!(name = &*self.name, reason, "the recording of a session ends early");
        self.has_ended = true;
    }

    fn hand_over(&self, bytes: Vec<u8>) -> Result<(), String> {
        let count = bytes.len() as u64 + PART_BYTES;
        if self.to.waiting_bytes.fetch_add(count, Ordering::Relaxed) + count > WAITING_BYTES_MAX {
            self.to.waiting_bytes.fetch_sub(count, Ordering::Relaxed);
            return Err(format!("the disk is too slow: {WAITING_BYTES_MAX} bytes wait for it"));
        }
        let part = Part::Bytes(Arc::clone(&self.name), bytes);
        self.to.parts.send(part).map_err(|_| "the thread that writes has ended".to_owned())
    }
}

impl Drop for RecordingsWriter {
    fn drop(&mut self) {
        // An error: it has ended already.
        let _ = self.parts.send(Part::End);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread that writes recordings panicked");
        }
    }
}

/// What the thread owns.
struct Writer {
    folder: PathBuf,
    waiting_bytes: Arc<AtomicU64>,
    /// Of sessions that run. `None`: nothing more is written to it.
    files: HashMap<Arc<str>, Option<File>>,
    bytes: u64,
    bytes_max: u64,
}

impl Writer {
    fn run(mut self, parts: &Receiver<Part>) {
        loop {
            let (name, done) = match parts.recv() {
                Ok(Part::Bytes(name, bytes)) => {
                    self.waiting_bytes.fetch_sub(bytes.len() as u64 + PART_BYTES, Ordering::Relaxed);
                    let done = self.write(&name, &bytes);
                    (name, done)
                }
                Ok(Part::Cut(name, bytes)) => {
                    let done = self.cut(&name, bytes);
                    (name, done)
                }
                Ok(Part::Reached(reached)) => {
                    // An error: nobody waits any more.
                    let _ = reached.send(());
                    continue;
                }
                Ok(Part::End) | Err(_) => return,
            };
            if let Err(reason) = done {
                warn!(%name, reason, "the recording of a session ends early");
                self.files.insert(Arc::clone(&name), None);
            }
            drop(name);
            // Nobody else has the name of a session that is over and whose parts are all written.
            self.files.retain(|name, _| Arc::strong_count(name) > 1);
        }
    }

    /// A file that ends early stays as it is: it holds what the session had shown by then.
    fn cut(&mut self, name: &Arc<str>, bytes: u64) -> Result<(), String> {
        let Some(Some(file)) = self.files.get(name) else { return Ok(()) };
        let cut = || {
            let length = file.metadata()?.len();
            file.set_len(length.saturating_sub(bytes))
        };
        cut().map_err(|error| format!("{name}: {error}"))?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Ok(())
    }

    fn write(&mut self, name: &Arc<str>, bytes: &[u8]) -> Result<(), String> {
        if let Some(None) = self.files.get(name) {
            return Ok(());
        }
        let all = self.bytes + bytes.len() as u64;
        if all > self.bytes_max {
            return Err(format!("recordings would take {all} bytes, and --record-bytes allows {}", self.bytes_max));
        }
        let path = self.folder.join(&**name);
        let mut write = || -> std::io::Result<()> {
            let file = match self.files.get_mut(name) {
                Some(Some(file)) => file,
                _ => {
                    std::fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
                    let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
                    info!(path = %path.display(), "recording");
                    self.files.entry(Arc::clone(name)).or_default().insert(file)
                }
            };
            file.write_all(bytes)
        };
        write().map_err(|error| format!("{}: {error}", path.display()))?;
        self.bytes = all;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
