//! A trace of all threads' work over time, as a file for Perfetto or `chrome://tracing`.
//!
//! A thread of its own writes it. After each write the file is a whole JSON array: the closing bracket is there, and
//! the next write begins where it stands. So the file can be read at any time, and after any end of the process.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tracing::warn;

/// About a million slices: an hour of eight sessions. Viewers can still open it.
pub(crate) const TRACE_BYTES_MAX: u64 = 128 << 20;

/// Slices that wait for the disk: some seconds of many sessions. Further slices are dropped and counted.
const ENTRIES_WAITING: usize = 16_384;

/// Receives slices. Never blocks.
#[derive(Clone)]
pub(crate) struct Trace {
    entries: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// A row of the viewer. Slices of one row nest or follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Track {
    /// The engine's thread.
    Engine,
    /// Clips asked for by HTTP, of which one is drawn at a time.
    Clips,
    /// The encoding of one session's frames.
    Encode { seat: u64 },
    /// The writing of one session's frames.
    Write { seat: u64 },
}

/// A piece of work with its start and duration.
pub(crate) struct Slice {
    /// Where it happened.
    pub(crate) track: Track,
    /// What happened.
    pub(crate) name: &'static str,
    /// When it began.
    pub(crate) began: Instant,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whose chunk it was.
    pub(crate) seat: u64,
    /// Which chunk it was.
    pub(crate) chunk: usize,
}

enum Entry {
    Slice(Slice),
    Name(Track, String),
    End,
}

/// Ends the file when it is dropped.
pub(crate) struct TraceWriter {
    entries: SyncSender<Entry>,
    thread: Option<JoinHandle<()>>,
}

impl Trace {
    /// Creates the file. What the second gives is dropped last: it ends the file.
    pub(crate) fn create(path: &Path) -> anyhow::Result<(Trace, TraceWriter)> {
        keep_earlier(path).with_context(|| format!("the trace file {}", path.display()))?;
        let file = File::create(path).with_context(|| format!("the trace file {}", path.display()))?;
        let (entries, queue) = sync_channel(ENTRIES_WAITING);
        let write = move || {
            if let Err(error) = write_all(file, queue, TRACE_BYTES_MAX) {
                warn!(%error, "the trace file ends here");
            }
        };
        let thread = std::thread::Builder::new().name("trace".into()).spawn(write).context("starting the trace")?;
        let trace = Trace { entries: entries.clone(), lost: Arc::default() };
        trace.name(Track::Engine, "engine".into());
        trace.name(Track::Clips, "clips".into());
        Ok((trace, TraceWriter { entries, thread: Some(thread) }))
    }

    /// What a track is called in the viewer.
    pub(crate) fn name(&self, track: Track, name: String) {
        self.put(Entry::Name(track, name));
    }

    /// One more slice; if none fits any more, it is counted as lost.
    pub(crate) fn slice(&self, slice: Slice) {
        self.put(Entry::Slice(slice));
    }

    /// Slices that did not fit.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn put(&self, entry: Entry) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.entries.try_send(entry) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The file of the server that ran before gets another name, `FILE.earlier`: a server that is started again after a
/// crash must not write over what led to it. One earlier file is kept.
fn keep_earlier(path: &Path) -> std::io::Result<()> {
    if !path.metadata().is_ok_and(|there| there.is_file() && there.len() > 0) {
        return Ok(());
    }
    let mut earlier = path.as_os_str().to_owned();
    earlier.push(".earlier");
    std::fs::rename(path, earlier)
}

impl Drop for TraceWriter {
    fn drop(&mut self) {
        // An error: it has ended already, at its bound or at the disk's.
        let _ = self.entries.send(Entry::End);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the trace's thread panicked");
        }
    }
}

const CLOSING: &str = "\n]\n";

