//! What a load run does: who connects when, and which keys are pressed when. It reads no clock and knows no socket.

use std::time::Duration;

use causeway_client::Init;
use pipeline::world::Held;
use serde::{Deserialize, Serialize};

/// What was asked for. Each report holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The server's endpoint.
    pub url: String,
    /// Clients of the first round, or of the only one.
    pub clients: usize,
    /// The largest round; `None`: there is one round.
    pub ramp: Option<usize>,
    /// Connections that say nothing, beside the clients.
    pub idle: usize,
    /// How long each client stays.
    pub seconds: u32,
    /// The clients of a round come evenly over this time.
    pub spread_ms: u32,
    /// `raw`, `jpeg`, `webp` or `h264`.
    pub format: String,
    /// `WxH`; `None`: the server's own.
    pub size: Option<String>,
    /// Of JPEG and WebP; `None`: the server's own.
    pub quality: Option<u8>,
    /// Frames a second that a player shows.
    pub fps: u32,
    /// Whether the server is asked to send frames at that rate, and no faster.
    pub is_paced: bool,
    /// A player begins so long after the first frame: the deadline of each frame.
    pub buffer_ms: u32,
    /// A round holds if so many of 100 frames are on time.
    pub share: f64,
    /// Which keys are pressed: `none`, `random`, or a script as `w*12,wl*6,-*3`.
    pub actions: String,
    /// The time of a script's step, or the mean time between random actions.
    pub actions_ms: u32,
    /// What the world looks like.
    pub prompt: String,
    /// Of the videos and of random keys.
    pub seed: u64,
    /// What the operator wrote about this run.
    pub note: Option<String>,
}

/// What is sent and must not stand in a report.
#[derive(Clone, Default)]
pub struct Unreported {
    /// The credential, if the server asks for one.
    pub api_key: Option<String>,
    /// The file of the first picture.
    pub first_frame: Option<Vec<u8>>,
}

/// Which keys are pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actions {
    /// None.
    None,
    /// One after the other, at random times.
    Random,
    /// What is held in each step, again and again.
    Script(Vec<Held>),
}

/// Milliseconds that a player may have in hand: the places at which every round is measured, beside the plan's own.
const BUFFERS_MS: [u32; 7] = [10, 25, 50, 100, 250, 500, 1000];

impl Plan {
    /// Deadlines in milliseconds, ascending, the plan's own among them.
    pub fn buffers_ms(&self) -> Vec<u32> {
        let mut buffers = BUFFERS_MS.to_vec();
        buffers.push(self.buffer_ms);
        buffers.sort_unstable();
        buffers.dedup();
        buffers
    }

    /// When a client of a round comes: evenly, since real clients do not all come in one instant.
    pub fn begins(&self, number: usize, clients: usize) -> Duration {
        Duration::from_millis(u64::from(self.spread_ms)) * number as u32 / clients.max(1) as u32
    }

    /// The first message of a client. It names no feature, so that every server of this wire understands it.
    pub fn init(&self, number: usize, unreported: &Unreported) -> Init {
        let mut init = Init::new(&self.prompt).format(&self.format).seed(self.seed_of(number) >> 1);
        if let Some(size) = &self.size {
            init = init.set("size", size.as_str());
        }
        if let Some(quality) = self.quality {
            init = init.set("output_compression", quality);
        }
        if self.is_paced {
            init = init.paced(u64::from(self.fps));
        }
        if let Some(key) = &unreported.api_key {
            init = init.set("api_key", key.as_str());
        }
        match &unreported.first_frame {
            Some(file) => init.first_frame(file),
            None => init,
        }
    }

    /// What a client presses, from its first frame on.
    pub fn fingers(&self, number: usize, actions: &Actions) -> Fingers {
        let every = Duration::from_millis(u64::from(self.actions_ms));
        Fingers::new(actions.clone(), every, Chance(self.seed_of(number)))
    }

