//! The audience of a session: viewers that attach with a token, and all audiences of the server with their bounds.
//!
//! Nothing here makes the player wait. Its delivery leaves each chunk's frames in a channel; if two chunks stand there
//! already, the next is not shown to the viewers. A task of the audience encodes them ([`super::projector`]), and each
//! viewer's own task sends what it can ([`super::viewing`]).
//!
//! A token is 256 random bits. Only its SHA-256 is kept, and tokens are looked up by that: the time of a comparison says
//! nothing about a token.
//!
//! Over 400 lines: an audience, its tokens, its viewers and their forms change together, under one lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use pipeline::world::{Refusal, Size};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::bounds::AudienceBounds;
use super::projector::{self, Part, Showing};
use super::reel::{Feed, Spot, is_film};
use super::viewers_room::{Full, Held, Place, ViewersRoom};
use crate::access::secrets::VIEW_TOKEN_PREFIX;
use crate::engine::turns::event::Event;
use crate::media::pictures::{Encoding, Format};
use crate::media::{h264, stream::Stream};
use crate::observe::Observer;
use crate::realtime::session::company::Company;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::control::Transport;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::features::Features;
use crate::realtime::wire::fields::refuse;
use crate::realtime::wire::frames::ChunkLabel;
use crate::realtime::wire::sharing::{Reins, Role};
use crate::realtime::wire::timeline::viewers_timeline;
use crate::realtime::wire::watch::{self as wire, About};

/// Forms of a session's frames for viewers, beside the player's own: each is encoded once more.
const FORMS_MAX: usize = 4;

/// Chunks that wait to be encoded for viewers. One is encoded while the next is drawn; with more the viewers would only
/// see them later.
const CHUNKS_BEHIND: usize = 2;

/// Latent frames of these chunks, their beginnings and ends: far more than two chunks have.
const PARTS_MAX: usize = 4096;

/// What viewers say that the session has not heard yet.
const SAID_MAX: usize = 64;

/// Errors that wait for one viewer, which provokes them one by one, and that it must go.
const ERRORS_MAX: usize = 16;

type TokenHash = [u8; 32];

/// All audiences of the server.
pub(crate) struct Audiences {
    by_token: DashMap<TokenHash, (Arc<Audience>, u32)>,
    by_session: DashMap<String, Arc<Audience>>,
    pub(crate) room: Arc<ViewersRoom>,
    observer: Arc<Observer>,
}

impl Audiences {
    pub(crate) fn new(bounds: AudienceBounds, observer: Arc<Observer>) -> Arc<Audiences> {
        Arc::new(Audiences {
            by_token: DashMap::new(),
            by_session: DashMap::new(),
            room: ViewersRoom::new(bounds),
            observer,
        })
    }

    /// The audience and the share that a token stands for.
    pub(super) fn of_token(&self, token: &str) -> Option<(Arc<Audience>, u32)> {
        self.by_token.get(&hash(token)).map(|entry| entry.value().clone())
    }