/// Write slices until all senders are gone, or the file has `bytes_max`.
fn write_all(mut file: impl Write + Seek, queue: Receiver<Entry>, bytes_max: u64) -> std::io::Result<()> {
    let zero = Instant::now();
    let process = json!({ "name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": { "name": "causeway" } });
    let mut text = format!("[\n{process}");
    let mut length = 0;
    let mut ended = false;
    loop {
        let grown = length + text.len() as u64;
        text.push_str(CLOSING);
        file.seek(SeekFrom::Start(length))?;
        // In one piece: longer than the bracket that it overwrites.
        file.write_all(text.as_bytes())?;
        length = grown;
        text.clear();
        if ended {
            return Ok(());
        }
        let Ok(first) = queue.recv() else { return Ok(()) };
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::End => ended = true,
                Entry::Name(track, name) => push(&mut text, &named(track, &name)),
                Entry::Slice(slice) => push(&mut text, &line(&slice, zero)),
            }
            if length + text.len() as u64 > bytes_max {
                warn!(bytes_max, "the trace file is full: no more is traced");
                ended = true;
            }
            next = if ended { None } else { queue.try_recv().ok() };
        }
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(",\n");
    text.push_str(line);
}

fn named(track: Track, name: &str) -> String {
    json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": track.id(), "args": { "name": name } }).to_string()
}

fn line(slice: &Slice, zero: Instant) -> String {
    let Slice { track, name, began, took, seat, chunk } = slice;
    // Microseconds with all of the clock's digits: rounded ones would not nest.
    let microseconds = |time: Duration| format!("{}.{:03}", time.as_micros(), time.subsec_nanos() % 1000);
    let mut text = String::new();
    write!(
        text,
        r#"{{"name":"{name}","ph":"X","ts":{},"dur":{},"pid":1,"tid":{},"args":{{"seat":{seat},"chunk":{chunk}}}}}"#,
        microseconds(began.saturating_duration_since(zero)),
        microseconds(*took),
        track.id()
    )
    .expect("a string takes all that is written to it");
    text
}

impl Track {
    fn id(self) -> u64 {
        match self {
            Track::Clips => 0,
            Track::Engine => 1,
            Track::Encode { seat } => 2 * seat + 2,
            Track::Write { seat } => 2 * seat + 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize) -> Receiver<Entry> {
        let (sender, entries) = sync_channel(count);
        for chunk in 0..count {
            let (track, name) = (Track::Engine, "chunk");
            let slice = Slice { track, name, began: Instant::now(), took: Duration::from_nanos(1), seat: 0, chunk };
            sender.send(Entry::Slice(slice)).expect("there is room");
        }
        entries
    }

    /// The file as it stands after every write.
    #[derive(Default)]
    struct Disk {
        file: std::io::Cursor<Vec<u8>>,
        seen: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let written = self.file.write(bytes)?;
            let events: Vec<serde_json::Value> = serde_json::from_slice(self.file.get_ref())?;
            assert!(events.len() >= self.seen, "slices have gone");
            self.seen = events.len();
            Ok(written)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.file.seek(to)
        }
    }

    #[test]
    fn the_file_of_the_server_before_is_kept_and_no_older_one() {
        let scratch = crate::scratch::Scratch::new();
        let (path, earlier) = (scratch.path("trace"), scratch.path("trace.earlier"));
        let is = |path: &Path, expected: &str| assert_eq!(std::fs::read_to_string(path).expect("a file"), expected);
        keep_earlier(&path).expect("nothing is there");
        for run in ["first", "second"] {
            std::fs::write(&path, run).expect("written");
            keep_earlier(&path).expect("renamed");
            is(&earlier, run);
            assert!(!path.exists());
        }
        // One that was begun and never written says nothing.
        std::fs::write(&path, "").expect("written");
        keep_earlier(&path).expect("left alone");
        is(&earlier, "second");
    }

    #[test]
    fn the_file_is_whole_after_every_write_and_holds_every_slice() {
        let mut disk = Disk::default();
        write_all(&mut disk, entries(100), u64::MAX).expect("memory does not fail");
        assert_eq!(disk.seen, 101);
    }

    #[test]
    fn the_file_ends_at_its_bound_and_is_whole() {
        let mut disk = Disk::default();
        write_all(&mut disk, entries(1000), 10_000).expect("memory does not fail");
        let bytes = disk.file.get_ref().len();
        assert!((10_000..10_200).contains(&bytes) && disk.seen < 1000, "{bytes} bytes, {} slices", disk.seen);
    }
}
