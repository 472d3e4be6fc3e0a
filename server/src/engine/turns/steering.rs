//! The camera's steering over the latent frames to come: scripts, keys, rates, poses, lenses.
//!
//! Whatever a client gives has a place in the video, in video frames: the time that it said, or the next latent frame
//! that is not drawn yet. A time that has passed counts as that frame, too. Keys count from their latent frame on.
//! Between two given rates and lenses the way is straight and even, between two poses it is a slerp. After the last,
//! and until the next is given, the last is held.

mod lane;
mod place;

use std::collections::{BTreeMap, VecDeque};

use pipeline::world::{ChunkPlan, Controls, Held, Intrinsics, Rates, Refusal, Size};

use self::lane::{Lane, Poses, Stroke};
pub use self::place::first_frame_of;
use self::place::{containing, position};
use super::event::{Lens, Transition};

/// Changes of the steering that wait for their latent frame, in one session: keys, rates, poses and lenses together. A
/// minute of a pose for each latent frame at 60 frames a second is 900.
pub const STEPS_WAITING_MAX: usize = 1024;

/// How a session begins, as far as its conditions are concerned.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Keys that an `init` may bring, one set a latent frame.
    pub script: Option<Vec<Held>>,
    /// A lens that an `init` may bring.
    pub lens: Option<Lens>,
    /// The first latent frame that events steer; those before it were recorded.
    pub from: usize,
    /// Video frames a second: what times of the video are counted by.
    pub fps: u32,
    /// Of the video.
    pub size: Size,
    /// Show each key that was pressed between two latent frames, even if others are held by then. The reference shows
    /// such a key only if none is.
    pub every_tap: bool,
}

impl Beginning {
    /// Of a client that says nothing of these, and knows only the reference.
    pub fn plain(fps: u32, size: Size) -> Beginning {
        Beginning { script: None, lens: None, from: 0, fps, size, every_tap: false }
    }
}

/// What is steered, and since when.
#[derive(Debug, Clone)]
pub(super) struct Camera {
    mode: Mode,
    keys: Keys,
    rates: Lane<Stroke>,
    lens: Lane<Intrinsics>,
    poses: Poses,
    /// The next latent frame that nothing was sampled for.
    next: usize,
    /// Video frames a second.
    fps: f64,
    /// Of the video.
    size: Size,
}

#[derive(Debug, Clone)]
enum Mode {
    /// No control was ever used: the model's camera branch is skipped.
    Unused,
    /// Keys for the latent frames to come; once drained, none held.
    Script(VecDeque<Held>),
    /// What is held, given and changed as it happens.
    Live,
}

impl Camera {
    pub(super) fn new(beginning: Beginning) -> Camera {
        let Beginning { script, lens, from, fps, size, every_tap } = beginning;
        let mut camera = Camera {
            mode: script.map_or(Mode::Unused, |items| Mode::Script(items.into())),
            keys: Keys { every_tap, ..Keys::default() },
            rates: Lane::default(),
            lens: Lane::default(),
            poses: Poses::default(),
            next: from,
            fps: fps.into(),
            size,
        };
        if let Some(lens) = lens {
            camera.change_lens(0.0, lens);
            if let Mode::Unused = camera.mode {
                camera.mode = Mode::Live;
            }
        }
        camera
    }

    /// The next latent frame that can still be steered.
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// Whether a script plays, or has ended with nothing after it.
    pub(super) fn is_scripted(&self) -> bool {
        matches!(self.mode, Mode::Script(_))
    }

    /// Play these keys, one set a latent frame. Whatever else moved the camera is forgotten; the lens stays.
    pub(super) fn play(&mut self, items: Vec<Held>) -> usize {
        self.stop();
        self.mode = Mode::Script(items.into());
        self.next
    }

    fn stop(&mut self) {
        self.keys.forget();
        self.rates = Lane::default();
        self.poses = Poses::default();
    }

