//! Chunks as viewers are sent them. The messages of a chunk are made once for each form, and all viewers of the form read
//! the same bytes, each at its own pace: a viewer that has read a chunk to its end goes on with the newest one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::world::Size;
use tokio::sync::watch;

use crate::media::pictures::{Encoding, Format};
use crate::media::stream::Stream;
use crate::realtime::wire::control::Transport;
use crate::realtime::wire::frames::Group;

/// Viewers that skip ask for key frames no more often: a key frame is several times as large as another.
const KEY_FRAME_EVERY: Duration = Duration::from_secs(1);

/// The messages of one chunk, which grow while it is drawn.
pub(super) struct Reel {
    /// Counts the session's chunks as they were sent. It goes up even if a chunk's number goes back.
    pub(super) serial: u64,
    /// The chunk's number on the wire.
    pub(super) chunk_index: usize,
    spot: Spot,
    /// Decoding can begin with it.
    begins_alone: bool,
    messages: Mutex<Messages>,
}

/// Where a chunk stands.
#[derive(Clone)]
pub(super) struct Spot {
    /// How often the video had gone elsewhere before it, or with it.
    pub(super) jumps: u64,
    /// Says where it is, to a viewer that has not seen the chunk before it.
    pub(super) timeline: Bytes,
}

#[derive(Default)]
struct Messages {
    messages: Vec<Bytes>,
    is_whole: bool,
}

impl Reel {
    pub(super) fn new(serial: u64, chunk_index: usize, spot: Spot, begins_alone: bool) -> Reel {
        Reel { serial, chunk_index, spot, begins_alone, messages: Mutex::default() }
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().expect("nothing panics under this lock")
    }

    /// Add frames. A header and its payload are added at once, so a reader gets both or neither.
    pub(super) fn push(&self, Group { header, payload }: Group) {
        self.messages().messages.extend([Some(header), payload].into_iter().flatten());
    }

    /// Add the last message.
    pub(super) fn finish(&self, last: Bytes) {
        let mut messages = self.messages();
        messages.messages.push(last);
        messages.is_whole = true;
    }

    /// No more will come: the chunk is whole, or was cut short.
    pub(super) fn close(&self) {
        self.messages().is_whole = true;
    }

    /// The messages behind the first `read` ones, and whether these are all that will be.
    fn after(&self, read: usize) -> (Vec<Bytes>, bool) {
        let messages = self.messages();
        (messages.messages[read..].to_vec(), messages.is_whole)
    }
}

/// One form in which a session's frames go to viewers.
pub(super) struct Feed {
    /// `None`: as they go to the player.
    pub(super) wish: Option<Transport>,
    /// Encodes films of this form, if the player has none of it.
    pub(super) stream: Arc<Stream>,
    /// The newest chunk. Told again whenever it has grown.
    newest: watch::Sender<Option<Arc<Reel>>>,
    wants_key: AtomicBool,
    key_asked: Mutex<Option<Instant>>,
}

impl Feed {
    pub(super) fn new(wish: Option<Transport>) -> Feed {
        Feed {
            wish,
            stream: Arc::default(),
            newest: watch::Sender::new(None),
            wants_key: AtomicBool::new(false),
            key_asked: Mutex::new(None),
        }
    }

    /// How frames of this size go out now; `None`: the form has no pictures of this size.
    pub(super) fn encoding(&self, size: Size, players: Encoding) -> Option<Encoding> {
        match self.wish {
            None => Some(players),
            Some(wish) => wish.of(size).ok(),
        }
    }

    /// A chunk has begun.
    pub(super) fn show(&self, reel: Arc<Reel>) {
        self.newest.send_replace(Some(reel));
    }

    /// The newest chunk has grown.
    pub(super) fn grown(&self) {
        self.newest.send_modify(|_| ());
    }

