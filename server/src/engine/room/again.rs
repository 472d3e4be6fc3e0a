//! A rollout that does not go on as it was: it goes back, is drawn again, begins another video, or goes to another server.

use std::collections::VecDeque;
use std::time::Instant;

use pipeline::recording::encode_init;
use pipeline::world::{ChunkPlan, WorldError};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::Room;
use crate::admission::rules::SeatId;
use crate::engine::elsewhere::{Another, PackedRollout, Redraw, Then};
use crate::engine::rollout::OpenRollout;
use crate::engine::turns::hurry::Hurry;
use crate::engine::turns::rewinds::Rewinds;
use crate::recordings::Tape;

impl Room {
    /// Nothing is under way: the session has been sent all that it was granted.
    pub(super) fn pack(&self, id: SeatId) -> Result<PackedRollout, String> {
        let open = self.rollouts.get(&id).filter(|open| open.redraw.is_none()).ok_or("nothing is open to be packed")?;
        let began = Instant::now();
        let state = open.rollout.pack().map_err(|error| error.to_string())?;
        let recording = open.tape.as_ref().and_then(Tape::so_far);
        debug!(seat = id, bytes = state.len(), took = ?began.elapsed(), "packed");
        let replay = open.replay.iter().map(|replayed| replayed.input.clone()).collect();
        Ok(PackedRollout { state, replay, origin: self.world.origin(), recording })
    }

    /// Draw these chunks again, and say when it is done. In time that no paced session needs, whatever this one is.
    pub(super) fn redraw(&mut self, id: SeatId, redraw: Redraw) {
        let open = self.rollouts.get_mut(&id).expect("it is open");
        let chunks = redraw.chunks.len() as u64;
        let paced = open.paced && chunks == 0;
        if chunks == 0 {
            redraw.then.done();
        } else {
            open.redraw = Some(redraw);
        }
        self.scheduler.close(id);
        self.scheduler.open(id, paced);
        if chunks > 0 {
            self.scheduler.grant(id, chunks, Instant::now());
        }
    }

    pub(super) fn draw_again(&mut self, id: SeatId) {
        let open = self.rollouts.get_mut(&id).expect("the scheduler knows only seats that are taken");
        let Some(Redraw { mut chunks, then }) = open.redraw.take() else { return };
        let (input, drawn) = chunks.pop_front().expect("there is a chunk for each credit");
        let (began, plan) = (Instant::now(), open.rollout.plan());
        let is_new = matches!(then, Then::Opened(_));
        let kept = if is_new { open.keep_state() } else { Ok(()) };
        match kept.and_then(|()| open.rollout.draw_again(&input, drawn.as_ref(), &open.cancel)) {
            Ok(world) => {
                debug!(seat = id, chunk = plan.index, took = ?began.elapsed(), ?world, "drawn again");
                if is_new {
                    open.admitted.drew(began.elapsed());
                    self.observer.generated(id, &plan, began, began, &world);
                    open.drew(input);
                }
                if chunks.is_empty() {
                    self.redraw(id, Redraw { chunks, then });
                } else {
                    open.redraw = Some(Redraw { chunks, then });
                }
            }
            Err(WorldError::Cancelled) => self.close(id),
            Err(error) => {
                warn!(seat = id, chunk = plan.index, %error, "a chunk could not be drawn again");
                then.failed(&error.to_string());
                self.close(id);
            }
        }
    }

    /// Go back to a chunk. Nothing is under way: the session has been sent all that it was granted.
    pub(super) fn rewind(&mut self, id: SeatId, to: usize, reply: oneshot::Sender<Result<(), String>>) {
        let Some(open) = self.rollouts.get_mut(&id) else { return };
        let now = open.rollout.plan().index;
        let back = match &mut open.rewinds {
            None => Err("this world keeps no states to go back to".to_owned()),
            Some(rewinds) => rewinds.back(to),
        };
        let chunks = match back {
            Ok((state, chunks)) => open.rollout.restore(state).map(|()| chunks),
            Err(reason) => return drop(reply.send(Err(reason))),
        };
        match chunks {
            Ok(chunks) => {
                open.tape.iter_mut().for_each(|tape| tape.cut(now - to));
                open.replay.clear();
                let first = ChunkPlan::new(to, open.chunking).first_latent_frame;
                open.conditions.lock().expect("nothing panics under this lock").goes_back_to(first);
                debug!(seat = id, from = now, to, redraw = chunks.len(), "back");
                self.redraw(id, Redraw { chunks, then: Then::Back(reply) });
            }
            Err(error) => {
                warn!(seat = id, %error, "a state could not be restored");
                drop(open.parts.try_send(Err(error.to_string())));
                self.close(id);
            }
        }
    }

    /// The video before is dropped first: a session has memory for one.
    pub(super) fn reset(&mut self, id: SeatId, another: Another, reply: oneshot::Sender<()>) {
        let Another { init, beginning, rewinds } = another;
        let Some(before) = self.rollouts.remove(&id) else { return };
        drop((before.rollout, before.rewinds));
        let tape = before.tape;
        let (pixels, began, chunking) = (init.size.pixels(), Instant::now(), init.chunking(self.world.card()));
        let recorded = tape.as_ref().map(|_| encode_init(&init, Some(&self.world.origin()))).transpose();
        let opened = recorded.map_err(|invalid| invalid.to_string());
        let opened = opened.and_then(|first| self.world.open(init).map(|to| (to, first)).map_err(|e| e.to_string()));
        let (rollout, recorded) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                warn!(seat = id, error, "the next video could not be opened");
                self.scheduler.close(id);
                self.observer.rollout_closed(id);
                return drop(before.parts.try_send(Err(error)));
            }
        };
        self.scheduler.openings.took(pixels, began.elapsed());
        before.admitted.resized(pixels);
        before.conditions.lock().expect("nothing panics under this lock").begins_anew(beginning);
        let tape = tape.zip(recorded).map(|(tape, beginning)| tape.next(beginning));
        let (redraw, replay, rewinds) = (None, VecDeque::new(), rewinds.map(Rewinds::new));
        let hurry = Hurry::new(self.world.card().quick_steps, before.paced);
        let open = OpenRollout { rollout, chunking, tape, hurry, rewinds, redraw, replay, ..before };
        self.rollouts.insert(id, open);
        debug!(seat = id, "another video");
        // An error: nobody waits any more, and a close is on its way.
        let _ = reply.send(());
    }
}
