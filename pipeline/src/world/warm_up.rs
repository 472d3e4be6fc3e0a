//! What a world draws before its first session.
//!
//! The first prompt that a process encodes takes ten times as long as the next one (31 to 44 ms and 3 ms in the pocket
//! world): threads start, and memory is touched for the first time. No client should wait for that. And the time of a
//! chunk must be known before paced sessions are admitted, or more of them enter than the device can serve.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Cancel, Card, ChunkInput, Controls, Held, Init, Picture, Size, World, WorldError};

/// How long a world took for the first two things that a session of its usual size asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmUp {
    /// The size of the frames.
    pub size: Size,
    /// Time to open a rollout.
    pub opened: Duration,
    /// Time to draw a chunk; at least this long if the warm-up was cut short.
    pub chunk: Duration,
}

/// A first chunk that took this long tells enough. After a shorter one a second chunk is drawn and measured: the first
/// one has fewer frames, and includes the start of threads.
const FIRST_COUNTS: Duration = Duration::from_secs(1);

/// A warm-up is cut short after this time: a model that needs minutes for a chunk must not keep its server from
/// starting.
const LONGEST: Duration = Duration::from_secs(30);

impl WarmUp {
    /// What is drawn: a usual session. It starts from a grey picture where the world needs one.
    pub fn init(card: &Card) -> Init {
        let size = card.default_size;
        let grey = || Picture { size, rgb: vec![128; size.frame_bytes() as usize] };
        Init {
            prompt: card.presets.first().cloned().unwrap_or_else(|| "a road".to_owned()),
            first_frame: card.needs_first_frame.then(grey),
            size,
            seed: 0,
            sink: card.sink,
            window: card.window,
            first_chunk: None,
            condition_frames: None,
        }
    }

    /// Open a rollout and draw a chunk or two with a key held, as a session that begins to walk. Ends after 30 s at the
    /// latest.
    pub fn of(world: &(impl World + ?Sized)) -> Result<WarmUp, WorldError> {
        WarmUp::within(world, LONGEST)
    }

    fn within(world: &(impl World + ?Sized), longest: Duration) -> Result<WarmUp, WorldError> {
        let card = world.card();
        let init = WarmUp::init(card);
        let held = Controls::from(Held::default().with('w'));
        let (size, began) = (init.size, Instant::now());
        let mut rollout = world.open(init)?;
        let opened = began.elapsed();

        let cancel = Cancel::default();
        // Dropped at the end of this function, which ends the thread.
        let (_done, wait) = mpsc::channel::<()>();
        let alarm = cancel.clone();
        thread::spawn(move || {
            if wait.recv_timeout(longest) == Err(mpsc::RecvTimeoutError::Timeout) {
                alarm.cancel();
            }
        });
        let mut draw = || {
            let controls = Some(vec![held.clone(); rollout.plan().latent_frames]);
            let input = ChunkInput { controls, ..ChunkInput::default() };
            let began = Instant::now();
            match rollout.generate(&input, &cancel, &mut |_frames| ()) {
                Ok(_) | Err(WorldError::Cancelled) => Ok(began.elapsed()),
                Err(error) => Err(error),
            }
        };
        let first = draw()?;
        let chunk = if first < FIRST_COUNTS && cancel.check().is_ok() { draw()? } else { first };
        Ok(WarmUp { size, opened, chunk })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testcard::Testcard;

    #[test]
    fn a_warm_up_draws_at_the_usual_size_and_says_how_long_it_took() {
        let world = Testcard::new(Duration::ZERO);
        let warm_up = world.warm_up().expect("the test card draws").expect("it can be measured");
        assert_eq!(warm_up.size, world.card().default_size);
        assert!(warm_up.chunk > Duration::ZERO);
    }

    #[test]
    fn a_world_that_needs_a_picture_is_given_a_grey_one_and_any_other_is_not() {
        let mut card = Card::clone(Testcard::new(Duration::ZERO).card());
        assert_eq!(WarmUp::init(&card).first_frame, None);
        card.needs_first_frame = true;
        card.presets = vec!["a meadow".into()];
        let init = WarmUp::init(&card);
        assert_eq!(init.first_frame.map(|picture| picture.size), Some(card.default_size));
        assert_eq!(init.prompt, "a meadow");
    }

    #[test]
    fn a_test_card_that_was_told_how_long_its_chunks_take_is_not_waited_for() {
        let hour = Duration::from_secs(3600);
        let warm_up = Testcard::new(hour).warm_up().expect("nothing is drawn").expect("it is known");
        assert_eq!(warm_up.chunk, hour);
    }

    #[test]
    fn a_warm_up_that_takes_too_long_is_cut_short_and_counts_as_that_long() {
        let world = Testcard::new(Duration::from_secs(600));
        let limit = Duration::from_millis(50);
        let warm_up = WarmUp::within(&world, limit).expect("a cut is no failure");
        assert!((limit..Duration::from_secs(60)).contains(&warm_up.chunk), "{warm_up:?}");
    }
}
