//! Events on their way through the guardrails.
//!
//! A prompt may take seconds to be checked, and keys must not wait for it: an event passes at once unless it brings a
//! prompt, or stands behind an event whose keys still wait.

use std::collections::VecDeque;
use std::future::pending;

use pipeline::world::Refusal;
use tokio::task::JoinHandle;

use crate::engine::turns::event::{Event, EventPart};
use crate::guardrails::{Blocked, Guardrails};
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::Invalid;

/// Events that wait at once. A client that sends prompts faster than they are checked is told so.
const WAITING_MAX: usize = 64;

/// The events of one session that wait for a check, and the check.
pub(super) struct Checking {
    guardrails: Guardrails,
    /// The oldest first. If there is a check, it is about the first.
    waiting: VecDeque<Said>,
    check: Option<JoinHandle<Result<(), Blocked>>>,
}

/// An event, and the viewer that sent it, or the player.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) by: u32,
    pub(super) event: Event,
}

/// What became of events that waited.
pub(super) struct Checked {
    /// These steer the next chunk, in this order.
    pub(super) allowed: Vec<Said>,
    /// This one does not.
    pub(super) blocked: Option<BlockedEvent>,
}

/// An event that a guardrail does not let steer.
pub(super) struct BlockedEvent {
    /// For whoever sent it.
    pub(super) error: ClientError,
    pub(super) by: u32,
    /// The guardrail, if one said so.
    pub(super) guardrail: Option<&'static str>,
}

impl Checking {
    pub(super) fn new(guardrails: Guardrails) -> Checking {
        Checking { guardrails, waiting: VecDeque::new(), check: None }
    }

    /// `Ok(Some)`: the event steers at once. `Ok(None)`: it waits. `Err`: too many do.
    pub(super) fn take(&mut self, by: u32, event: Event) -> Result<Option<Event>, ClientError> {
        let prompts = !self.guardrails.checks_no_text() && has_prompt(&event);
        if !prompts && !self.waiting.iter().any(|said| has_keys(&said.event)) {
            return Ok(Some(event));
        }
        if self.waiting.len() == WAITING_MAX {
            let reason = format!("too many prompts: at most {WAITING_MAX} events may wait for a check");
            let refusal = Refusal { field: "message", reason };
            return Err(ClientError::invalid_event(Invalid { id: event.id, refusal }));
        }
        self.waiting.push_back(Said { by, event });
        self.begin();
        Ok(None)
    }

    /// Whether no event waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next event that is checked; pending for ever while none waits. Cancel-safe.
    pub(super) async fn next(&mut self) -> Checked {
        let Some(check) = &mut self.check else { return pending().await };
        let checked = check.await;
        self.check = None;
        let said = self.waiting.pop_front().expect("a check is about an event");
        let blocked = |guardrail| {
            let error = ClientError::guardrail_blocked(said.event.id);
            Some(BlockedEvent { error, by: said.by, guardrail })
        };
        let mut result = Checked { allowed: Vec::new(), blocked: None };
        match checked {
            Ok(Ok(())) => result.allowed.push(said),
            Ok(Err(Blocked { guardrail })) => result.blocked = blocked(Some(guardrail)),
            Err(panic) => {
                tracing::error!(error = %panic, "a guardrail panicked");
                result.blocked = blocked(None);
            }
        }
        // Those behind it that only waited for their turn.
        while let Some(said) = self.waiting.pop_front_if(|said| !has_prompt(&said.event)) {
            result.allowed.push(said);
        }
        self.begin();
        result
    }

    fn begin(&mut self) {
        let (None, Some(said)) = (&self.check, self.waiting.front()) else { return };
        let prompts: Vec<String> = said.event.parts.iter().filter_map(EventPart::text).map(str::to_owned).collect();
        let guardrails = self.guardrails.clone();
        self.check = Some(tokio::task::spawn_blocking(move || guardrails.check(prompts.iter().map(String::as_str))));
    }
}

fn has_prompt(event: &Event) -> bool {
    event.parts.iter().any(|part| part.text().is_some())
}

