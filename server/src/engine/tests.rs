//! Clips on the engine itself, with the test card for a world.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pipeline::testcard::Testcard;
use pipeline::world::{Cancel, ChunkInput, Chunking, ClipAsk, Frames, Init, Size, World};
use tokio::sync::{mpsc, oneshot};

use super::clip::{ClipError, ClipPart};
use super::clip_seat::ClipSeat;
use super::messages::{ChunkPart, Command, Open, parts_places};
use super::thread::{Engine, EngineThread};
use super::turns::conditions::Beginning;
use super::turns::under_way::Conditions;
use crate::admission::queue::Queue;
use crate::admission::rules::{Bounds, Refused};
use crate::observe::Observer;

const SIZE: Size = Size { width: 32, height: 24 };
const BOUNDS: Bounds = Bounds { sessions: 4, memory_bytes: 1 << 20, load: 0.9, queue: 4, clips: 3 };

/// Latent frames of the test card's chunks.
const CHUNK: usize = 3;

/// Longer than anything takes here, however busy the machine is, and shorter than a piece that is never to end.
const SOON: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(3600);

struct Rig {
    engine: Engine,
    queue: Arc<Queue>,
    _thread: EngineThread,
}

/// An engine whose chunks take `chunk_time`.
async fn start(chunk_time: Duration, bounds: Bounds) -> Rig {
    let (queue, observer) = (Queue::new(bounds), Arc::new(Observer::new(None, &[])));
    let load = Box::new(move || Ok(Box::new(Testcard::new(chunk_time)) as Box<dyn World>));
    let (mut engine, thread) = Engine::start(load, Arc::clone(&queue), bounds.sessions, observer).expect("a thread");
    engine.card.wait_for(Option::is_some).await.expect("the test card loads");
    Rig { engine, queue, _thread: thread }
}

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

fn ask(frames: usize) -> ClipAsk {
    let inputs = vec![ChunkInput::default(); Chunking::even(CHUNK).count_for(frames)];
    ClipAsk::new(init(), frames, inputs)
}

/// A clip whose second chunk cannot be drawn.
fn broken() -> ClipAsk {
    let mut ask = ask(33);
    ask.inputs[1].controls = Some(Vec::new());
    ask
}

async fn begin(rig: &Rig, ask: ClipAsk) -> ClipSeat {
    let ticket = rig.engine.ask_clip(ask).expect("it may at least wait");
    tokio::time::timeout(SOON, ticket.begin(Cancel::default())).await.expect("its turn comes").expect("the engine runs")
}

async fn next(clip: &mut ClipSeat) -> Result<Option<ClipPart>, ClipError> {
    tokio::time::timeout(SOON, clip.next()).await.expect("something comes of a clip")
}

/// All frames of a clip, and the pieces they came in.
async fn take(clip: &mut ClipSeat) -> Result<(Vec<Frames>, Vec<(usize, usize)>), ClipError> {
    let (mut frames, mut pieces) = (Vec::new(), Vec::new());
    while let Some(part) = next(clip).await? {
        match part {
            ClipPart::Opened { .. } => assert!(frames.is_empty() && pieces.is_empty(), "first of all"),
            ClipPart::Frames(batch) => frames.push(batch),
            ClipPart::Piece { progress, .. } => pieces.push((progress.done, progress.of)),
        }
    }
    Ok((frames, pieces))
}

#[tokio::test]
async fn a_clip_comes_whole_piece_by_piece_and_its_memory_is_free_at_its_end() {
    let rig = start(Duration::ZERO, BOUNDS).await;
    let (frames, pieces) = take(&mut begin(&rig, ask(25)).await).await.expect("it is drawn");
    assert_eq!(pieces, [(1, 3), (2, 3), (3, 3)]);
    let mut alone = Vec::new();
    let mut clip = Testcard::new(Duration::ZERO).clip(ask(25)).expect("opens");
    for _ in 0..3 {
        clip.step(&Cancel::default(), &mut |frames| alone.push(frames)).expect("a piece");
    }
    assert_eq!(frames, alone);
    assert_eq!(rig.engine.ask_clip(ask(25)).expect("there is room").position(), None, "nothing is before it");
}

#[tokio::test]
async fn clips_are_drawn_in_the_order_in_which_they_came_and_only_so_many_wait() {
    let rig = start(Duration::ZERO, BOUNDS).await;
    let mut first = begin(&rig, ask(9)).await;
    let waiting = [(); 3].map(|()| rig.engine.ask_clip(ask(9)).expect("it may wait"));
    assert_eq!(waiting.each_ref().map(|ticket| ticket.position()), [Some(1), Some(2), Some(3)]);
    assert_eq!(rig.engine.ask_clip(ask(9)).err(), Some(Refused::ClipsFull { waiting: 3 }));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (number, ticket) in waiting.into_iter().enumerate().rev() {
        let order = order.clone();
        tasks.push(tokio::spawn(async move {
            let mut clip = ticket.begin(Cancel::default()).await.expect("the engine runs");
            order.lock().expect("nothing panics under this lock").push(number);
            take(&mut clip).await.expect("it is drawn");
        }));
    }
    take(&mut first).await.expect("it is drawn");
    for task in tasks {
        tokio::time::timeout(SOON, task).await.expect("all are drawn").expect("no assertion failed");
    }
    assert_eq!(*order.lock().expect("nothing panics under this lock"), [0, 1, 2]);
}

