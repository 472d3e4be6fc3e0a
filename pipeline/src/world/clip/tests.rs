//! A clip gives exactly the frames it was asked for, as a session with the same inputs would, and can be cancelled.

use std::time::Duration;

use super::*;
use crate::testcard::{self, Testcard};
use crate::world::{ChunkPlan, Chunking, Origin, Picture, RolloutBytes, Size, Spans};

const SIZE: Size = Size { width: 32, height: 24 };

/// The test card's chunks.
const CHUNKING: Chunking = Chunking::even(3);

fn init() -> Init {
    Init {
        prompt: "day".into(),
        first_frame: None,
        size: SIZE,
        seed: 7,
        sink: 9,
        window: 18,
        first_chunk: None,
        condition_frames: None,
    }
}

/// As many inputs as the clip has chunks; the second one changes the prompt.
fn ask(frames: usize) -> ClipAsk {
    let input = |chunk| ChunkInput {
        prompt: (chunk == 1).then(|| "night".to_owned()),
        recache: false,
        steps: None,
        controls: None,
    };
    ClipAsk::new(init(), frames, (0..CHUNKING.count_for(frames)).map(input).collect())
}

fn clip(frames: usize) -> Box<dyn Clip> {
    Testcard::new(Duration::ZERO).clip(ask(frames)).expect("the test card draws it")
}

/// Draw it to its end: the frames in order, and the progress after each piece.
fn draw(clip: &mut dyn Clip) -> (Vec<Frames>, Vec<Progress>) {
    let (mut frames, mut progress) = (Vec::new(), Vec::new());
    loop {
        let step = clip.step(&Cancel::default(), &mut |batch| frames.push(batch)).expect("nothing here can fail");
        progress.push(clip.progress());
        if let Step::Done(_) = step {
            return (frames, progress);
        }
    }
}

#[test]
fn a_video_is_as_many_chunks_as_its_frames_need() {
    let check = |latent_frames, frames, expected| {
        assert_eq!(
            Chunking::even(latent_frames).count_for(frames),
            expected,
            "{frames} frames of chunks of {latent_frames}"
        );
    };
    for (frames, expected) in [(0, 0), (1, 1), (9, 1), (10, 2), (21, 2), (22, 3)] {
        check(3, frames, expected);
    }
    for (frames, expected) in [(1, 1), (2, 2), (5, 2), (6, 3)] {
        check(1, frames, expected);
    }
    // The sum of the plans says the same.
    for chunks in 1..50 {
        let frames = (0..chunks).map(|index| ChunkPlan::new(index, Chunking::even(4)).pixel_frames).sum();
        check(4, frames, chunks);
        check(4, frames + 1, chunks + 1);
    }
}

#[test]
fn a_clip_gives_exactly_the_frames_it_was_asked_for() {
    let whole = draw(clip(33).as_mut()).0.iter().flat_map(|frames| frames.rgb.clone()).collect::<Vec<_>>();
    // A picture; whole latent frames; whole chunks; counts that cut a latent frame, and that leave latent frames out.
    for count in [1, 5, 9, 13, 21, 33, 2, 8, 10, 11, 14, 20, 22, 25, 32] {
        let (frames, progress) = draw(clip(count).as_mut());
        assert_eq!(frames.iter().map(|frames| frames.count).sum::<usize>(), count);
        assert!(frames.iter().all(|frames| frames.count > 0 && frames.size == SIZE), "{count}");
        let bytes: Vec<u8> = frames.into_iter().flat_map(|frames| frames.rgb).collect();
        assert_eq!(bytes.len() as u64, count as u64 * SIZE.frame_bytes());
        assert!(whole.starts_with(&bytes), "{count}: the same frames as of a longer clip");
        let of = CHUNKING.count_for(count);
        let expected: Vec<_> = (1..=of).map(|done| Progress { done, of }).collect();
        assert_eq!(progress, expected, "{count}");
    }
}

#[test]
fn a_clip_draws_what_a_session_with_the_same_inputs_would_have_drawn() {
    let ask = ask(33);
    let world = Testcard::new(Duration::ZERO);
    let mut rollout = world.open(ask.init.clone()).expect("opens");
    let mut session = Vec::new();
    for input in &ask.inputs {
        rollout.generate(input, &Cancel::default(), &mut |frames| session.push(frames)).expect("a chunk");
    }
    let (frames, _) = draw(world.clip(ask).expect("opens").as_mut());
    assert_eq!(frames, session);
    let prompts: Vec<_> = frames
        .iter()
        .flat_map(|frames| frames.rgb.chunks(SIZE.frame_bytes() as usize))
        .map(|rgb| testcard::read(&Picture { size: SIZE, rgb: rgb.into() }).expect("the test card").prompt_hash)
        .collect();
    assert_eq!(prompts[..9], [testcard::prompt_hash("day"); 9]);
    assert_eq!(prompts[9..], [testcard::prompt_hash("night"); 24]);
}