    /// `Err` if these changes and those that wait already are more than there is room for.
    pub(super) fn check_room(&self, transitions: &[Transition]) -> Result<(), Refusal> {
        // What comes without a time joins what waits for the next latent frame. Only poses are kept one by one.
        let kept = transitions.iter().map(|transition| {
            let Transition { at_ms, held, rates, pose, lens } = transition;
            let timed = [held.is_some(), rates.is_some(), lens.is_some()].map(|given| given && at_ms.is_some());
            timed.into_iter().chain([pose.is_some()]).filter(|&kept| kept).count()
        });
        let (coming, waiting) = (kept.sum::<usize>(), self.waiting());
        if coming > 0 && coming + waiting > STEPS_WAITING_MAX {
            let reason =
                format!("{coming} more, and {waiting} wait for their latent frame: at most {STEPS_WAITING_MAX} may");
            return Err(Refusal { field: "transitions", reason });
        }
        Ok(())
    }

    /// Changes that wait for their latent frame.
    fn waiting(&self) -> usize {
        let poses = self.poses.lane.coming.len() + self.poses.untimed.len();
        self.keys.coming.len() + self.rates.coming.len() + self.lens.coming.len() + poses
    }

    /// Follow these from now on. Gives the first latent frame that they change; `None` if there are none.
    pub(super) fn follow(&mut self, transitions: &[Transition]) -> Option<usize> {
        if let Mode::Script(_) = self.mode {
            self.stop();
            self.mode = Mode::Live;
        }
        let changed: Vec<_> = transitions.iter().filter_map(|transition| self.change(transition)).collect();
        if !changed.is_empty() {
            self.mode = Mode::Live;
        }
        changed.into_iter().min()
    }

    fn change(&mut self, transition: &Transition) -> Option<usize> {
        let Transition { at_ms, held, rates, pose, lens } = transition;
        let at = at_ms.map_or(position(self.next), |ms| self.place(ms));
        let mut changed = None;
        let mut note =
            |latent_frame: usize| changed = Some(changed.map_or(latent_frame, |c: usize| c.min(latent_frame)));
        // Whichever was said last moves the camera: it cannot be led and walk by itself.
        let moves = held.is_some_and(|held| !held.is_empty()) || rates.is_some_and(|rates| rates != Rates::default());
        if moves {
            self.poses = Poses::default();
        }
        if let Some(held) = held {
            let latent_frame = containing(at).max(self.next);
            self.keys.change(latent_frame, *held);
            note(latent_frame);
        }
        if let Some(rates) = rates {
            note(self.rates.put(at, Stroke { rates: *rates, peak: *rates }, Stroke::after).max(self.next));
        }
        if let Some(pose) = pose {
            self.keys.forget();
            self.rates = Lane::default();
            let from = match at_ms {
                Some(_) => self.poses.lane.put(at, *pose, |pose, _| pose),
                None => self.poses.add(*pose),
            };
            // A first pose is gone to from where the camera is, at once.
            note(if self.poses.lane.past.is_none() { self.next } else { from.max(self.next) });
        }
        if let Some(lens) = lens {
            note(self.change_lens(at, *lens).max(self.next));
        }
        changed
    }

    fn change_lens(&mut self, at: f64, lens: Lens) -> usize {
        self.lens.put(at, lens.in_pixels(self.size), |lens, _| lens)
    }

    /// A time of the video, in video frames, and not before the next latent frame. Clients round to whole milliseconds.
    fn place(&self, ms: f64) -> f64 {
        let frames = ms * self.fps / 1000.0;
        let whole = frames.round();
        // A little more than half a millisecond: so much is lost by rounding, and twice by two roundings.
        let rounded = (frames - whole).abs() <= 0.51 * self.fps / 1000.0;
        (if rounded { whole } else { frames }).max(position(self.next))
    }

    /// When the next latent frame that is not drawn yet stands in the video, in milliseconds.
    pub(super) fn next_ms(&self) -> f64 {
        position(self.next) * 1000.0 / self.fps
    }

    /// The video has gone back, and goes on with this latent frame. What was to take effect at once does so there, what is
    /// held is held on, and what waits for a time of the video waits for it.
    pub(super) fn goes_back_to(&mut self, next: usize) {
        let (from, to) = (position(self.next), position(next));
        self.keys.bring_forward(self.next, next);
        self.rates.bring_forward(from, to);
        self.lens.bring_forward(from, to);
        self.poses.lane.bring_forward(from, to);
        // The camera is where it was then: the next pose is gone to from there.
        self.poses.lane.past = None;
        self.next = next;
    }