fn has_keys(event: &Event) -> bool {
    event.parts.iter().any(|part| part.text().is_none())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;
    use crate::guardrails::{OnError, Policy, TextGuardrail, Verdict};

    /// Blocks what says so, when it is let.
    struct Slow(Mutex<mpsc::Receiver<()>>);

    impl TextGuardrail for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn check(&self, prompt: &str) -> Verdict {
            self.0.lock().expect("one at a time").recv().expect("the test lets it");
            if prompt.contains("block") { Verdict::Block { code: "said so".into() } } else { Verdict::Allow }
        }
    }

    fn slow() -> (Checking, mpsc::Sender<()>) {
        let (go, wait) = mpsc::channel();
        let text: Vec<Arc<dyn TextGuardrail>> = vec![Arc::new(Slow(Mutex::new(wait)))];
        (Checking::new(Guardrails::new(text, Vec::new(), Policy::On, OnError::Block)), go)
    }

    fn event(id: u32, parts: Vec<EventPart>) -> Event {
        Event { id: Some(id), parts }
    }

    fn keys() -> EventPart {
        EventPart::State(vec![Default::default()])
    }

    fn ids(said: &[Said]) -> Vec<u32> {
        said.iter().filter_map(|said| said.event.id).collect()
    }

    #[tokio::test]
    async fn keys_pass_a_prompt_that_waits_and_not_a_composite_whose_keys_wait() {
        let (mut checking, go) = slow();
        let waits = |taken: Result<Option<Event>, ClientError>| taken.expect("there is room").is_none();
        assert!(!waits(checking.take(0, event(1, vec![keys()]))));
        assert!(waits(checking.take(0, event(2, vec![EventPart::prompt("a road")]))));
        assert!(!waits(checking.take(0, event(3, vec![keys()]))), "keys do not wait for a prompt");
        assert!(waits(checking.take(0, event(4, vec![EventPart::prompt("night"), keys()]))));
        assert!(waits(checking.take(0, event(5, vec![keys()]))), "newer keys come after older ones");
        go.send(()).expect("it waits");
        assert_eq!(ids(&checking.next().await.allowed), [2]);
        go.send(()).expect("it waits");
        assert_eq!(ids(&checking.next().await.allowed), [4, 5]);
        assert!(!waits(checking.take(0, event(6, vec![keys()]))));
    }

    #[tokio::test]
    async fn a_blocked_prompt_is_told_with_the_id_of_its_event_and_what_follows_goes_on() {
        let (mut checking, go) = slow();
        for (id, text) in [(7, "block this"), (8, "a road")] {
            assert_eq!(checking.take(3, event(id, vec![EventPart::prompt(text), keys()])), Ok(None));
        }
        go.send(()).expect("it waits");
        let Checked { allowed, blocked } = checking.next().await;
        let BlockedEvent { error, by, guardrail } = blocked.expect("blocked");
        assert_eq!(by, 3, "the error is for whoever sent it");
        assert!(allowed.is_empty(), "a composite is all or nothing");
        assert_eq!((error.code, error.event_id, guardrail), ("guardrail_blocked", Some(7), Some("slow")));
        go.send(()).expect("it waits");
        assert_eq!(ids(&checking.next().await.allowed), [8]);
    }

    #[tokio::test]
    async fn as_many_events_wait_as_there_is_room_for() {
        let (mut checking, go) = slow();
        for id in 0..WAITING_MAX as u32 {
            assert_eq!(checking.take(0, event(id, vec![EventPart::prompt("a road")])), Ok(None));
        }
        let refused = checking.take(0, event(99, vec![EventPart::prompt("a road")])).expect_err("full");
        assert_eq!((refused.code, refused.event_id), ("invalid_event", Some(99)));
        // The thread that waits for its turn ends with the test.
        drop(go);
    }

    #[tokio::test]
    async fn without_guardrails_nothing_waits() {
        let mut checking = Checking::new(Guardrails::default());
        let prompt = event(1, vec![EventPart::prompt("a road")]);
        assert_eq!(checking.take(0, prompt.clone()), Ok(Some(prompt)));
    }
}