    /// The audience of a session of this account.
    pub(crate) fn of_session(&self, id: &str, account: &str) -> Option<Arc<Audience>> {
        let audience = self.by_session.get(id).map(|entry| Arc::clone(entry.value()))?;
        (audience.account.as_deref() == Some(account)).then_some(audience)
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// What viewers see of the session besides its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) is_here: bool,
    pub(super) paused: bool,
    pub(super) reins: Reins,
    /// The session has ended, and all of it was shown.
    pub(super) over: Option<Close>,
}

/// The audience of one session.
pub(crate) struct Audience {
    /// As it was when the session began: [`Audience::about`] says what it is now.
    began: About,
    /// Whose session it is.
    account: Option<Arc<str>>,
    /// What the session's client understands: its viewers steer by the same fields.
    pub(super) steering: Features,
    state: Mutex<State>,
    /// As long as the session runs.
    behind: Arc<Semaphore>,
    chunks: AtomicU64,
    /// How often the video went elsewhere.
    jumps: AtomicU64,
    stage: watch::Sender<Stage>,
    say: mpsc::Sender<(u32, Event)>,
    /// Somebody came or left, or another steers.
    changed: Notify,
    audiences: Arc<Audiences>,
}

struct State {
    /// Of the video.
    size: Size,
    /// Bytes of a chunk as it is drawn.
    chunk_bytes: u64,
    company: Company,
    tokens: BTreeMap<u32, TokenHash>,
    /// Removed when the viewer is sent away.
    viewers: BTreeMap<u32, Viewer>,
    feeds: Vec<FeedInUse>,
    /// While somebody watches: the way to the task that encodes, and the memory of the chunks in it.
    projector: Option<(mpsc::Sender<Part>, Held)>,
    ended: Option<Close>,
}

/// What a viewer is told by its session.
pub(super) enum ToViewer {
    /// Something that it said was wrong.
    Error(ClientError),
    /// It must go, for this reason.
    Leave(ClientError),
}

struct Viewer {
    tell: mpsc::Sender<ToViewer>,
    held: Arc<Held>,
    /// Chunks that it holds at most, as they are drawn: one that it is sent, and a message that the socket holds.
    /// Pictures and films are smaller by far.
    chunks: u64,
}

struct FeedInUse {
    feed: Arc<Feed>,
    viewers: usize,
    /// For a film that the player is not sent.
    held: Option<Held>,
}

/// Bytes of the encoder of a film.
fn film_bytes(size: Size) -> u64 {
    h264::frames_held(size) as u64 * size.frame_bytes()
}

impl Audience {
    /// The audience of a session that begins, and the way by which its viewers speak to it.
    pub(super) fn open(
        audiences: &Arc<Audiences>,
        about: About,
        chunk_bytes: u64,
        account: Option<Arc<str>>,
        steering: Features,
    ) -> (Arc<Audience>, mpsc::Receiver<(u32, Event)>) {
        let (say, said) = mpsc::channel(SAID_MAX);
        let stage = Stage { is_here: true, paused: false, reins: Reins::default(), over: None };
        let state = State {
            size: Size { width: about.width, height: about.height },
            chunk_bytes,
            company: Company::default(),
            tokens: BTreeMap::new(),
            viewers: BTreeMap::new(),
            feeds: Vec::new(),
            projector: None,
            ended: None,
        };
        let audience = Arc::new(Audience {
            began: about,
            account,
            steering,
            state: Mutex::new(state),
            behind: Arc::new(Semaphore::new(CHUNKS_BEHIND)),
            chunks: AtomicU64::new(0),
            jumps: AtomicU64::new(0),
            stage: watch::Sender::new(stage),
            say,
            changed: Notify::new(),
            audiences: Arc::clone(audiences),
        });
        audiences.by_session.insert(audience.began.session_id.clone(), Arc::clone(&audience));
        (audience, said)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// What viewers are told of the session.
    pub(super) fn about(&self) -> About {
        let Size { width, height } = self.state().size;
        About { width, height, ..self.began.clone() }
    }

    /// The next video has this size, and chunks of at most so many bytes as they are drawn. Viewers for which there is no
    /// memory any more are sent away.
    pub(super) fn resize(&self, size: Size, chunk_bytes: u64) {
        let mut state = self.state();
        (state.size, state.chunk_bytes) = (size, chunk_bytes);
        // What is under way has the size before: it counts until it has left.
        let shared = state.feeds.iter().filter_map(|feed| feed.held.as_ref()).map(|held| (held, film_bytes(size)));
        let projector = state.projector.as_ref().map(|(_, held)| (held, CHUNKS_BEHIND as u64 * chunk_bytes));
        let all_go = shared.chain(projector).any(|(held, bytes)| held.grow(bytes).is_err());
        let no_room = |viewer: &Viewer| viewer.held.grow(viewer.chunks * chunk_bytes).err();
        let gone: Vec<(u32, Full)> = state
            .viewers
            .iter()
            .filter_map(|(&id, viewer)| {
                let all_go = all_go.then(|| Full("the memory for viewers is full".to_owned()));
                all_go.or_else(|| no_room(viewer)).map(|full| (id, full))
            })
            .collect();
        for (id, Full(reason)) in gone {
            let Some(viewer) = state.viewers.remove(&id) else { continue };
            let _ = viewer.tell.try_send(ToViewer::Leave(ClientError::viewers_full(reason)));
        }
    }

    /// A new token for viewers of this role: its share's number, and the token itself.
    pub(crate) fn share(self: &Arc<Self>, role: Role) -> Result<(u32, String), Refusal> {
        if self.steering.step && role != Role::View {
            return Err(refuse("role", "must be view: a session of steps is steered by its own client alone"));
        }
        let token = new_token().map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "no token made");
            refuse("kind", "no token can be made: the system has no random numbers")
        })?;
        let mut state = self.state();
        if state.ended.is_some() {
            return Err(refuse("kind", "the session has ended"));
        }
        let share = state.company.share(role)?;
        state.tokens.insert(share, hash(&token));
        self.audiences.by_token.insert(hash(&token), (Arc::clone(self), share));
        tracing::info!(share, role = role.name(), "shared");
        Ok((share, token))
    }

    /// End a share, and send its viewers away.
    pub(crate) fn unshare(&self, share: u32) -> Result<(), Refusal> {
        let mut state = self.state();
        let gone = state.company.unshare(share)?;
        gone.iter().for_each(|viewer| drop(state.viewers.remove(viewer)));
        if let Some(token) = state.tokens.remove(&share) {
            self.audiences.by_token.remove(&token);
        }
        tracing::info!(share, viewers = gone.len(), "no longer shared");
        self.tell(&state);
        Ok(())
    }

    /// Hand a viewer what its role allows.
    pub(super) fn hand_over(&self, viewer: u32) -> Result<(), Refusal> {
        let mut state = self.state();
        state.company.hand_over(viewer)?;
        self.tell(&state);
        Ok(())
    }

    /// The player steers again.
    pub(super) fn take_back(&self) {
        let mut state = self.state();
        state.company.take_back();
        self.tell(&state);
    }

    /// Tell the viewers who steers, and the session that something has changed.
    fn tell(&self, state: &State) {
        let reins = state.company.reins();
        self.stage.send_if_modified(|stage| std::mem::replace(&mut stage.reins, reins) != reins);
        self.changed.notify_one();
    }

    /// Who steers.
    pub(super) fn reins(&self) -> Reins {
        self.state().company.reins()
    }

    /// For the player: how many watch, and which of them may be handed something.
    pub(super) fn viewers_message(&self) -> bytes::Bytes {
        let state = self.state();
        wire::viewers(state.company.count(), state.company.reins(), &state.company.guests())
    }

    /// Whether the player is there, and whether it has paused.
    pub(super) fn set_stage(&self, is_here: bool, paused: bool) {
        self.stage.send_if_modified(|stage| {
            let before = (stage.is_here, stage.paused);
            (stage.is_here, stage.paused) = (is_here, paused);
            before != (is_here, paused)
        });
    }

    /// An error for a viewer, if it is still there.
    pub(super) fn tell_viewer(&self, viewer: u32, error: &ClientError) {
        if let Some(viewer) = self.state().viewers.get(&viewer) {
            let _ = viewer.tell.try_send(ToViewer::Error(error.clone()));
        }
    }

    /// Whether a viewer may say this.
    pub(super) fn may(&self, viewer: u32, event: &Event) -> Result<(), Refusal> {
        self.state().company.may(viewer, event)
    }

    /// Let a viewer's event steer. Waits while the session has much to hear.
    pub(super) async fn say(&self, viewer: u32, event: Event) {
        // A session that has ended hears nothing more.
        let _ = self.say.send((viewer, event)).await;
    }

    /// A viewer comes by a share, and wants frames like this.
    pub(super) fn enter(self: &Arc<Self>, share: u32, wish: Option<Transport>) -> Result<Watcher, ClientError> {
        let full = |Full(reason)| ClientError::viewers_full(reason);
        let most = self.audiences.room.viewers_of_session();
        let mut state = self.state();
        let (size, chunk_bytes) = (state.size, state.chunk_bytes);
        if let Some(wish) = wish {
            wish.of(size).map_err(ClientError::invalid_watch)?;
        }
        if state.ended.is_some() || !state.company.has(share) {
            return Err(ClientError::invalid_watch(gone()));
        }
        if state.company.count() >= most {
            return Err(full(Full(format!("{most} viewers watch this session already"))));
        }
        if !state.company.has_room_for(share) {
            return Err(full(Full("as many viewers as may be handed something are there already".to_owned())));
        }
        let place = self.audiences.room.take_place().map_err(full)?;
        let chunks = if wish.is_none_or(|wish| wish.format() == Format::Raw) { 2 } else { 1 };
        let held = Arc::new(self.audiences.room.hold(chunks * chunk_bytes).map_err(full)?);
        let known = state.feeds.iter().position(|known| known.feed.wish == wish);
        let new = match known {
            Some(_) => None,
            None if wish.is_some()
                && state.feeds.iter().filter(|known| known.feed.wish.is_some()).count() == FORMS_MAX =>
            {
                let reason = format!(
                    "{FORMS_MAX} other formats, qualities and widths are sent to viewers of this session: leave it out to get the player's"
                );
                return Err(ClientError::invalid_watch(refuse("realtime_output_format", reason)));
            }
            None => {
                let is_film = wish.is_some_and(|wish| is_film(wish.format()));
                let bytes = is_film.then(|| film_bytes(size));
                let held = bytes.map(|bytes| self.audiences.room.hold(bytes)).transpose().map_err(full)?;
                Some(FeedInUse { feed: Arc::new(Feed::new(wish)), viewers: 0, held })
            }
        };
        if state.projector.is_none() {
            let held = self.audiences.room.hold(CHUNKS_BEHIND as u64 * chunk_bytes).map_err(full)?;
            let (parts, shown) = mpsc::channel(PARTS_MAX);
            state.projector = Some((parts, held));
            let audience = Arc::clone(self);
            tokio::spawn(async move {
                projector::run(shown, &audience.began.session_id).await;
                audience.shown();
            });
        }
        let (id, role) = state.company.enter(share).expect("looked for above, under the same lock");
        state.feeds.extend(new);
        let in_use = state.feeds.iter_mut().find(|known| known.feed.wish == wish).expect("added just now");
        in_use.viewers += 1;
        let feed = Arc::clone(&in_use.feed);
        let (tell, told) = mpsc::channel(ERRORS_MAX);
        state.viewers.insert(id, Viewer { tell, held: Arc::clone(&held), chunks });
        self.tell(&state);
        let stage = self.stage.subscribe();
        Ok(Watcher { audience: Arc::clone(self), id, role, feed, told, stage, _held: held, _place: place })
    }

    fn leave(&self, viewer: u32, feed: &Arc<Feed>) {
        let mut state = self.state();
        state.company.leave(viewer);
        state.viewers.remove(&viewer);
        if let Some(at) = state.feeds.iter().position(|known| Arc::ptr_eq(&known.feed, feed)) {
            state.feeds[at].viewers -= 1;
            if state.feeds[at].viewers == 0 {
                state.feeds.remove(at);
            }
        }
        if state.feeds.is_empty() {
            state.projector = None;
        }
        self.tell(&state);
    }

    /// A chunk begins, whose latent frames have so many video frames each. `None`: nobody watches, or the viewers' frames
    /// cannot be encoded as fast.
    pub(super) fn begin(
        &self,
        label: impl FnOnce() -> ChunkLabel,
        (place, went_elsewhere): ((usize, usize), bool),
        frames_of_each: &[usize],
        players: (Encoding, &Stream),
    ) -> Option<Showing> {
        let serial = self.chunks.fetch_add(1, Ordering::Relaxed);
        let jumps = self.jumps.fetch_add(u64::from(went_elsewhere), Ordering::Relaxed) + u64::from(went_elsewhere);
        let state = self.state();
        let (parts, held) = state.projector.as_ref()?;
        let permit: OwnedSemaphorePermit = Arc::clone(&self.behind).try_acquire_owned().ok()?;
        let (encoding, stream) = players;
        if self.behind.available_permits() + 1 == CHUNKS_BEHIND {
            // Nothing of another size is under way.
            held.shrink(CHUNKS_BEHIND as u64 * state.chunk_bytes);
            state
                .feeds
                .iter()
                .filter_map(|feed| feed.held.as_ref())
                .for_each(|held| held.shrink(film_bytes(state.size)));
        }
        let feeds: Vec<Arc<Feed>> = state.feeds.iter().map(|known| Arc::clone(&known.feed)).collect();
        for feed in feeds.iter().filter(|feed| feed.encoding(encoding.source(), encoding) == Some(encoding)) {
            if feed.takes_key() {
                stream.want_key();
            }
        }
        let label = label();
        let spot = Spot { jumps, timeline: viewers_timeline(label.chunk_index, place, encoding.source()) };
        projector::begin(parts.clone(), (serial, label, spot), frames_of_each, (feeds, encoding), permit)
    }

    /// The projector has shown all that it was given.
    fn shown(&self) {
        let ended = self.state().ended.clone();
        if let Some(close) = ended {
            self.stage.send_modify(|stage| stage.over = Some(close));
        }
    }

    pub(super) fn end(&self, close: Close) {
        let mut state = self.state();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(close.clone());
        for token in std::mem::take(&mut state.tokens).values() {
            self.audiences.by_token.remove(token);
        }
        self.audiences.by_session.remove(&self.began.session_id);
        if state.projector.take().is_none() {
            self.stage.send_modify(|stage| stage.over = Some(close));
        }
    }

    /// Returns when somebody has come or left, or another steers. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn observer(&self) -> &Arc<Observer> {
        &self.audiences.observer
    }
}

/// To a viewer whose token stands for nothing, or for nothing any more.
pub(super) fn gone() -> Refusal {
    refuse("token", "names no session that is shared: ask for another link")
}

fn new_token() -> anyhow::Result<String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("the system has no random numbers")?;
    Ok(format!("{VIEW_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret)))
}

/// A viewer's place in an audience, until it is dropped.
pub(super) struct Watcher {
    pub(super) audience: Arc<Audience>,
    pub(super) id: u32,
    pub(super) role: Role,
    pub(super) feed: Arc<Feed>,
    /// Ends when the viewer is sent away.
    pub(super) told: mpsc::Receiver<ToViewer>,
    pub(super) stage: watch::Receiver<Stage>,
    _held: Arc<Held>,
    _place: Place,
}

impl Watcher {
    /// It holds nothing of a size before this one any more.
    pub(super) fn settle(&self) {
        let state = self.audience.state();
        if let Some(viewer) = state.viewers.get(&self.id) {
            viewer.held.shrink(viewer.chunks * state.chunk_bytes);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.audience.leave(self.id, &self.feed);
    }
}
