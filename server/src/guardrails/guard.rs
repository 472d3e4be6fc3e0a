//! The two kinds of guardrail, and all guardrails of a server under one policy.

use std::fmt;
use std::sync::Arc;

use pipeline::world::Frames;
use serde_json::{Value, json};

/// Looks at a prompt.
pub trait TextGuardrail: Send + Sync {
    /// Its name, for clients and metrics.
    fn name(&self) -> &'static str;
    /// May this prompt be drawn? May take seconds and block: it is asked on a thread for blocking work.
    fn check(&self, prompt: &str) -> Verdict;
}

/// Looks at frames, and may change them.
pub trait FrameGuardrail: Send + Sync {
    /// Its name, for clients and metrics.
    fn name(&self) -> &'static str;
    /// May these frames be sent? It may change pixels, but neither size nor count. May take seconds and block: it is asked
    /// on a thread for blocking work.
    fn process(&self, frames: &mut Frames) -> Verdict;
}

/// What a guardrail decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Do not.
    Block {
        /// The kind of reason, for the log. It holds nothing of the prompt.
        code: String,
    },
    /// It could not tell.
    Error {
        /// What failed, for the log.
        reason: String,
    },
}

/// Whether requests may go without guardrails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Policy {
    /// Nothing is checked, whatever is configured.
    Off,
    /// What is configured is checked; a request may switch it off.
    #[default]
    On,
    /// What is configured is checked, always.
    Required,
}

/// What happens to a request whose guardrail could not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnError {
    /// It is drawn.
    Allow,
    /// It is blocked.
    #[default]
    Block,
}

/// The guardrail that stopped a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Its name.
    pub guardrail: &'static str,
}

/// A request's wish that cannot be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Switch {
    /// It asks for guardrails where there are none.
    #[error("guardrails requested but not available")]
    NotAvailable,
    /// It asks for none where they are required.
    #[error("guardrails cannot be disabled on this server")]
    Required,
}

/// All guardrails of a server, in the order in which they are asked.
#[derive(Clone, Default)]
pub struct Guardrails {
    text: Vec<Arc<dyn TextGuardrail>>,
    frames: Vec<Arc<dyn FrameGuardrail>>,
    policy: Policy,
    on_error: OnError,
}

impl Guardrails {
    /// These, under this policy. With [`Policy::Off`] there are none.
    pub fn new(
        text: Vec<Arc<dyn TextGuardrail>>,
        frames: Vec<Arc<dyn FrameGuardrail>>,
        policy: Policy,
        on_error: OnError,
    ) -> Guardrails {
        match policy {
            Policy::Off => Guardrails { policy, on_error, ..Guardrails::default() },
            Policy::On | Policy::Required => Guardrails { text, frames, policy, on_error },
        }
    }

    /// Is nothing checked?
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.frames.is_empty()
    }

    /// Is no prompt checked?
    pub fn checks_no_text(&self) -> bool {
        self.text.is_empty()
    }

    /// Is no frame checked?
    pub fn checks_no_frames(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a request is checked that asks for this. `None`: it says nothing.
    pub fn switch(&self, asked: Option<bool>) -> Result<bool, Switch> {
        match asked {
            Some(true) if self.is_empty() => Err(Switch::NotAvailable),
            Some(false) if self.policy == Policy::Required => Err(Switch::Required),
            Some(asked) => Ok(asked),
            None => Ok(!self.is_empty()),
        }
    }

    /// Ask every guardrail about every prompt, in order. The first block wins. May block for seconds.
    pub fn check<'a>(&self, prompts: impl IntoIterator<Item = &'a str>) -> Result<(), Blocked> {
        prompts.into_iter().try_for_each(|prompt| {
            self.text.iter().try_for_each(|guardrail| self.decide(guardrail.name(), "prompt", guardrail.check(prompt)))
        })
    }

    /// Ask every guardrail about these frames, in order. The first block wins. May block for seconds.
    pub fn process(&self, frames: &mut Frames) -> Result<(), Blocked> {
        self.frames.iter().try_for_each(|guardrail| {
            let before = (frames.size, frames.count, frames.rgb.len());
            let verdict = guardrail.process(frames);
            assert_eq!((frames.size, frames.count, frames.rgb.len()), before, "a guardrail changes pixels alone");
            self.decide(guardrail.name(), "frames", verdict)
        })
    }

    /// For `/server_info`: what is really there, or `"none"`.
    pub fn described(&self) -> Value {
        if self.is_empty() {
            return json!("none");
        }
        json!({
            "text": self.text.iter().map(|guardrail| guardrail.name()).collect::<Vec<_>>(),
            "frames": self.frames.iter().map(|guardrail| guardrail.name()).collect::<Vec<_>>(),
            "policy": if self.on_error == OnError::Block { "fail_closed" } else { "fail_open" },
            "required": self.policy == Policy::Required,
        })
    }

    /// The log has the reason, and nothing of the prompt.
    fn decide(&self, guardrail: &'static str, what: &str, verdict: Verdict) -> Result<(), Blocked> {
        let blocked = || Err(Blocked { guardrail });
        match verdict {
            Verdict::Allow => Ok(()),
            Verdict::Block { code } => {
                tracing::info!(guardrail, what, code, "blocked");
                blocked()
            }
            Verdict::Error { reason } => {
                tracing::warn!(guardrail, what, reason, on_error = ?self.on_error, "the guardrail could not tell");
                if self.on_error == OnError::Block { blocked() } else { Ok(()) }
            }
        }
    }
}

