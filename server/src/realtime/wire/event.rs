//! `event`: a client's message while its video runs. A composite is all or nothing, so an event is a list of parts that
//! are all checked before the first is used. Pausing is no part: it does not steer.

use pipeline::world::{Held, Refusal};
use rmpv::ValueRef;

use super::control::Control;
use super::features::Features;
use super::fields::{Fields, check_prompt, keys, list, refuse, text};
use super::reset::RESET_BYTES_MAX;
use super::steering;
use crate::engine::turns::event::{Event, EventPart};

/// Most bytes of an event. Keys and a prompt need far less.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Latent frames of a script: 17 minutes at 16 frames per second.
pub const SCRIPT_ITEMS_MAX: usize = 4096;
/// Most key transitions in one event: more than a person can type.
pub const TRANSITIONS_MAX: usize = 512;
/// Parts of a composite: two kinds exist, and a repetition is allowed.
const PARTS_MAX: usize = 16;

/// The meaning of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Let this steer the next chunk.
    Steer(Event),
    /// Draw one chunk with this, and with what was said since the step before. Its list of parts may be empty.
    Step(Event),
    /// Change how the session goes on; with the event's own id.
    Control(Option<u32>, Control),
    /// Draw no more, until asked to resume.
    Pause,
    /// Go on after a pause.
    Resume,
    /// The client still waits for its place in the queue.
    Wait,
    /// What time is it? The client's own time, in milliseconds.
    Clock(f64),
}

/// An invalid message, and its event id if that was readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The event's own id.
    pub id: Option<u32>,
    /// What was wrong.
    pub refusal: Refusal,
}

impl From<Refusal> for Invalid {
    fn from(refusal: Refusal) -> Invalid {
        Invalid { id: None, refusal }
    }
}

impl Asked {
    /// `features`: those that this client has named decide which kinds of event it may send.
    pub fn decode(bytes: &[u8], features: Features) -> Result<Asked, Invalid> {
        let mut id = None;
        Asked::read(bytes, features, &mut id).map_err(|refusal| Invalid { id, refusal })
    }

    fn read(bytes: &[u8], features: Features, id: &mut Option<u32>) -> Result<Asked, Refusal> {
        let most = |bytes_max| match bytes.len() > bytes_max {
            true => Err(refuse("message", format!("{} bytes; at most {bytes_max}", bytes.len()))),
            false => Ok(()),
        };
        most(if features.reset { RESET_BYTES_MAX } else { EVENT_BYTES_MAX })?;
        let mut fields = Fields::decode(bytes)?;
        match fields.text("type")? {
            Some("event") => {}
            Some("init") => return Err(refuse("type", "this session has begun: a new one needs a new connection")),
            _ => return Err(refuse("type", "must be \"event\"")),
        }
        // A larger id could not be sent back: clients read no more than 32 bits, and no sign.
        *id = fields.integer_in("event_id", 0..=u32::MAX)?;
        let kind = fields.text("kind")?.ok_or_else(|| refuse("kind", KINDS))?;
        most(if kind == "reset" { RESET_BYTES_MAX } else { EVENT_BYTES_MAX })?;
        let payload = fields.take("payload").unwrap_or(ValueRef::Nil);
        let asks_to_recache = fields.flag("recache")?;
        if Control::is_one(kind, features) {
            return Ok(Asked::Control(*id, Control::read(kind, payload, features)?));
        }
        let mut parts = match kind {
            "pause" if features.pause => return Ok(Asked::Pause),
            "resume" if features.pause => return Ok(Asked::Resume),
            "wait" if features.queue => return Ok(Asked::Wait),
            "clock" if features.receipts => return clock(payload).map(Asked::Clock),
            "step" if features.step && payload == ValueRef::Nil => Vec::new(),
            "step" if features.step => composite(payload, &features)?,
            "composite_input" => composite(payload, &features)?,
            kind => vec![part("kind", kind, payload, &features)?],
        };
        if asks_to_recache {
            let prompts = parts.iter_mut().filter_map(|part| match part {
                EventPart::Prompt { recache, .. } => Some(recache),
                EventPart::Script(_) | EventPart::State(_) => None,
            });
            if prompts.map(|recache| *recache = true).count() == 0 {
                return Err(refuse("recache", "is for an event with a prompt"));
            }
        }
        let event = Event { id: *id, parts };
        Ok(if kind == "step" { Asked::Step(event) } else { Asked::Steer(event) })
    }
}

