//! What steers a clip on its way: keys for each latent frame, and prompts from a chunk on.
//!
//! Nobody types a key by accident here, so one that does not exist is an error; on the socket it must be ignored.

use pipeline::world::{Held, PROMPT_BYTES_MAX};
use serde_json::Value;

use super::fields::{integer, kind};
use super::invalid::{Invalid, quoted};
use super::refuse::is_truthy;
use crate::offline::action_script;
use crate::realtime::wire::event::SCRIPT_ITEMS_MAX;

/// Prompts on the way.
pub const PROMPTS_MAX: usize = 64;

/// A prompt, and the chunk that it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Counted from 0; at least 1.
    pub chunk: usize,
    /// At most [`PROMPT_BYTES_MAX`] bytes.
    pub prompt: String,
}

const KEYS: &str = "camera_actions";
const PROMPTS: &str = "prompts";

/// The keys held in each latent frame: as text in the language of the command line, as lists of keys, or as words.
/// `None`: no control is ever given.
pub fn camera_actions(value: Option<Value>) -> Result<Option<Vec<Held>>, Invalid> {
    let wrong = |why: &str| Invalid::value(KEYS, format!("{KEYS}: {why}"));
    let items = match value.filter(is_truthy) {
        None => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(Value::String(text)) => match text.trim_start().starts_with('[') {
            false => return action_script::parse(&text).map(Some).map_err(|why| wrong(&cut(&why))),
            // A list that was written as text: a script of the longest is far below this.
            true if text.len() > 64 * SCRIPT_ITEMS_MAX => return Err(wrong("the text is too long")),
            true => match serde_json::from_str(&text) {
                Ok(Value::Array(items)) => items,
                _ => return Err(wrong("is text that begins like a list, and is no JSON")),
            },
        },
        Some(other) => return Err(wrong(&format!("must be text or a list, not {}", kind(&other)))),
    };
    if items.len() > SCRIPT_ITEMS_MAX {
        return Err(wrong(&format!("a script is {SCRIPT_ITEMS_MAX} latent frames at most")));
    }
    let held = |(at, item): (usize, &Value)| keys(item).map_err(|why| wrong(&format!("item {at}: {why}")));
    items.iter().enumerate().map(held).collect::<Result<_, _>>().map(Some)
}

/// One latent frame: `["w", "l"]`, or `"wl"`; `[]` or `"-"` for none.
fn keys(item: &Value) -> Result<Held, String> {
    match item {
        Value::String(word) => match word.contains([',', '*']) {
            true => Err(format!("{:?} is more than one latent frame", quoted(word))),
            false => action_script::parse(word).map(|held| held[0]).map_err(|why| cut(&why)),
        },
        Value::Array(keys) => keys.iter().try_fold(Held::default(), |held, key| {
            let known = key.as_str().and_then(|key| {
                let mut letters = key.chars();
                let letter = letters.next()?;
                (letters.next().is_none() && Held::ALL.contains(&letter)).then_some(letter)
            });
            known
                .map(|key| held.with(key))
                .ok_or_else(|| format!("{} is not one of w a s d i j k l", quoted(&key.to_string())))
        }),
        other => Err(format!("must be a word or a list of keys, not {}", kind(other))),
    }
}

/// A message of the command line's language, which quotes what was given.
fn cut(why: &str) -> String {
    match why.len() > 512 {
        true => {
            "a part of the script is too long to be keys: w a s d i j k l, - is none, * and a number repeats".to_owned()
        }
        false => why.to_owned(),
    }
}

/// Prompts on the way: `{"chunk": 8, "prompt": "…"}` or `"8:…"`, chunks ascending from 1.
pub fn prompts(value: Option<Value>) -> Result<Vec<Switch>, Invalid> {
    let wrong = |why: String| Invalid::value(PROMPTS, format!("{PROMPTS}: {why}"));
    let items = match value.filter(is_truthy) {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(text @ Value::String(_)) => vec![text],
        Some(other) => return Err(wrong(format!("must be a list, not {}", kind(&other)))),
    };
    if items.len() > PROMPTS_MAX {
        return Err(wrong(format!("at most {PROMPTS_MAX}")));
    }
    let mut switches: Vec<Switch> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let switch = switch(item).map_err(|why| wrong(format!("item {at}: {why}")))?;
        if switches.last().is_some_and(|before| before.chunk >= switch.chunk) {
            return Err(wrong(format!("item {at}: its chunk must be after the one before")));
        }
        switches.push(switch);
    }
    Ok(switches)
}

