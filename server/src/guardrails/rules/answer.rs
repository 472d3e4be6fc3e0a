//! What a classifier is asked, and what its answer means.

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
}