const KINDS: &str = "must be one of prompt, camera_actions, composite_input; with the feature of that name pause, step, \
                     transport, playback, key_frame, rewind, reset; resume with pause; wait with queue; clock with receipts; \
                     share, unshare, hand_over, take_back with spectators";
const INPUT_TYPES: &str = "must be prompt or camera_actions";

fn composite(payload: ValueRef<'_>, features: &Features) -> Result<Vec<EventPart>, Refusal> {
    let mut fields = Fields::from_value("payload", payload)?;
    let types = fields.take("input_types").ok_or_else(|| refuse("input_types", "is missing"))?;
    let types = list("input_types", types)?;
    if types.is_empty() || types.len() > PARTS_MAX {
        return Err(refuse("input_types", format!("{} names; 1 to {PARTS_MAX} are allowed", types.len())));
    }
    let names = types.into_iter().map(|name| text("input_types", &name));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let mut parts: Vec<EventPart> = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        // A part that is listed twice is applied twice.
        let part = match names[..i].iter().position(|earlier| earlier == name) {
            Some(earlier) => parts[earlier].clone(),
            None => part("input_types", name, fields.take(name).unwrap_or(ValueRef::Nil), features)?,
        };
        parts.push(part);
    }
    Ok(parts)
}

fn part(named_by: &'static str, name: &str, payload: ValueRef<'_>, features: &Features) -> Result<EventPart, Refusal> {
    match name {
        "prompt" => prompt(payload).map(EventPart::prompt),
        "camera_actions" => camera(payload, features),
        _ => Err(refuse(named_by, if named_by == "kind" { KINDS } else { INPUT_TYPES })),
    }
}

fn prompt(payload: ValueRef<'_>) -> Result<String, Refusal> {
    let ValueRef::String(text) = payload else { return Err(refuse("prompt", "must be text")) };
    let text = text.into_str().ok_or_else(|| refuse("prompt", "is not UTF-8"))?;
    if text.is_empty() {
        return Err(refuse("prompt", "must not be empty"));
    }
    check_prompt(text)?;
    Ok(text.to_owned())
}

fn camera(payload: ValueRef<'_>, features: &Features) -> Result<EventPart, Refusal> {
    if !matches!(payload, ValueRef::Map(_)) {
        return script("camera_actions", payload).map(EventPart::Script);
    }
    let mut fields = Fields::from_value("camera_actions", payload)?;
    if fields.text("mode")? != Some("state") {
        return Err(refuse("mode", "must be \"state\"; a script is a list of lists"));
    }
    let transitions = fields.take("transitions").ok_or_else(|| refuse("transitions", "is missing"))?;
    let transitions = list("transitions", transitions)?;
    if transitions.len() > TRANSITIONS_MAX {
        return Err(refuse("transitions", format!("{} transitions; at most {TRANSITIONS_MAX}", transitions.len())));
    }
    let transitions = transitions.into_iter().map(|transition| steering::transition(transition, features));
    transitions.collect::<Result<_, _>>().map(EventPart::State)
}

/// A list of lists of keys, one a latent frame.
pub(crate) fn script(field: &'static str, value: ValueRef<'_>) -> Result<Vec<Held>, Refusal> {
    let items = list(field, value)?;
    if items.len() > SCRIPT_ITEMS_MAX {
        return Err(refuse(field, format!("{} latent frames; at most {SCRIPT_ITEMS_MAX}", items.len())));
    }
    items.into_iter().map(|item| keys(field, item)).collect()
}