#[test]
fn a_clip_of_no_frames_is_refused_and_one_with_too_few_or_too_many_inputs_is_not_drawn() {
    let world = Testcard::new(Duration::ZERO);
    let Err(WorldError::Refused(refusal)) = world.clip(ClipAsk::new(init(), 0, Vec::new())) else {
        panic!("it opened")
    };
    assert_eq!(refusal.field, "num_frames");
    for inputs in [0, 1, 3] {
        let ask = ClipAsk::new(init(), 10, vec![ChunkInput::default(); inputs]);
        let Err(WorldError::Failed(reason)) = world.clip(ask) else { panic!("{inputs} inputs were taken") };
        assert_eq!(reason, format!("{inputs} inputs for a clip of 10 frames, which are 2 chunks"));
    }
}

#[test]
fn a_cancelled_clip_stops_before_its_next_piece_and_inside_of_one() {
    let (cancel, mut given) = (Cancel::default(), 0);
    let stopped = clip(33).step(&cancel, &mut |frames| {
        given += frames.count;
        cancel.cancel();
    });
    assert!(matches!(stopped, Err(WorldError::Cancelled)), "{stopped:?}");
    assert_eq!(given, 1, "nothing is drawn after the latent frame that was being decoded");
    let mut next = clip(33);
    let stopped = next.step(&cancel, &mut |_| panic!("it was cancelled before"));
    assert!(matches!(stopped, Err(WorldError::Cancelled)), "{stopped:?}");
    assert_eq!(next.progress(), Progress { done: 0, of: 3 });
}

/// A world whose second chunk is as this says: an error, or a number of frames that was not planned.
struct Broken(Testcard, Result<usize, &'static str>);

struct BrokenRollout(Box<dyn Rollout>, Result<usize, &'static str>);

impl World for Broken {
    fn origin(&self) -> Origin {
        Testcard::new(Duration::ZERO).origin()
    }

    fn card(&self) -> &Arc<crate::world::Card> {
        self.0.card()
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        self.0.rollout_bytes()
    }

    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError> {
        Ok(Box::new(BrokenRollout(self.0.open(init)?, self.1)))
    }
}

impl Rollout for BrokenRollout {
    fn plan(&self) -> ChunkPlan {
        self.0.plan()
    }

    fn generate(
        &mut self,
        input: &ChunkInput,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<Timings, WorldError> {
        if self.plan().index != 1 {
            return self.0.generate(input, cancel, sink);
        }
        let count = self.1.map_err(|words| WorldError::Failed(words.to_owned()))?;
        sink(Frames { size: SIZE, count, rgb: vec![0; count * SIZE.frame_bytes() as usize] });
        Ok(Timings::default())
    }
}

#[test]
fn what_goes_wrong_in_a_rollout_goes_wrong_in_the_clip() {
    let second = |chunk| {
        let mut clip = Broken(Testcard::new(Duration::ZERO), chunk).clip(ask(33)).expect("opens");
        assert!(matches!(clip.step(&Cancel::default(), &mut |_| ()), Ok(Step::More(_))));
        clip.step(&Cancel::default(), &mut |_| ()).expect_err("the second chunk").to_string()
    };
    assert_eq!(second(Err("lost a shard")), "lost a shard");
    for count in [11, 13] {
        let reason = second(Ok(count));
        assert!(reason.starts_with(&format!("{count} frames were drawn for ")), "{reason}");
    }
}

#[test]
fn a_clip_holds_what_its_rollout_holds_and_its_inputs() {
    let world = Testcard::new(Duration::ZERO);
    let (clip_bytes, rollout_bytes) = (world.clip_bytes(), (world.rollout_bytes())(&init()));
    let bytes = |inputs: Vec<ChunkInput>| clip_bytes(&ClipAsk::new(init(), 1, inputs)) - rollout_bytes;
    assert_eq!(bytes(Vec::new()), 0);
    let empty = bytes(vec![ChunkInput::default()]);
    assert_eq!(empty, size_of::<ChunkInput>() as u64);
    assert_eq!(
        bytes(vec![ChunkInput { prompt: Some("night".into()), recache: false, steps: None, controls: None }; 2]),
        2 * (empty + 5)
    );
}

#[test]
fn a_clip_that_is_profiled_says_where_each_chunk_s_time_went() {
    let spans = Spans::recording();
    let mut asked = ask(20);
    asked.spans = spans.clone();
    draw(Testcard::new(Duration::ZERO).clip(asked).expect("the test card draws it").as_mut());
    let spans = spans.take();
    let steps: Vec<_> = spans.iter().filter(|span| span.is_step).collect();
    assert_eq!(steps.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["ProfilerStep#0", "ProfilerStep#1"]);
    for (index, step) in steps.iter().enumerate() {
        let parts: Vec<_> = spans.iter().filter(|span| span.step == Some(index) && !span.is_step).collect();
        let names: Vec<_> = parts.iter().map(|span| span.name.clone()).collect();
        let frames = (3 * index..3 * index + 3).map(|frame| format!("vae_frame{frame}"));
        let mut expected: Vec<_> = ["text", "dit"].map(str::to_owned).into_iter().chain(frames).collect();
        let mut found = names.clone();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        assert!(parts.iter().all(|part| part.began >= step.began), "{names:?}");
    }
    assert!(draw(clip(20).as_mut()).0.len() > 1, "the same without");
}
