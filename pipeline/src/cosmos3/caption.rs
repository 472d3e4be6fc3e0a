//! Structured captions: a prompt that is a JSON object is told the clip's size and length inside, and written anew as Python's
//! `json.dumps` would write it, since the model was trained on such text.
//!
//! No JSON library at hand keeps what this must keep: the order of keys, integers of any length, the halves of surrogate
//! pairs that stand alone, and floats as Python writes them. A prompt that Python would not read as an object is prose.

mod json;

use self::json::{Text, Value};
use crate::world::Size;

/// The caption that `prompt` holds, if it is a JSON object, for a clip of this size. `None`: it is prose.
///
/// `frames` of 1 is a picture, which has neither a length nor frames a second.
pub fn structured(prompt: &str, size: Size, frames: usize, fps: f64) -> Option<String> {
    let Value::Object(mut entries) = json::read(prompt)? else { return None };
    let whole = |number: u64| Value::Number(number.to_string());
    let sides = vec![(Text::of("H"), whole(size.height.into())), (Text::of("W"), whole(size.width.into()))];
    json::set(&mut entries, "resolution", Value::Object(sides));
    if frames == 1 {
        entries.retain(|(key, _)| *key != Text::of("duration") && *key != Text::of("fps"));
    } else {
        let seconds = (frames as f64 / fps) as u64;
        json::set(&mut entries, "duration", Value::Text(Text::of(&format!("{seconds}s"))));
        json::set(&mut entries, "fps", Value::Number(json::python_float(fps)));
    }
    Some(json::write(&Value::Object(entries)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(prompt: &str) -> Option<String> {
        structured(prompt, Size { width: 832, height: 480 }, 125, 30.0)
    }

    const ADDED: &str = r#""resolution": {"H": 480, "W": 832}, "duration": "4s", "fps": 30.0}"#;

    #[test]
    fn keys_keep_their_places_and_new_ones_come_last() {
        assert_eq!(video("{}").as_deref(), Some(&*format!("{{{ADDED}")));
        assert_eq!(
            video(r#" {"fps":3,"a" : [ ] ,"resolution":"old","b":{ }} "#).as_deref(),
            Some(r#"{"fps": 30.0, "a": [], "resolution": {"H": 480, "W": 832}, "b": {}, "duration": "4s"}"#)
        );
        let picture =
            structured(r#"{"fps": 12, "style": "ink", "duration": "4s"}"#, Size { width: 64, height: 32 }, 1, 24.0);
        assert_eq!(picture.as_deref(), Some(r#"{"style": "ink", "resolution": {"H": 32, "W": 64}}"#));
    }

    #[test]
    fn values_are_written_as_python_writes_them() {
        let check = |value: &str, expected: &str| {
            let found = video(&format!("{{\"v\": {value}}}"));
            assert_eq!(found, Some(format!("{{\"v\": {expected}, {ADDED}")), "{value}");
        };
        check("-0", "0");
        check("123456789012345678901234567890", "123456789012345678901234567890");
        check("-0.0", "-0.0");
        check("1e3", "1000.0");
        check("1E16", "1e+16");
        check("123456789012345680.0", "1.2345678901234568e+17");
        check("0.0001", "0.0001");
        check("0.00001234", "1.234e-05");
        check("5e-324", "5e-324");
        check("1e-400", "0.0");
        check("[true,false,null]", "[true, false, null]");
        check(r#""a\/\u0041\"\\\n\r\t\f\b\u0001\u007f""#, r#""a/A\"\\\n\r\t\f\b\u0001\u007f""#);
        check(r#""é海🚢""#, r#""\u00e9\u6d77\ud83d\udea2""#);
        check(r#""\ud83d\udea2 \ud83d \udea2""#, r#""\ud83d\udea2 \ud83d \udea2""#);
        check(r#"{"a":1,"b":2,"a":3}"#, r#"{"a": 3, "b": 2}"#);
    }

    #[test]
    fn what_python_does_not_read_as_an_object_is_prose() {
        for prose in [
            "",
            "a red hill",
            "[1, {}]",
            "\"{}\"",
            "12",
            "null",
            "{",
            "{}}",
            "{} x",
            "{\"a\" 1}",
            "{\"a\": 1,}",
            "{'a': 1}",
            "{a: 1}",
            "{\"a\": 01}",
            "{\"a\": .5}",
            "{\"a\": 1.}",
            "{\"a\": +1}",
            "{\"a\": 1e}",
            "{\"a\": -}",
            "{\"a\": NaN}",
            "{\"a\": Infinity}",
            "{\"a\": -Infinity}",
            "{\"a\": 1e400}",
            "{\"a\": nul}",
            "{\"a\": \"\u{1}\"}",
            "{\"a\": \"\n\"}",
            "{\"a\": \"\\x\"}",
            "{\"a\": \"\\u12g4\"}",
            "{\"a\": \"\\u+123\"}",
            "{\"a\": \"",
            "\u{feff}{}",
            "{\"a\": [1 2]}",
            "\u{a0}{}",
        ] {
            assert_eq!(video(prose), None, "{prose:?}");
        }
        let deep = |depth: usize| format!("{{\"a\": {}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(video(&deep(100)).is_some());
        assert_eq!(video(&deep(100_000)), None, "deeper than Python follows");
    }

    #[test]
    fn no_prompt_makes_it_panic_and_what_it_writes_it_reads_again_the_same() {
        // Pieces that mean something, put together at random: a bounded form of the fuzz target.
        const PIECES: [&str; 30] = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"fps\"",
            "\"duration\"",
            "\\",
            "\\u",
            "d83d",
            "\\ud83d",
            "\\udea2",
            "é",
            "🚢",
            "1",
            "-",
            "0",
            ".",
            "e",
            "+",
            "true",
            "null",
            "NaN",
            " ",
            "\n",
            "\u{0}",
            "1e308",
        ];
        let mut state = 1u64;
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let mut objects = 0;
        for _ in 0..20_000 {
            let inside: String = (0..next(8)).map(|_| PIECES[next(PIECES.len())]).collect();
            for prompt in [format!("{{{inside}}}"), format!("{{\"k\": {inside}}}"), inside] {
                if let Some(written) = video(&prompt) {
                    assert!(written.is_ascii(), "{prompt:?} became {written:?}");
                    assert_eq!(video(&written).as_ref(), Some(&written), "{prompt:?}");
                    objects += 1;
                }
            }
        }
        assert!(objects > 100, "{objects} objects are too few to prove anything");
    }
}