impl fmt::Debug for Guardrails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guardrails({})", self.described())
    }
}

#[cfg(test)]
mod tests {
    use pipeline::world::Size;

    use super::*;

    /// Blocks what it is named after.
    struct Named(&'static str);

    impl TextGuardrail for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn check(&self, prompt: &str) -> Verdict {
            match prompt {
                "broken" => Verdict::Error { reason: "down".into() },
                _ if prompt.contains(self.0) => Verdict::Block { code: "named".into() },
                _ => Verdict::Allow,
            }
        }
    }

    /// Blackens frames; blocks white ones.
    struct Black;

    impl FrameGuardrail for Black {
        fn name(&self) -> &'static str {
            "black"
        }

        fn process(&self, frames: &mut Frames) -> Verdict {
            if frames.rgb.iter().all(|&level| level == 255) {
                return Verdict::Block { code: "white".into() };
            }
            frames.rgb.fill(0);
            Verdict::Allow
        }
    }

    fn two(policy: Policy, on_error: OnError) -> Guardrails {
        let text: Vec<Arc<dyn TextGuardrail>> = vec![Arc::new(Named("fire")), Arc::new(Named("flood"))];
        Guardrails::new(text, vec![Arc::new(Black)], policy, on_error)
    }

    fn on(policy: Policy) -> Guardrails {
        two(policy, OnError::Block)
    }

    #[test]
    fn every_prompt_is_checked_and_the_first_block_wins() {
        let blocked = |prompts: &[&str]| on(Policy::On).check(prompts.iter().copied()).err().map(|b| b.guardrail);
        assert_eq!(blocked(&["a meadow", "a road"]), None);
        assert_eq!(blocked(&["a meadow", "a flood"]), Some("flood"));
        assert_eq!(blocked(&["flood and fire"]), Some("fire"));
        assert_eq!(blocked(&["broken"]), Some("fire"));
        assert_eq!(two(Policy::On, OnError::Allow).check(["broken"]), Ok(()));
    }

    #[test]
    fn frames_are_changed_or_blocked() {
        let size = Size { width: 2, height: 1 };
        let mut frames = Frames { size, count: 1, rgb: vec![9; 6] };
        assert_eq!(on(Policy::On).process(&mut frames), Ok(()));
        assert_eq!(frames.rgb, [0; 6]);
        let mut white = Frames { size, count: 1, rgb: vec![255; 6] };
        assert!(on(Policy::On).process(&mut white).is_err());
        assert!(on(Policy::Off).process(&mut white).is_ok());
    }

    #[test]
    fn a_request_may_switch_off_what_is_not_required_and_not_on_what_is_not_there() {
        let none = Guardrails::default();
        assert_eq!((none.switch(None), none.switch(Some(false))), (Ok(false), Ok(false)));
        assert_eq!(none.switch(Some(true)), Err(Switch::NotAvailable));
        assert_eq!(on(Policy::Off).switch(Some(true)), Err(Switch::NotAvailable));
        let two = on(Policy::On);
        assert_eq!(
            (two.switch(None), two.switch(Some(true)), two.switch(Some(false))),
            (Ok(true), Ok(true), Ok(false))
        );
        let required = on(Policy::Required);
        assert_eq!((required.switch(None), required.switch(Some(false))), (Ok(true), Err(Switch::Required)));
    }

    #[test]
    fn what_is_said_of_them_is_what_is_there() {
        assert_eq!(Guardrails::default().described(), json!("none"));
        assert_eq!(on(Policy::Off).described(), json!("none"));
        let described =
            json!({"text": ["fire", "flood"], "frames": ["black"], "policy": "fail_closed", "required": true});
        assert_eq!(on(Policy::Required).described(), described);
        assert_eq!(two(Policy::On, OnError::Allow).described()["policy"], "fail_open");
    }
}
