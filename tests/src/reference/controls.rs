//! What steers the reference's sessions, by its rules: a script is played once, a state is held, and an event's id can vanish.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use rmpv::Value;

use super::{CHUNK, lax_integer};

/// What was received and not yet sampled.
#[derive(Default)]
pub(super) struct Controls {
    pub(super) script: VecDeque<(Vec<String>, Option<u64>)>,
    pending: Vec<(Vec<String>, Option<u64>)>,
    held: (Vec<String>, Option<u64>),
    pub(super) armed: bool,
    prompt: Option<Option<u64>>,
    pub(super) event_id: Option<u64>,
}

impl Controls {
    /// `Err`: the event is answered with "invalid event" and changes nothing.
    pub(super) fn event(&mut self, bytes: &[u8]) -> Result<()> {
        let message = rmpv::decode::read_value(&mut &bytes[..])?;
        ensure!(message["type"].as_str() == Some("event"), "another type");
        let id = lax_integer(&message["event_id"])?.map(u64::try_from).transpose()?;
        let kind = message["kind"].as_str().context("kind")?;
        let names: Vec<&str> = match kind {
            "composite_input" => {
                let types = message["payload"]["input_types"].as_array().context("input_types")?;
                types.iter().map(|name| name.as_str().context("a name")).collect::<Result<_>>()?
            }
            kind => vec![kind],
        };
        ensure!(!names.is_empty(), "no parts");
        let part = |name: &str| if kind == "composite_input" { &message["payload"][name] } else { &message["payload"] };
        // All parts are checked before the first is used.
        for name in &names {
            match *name {
                "prompt" => ensure!(part(name).as_str().is_some_and(|text| !text.is_empty()), "prompt"),
                "camera_actions" => drop(camera(part(name))?),
                other => bail!("unsupported event kind {other}"),
            }
        }
        for name in &names {
            if *name == "prompt" {
                self.prompt = Some(id);
                continue;
            }
            match camera(part(name))? {
                Camera::Script(items) => {
                    (self.pending, self.held) = (Vec::new(), (Vec::new(), None));
                    self.script = items.iter().map(|item| (tokens(item), id)).collect();
                }
                Camera::State(transitions) => {
                    self.script.clear();
                    self.pending.extend(transitions.into_iter().map(|actions| (actions, id)));
                }
            }
            self.armed = true;
        }
        Ok(())
    }

    /// The keys of each latent frame of the next chunk; `None` before the first camera input.
    pub(super) fn sample(&mut self, first: bool) -> Option<Vec<Vec<String>>> {
        if !first && let Some(id) = self.prompt.take() {
            self.event_id = id;
        }
        if !self.script.is_empty() {
            let items: Vec<_> = (0..CHUNK).map(|_| self.script.pop_front()).collect();
            self.event_id = items.iter().flatten().last().and_then(|(_, id)| *id);
            return Some(items.into_iter().map(|item| item.map(|(keys, _)| keys).unwrap_or_default()).collect());
        }
        if !self.armed {
            return None;
        }
        let mut items = Vec::new();
        if let Some(last) = self.pending.last().cloned() {
            let pulse = self.pending.iter().rev().find(|(keys, _)| !keys.is_empty());
            items.extend(pulse.filter(|(keys, _)| *keys != last.0).map(|(keys, _)| keys.clone()));
            self.held = last;
            self.pending.clear();
        }
        self.event_id = self.held.1;
        items.resize(CHUNK, self.held.0.clone());
        Some(items)
    }
}

enum Camera {
    Script(Vec<Value>),
    State(Vec<Vec<String>>),
}

fn camera(value: &Value) -> Result<Camera> {
    if !value.is_map() {
        return Ok(Camera::Script(script(value)?));
    }
    ensure!(value["mode"].as_str() == Some("state"), "mode");
    let transitions = value["transitions"].as_array().context("transitions")?;
    let held = transitions.iter().map(|transition| {
        let at = &transition["client_ts_ms"];
        ensure!(at.is_nil() || at.is_number(), "client_ts_ms");
        ensure!(transition["actions"].is_array(), "actions");
        Ok(tokens(&transition["actions"]))
    });
    Ok(Camera::State(held.collect::<Result<_>>()?))
}

pub(super) fn script(value: &Value) -> Result<Vec<Value>> {
    let items = value.as_array().context("a script is a list")?;
    ensure!(items.iter().all(Value::is_array), "a script is a list of lists");
    Ok(items.clone())
}

pub(super) fn tokens(item: &Value) -> Vec<String> {
    let mut keys: Vec<String> =
        item.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    keys.sort();
    keys.dedup();
    keys
}
