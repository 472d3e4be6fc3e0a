//! What the engine's thread owns, and what it does with it. It waits for work and for nothing else: each credit reserved
//! room in the session's channel, so handing a chunk over never blocks.

mod again;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use pipeline::recording::encode_init;
use pipeline::world::{World, WorldError};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::clip::{Drawing, Stepped};
use super::elsewhere::{Another, OpenError, Redraw, another_world};
use super::inbox::{Inbox, Waited};
use super::messages::{ChunkPart, Command, Drawn, Open};
use super::rollout::OpenRollout;
use super::turns::clips::NextGrant;
use super::turns::hurry::Hurry;
use super::turns::rewinds::Rewinds;
use super::turns::scheduler::{Next, Scheduler};
use super::turns::under_way::Begun;
use crate::admission::rules::SeatId;
use crate::observe::Observer;

/// What the thread owns.
pub(super) struct Room {
    world: Box<dyn World>,
    scheduler: Scheduler,
    rollouts: HashMap<SeatId, OpenRollout>,
    /// Sessions that wait for their opening, and who is told of it.
    to_open: HashMap<SeatId, (Open, oneshot::Sender<Result<(), OpenError>>)>,
    /// Sessions whose next video waits for its opening, and who is told of it.
    to_reset: HashMap<SeatId, (Box<Another>, oneshot::Sender<()>)>,
    clip: Option<Drawing>,
    observer: Arc<Observer>,
}

impl Room {
    pub(super) fn new(world: Box<dyn World>, scheduler: Scheduler, observer: Arc<Observer>) -> Room {
        let (rollouts, to_open, to_reset) = (HashMap::new(), HashMap::new(), HashMap::new());
        Room { world, scheduler, rollouts, to_open, to_reset, clip: None, observer }
    }