/// `{client_ms}`: any finite time.
fn clock(payload: ValueRef<'_>) -> Result<f64, Refusal> {
    let mut fields = Fields::from_value("payload", payload)?;
    fields.number("client_ms")?.ok_or_else(|| refuse("client_ms", "is missing"))
}

#[cfg(test)]
mod tests {
    use pipeline::world::PROMPT_BYTES_MAX;

    use super::*;
    use crate::realtime::wire::message;

    fn event(json: &str) -> Result<Event, Refusal> {
        match Asked::decode(&message(json), Features::default()) {
            Ok(Asked::Steer(event)) => Ok(event),
            Ok(other) => panic!("{other:?}"),
            Err(invalid) => Err(invalid.refusal),
        }
    }

    fn keys_of(items: &[&str]) -> Vec<Held> {
        items.iter().map(|item| Held::from_tokens(item.split("").filter(|c| !c.is_empty()))).collect()
    }

    #[test]
    fn each_kind_becomes_a_part() {
        let check = |json: &str, id: Option<u32>, parts: Vec<EventPart>| {
            assert_eq!(event(json), Ok(Event { id, parts }), "{json}");
        };
        check(
            r#"{"type":"event","kind":"prompt","payload":"night","event_id":"7"}"#,
            Some(7),
            vec![EventPart::prompt("night")],
        );
        check(
            r#"{"type":"event","kind":"camera_actions","payload":[["w"],["w","l"],[]],"event_id":65536.0}"#,
            Some(65536),
            vec![EventPart::Script(keys_of(&["w", "wl", ""]))],
        );
        check(r#"{"type":"event","kind":"camera_actions","payload":[]}"#, None, vec![EventPart::Script(vec![])]);
        check(
            r#"{"type":"event","kind":"camera_actions","payload":
                {"mode":"state","transitions":[{"actions":["w"],"client_ts_ms":1.5},{"actions":[]}]}}"#,
            None,
            vec![EventPart::State(keys_of(&["w", ""]).into_iter().map(Into::into).collect())],
        );
        check(
            r#"{"type":"event","kind":"composite_input","payload":
                {"input_types":["camera_actions","prompt"],"prompt":"day","camera_actions":[["d"]]}}"#,
            None,
            vec![EventPart::Script(keys_of(&["d"])), EventPart::prompt("day")],
        );
        check(
            r#"{"type":"event","kind":"camera_actions","payload":[["W","jump",3,"d"]],"surprise":1}"#,
            None,
            vec![EventPart::Script(keys_of(&["d"]))],
        );
    }

    #[test]
    fn a_prompt_may_ask_that_the_past_is_made_again() {
        let check = |json: &str, expected: Vec<EventPart>| {
            assert_eq!(event(json).map(|event| event.parts), Ok(expected), "{json}");
        };
        let night = |recache| EventPart::Prompt { text: "night".into(), recache };
        check(r#"{"type":"event","kind":"prompt","payload":"night","recache":true}"#, vec![night(true)]);
        check(r#"{"type":"event","kind":"prompt","payload":"night","recache":false}"#, vec![night(false)]);
        check(
            r#"{"type":"event","kind":"composite_input","recache":true,"payload":
                {"input_types":["camera_actions","prompt"],"prompt":"night","camera_actions":[["d"]]}}"#,
            vec![EventPart::Script(keys_of(&["d"])), night(true)],
        );
        let refused = |json: &str| assert_eq!(event(json).map_err(|refusal| refusal.field), Err("recache"), "{json}");
        refused(r#"{"type":"event","kind":"camera_actions","payload":[["d"]],"recache":true}"#);
        refused(r#"{"type":"event","kind":"prompt","payload":"night","recache":"soon"}"#);
    }

    #[test]
    fn a_kind_of_a_feature_is_for_who_named_it() {
        let pause = Features { pause: true, ..Features::default() };
        let queue = Features { queue: true, ..Features::default() };
        let step = Features { step: true, ..Features::default() };
        for (kind, asked, named, other) in [
            ("pause", Asked::Pause, pause, queue),
            ("resume", Asked::Resume, pause, queue),
            ("wait", Asked::Wait, queue, pause),
            ("step", Asked::Step(Event { id: Some(5), parts: Vec::new() }), step, pause),
        ] {
            let bytes = message(&format!(r#"{{"type":"event","kind":"{kind}","event_id":5}}"#));
            assert_eq!(Asked::decode(&bytes, named), Ok(asked));
            let invalid = Asked::decode(&bytes, other).expect_err("not asked for");
            assert_eq!((invalid.id, invalid.refusal.field), (Some(5), "kind"));
        }
    }

    #[test]
    fn a_bad_event_is_refused_by_the_name_of_its_field() {
        let check = |json: &str, field: &str| {
            assert_eq!(event(json).map_err(|refusal| refusal.field), Err(field), "{json}");
        };
        check("[]", "message");
        check(r#"{"kind":"prompt","payload":"p"}"#, "type");
        check(r#"{"type":"init","prompt":"p"}"#, "type");
        check(r#"{"type":"event","payload":"p"}"#, "kind");
        check(r#"{"type":"event","kind":"jump","payload":"p"}"#, "kind");
        check(r#"{"type":"event","kind":"prompt","payload":""}"#, "prompt");
        check(r#"{"type":"event","kind":"prompt"}"#, "prompt");
        check(r#"{"type":"event","kind":"prompt","payload":3}"#, "prompt");
        check(r#"{"type":"event","kind":"prompt","payload":"p","event_id":7.5}"#, "event_id");
        check(r#"{"type":"event","kind":"prompt","payload":"p","event_id":-1}"#, "event_id");
        check(r#"{"type":"event","kind":"prompt","payload":"p","event_id":4294967296}"#, "event_id");
        check(r#"{"type":"event","kind":"camera_actions","payload":[["w"],"w"]}"#, "camera_actions");
        check(r#"{"type":"event","kind":"camera_actions","payload":"w"}"#, "camera_actions");
        check(r#"{"type":"event","kind":"camera_actions","payload":{"transitions":[]}}"#, "mode");
        check(r#"{"type":"event","kind":"camera_actions","payload":{"mode":"state"}}"#, "transitions");
        check(r#"{"type":"event","kind":"camera_actions","payload":{"mode":"state","transitions":[{}]}}"#, "actions");
        check(
            r#"{"type":"event","kind":"camera_actions","payload":
                {"mode":"state","transitions":[{"actions":[],"client_ts_ms":"soon"}]}}"#,
            "client_ts_ms",
        );
        check(r#"{"type":"event","kind":"composite_input","payload":{"input_types":[]}}"#, "input_types");
        check(r#"{"type":"event","kind":"composite_input","payload":{"input_types":["jump"]}}"#, "input_types");
        check(
            r#"{"type":"event","kind":"composite_input","payload":{"input_types":["prompt","camera_actions"],
                "prompt":"fine","camera_actions":"not fine"}}"#,
            "camera_actions",
        );
    }

    #[test]
    fn what_is_too_long_is_refused_and_what_just_fits_is_not() {
        let prompt = |bytes: usize| {
            event(&format!(r#"{{"type":"event","kind":"prompt","payload":"{}"}}"#, "p".repeat(bytes))).is_ok()
        };
        assert!(prompt(PROMPT_BYTES_MAX) && !prompt(PROMPT_BYTES_MAX + 1));
        assert!(!prompt(EVENT_BYTES_MAX));
        let script = |items: usize| {
            let items = vec!["[]"; items].join(",");
            event(&format!(r#"{{"type":"event","kind":"camera_actions","payload":[{items}]}}"#)).is_ok()
        };
        assert!(script(SCRIPT_ITEMS_MAX) && !script(SCRIPT_ITEMS_MAX + 1) && !script(10_000));
    }
}