    /// Another video begins. What is held is held on; all else is forgotten.
    pub(super) fn begins_anew(&mut self, beginning: Beginning) {
        let at = position(self.next);
        let held = self.keys.coming.range(..=self.next).next_back().map_or(self.keys.held, |(_, change)| change.last);
        let given = self.rates.coming.iter().rev().find(|(place, _)| *place <= at).or(self.rates.past.as_ref());
        let rates = given.map_or(Rates::default(), |(_, stroke)| stroke.rates);
        *self = Camera::new(beginning);
        if !held.is_empty() || rates != Rates::default() {
            self.follow(&[Transition { held: Some(held), rates: Some(rates), ..Transition::default() }]);
        }
    }

    /// What steers the planned chunk, one value a latent frame.
    pub(super) fn sample(&mut self, plan: &ChunkPlan) -> Option<Vec<Controls>> {
        self.poses.spread_over(plan);
        let controls = plan.latent_range().map(|latent_frame| self.controls(latent_frame)).collect();
        self.next = plan.latent_range().end;
        match self.mode {
            Mode::Unused => None,
            Mode::Script(_) | Mode::Live => Some(controls),
        }
    }

    fn controls(&mut self, latent_frame: usize) -> Controls {
        let at = position(latent_frame);
        let lens = self.lens.sample(at, |_| ());
        let motion = match &mut self.mode {
            Mode::Unused => Controls::default(),
            Mode::Script(items) => items.pop_front().unwrap_or_default().into(),
            Mode::Live => match self.poses.sample(at, latent_frame.checked_sub(1).map_or(-1.0, position)) {
                Some(way) => Controls::default().with_way(Some(way)),
                None => {
                    let mut peak = Rates::default();
                    let stroke = self.rates.sample(at, |stroke| peak = stroke.peak.stronger(peak));
                    let rates = stroke.map_or(Rates::default(), |stroke| stroke.rates.or(peak));
                    Controls::from(self.keys.sample(latent_frame)).with_rates(rates)
                }
            },
        };
        motion.with_intrinsics(lens)
    }
}

/// The keys held, and the changes to come.
#[derive(Debug, Default, Clone)]
struct Keys {
    held: Held,
    /// By the latent frame from which on they count.
    coming: BTreeMap<usize, KeyChange>,
    every_tap: bool,
}

/// All transitions that count from one latent frame on.
#[derive(Debug, Default, Clone)]
struct KeyChange {
    last: Held,
    /// The last that was not empty.
    last_pressed: Held,
    /// Every key that went down in one of them.
    tapped: Held,
}

impl Keys {
    fn change(&mut self, latent_frame: usize, held: Held) {
        let before = self.coming.range(..latent_frame).next_back().map_or(self.held, |(_, earlier)| earlier.last);
        let change = self.coming.entry(latent_frame).or_insert(KeyChange { last: before, ..KeyChange::default() });
        change.tapped = change.tapped.with_all(held.without(change.last));
        change.last = held;
        if !held.is_empty() {
            change.last_pressed = held;
        }
    }

    fn forget(&mut self) {
        (self.held, self.coming) = (Held::default(), BTreeMap::new());
    }

    /// What shows in this latent frame.
    fn sample(&mut self, latent_frame: usize) -> Held {
        let (mut tapped, mut last_pressed) = (Held::default(), Held::default());
        while let Some(entry) = self.coming.first_entry().filter(|entry| *entry.key() <= latent_frame) {
            let change = entry.remove();
            self.held = change.last;
            tapped = tapped.with_all(change.tapped);
            if !change.last_pressed.is_empty() {
                last_pressed = change.last_pressed;
            }
        }
        if self.every_tap {
            self.held.with_all(tapped)
        } else if self.held.is_empty() {
            last_pressed
        } else {
            self.held
        }
    }

    /// What was to show from `from` on, the next latent frame, shows from the earlier `to` on.
    fn bring_forward(&mut self, from: usize, to: usize) {
        if let Some(change) = self.coming.remove(&from) {
            self.coming.insert(to, change);
        }
    }
}

#[cfg(test)]
mod tests;