    /// Different for every client, and far from those of the next seed.
    fn seed_of(&self, number: usize) -> u64 {
        Chance(self.seed ^ (number as u64).wrapping_mul(0xd1b5_4a32_d192_ed03)).next()
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// 0 to 1, 1 excluded.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The keys of one client: what is held from when on.
#[derive(Debug, Clone)]
pub struct Fingers {
    actions: Actions,
    every: Duration,
    chance: Chance,
    held: Held,
    /// The step of a script that comes next.
    step: usize,
    next: Option<(Duration, Held)>,
}

impl Fingers {
    fn new(actions: Actions, every: Duration, chance: Chance) -> Fingers {
        let mut fingers = Fingers { actions, every, chance, held: Held::default(), step: 0, next: None };
        fingers.next = fingers.after(Duration::ZERO);
        fingers
    }

    /// When the next action is due, from the first frame on. `None`: nothing more is pressed.
    pub fn next_at(&self) -> Option<Duration> {
        self.next.map(|(at, _)| at)
    }

    /// The action that is due: all keys that are held from now on.
    pub fn act(&mut self) -> Option<String> {
        let (at, held) = self.next.take()?;
        self.held = held;
        self.next = self.after(at);
        Some(held.iter().collect())
    }

    fn after(&mut self, now: Duration) -> Option<(Duration, Held)> {
        match &self.actions {
            Actions::None => None,
            Actions::Random => {
                // Half to one and a half of the mean, so that actions have no relation to chunks.
                let at = now + self.every.mul_f64(0.5 + self.chance.share());
                let key = Held::ALL[self.chance.next() as usize % Held::ALL.len()];
                let held = if self.held.is_empty() { Held::default().with(key) } else { Held::default() };
                Some((at, held))
            }
            Actions::Script(items) => {
                // A step that changes nothing is no action; a script that never changes ends.
                let next =
                    (self.step..self.step + items.len() + 1).find(|step| items[step % items.len()] != self.held)?;
                self.step = next + 1;
                Some((self.every * next as u32, items[next % items.len()]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offline::action_script;

    fn plan(actions: &str) -> Plan {
        Plan {
            url: String::new(),
            clients: 4,
            ramp: None,
            idle: 0,
            seconds: 1,
            spread_ms: 1000,
            format: "jpeg".into(),
            size: None,
            quality: None,
            fps: 16,
            is_paced: true,
            buffer_ms: 40,
            share: 99.9,
            actions: actions.into(),
            actions_ms: 100,
            prompt: "a meadow".into(),
            seed: 7,
            note: None,
        }
    }

    fn acted(number: usize, actions: &Actions, count: usize) -> Vec<(u64, String)> {
        let mut fingers = plan("").fingers(number, actions);
        let mut acted = Vec::new();
        while acted.len() < count
            && let Some(at) = fingers.next_at()
        {
            acted.push((at.as_millis() as u64, fingers.act().expect("it is due")));
        }
        acted
    }

    #[test]
    fn a_script_is_played_again_and_again_and_only_its_changes_are_sent() {
        let script = |text| Actions::Script(action_script::parse(text).expect("a script"));
        let check = |text, expected: &[(u64, &str)]| {
            let expected: Vec<_> = expected.iter().map(|&(at, keys)| (at, keys.to_owned())).collect();
            assert_eq!(acted(0, &script(text), 5), expected, "{text}");
        };
        check("w*2,wl,-", &[(0, "w"), (200, "wl"), (300, ""), (400, "w"), (600, "wl")]);
        check("-,w", &[(100, "w"), (200, ""), (300, "w"), (400, ""), (500, "w")]);
        check("w*3", &[(0, "w")]);
        check("-*3", &[]);
        assert_eq!(acted(0, &Actions::None, 5), []);
    }

    #[test]
    fn random_keys_follow_from_the_seed_and_the_client_and_every_second_action_lets_go() {
        let random = acted(1, &Actions::Random, 50);
        assert_eq!(random, acted(1, &Actions::Random, 50));
        assert_ne!(random, acted(2, &Actions::Random, 50));
        assert!(random.iter().skip(1).step_by(2).all(|(_, keys)| keys.is_empty()), "{random:?}");
        assert!(random.iter().step_by(2).all(|(_, keys)| keys.len() == 1), "{random:?}");
        let between: Vec<_> = random.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(between.iter().all(|ms| (49..=151).contains(ms)), "{between:?}");
    }

    #[test]
    fn clients_come_evenly_and_the_plans_own_deadline_is_among_the_measured_ones() {
        let plan = plan("none");
        let begins: Vec<_> = (0..4).map(|number| plan.begins(number, 4).as_millis()).collect();
        assert_eq!(begins, [0, 250, 500, 750]);
        assert_eq!(plan.buffers_ms(), [10, 25, 40, 50, 100, 250, 500, 1000]);
    }

    #[test]
    fn a_first_message_names_no_feature_and_holds_what_was_asked_for() {
        let plan = Plan { size: Some("64x48".into()), quality: Some(80), ..plan("none") };
        let init = plan.init(0, &Unreported { api_key: Some("k".into()), first_frame: Some(vec![1]) });
        for field in ["size", "output_compression", "fps", "realtime_output_pacing", "api_key", "first_frame", "seed"] {
            assert!(init.has(field), "{field}");
        }
        assert!(!init.has("protocol_features"));
        let free = Plan { is_paced: false, ..plan }.init(0, &Unreported::default());
        for field in ["fps", "realtime_output_pacing", "api_key", "first_frame"] {
            assert!(!free.has(field), "{field}");
        }
    }
}
