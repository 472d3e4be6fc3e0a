//! What a client understands beyond the reference's messages.

use pipeline::world::Refusal;

use rmpv::ValueRef;
use serde::{Deserialize, Serialize};

use super::fields::{Fields, list, refuse, text};

/// Features beyond the reference's messages that the client lists in `protocol_features`. Unknown names are ignored:
/// they are meant for other servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Its position while it waits for a place; it may say that it still waits.
    pub queue: bool,
    /// How to come back after a cut.
    pub session: bool,
    /// What its session is, and what became of its events.
    pub ack: bool,
    /// Where frames stand in the video: more fields of a header.
    pub timing: bool,
    /// It may say two more kinds of event.
    pub pause: bool,
    /// It gets a chunk for each step that it asks for, and no other.
    pub step: bool,
    /// It may change how frames are sent.
    pub transport: bool,
    /// It may say what it has shown.
    pub playback: bool,
    /// It may ask for a key frame of its film.
    pub key_frame: bool,
    /// Motion at a part of what a key does.
    pub rates: Offer,
    /// Absolute poses of the camera.
    pub poses: Offer,
    /// Lenses other than the world's own.
    pub intrinsics: Offer,
    /// That its events have come, and which frames show them first.
    pub receipts: bool,
    /// It may go back in the video.
    pub rewind: Offer,
    /// It may begin another video in the same session.
    pub reset: bool,
    /// Its session may begin with a recording, and it may wish to be recorded.
    pub recording: bool,
    /// It may let others watch, and hand over what it steers.
    pub spectators: bool,
    /// Which words of its prompts the world does not know.
    pub unknown_words: bool,
    /// It hears where its session goes on that leaves this server.
    pub moved: bool,
    /// It goes itself to the node of a cluster that draws its session.
    pub redirect: bool,
}

/// Whether a client may use a feature that not every world has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offer {
    /// The client has not named it.
    #[default]
    NotNamed,
    /// The client has named it, and this world cannot follow it.
    NotHere,
    /// Yes.
    Open,
}

impl Offer {
    /// This, in a world that follows it or does not.
    pub fn limited(self, follows: bool) -> Offer {
        match self {
            Offer::Open if !follows => Offer::NotHere,
            offer => offer,
        }
    }

    /// `value` of a field for which a client needs this. `Err` says what is missing.
    pub(super) fn open<'a>(self, field: &'static str, value: ValueRef<'a>) -> Result<ValueRef<'a>, Refusal> {
        match self {
            Offer::Open => Ok(value),
            Offer::NotHere => {
                let reason =
                    "cannot be followed by this world: init_ack and /v1/models say what it follows, keys in any case";
                Err(refuse(field, reason))
            }
            Offer::NotNamed => {
                let reason = "needs its feature in protocol_features of the init: rates, poses or intrinsics";
                Err(refuse(field, reason))
            }
        }
    }
}

impl Features {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Features, Refusal> {
        let mut features = Features::default();
        let Some(names) = fields.take("protocol_features") else { return Ok(features) };
        for name in list("protocol_features", names)? {
            match text("protocol_features", &name)? {
                "queue" => features.queue = true,
                "session" => features.session = true,
                "ack" => features.ack = true,
                "timing" => features.timing = true,
                "pause" => features.pause = true,
                "step" => features.step = true,
                "transport" => features.transport = true,
                "playback" => features.playback = true,
                "key_frame" => features.key_frame = true,
                "rates" => features.rates = Offer::Open,
                "poses" => features.poses = Offer::Open,
                "intrinsics" => features.intrinsics = Offer::Open,
                "receipts" => features.receipts = true,
                "rewind" => features.rewind = Offer::Open,
                "reset" => features.reset = true,
                "recording" => features.recording = true,
                "spectators" => features.spectators = true,
                "unknown_words" => features.unknown_words = true,
                "moved" => features.moved = true,
                "redirect" => features.redirect = true,
                _ => {}
            }
        }
        Ok(features)
    }

    /// Whether it has named one of the features that steer.
    pub fn steers(&self) -> bool {
        self.times() != Offer::NotNamed
    }

    /// Whether transitions may say their time: with each of the features that steer.
    pub fn times(&self) -> Offer {
        let all = [self.rates, self.poses, self.intrinsics];
        [Offer::Open, Offer::NotHere].into_iter().find(|offer| all.contains(offer)).unwrap_or_default()
    }

    /// How the camera can be steered beside keys, as the wire calls it.
    pub fn steering(&self) -> Vec<&'static str> {
        let named = [(self.rates, "rates"), (self.poses, "poses"), (self.intrinsics, "intrinsics")];
        named.into_iter().filter(|(offer, _)| *offer == Offer::Open).map(|(_, name)| name).collect()
    }

    /// As the wire calls them.
    pub fn names(&self) -> Vec<&'static str> {
        let Features {
            queue,
            session,
            ack,
            timing,
            pause,
            step,
            transport,
            playback,
            key_frame,
            rates,
            poses,
            intrinsics,
            receipts,
            rewind,
            reset,
            recording,
            spectators,
            unknown_words,
            moved,
            redirect,
        } = *self;
        let named = [
            (queue, "queue"),
            (session, "session"),
            (ack, "ack"),
            (timing, "timing"),
            (pause, "pause"),
            (step, "step"),
            (transport, "transport"),
            (playback, "playback"),
            (key_frame, "key_frame"),
            (rates == Offer::Open, "rates"),
            (poses == Offer::Open, "poses"),
            (intrinsics == Offer::Open, "intrinsics"),
            (receipts, "receipts"),
            (rewind == Offer::Open, "rewind"),
            (reset, "reset"),
            (recording, "recording"),
            (spectators, "spectators"),
            (unknown_words, "unknown_words"),
            (moved, "moved"),
            (redirect, "redirect"),
        ];
        named.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
    }
}
