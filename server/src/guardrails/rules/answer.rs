//! What classifiers are asked, and what their answers mean.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

/// How an external classifier is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// `{"prompt"}` → `{"safe", "category"}`.
    Verdict,
    /// OpenAI's chat completions with this model, as Qwen3Guard answers: a line `Safety: Safe|Unsafe|Controversial`.
    Chat {
        /// The model's name.
        model: String,
    },
}

/// A classifier's opinion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    /// Nothing is wrong with the prompt.
    Safe,
    /// The prompt is not to be drawn, for this reason if one was given.
    Unsafe {
        /// In the classifier's words.
        category: Option<String>,
    },
}

/// The JSON that asks about frames, of which these are the files.
pub fn frames_question(files: &[Vec<u8>]) -> Value {
    json!({ "frames": files.iter().map(|file| STANDARD.encode(file)).collect::<Vec<_>>() })
}

/// The file of a picture that a classifier gives in place of a frame. `None`: the frame stays as it is.
pub type Replacement = Option<Vec<u8>>;

/// What an answer says of `count` frames, and what stands in place of each. `Err` if it says nothing that is understood.
pub fn frames_opinion(answer: &[u8], count: usize) -> Result<(Opinion, Vec<Replacement>), String> {
    #[derive(Deserialize)]
    struct Answer {
        safe: bool,
        category: Option<String>,
        frames: Option<Vec<Option<String>>>,
    }
    let Answer { safe, category, frames } = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if !safe {
        return Ok((Opinion::Unsafe { category: category.map(shortened) }, Vec::new()));
    }
    let Some(frames) = frames else { return Ok((Opinion::Safe, Vec::new())) };
    if frames.len() != count {
        return Err(format!("frames has {} items, and {count} were sent", frames.len()));
    }
    let file = |text: Option<String>| text.map(|text| STANDARD.decode(text)).transpose();
    let files = frames.into_iter().map(file).collect::<Result<_, _>>();
    Ok((Opinion::Safe, files.map_err(|error| format!("a frame that is no base64: {error}"))?))
}

/// Bytes of a category that are kept.
const CATEGORY_BYTES_MAX: usize = 64;

impl Dialect {
    /// The JSON to send.
    pub fn question(&self, prompt: &str) -> Value {
        match self {
            Dialect::Verdict => json!({ "prompt": prompt }),
            Dialect::Chat { model } => json!({
                "model": model,
                "messages": [{ "role": "user", "content": prompt }],
                "temperature": 0,
                "max_tokens": 128,
            }),
        }
    }

    /// What an answer says. `Err` if it says nothing that is understood.
    pub fn opinion(&self, answer: &[u8]) -> Result<Opinion, String> {
        match self {
            Dialect::Verdict => {
                #[derive(Deserialize)]
                struct Verdict {
                    safe: bool,
                    category: Option<String>,
                }
                let verdict: Verdict = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
                Ok(match verdict.safe {
                    true => Opinion::Safe,
                    false => Opinion::Unsafe { category: verdict.category.map(shortened) },
                })
            }
            Dialect::Chat { .. } => {
                let answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
                let text =
                    answer["choices"][0]["message"]["content"].as_str().ok_or("no text in choices[0].message")?;
                let line = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
                // As in the reference: what is controversial is drawn.
                match line("Safety:").ok_or("no line that begins with Safety:")? {
                    "Safe" | "Controversial" => Ok(Opinion::Safe),
                    "Unsafe" => {
                        let category = line("Categories:").filter(|category| !category.is_empty());
                        Ok(Opinion::Unsafe { category: category.map(|category| shortened(category.to_owned())) })
                    }
                    other => Err(format!("Safety is {:?}", shortened(other.to_owned()))),
                }
            }
        }
    }
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(CATEGORY_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_safe_or_says_why_not() {
        let opinion = |answer: &str| Dialect::Verdict.opinion(answer.as_bytes());
        assert_eq!(opinion(r#"{"safe": true}"#), Ok(Opinion::Safe));
        assert_eq!(opinion(r#"{"safe": false, "category": "violence", "score": 1}"#), Ok(unsafe_for("violence")));
        assert_eq!(opinion(r#"{"safe": false}"#), Ok(Opinion::Unsafe { category: None }));
        for nothing in ["", "{}", r#"{"safe": "no"}"#, "<html>"] {
            assert!(opinion(nothing).is_err(), "{nothing}");
        }
        assert_eq!(Dialect::Verdict.question("a \"road\""), json!({"prompt": "a \"road\""}));
    }

    #[test]
    fn a_chat_answers_with_a_line_and_controversial_is_safe() {
        let chat = Dialect::Chat { model: "guard".into() };
        let opinion = |text: &str| {
            let answer = json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
            chat.opinion(answer.to_string().as_bytes())
        };
        assert_eq!(opinion("Safety: Safe\nCategories: None"), Ok(Opinion::Safe));
        assert_eq!(opinion("Safety: Controversial"), Ok(Opinion::Safe));
        assert_eq!(opinion("thinking\n Safety: Unsafe \nCategories: Violent"), Ok(unsafe_for("Violent")));
        assert!(opinion("Unsafe").is_err() && opinion("Safety: maybe").is_err());
        assert!(chat.opinion(br#"{"error": "no such model"}"#).is_err());
        assert_eq!(chat.question("p")["messages"][0]["content"], "p");
    }

    #[test]
    fn a_category_is_kept_short() {
        let answer = json!({"safe": false, "category": "é".repeat(100)}).to_string();
        let Ok(Opinion::Unsafe { category: Some(category) }) = Dialect::Verdict.opinion(answer.as_bytes()) else {
            panic!("unsafe")
        };
        assert_eq!(category.len(), CATEGORY_BYTES_MAX);
    }

    fn unsafe_for(category: &str) -> Opinion {
        Opinion::Unsafe { category: Some(category.into()) }
    }

    #[test]
    fn an_answer_about_frames_may_bring_others_in_their_place() {
        let files = [b"one".to_vec(), b"two".to_vec()];
        assert_eq!(frames_question(&files), json!({ "frames": ["b25l", "dHdv"] }));
        let check = |answer: Value, expected: Result<(Opinion, Vec<Replacement>), ()>| {
            assert_eq!(frames_opinion(answer.to_string().as_bytes(), 2).map_err(drop), expected, "{answer}");
        };
        check(json!({ "safe": true }), Ok((Opinion::Safe, Vec::new())));
        check(
            json!({ "safe": true, "frames": [null, "dHdv"] }),
            Ok((Opinion::Safe, vec![None, Some(b"two".to_vec())])),
        );
        let blood = Opinion::Unsafe { category: Some("blood".into()) };
        check(json!({ "safe": false, "category": "blood", "frames": [] }), Ok((blood, Vec::new())));
        for wrong in
            [json!({}), json!({ "safe": true, "frames": ["b25l"] }), json!({ "safe": true, "frames": [null, "?"] })]
        {
            check(wrong, Err(()));
        }
    }
}