    /// Somebody waits for a frame with which decoding can begin.
    fn want_key(&self, now: Instant) {
        let mut asked = self.key_asked.lock().expect("nothing panics under this lock");
        if asked.is_none_or(|asked| now.duration_since(asked) >= KEY_FRAME_EVERY) {
            *asked = Some(now);
            self.wants_key.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the next chunk is to begin with a key frame. Told once.
    pub(super) fn takes_key(&self) -> bool {
        self.wants_key.swap(false, Ordering::Relaxed)
    }

    pub(super) fn read(&self) -> Reading {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        Reading { newest, at: None, last: None, jumps: None }
    }
}

/// Whether frames of this format need those before them.
pub(super) fn is_film(format: Format) -> bool {
    matches!(format, Format::H264 { .. })
}

/// Where a viewer stands in a feed.
pub(super) struct Reading {
    newest: watch::Receiver<Option<Arc<Reel>>>,
    /// The chunk that it is sent, and how many of its messages were given out.
    at: Option<(Arc<Reel>, usize)>,
    /// The last chunk that was given out whole.
    last: Option<u64>,
    /// How often the video had gone elsewhere when the last chunk was drawn that was given out.
    jumps: Option<u64>,
}

/// What a viewer is to be sent.
pub(super) struct Next {
    /// Chunks that it is not sent, and the number of the one that comes.
    pub(super) skipped: Option<(u32, usize)>,
    /// For a chunk that does not follow the one that was sent before it: says where it is.
    pub(super) timeline: Option<Bytes>,
    /// These, in this order.
    pub(super) messages: Vec<Bytes>,
}

impl Reading {
    /// What comes next; `None`: nothing yet. Goes to the newest chunk at the end of each.
    pub(super) fn next(&mut self, feed: &Feed, now: Instant) -> Option<Next> {
        if let Some((reel, read)) = &mut self.at {
            let (messages, is_whole) = reel.after(*read);
            if !messages.is_empty() {
                *read += messages.len();
                return Some(Next { skipped: None, timeline: None, messages });
            }
            if !is_whole {
                return None;
            }
            self.last = Some(reel.serial);
            self.at = None;
        }
        let newest = self.newest.borrow_and_update().clone()?;
        if self.last.is_some_and(|last| newest.serial <= last) {
            return None;
        }
        let missed = self.last.map_or(0, |last| newest.serial - last - 1);
        if (missed > 0 || self.last.is_none()) && !newest.begins_alone {
            feed.want_key(now);
            return None;
        }
        let (messages, _) = newest.after(0);
        let skipped = (missed > 0).then(|| (u32::try_from(missed).unwrap_or(u32::MAX), newest.chunk_index));
        let Spot { jumps, timeline } = newest.spot.clone();
        let timeline = self.jumps.replace(jumps).filter(|&before| before != jumps).map(|_| timeline);
        self.at = Some((newest, messages.len()));
        Some(Next { skipped, timeline, messages })
    }

    /// Whether it is in the middle of a chunk.
    pub(super) fn is_inside(&self) -> bool {
        self.at.as_ref().is_some_and(|(reel, read)| {
            let (more, is_whole) = reel.after(*read);
            !is_whole || !more.is_empty()
        })
    }

    /// Returns when there may be more.
    pub(super) async fn grown(&mut self) {
        if self.newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u64) -> Bytes {
        Bytes::from(vec![number as u8])
    }

    fn spot(serial: u64, jumps: u64) -> Spot {
        Spot { jumps, timeline: bytes(100 + serial) }
    }

    fn chunk(feed: &Feed, serial: u64, begins_alone: bool) -> Arc<Reel> {
        let reel = Arc::new(Reel::new(serial, serial as usize, spot(serial, 0), begins_alone));
        reel.push(Group { header: bytes(serial), payload: None });
        feed.show(Arc::clone(&reel));
        reel
    }

    fn whole(feed: &Feed, serial: u64) {
        chunk(feed, serial, true).finish(bytes(serial));
        feed.grown();
    }

    /// What was skipped, and the numbers of the messages.
    type Read = (Option<(u32, usize)>, Vec<u8>);

    fn next(reading: &mut Reading, feed: &Feed) -> Option<Read> {
        let next = reading.next(feed, Instant::now())?;
        Some((next.skipped, next.messages.iter().map(|message| message[0]).collect()))
    }

    #[test]
    fn a_viewer_reads_a_chunk_to_its_end_and_goes_on_with_the_newest() {
        let feed = Feed::new(None);
        let mut reading = feed.read();
        assert_eq!(next(&mut reading, &feed), None);
        let first = chunk(&feed, 4, true);
        assert_eq!(next(&mut reading, &feed), Some((None, vec![4])));
        assert_eq!(next(&mut reading, &feed), None);
        assert!(reading.is_inside());
        first.push(Group { header: bytes(5), payload: Some(bytes(6)) });
        first.finish(bytes(7));
        // Two more are drawn before it comes to read on.
        whole(&feed, 5);
        whole(&feed, 6);
        assert_eq!(next(&mut reading, &feed), Some((None, vec![5, 6, 7])), "never half a chunk");
        assert_eq!(next(&mut reading, &feed), Some((Some((1, 6)), vec![6, 6])));
        assert_eq!(next(&mut reading, &feed), None);
        assert!(!reading.is_inside());
        whole(&feed, 7);
        assert_eq!(next(&mut reading, &feed), Some((None, vec![7, 7])));
    }

    #[test]
    fn a_viewer_hears_where_it_is_with_the_first_chunk_that_it_sees_after_a_way_elsewhere() {
        let feed = Feed::new(None);
        let mut reading = feed.read();
        let show = |serial, jumps| {
            let reel = Arc::new(Reel::new(serial, serial as usize, spot(serial, jumps), true));
            reel.push(Group { header: bytes(serial), payload: None });
            reel.finish(bytes(serial));
            feed.show(reel);
        };
        let mut heard = || reading.next(&feed, Instant::now()).map(|next| next.timeline.map(|timeline| timeline[0]));
        // Who comes hears of its first chunk by that chunk alone.
        show(1, 3);
        assert_eq!(heard(), Some(None));
        show(2, 4);
        assert_eq!(heard(), Some(Some(102)));
        show(3, 4);
        assert_eq!(heard(), Some(None));
        // The chunk that went elsewhere was skipped: the next one says it.
        show(4, 5);
        show(5, 5);
        assert_eq!(heard(), Some(Some(105)));
    }

    #[test]
    fn a_film_begins_and_goes_on_after_a_skip_with_a_key_frame_asked_for_once_a_second() {
        let feed = Feed::new(None);
        let (mut reading, start) = (feed.read(), Instant::now());
        chunk(&feed, 1, false).finish(bytes(1));
        assert!(reading.next(&feed, start).is_none() && feed.takes_key());
        chunk(&feed, 2, false).finish(bytes(2));
        assert!(reading.next(&feed, start + Duration::from_millis(900)).is_none() && !feed.takes_key());
        whole(&feed, 3);
        assert_eq!(next(&mut reading, &feed), Some((None, vec![3, 3])));
        // Without a skip no key frame is needed.
        chunk(&feed, 4, false).finish(bytes(4));
        assert_eq!(next(&mut reading, &feed), Some((None, vec![4, 4])));
        chunk(&feed, 6, false).finish(bytes(6));
        assert!(reading.next(&feed, start + Duration::from_millis(1001)).is_none() && feed.takes_key());
        whole(&feed, 7);
        assert_eq!(next(&mut reading, &feed), Some((Some((2, 7)), vec![7, 7])));
    }
}
