//! Key presses in a real browser: when the key went down, when its answer came, and when the answer was on the screen.
//!
//! The page is watched by a script that is put before its own (`probe.js`); what the script wrote down is read here. The
//! answer on the screen is known twice: by the `event_id` that the page gives for the picture it shows, and, where the world
//! is the test card, by the held keys in the pixels of the canvas.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipeline::testcard::{Reading, read};
use pipeline::world::{Held, Picture, Size};
use serde::Deserialize;
use tokio::time::sleep;

use crate::browser::Browser;
use crate::chance::Chance;

const PROBE: &str = include_str!("key_press/probe.js");

/// The keys that are pressed in turn: the code of the browser, and the action.
const KEYS: [(&str, char); 4] = [("KeyW", 'w'), ("ArrowRight", 'l'), ("KeyS", 's'), ("ArrowLeft", 'j')];

/// One video frame of the worlds that are measured.
pub const FRAME_MS: f64 = 62.5;

/// Everything that the probe saw. Times are in milliseconds of the page.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Log {
    keys: Vec<Key>,
    sent: Vec<Sent>,
    came: Vec<Came>,
    shown: Vec<Shown>,
}

/// A key went down.
#[derive(Debug, Clone, Deserialize)]
struct Key {
    at: f64,
    code: String,
}

/// The page said which keys are held.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    at: f64,
    event_id: u64,
    held: String,
}

/// Pictures came, or the measurements of a chunk.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Came {
    at: f64,
    event_id: Option<u64>,
    draw_ms: Option<f64>,
}

/// The canvas changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    at: f64,
    event_id: Option<u64>,
    strip: String,
}

impl Shown {
    /// The test card's own words, if this is one.
    fn reading(&self) -> Option<Reading> {
        const SIZE: Size = Size { width: 32, height: 24 };
        let mut rgb = vec![0; SIZE.frame_bytes() as usize - 3 * self.strip.len()];
        rgb.extend(self.strip.bytes().flat_map(|bit| [if bit == b'1' { 255 } else { 0 }; 3]));
        read(&Picture { size: SIZE, rgb })
    }
}

impl Log {
    /// Write down what comes from here on. Call before the page is opened.
    pub async fn begin(browser: &mut Browser) -> Result<()> {
        browser.before_every_page(PROBE).await
    }

    /// Milliseconds that each chunk took to draw.
    pub fn draw_ms(&self) -> Vec<f64> {
        self.came.iter().filter_map(|came| came.draw_ms).collect()
    }

    /// The presses, in order.
    fn presses(&self) -> Result<Vec<Press>> {
        let press = |(i, key): (usize, &Key)| {
            let (_, action) = KEYS.iter().find(|(code, _)| *code == key.code).context("a key that nobody pressed")?;
            let until = self.keys.get(i + 1).map_or(f64::INFINITY, |next| next.at);
            let sent = self.sent.iter().find(|sent| sent.at >= key.at && sent.held == action.to_string());
            let sent = sent.with_context(|| format!("{} was not sent", key.code))?;
            let answers = |id: Option<u64>| id.is_some_and(|id| id >= sent.event_id);
            let came = self.came.iter().find(|came| answers(came.event_id)).context("no answer came")?;
            let shown = self.shown.iter().find(|shown| answers(shown.event_id)).context("no answer was shown")?;
            let held = Held::default().with(*action);
            let since = self.shown.iter().filter(|shown| shown.at >= key.at && shown.at < until);
            let obeys = since.clone().find(|shown| shown.reading().is_some_and(|said| said.held == Some(held)));
            let before = self.shown.iter().rfind(|shown| shown.at < key.at);
            let times: Vec<f64> = before.into_iter().chain(since).map(|shown| shown.at).collect();
            Ok(Press {
                sent_ms: sent.at - key.at,
                answer_ms: came.at - key.at,
                queued_ms: shown.at - came.at,
                picture_ms: shown.at - key.at,
                pixels_ms: obeys.map(|shown| shown.at - key.at),
                gaps_ms: times.windows(2).map(|pair| pair[1] - pair[0]).collect(),
            })
        };
        self.keys.iter().enumerate().map(press).collect()
    }
}

