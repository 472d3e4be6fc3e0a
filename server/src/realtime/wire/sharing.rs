//! Sharing a session: what viewers may be allowed, who steers, and what the player asks for.

use pipeline::world::Refusal;
use rmpv::ValueRef;

use super::fields::{Fields, refuse};

/// What a viewer may be allowed beyond watching. Its token says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It watches.
    View,
    /// It may hold the prompt.
    Director,
    /// It may hold the camera and the prompt.
    Control,
}

/// The names of the roles on the wire.
pub const ROLES: &[&str] = &["view", "director", "control"];

impl Role {
    /// As the wire calls it.
    pub fn name(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Director => "director",
            Role::Control => "control",
        }
    }

    /// The role of this name. `Err` says which there are.
    pub fn of(name: &str) -> Result<Role, Refusal> {
        let role = [Role::View, Role::Director, Role::Control].into_iter().find(|role| role.name() == name);
        role.ok_or_else(|| refuse("role", format!("must be one of {}", ROLES.join(", "))))
    }
}

/// Who steers: the viewer that holds each of the two, or [`Reins::PLAYER`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reins {
    /// Keys, rates, poses and lenses.
    pub camera: u32,
    /// The prompt.
    pub prompt: u32,
}

impl Reins {
    /// Stands where a viewer's number would: viewers are counted from 1.
    pub const PLAYER: u32 = 0;
}

/// What the player wants changed about its viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Make a token for viewers of this role.
    Share(Role),
    /// End this token, and send away who came with it.
    Unshare(u32),
    /// Let this viewer hold what its role allows.
    HandOver(u32),
    /// Let the player hold everything again.
    TakeBack,
}

impl Sharing {
    /// The kinds of event that ask for it.
    pub(super) const KINDS: [&str; 4] = ["share", "unshare", "hand_over", "take_back"];

    pub(super) fn read(kind: &str, payload: ValueRef<'_>) -> Result<Sharing, Refusal> {
        if kind == "take_back" {
            return Ok(Sharing::TakeBack);
        }
        let mut fields = Fields::from_value("payload", payload)?;
        let mut number = |name| {
            let number = fields.integer_in(name, 1..=u32::MAX)?;
            number.ok_or_else(|| refuse(name, "is missing"))
        };
        match kind {
            "unshare" => number("share_id").map(Sharing::Unshare),
            "hand_over" => number("viewer_id").map(Sharing::HandOver),
            _ => {
                let role = fields.text("role")?.ok_or_else(|| refuse("role", "is missing"))?;
                Role::of(role).map(Sharing::Share)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::Control;
    use super::super::event::Asked;
    use super::super::features::Features;
    use super::super::message;
    use super::*;

    #[test]
    fn what_a_player_asks_about_its_viewers_is_for_who_named_the_feature() {
        let spectators = Features { spectators: true, ..Features::default() };
        let read = |json: &str, features| match Asked::decode(&message(json), features) {
            Ok(Asked::Control(Some(4), Control::Sharing(sharing))) => Ok(sharing),
            Ok(other) => panic!("{other:?}"),
            Err(invalid) => Err(invalid.refusal.field),
        };
        let event = |kind: &str, payload: &str| {
            format!(r#"{{"type":"event","kind":"{kind}","event_id":4,"payload":{payload}}}"#)
        };
        for (kind, payload, expected) in [
            ("share", r#"{"role":"view"}"#, Ok(Sharing::Share(Role::View))),
            ("share", r#"{"role":"director"}"#, Ok(Sharing::Share(Role::Director))),
            ("share", r#"{"role":"king"}"#, Err("role")),
            ("share", "{}", Err("role")),
            ("share", "null", Err("payload")),
            ("unshare", r#"{"share_id":3}"#, Ok(Sharing::Unshare(3))),
            ("unshare", r#"{"share_id":0}"#, Err("share_id")),
            ("hand_over", r#"{"viewer_id":7}"#, Ok(Sharing::HandOver(7))),
            ("hand_over", "{}", Err("viewer_id")),
            ("take_back", "null", Ok(Sharing::TakeBack)),
        ] {
            assert_eq!(read(&event(kind, payload), spectators), expected, "{kind} {payload}");
            assert_eq!(read(&event(kind, payload), Features::default()), Err("kind"));
        }
    }
}