fn switch(item: &Value) -> Result<Switch, String> {
    let (chunk, prompt) = match item {
        Value::String(text) => {
            let (chunk, prompt) = text.split_once(':').ok_or("must be written CHUNK:PROMPT")?;
            (integer(&Value::from(chunk)).map_err(|why| format!("its chunk {why}"))?, prompt.trim())
        }
        Value::Object(fields) => {
            let chunk = fields.get("chunk").ok_or("chunk is missing")?;
            let prompt = fields.get("prompt").and_then(Value::as_str).ok_or("prompt must be text")?;
            (integer(chunk).map_err(|why| format!("its chunk {why}"))?, prompt)
        }
        other => return Err(format!("must be an object or text, not {}", kind(other))),
    };
    let chunk = usize::try_from(chunk).ok().filter(|&chunk| chunk >= 1).ok_or("its chunk must be 1 or more")?;
    if prompt.len() > PROMPT_BYTES_MAX {
        return Err(format!("its prompt is longer than {PROMPT_BYTES_MAX} bytes"));
    }
    if prompt.trim().is_empty() {
        return Err("its prompt is empty".to_owned());
    }
    Ok(Switch { chunk, prompt: prompt.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Option<String>, String> {
        let word = |keys: &Held| if keys.is_empty() { "-".to_owned() } else { keys.iter().collect::<String>() };
        let items = camera_actions(Some(value)).map_err(|invalid| invalid.message)?;
        Ok(items.map(|items| items.iter().map(word).collect::<Vec<_>>().join(" ")))
    }

    #[test]
    fn a_script_is_text_lists_or_words_and_means_the_same() {
        for script in [
            json!("w*2,wl,-"),
            json!([["w"], ["w"], ["w", "l"], []]),
            json!(["w", "w", "lw", "-"]),
            json!("[[\"w\"],[\"w\"],[\"w\",\"l\"],[]]"),
        ] {
            assert_eq!(read(script.clone()), Ok(Some("w w wl -".to_owned())), "{script}");
        }
        for none in [json!(""), json!([]), json!(null), json!(false), json!("none")] {
            assert_eq!(read(none.clone()), Ok(None), "{none}");
        }
        assert_eq!(read(json!("-")), Ok(Some("-".to_owned())), "standing still is not the same as no control");
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        for bad in [json!("x"), json!("w*2,x"), json!(["w", "x"]), json!([["x"]]), json!([["w", "x"]])] {
            assert!(
                read(bad.clone()).is_err_and(|message| message.contains('x') && message.contains("w a s d")),
                "{bad}"
            );
        }
        for bad in [
            json!(3),
            json!({"w": 1}),
            json!([3]),
            json!([[3]]),
            json!([["wl"]]),
            json!(["w*3"]),
            json!("[w"),
            json!([""]),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
        assert!(read(json!("z".repeat(100_000))).is_err_and(|message| message.len() < 1000));
    }

    #[test]
    fn a_script_has_at_most_4096_items() {
        assert!(read(json!("w*4096")).is_ok() && read(json!("w*4097")).is_err());
        assert!(read(json!(vec!["w"; 4096])).is_ok() && read(json!(vec!["w"; 4097])).is_err());
    }

    #[test]
    fn prompts_on_the_way_ascend_from_chunk_1() {
        let expected =
            vec![Switch { chunk: 8, prompt: "a desert".to_owned() }, Switch { chunk: 9, prompt: "b: c".to_owned() }];
        for given in [
            json!([{"chunk": 8, "prompt": "a desert"}, {"chunk": "9", "prompt": "b: c"}]),
            json!(["8:a desert", "9: b: c"]),
        ] {
            assert_eq!(prompts(Some(given)), Ok(expected.clone()));
        }
        assert_eq!(prompts(Some(json!("8:a desert"))), Ok(expected[..1].to_vec()));
        assert_eq!(prompts(Some(json!([]))), Ok(Vec::new()));
        for bad in [
            json!(["0:a"]),
            json!(["2:a", "2:b"]),
            json!(["3:a", "2:b"]),
            json!(["a"]),
            json!(["1:"]),
            json!([1]),
            json!(1),
            json!([{"chunk": 1}]),
            json!([{"prompt": "a"}]),
            json!([{"chunk": 1.5, "prompt": "a"}]),
            json!([{"chunk": 1, "prompt": "é".repeat(4097)}]),
            json!((1..=65).map(|i| format!("{i}:a")).collect::<Vec<_>>()),
        ] {
            assert!(prompts(Some(bad.clone())).is_err(), "{bad}");
        }
    }
}