/// One key press, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Press {
    /// From the key to the message that left.
    pub sent_ms: f64,
    /// From the key to the first pictures that obey it.
    pub answer_ms: f64,
    /// From their coming to the first of them on the screen.
    pub queued_ms: f64,
    /// From the key to a picture that obeys it, by the picture's event id.
    pub picture_ms: f64,
    /// The same by the pixels of the test card; `None`: the world is another, or no picture could be read.
    pub pixels_ms: Option<f64>,
    /// Times between two pictures, from the one on the screen as the key went down until the next key.
    pub gaps_ms: Vec<f64>,
}

impl Press {
    /// Gaps that are seen as a stutter.
    pub fn stutters(&self) -> usize {
        self.gaps_ms.iter().filter(|&&gap| gap > 1.5 * FRAME_MS).count()
    }
}

/// Press keys at random times on a page that walks, each held for a while. Nothing is asked of the page meanwhile.
pub async fn press(browser: &mut Browser, presses: usize, chance: &mut Chance) -> Result<(Vec<Press>, Log)> {
    browser.evaluate("keyProbe.take()").await?;
    for (code, _) in KEYS.iter().cycle().take(presses) {
        browser.key_down(code).await?;
        sleep(Duration::from_millis(500 + chance.below(500) as u64)).await;
        browser.key_up(code).await?;
        sleep(Duration::from_millis(500 + chance.below(500) as u64)).await;
    }
    browser.until("causeway.eventIdShown === causeway.lastEventId").await?;
    let log: Log = serde_json::from_value(browser.evaluate("keyProbe.take()").await?).context("the probe's log")?;
    ensure!(log.keys.len() == presses, "{presses} keys were pressed, the page saw {}", log.keys.len());
    Ok((log.presses()?, log))
}

/// Of these values the smallest that is not less than so much of them, from 0 to 1.
pub fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = (part * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log in which W goes down at 1000, its answer comes at 1100 and is shown at 1120; D goes down at 2000.
    fn log() -> Log {
        let log = serde_json::json!({
            "keys": [{ "at": 1000.0, "code": "KeyW" }, { "at": 2000.0, "code": "ArrowRight" }],
            "sent": [
                { "at": 1001.5, "eventId": 4, "held": "w" }, { "at": 1800.0, "eventId": 5, "held": "" },
                { "at": 2002.0, "eventId": 6, "held": "l" },
            ],
            "came": [
                { "at": 1050.0, "chunk": 3, "eventId": 3 }, { "at": 1100.0, "chunk": 4, "eventId": 4 },
                { "at": 1101.0, "chunk": 4, "drawMs": 40.0 }, { "at": 2100.0, "chunk": 5, "eventId": 6 },
            ],
            "shown": [
                { "at": 990.0, "eventId": 3, "strip": "" }, { "at": 1052.0, "eventId": 3, "strip": "" },
                { "at": 1120.0, "eventId": 4, "strip": "" }, { "at": 1320.0, "eventId": 4, "strip": "" },
                { "at": 1990.0, "eventId": 5, "strip": "" }, { "at": 2130.0, "eventId": 6, "strip": "" },
            ],
        });
        serde_json::from_value(log).expect("a log")
    }

    #[test]
    fn a_press_is_measured_from_the_key_to_the_first_picture_that_obeys_it() -> Result<()> {
        let presses = log().presses()?;
        let [first, second] = presses.as_slice() else { panic!("{presses:?}") };
        assert_eq!((first.sent_ms, first.answer_ms, first.queued_ms, first.picture_ms), (1.5, 100.0, 20.0, 120.0));
        assert_eq!((first.pixels_ms, second.picture_ms), (None, 130.0));
        Ok(())
    }

    #[test]
    fn the_gaps_of_a_press_end_with_the_next_key() -> Result<()> {
        let presses = log().presses()?;
        assert_eq!(presses[0].gaps_ms, [62.0, 68.0, 200.0, 670.0]);
        assert_eq!(presses[0].stutters(), 2);
        assert_eq!(presses[1].gaps_ms, [140.0]);
        Ok(())
    }

    #[test]
    fn a_key_without_an_answer_is_an_error() {
        let mut log = log();
        log.came.retain(|came| came.event_id != Some(6));
        let error = log.presses().expect_err("the second has none").to_string();
        assert_eq!(error, "no answer came");
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = || [3.0, 1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.5, 0.9, 1.0].map(|part| quantile(values(), part)), [1.0, 2.0, 4.0, 4.0]);
        assert!(quantile([], 0.5).is_nan());
    }
}