#[tokio::test]
async fn a_cancelled_clip_stops_within_a_piece_and_its_memory_is_free() {
    let rig = start(NEVER, BOUNDS).await;
    for _ in 0..3 {
        let mut clip = begin(&rig, ask(33)).await;
        assert!(matches!(next(&mut clip).await, Ok(Some(ClipPart::Opened { .. }))));
        // Its first piece is being drawn, for an hour; the next clip begins all the same.
        drop(clip);
    }
    // So does one that is dropped while it waits.
    let running = begin(&rig, ask(33)).await;
    let (gone, stays) = (rig.engine.ask_clip(ask(33)).expect("waits"), rig.engine.ask_clip(ask(33)).expect("waits"));
    drop(gone);
    assert_eq!(stays.position(), Some(1));
    drop(running);
    tokio::time::timeout(SOON, stays.begin(Cancel::default())).await.expect("its turn comes").expect("the engine runs");
}

#[tokio::test]
async fn what_cannot_be_drawn_ends_that_clip_and_no_other() {
    let rig = start(Duration::ZERO, BOUNDS).await;
    let mut clip = begin(&rig, broken()).await;
    let Err(ClipError::Failed(reason)) = take(&mut clip).await else { panic!("it was drawn") };
    assert!(reason.contains("controls for 0 latent frames"), "{reason}");
    assert!(matches!(next(&mut clip).await, Ok(None)), "nothing follows");
    let mut empty = begin(&rig, ClipAsk::new(init(), 0, Vec::new())).await;
    let Err(ClipError::Refused(refusal)) = take(&mut empty).await else { panic!("it was drawn") };
    assert_eq!(refusal.field, "num_frames");
    assert_eq!(take(&mut begin(&rig, ask(9)).await).await.expect("it is drawn").1, [(1, 1)]);
}

#[tokio::test]
async fn a_clip_that_does_not_fit_waits_for_memory_and_one_that_never_will_is_refused() {
    let world = Testcard::new(Duration::ZERO);
    let (a_clip, session) = ((world.clip_bytes())(&ask(9)), (world.rollout_bytes())(&init()));
    let in_flight = 4 * (CHUNK as u64 + 2) * SIZE.frame_bytes();
    let rig = start(Duration::ZERO, Bounds { memory_bytes: a_clip + in_flight, ..BOUNDS }).await;
    let held = rig.queue.ask(&init(), None, 0, 0).expect("it fits");
    let waits = rig.engine.ask_clip(ask(9)).expect("it will fit");
    assert_eq!(waits.position(), Some(1));
    drop(held);
    assert_eq!(waits.position(), None);
    take(&mut waits.begin(Cancel::default()).await.expect("the engine runs")).await.expect("it is drawn");
    let tight = start(Duration::ZERO, Bounds { memory_bytes: session, ..BOUNDS }).await;
    assert!(matches!(tight.engine.ask_clip(ask(9)), Err(Refused::TooLarge { .. })), "frames on their way count, too");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_up_its_own_clip_and_no_session() {
    let rig = start(Duration::ZERO, BOUNDS).await;
    let mut unread = begin(&rig, ask(33)).await;
    let admitted = rig.queue.ask(&init(), None, 0, 0).expect("it fits").into_admitted();
    let (id, card) = (admitted.id, rig.engine.card.borrow().clone().expect("it is loaded"));
    let (parts, mut drawn) = mpsc::channel(parts_places(card.chunk, 1));
    let conditions = Arc::new(Mutex::new(Conditions::new(Beginning::plain(16, init().size))));
    let open = Open {
        admitted,
        init: init(),
        paced: false,
        conditions,
        parts,
        cancel: Cancel::default(),
        record: None,
        rewinds: None,
        again: None,
        state: None,
        recorded: None,
        journal: None,
    };
    let (reply, opened) = oneshot::channel();
    rig.engine.commands.send(Command::Open(Box::new(open), reply)).await.expect("the engine runs");
    assert!(opened.await.expect("an answer").is_ok());
    for _ in 0..5 {
        rig.engine.commands.send(Command::Grant(id, 1, Instant::now())).await.expect("the engine runs");
        loop {
            let part = tokio::time::timeout(SOON, drawn.recv()).await.expect("the session is drawn");
            if let Ok(ChunkPart::End { .. }) = part.expect("the engine runs") {
                break;
            }
        }
    }
    assert_eq!(take(&mut unread).await.expect("it is drawn now").1, [(1, 3), (2, 3), (3, 3)]);
}