    /// Until nobody is left who could command.
    pub(super) fn run(mut self, mut inbox: Inbox<Command>) {
        loop {
            // Everything that came, then one chunk or piece: a close takes effect before time is spent on it.
            loop {
                match inbox.next() {
                    Ok(command) => self.obey(command),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            match self.scheduler.take_turn(now) {
                Some(Next::Open(id)) => self.open(id),
                Some(Next::Chunk(id)) => self.generate(id),
                Some(Next::Piece(id)) => self.draw_piece(id),
                None => match inbox.wait(self.scheduler.look_again_at(now)) {
                    Waited::Command(command) => self.obey(command),
                    Waited::Enough => {}
                    Waited::Over => return,
                },
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open(open, reply) => {
                let id = open.admitted.id;
                self.scheduler.openings.ask(id, open.init.size.pixels(), Instant::now());
                self.to_open.insert(id, (*open, reply));
            }
            Command::Grant(id, chunks, due) => self.scheduler.grant(id, chunks, due),
            Command::ExpectGrant(id, next_grant) => self.scheduler.expect_grant(id, next_grant),
            Command::OpenClip(open) => {
                let clip = Drawing::new(open);
                self.scheduler.clips.begin(clip.admitted.id, clip.pixels, Instant::now());
                self.clip = Some(clip);
            }
            Command::Taken(id) => self.scheduler.clips.taken(id, Instant::now()),
            Command::Rewind(id, to, reply) => self.rewind(id, to, reply),
            Command::Reset(id, another, reply) => {
                // It grants nothing before it is open, so the opening need not leave time for it.
                self.scheduler.expect_grant(id, NextGrant::Never);
                self.scheduler.openings.ask(id, another.init.size.pixels(), Instant::now());
                self.to_reset.insert(id, (another, reply));
            }
            // An error: nobody waits any more.
            Command::Pack(id, reply) => drop(reply.send(self.pack(id))),
            Command::Close(id) => self.close(id),
        }
    }

    fn open(&mut self, id: SeatId) {
        if let Some((another, reply)) = self.to_reset.remove(&id) {
            return self.reset(id, *another, reply);
        }
        let (mut open, reply) = self.to_open.remove(&id).expect("the scheduler knows only sessions that wait");
        // The client may have left: then there is nothing to open. If it leaves after this check, its `Close` comes and
        // removes the rollout.
        if reply.is_closed() {
            return;
        }
        let hidden = open.again.as_mut().map(|again| std::mem::take(&mut again.hidden)).unwrap_or_default();
        match self.open_rollout(open) {
            Ok(()) => self.redraw(id, Redraw::beginning(hidden, reply)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn open_rollout(&mut self, open: Open) -> Result<(), OpenError> {
        let Open { admitted, init, paced, conditions, parts, cancel, record, rewinds, again, state, recorded, journal } =
            open;
        let replay = again.map_or(Ok(VecDeque::new()), |again| match again.origin {
            Some(origin) if origin != self.world.origin() => Err(another_world(&origin, &self.world.origin())),
            _ => Ok(again.shown),
        })?;
        let (id, bytes, pixels, began) = (admitted.id, admitted.bytes, init.size.pixels(), Instant::now());
        let chunking = init.chunking(self.world.card());
        let beginning = record.as_ref().map(|_| encode_init(&init, Some(&self.world.origin()))).transpose();
        let beginning = beginning.map_err(|invalid| OpenError::Failed(invalid.to_string()))?;
        let opened = match &state {
            Some(state) => self.world.open_at(init, state),
            None => self.world.open(init),
        };
        let rollout = opened.map_err(|error| match error {
            WorldError::Refused(refusal) => OpenError::Refused(refusal),
            other => OpenError::Failed(other.to_string()),
        })?;
        self.scheduler.openings.took(pixels, began.elapsed());
        let tape = record.zip(beginning).map(|((to, name), beginning)| match recorded {
            Some((video, so_far)) => to.go_on(&name, video, so_far),
            None => to.begin(&name, beginning),
        });
        let rewinds = rewinds.map(|spacing| Rewinds::going_on(spacing, rollout.plan().index));
        let redraw = None;
        let hurry = Hurry::new(self.world.card().quick_steps, paced);
        let open = OpenRollout {
            rollout,
            chunking,
            conditions,
            parts,
            cancel,
            tape,
            paced,
            hurry,
            rewinds,
            redraw,
            replay,
            journal,
            admitted,
        };
        self.rollouts.insert(id, open);
        self.observer.rollout_opened(id, bytes);
        debug!(seat = id, bytes, "opened");
        Ok(())
    }

    fn close(&mut self, id: SeatId) {
        self.scheduler.close(id);
        self.to_open.remove(&id);
        self.to_reset.remove(&id);
        let clip = self.clip.take_if(|clip| clip.admitted.id == id);
        if self.rollouts.remove(&id).is_some() || clip.is_some() {
            drop(clip);
            self.observer.rollout_closed(id);
            debug!(seat = id, "closed");
        }
    }

    fn draw_piece(&mut self, id: SeatId) {
        let clip = self.clip.take().expect("the scheduler knows only the clip that is there");
        let (pixels, bytes) = (clip.pixels, clip.admitted.bytes);
        let clips = &mut self.scheduler.clips;
        match clip.step(&*self.world) {
            Stepped::Opened(clip, took) => {
                clips.opened(pixels, took);
                self.observer.rollout_opened(id, bytes);
                debug!(clip = id, bytes, "opened");
                self.clip = Some(clip);
            }
            Stepped::Drew(clip, took) => {
                clips.drew(pixels, took);
                self.clip = Some(clip);
            }
            Stepped::Ended(took) => {
                clips.drew(pixels, took);
                clips.end(id);
                self.observer.rollout_closed(id);
            }
            Stepped::Broke => {
                clips.end(id);
                self.observer.rollout_closed(id);
            }
        }
    }

    fn generate(&mut self, id: SeatId) {
        let open = self.rollouts.get_mut(&id).expect("the scheduler knows only seats that are taken");
        if open.redraw.is_some() {
            return self.draw_again(id);
        }
        if let Err(error) = open.keep_state() {
            warn!(seat = id, %error, "no state was kept");
            // It would be missed only by a client that goes back, and then it must not be another's.
            open.rewinds = None;
        }
        let plan = open.rollout.plan();
        let mut state = open.state_for_journal();
        let parts = open.parts.clone();
        // Each frame leaves as soon as it is there: the first can be on a screen while the last is being decoded.
        let hand_over = |part| {
            if let Err(mpsc::error::TrySendError::Full(_)) = parts.try_send(part) {
                panic!("a credit is a place for each latent frame: seat {id} had none left");
            }
        };
        let mut drew = None;
        let mut counts = Vec::with_capacity(plan.latent_frames);
        let mut begun_again = false;
        let (began, sampled, input, event_id, result) = loop {
            let began = Instant::now();
            let again = open.hurry.again(self.scheduler.others(id, began)).filter(|_| !begun_again && plan.index > 0);
            let Begun { input, event_id, acks, .. } = open.begin(&plan, again);
            let sampled = Instant::now();
            let moves = input.controls.iter().flatten().any(|controls| !controls.is_still());
            let usual = !begun_again && input.steps.is_none();
            let prepare = sampled - began;
            let journal = open.journaled(&input);
            let mut drawn =
                Some(Drawn { plan, event_id, moves, acks, began, prepare, handed: sampled, usual, journal });
            let result = open.rollout.generate(&input, &open.cancel, &mut |frames| {
                counts.push(frames.count);
                hand_over(Ok(match drawn.take() {
                    Some(mut drawn) => {
                        // A chunk that was given up has shown nothing: the state is still the one before.
                        drawn.journal.iter_mut().for_each(|journal| journal.state = state.take());
                        ChunkPart::First(Drawn { handed: Instant::now(), ..drawn }, frames)
                    }
                    None => ChunkPart::More(frames, Instant::now()),
                }));
            });
            begun_again |= open.is_begun_again(&result);
            if !matches!(result, Err(WorldError::GivenUp)) {
                break (began, sampled, input, event_id, result);
            }
        };
        let generate = sampled.elapsed();
        let outcome = match result {
            // The number of messages was announced with the first of them.
            Ok(_) if !plan.frames_of_each().eq(counts.iter().copied()) => {
                warn!(seat = id, ?plan, ?counts, "other frames than planned");
                Err(format!("{counts:?} frames were drawn for {plan:?}"))
            }
            Ok(world) => {
                if input.steps.is_none() {
                    open.admitted.drew(generate);
                }
                open.hurry.drew(input.steps.is_some(), generate);
                self.observer.generated(id, &plan, began, sampled, &world);
                self.observer.hurried(input.steps.is_some(), begun_again);
                debug!(seat = id, chunk = plan.index, ?event_id, ?input, begun_again, ?generate, ?world, "chunk");
                drew = Some(input);
                Ok(ChunkPart::End { generate, world })
            }
            Err(WorldError::Cancelled) => return self.close(id),
            Err(error) => {
                warn!(seat = id, chunk = plan.index, %error, "rollout failed");
                Err(error.to_string())
            }
        };
        let failed = outcome.is_err();
        hand_over(outcome);
        drew.into_iter().for_each(|input| open.drew(input));
        if failed {
            self.close(id);
        }
    }
}
