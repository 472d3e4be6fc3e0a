//! What steers the camera during one latent frame.
//!
//! A rollout is given [`Controls`]: keys, rates, a pose to go to, and the lens. Code that works with keys alone asks
//! for [`Controls::held`] and does not notice the others. What of it a world can follow stands on its card
//! ([`Steering`]): a rollout is given nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Intrinsics, Pose};

/// All that steers the camera during one latent frame. The default asks for no motion.
#[derive(Clone, PartialEq, Default)]
pub struct Controls {
    held: Held,
    rates: Rates,
    way: Option<Way>,
    intrinsics: Option<Intrinsics>,
}

/// How fast the camera moves and turns, as parts of what a held key does. Each is from −1 to 1.
#[derive(Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "[f64; 4]", into = "[f64; 4]")]
pub struct Rates([f64; 4]);

impl TryFrom<[f64; 4]> for Rates {
    type Error = String;

    fn try_from(numbers: [f64; 4]) -> Result<Rates, String> {
        Rates::new(numbers)
    }
}

impl From<Rates> for [f64; 4] {
    fn from(rates: Rates) -> [f64; 4] {
        rates.0
    }
}

/// A pose to go to, and how much of the way to it from where the camera is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Way {
    pose: Pose,
    part: f64,
}

/// What a world's camera can follow besides keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Steering {
    /// Motion at any part of a key's.
    pub rates: bool,
    /// Absolute poses, if it can follow them at all.
    pub poses: Option<Scale>,
    /// A lens other than its own, changing during the video.
    pub intrinsics: bool,
}

/// How a world takes the lengths between poses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// In its own fixed units: a way twice as long is twice as long.
    Fixed,
    /// Each step is divided by the longest so far, so that only directions and relations of lengths are followed.
    LongestStep,
}

impl Scale {
    /// As the wire calls it.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Fixed => "fixed",
            Scale::LongestStep => "longest_step",
        }
    }
}

impl Steering {
    /// All that there is.
    pub const ALL: Steering = Steering { rates: true, poses: Some(Scale::Fixed), intrinsics: true };

    /// Whether a world of this can be driven by `controls`; `Err` names what it cannot follow.
    pub fn check(&self, controls: &Controls) -> Result<(), &'static str> {
        let asks = [
            (controls.rates != Rates::default() && !self.rates, "rates"),
            (controls.way.is_some() && self.poses.is_none(), "poses"),
            (controls.intrinsics.is_some() && !self.intrinsics, "intrinsics"),
        ];
        asks.into_iter().find_map(|(cannot, name)| cannot.then_some(name)).map_or(Ok(()), Err)
    }
}

impl Rates {
    /// The names of the four, in the order of [`Rates::numbers`]. Positive is forward, right, turning right, looking
    /// up.
    pub const NAMES: [&str; 4] = ["forward", "strafe", "yaw", "pitch"];

    /// `Err` says which number is wrong and what is allowed.
    pub fn new(numbers: [f64; 4]) -> Result<Rates, String> {
        for (name, rate) in Self::NAMES.into_iter().zip(numbers) {
            if !(-1.0..=1.0).contains(&rate) {
                return Err(format!("{name} is {rate}: −1 to 1 is allowed"));
            }
        }
        // A zero without a sign: equal rates have equal bytes.
        Ok(Rates(numbers.map(|rate| rate + 0.0)))
    }

    /// In the order of [`Rates::NAMES`].
    pub fn numbers(self) -> [f64; 4] {
        self.0
    }

    /// The rates `part` of the way from these to `to`.
    pub fn toward(self, to: Rates, part: f64) -> Rates {
        Rates([0, 1, 2, 3].map(|i| self.0[i] + part * (to.0[i] - self.0[i])))
    }

    /// These; on an axis where they are at rest, those.
    pub fn or(self, those: Rates) -> Rates {
        Rates([0, 1, 2, 3].map(|i| if self.0[i] == 0.0 { those.0[i] } else { self.0[i] }))
    }

    /// Of each axis the larger of both, whatever its sign; of two as large, these.
    pub fn stronger(self, those: Rates) -> Rates {
        Rates([0, 1, 2, 3].map(|i| if those.0[i].abs() > self.0[i].abs() { those.0[i] } else { self.0[i] }))
    }
}

impl Way {
    /// The whole way: the camera is at `pose` in this latent frame.
    pub fn to(pose: Pose) -> Way {
        Way { pose, part: 1.0 }
    }

    /// `part` of the way, more than 0 and at most 1. `Err` says what is allowed.
    pub fn part_of(pose: Pose, part: f64) -> Result<Way, String> {
        match part > 0.0 && part <= 1.0 {
            true => Ok(Way { pose, part }),
            false => Err(format!("is {part}: more than 0 and at most 1 is allowed")),
        }
    }

    /// Where the way ends.
    pub fn pose(&self) -> Pose {
        self.pose
    }

    /// How much of the way is gone in this latent frame.
    pub fn part(&self) -> f64 {
        self.part
    }

    /// Where a camera that stands at `here` is after this latent frame.
    pub fn from(&self, here: &Pose) -> Pose {
        here.toward(&self.pose, self.part)
    }
}

impl Controls {
    /// The keys held down.
    pub fn held(&self) -> Held {
        self.held
    }

    /// How fast the camera moves and turns besides what the keys ask for.
    pub fn rates(&self) -> Rates {
        self.rates
    }

    /// The pose that the camera goes to. Keys and rates do nothing in a latent frame that has one.
    pub fn way(&self) -> Option<Way> {
        self.way
    }

    /// The lens. `None`: the world's own.
    pub fn intrinsics(&self) -> Option<Intrinsics> {
        self.intrinsics
    }

    /// These, with other rates.
    pub fn with_rates(self, rates: Rates) -> Controls {
        Controls { rates, ..self }
    }

    /// These, with a way to go.
    pub fn with_way(self, way: Option<Way>) -> Controls {
        Controls { way, ..self }
    }

    /// These, with another lens.
    pub fn with_intrinsics(self, intrinsics: Option<Intrinsics>) -> Controls {
        Controls { intrinsics, ..self }
    }

    /// Forward, right, turn right and look up, each from −1 to 1: keys and rates together, and no more than a held key.
    pub fn motion(&self) -> [f64; 4] {
        let balance = |plus, minus| f64::from(i8::from(self.held.has(plus)) - i8::from(self.held.has(minus)));
        let keys = [balance('w', 's'), balance('d', 'a'), balance('l', 'j'), balance('i', 'k')];
        [0, 1, 2, 3].map(|i| (keys[i] + self.rates.0[i]).clamp(-1.0, 1.0))
    }

    /// Whether nothing here asks the camera to move. Keys that cancel each other count as motion, as in the reference.
    pub fn is_still(&self) -> bool {
        self.held.is_empty() && self.rates == Rates::default() && self.way.is_none()
    }
}

impl From<Held> for Controls {
    fn from(held: Held) -> Controls {
        Controls { held, ..Controls::default() }
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held.fmt(f)?;
        if self.rates != Rates::default() {
            self.rates.fmt(f)?;
        }
        if let Some(way) = &self.way {
            write!(f, " {way:?}")?;
        }
        self.intrinsics.map_or(Ok(()), |lens| write!(f, " {lens:?}"))
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A set of keys that are held down: order and repetition mean nothing.
///
/// A key is named by its character, see [`Held::ALL`]. The default is the empty set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Held(u8);

impl Held {
    /// Every key there is: forward, left, back, right; pitch up, yaw left, pitch down, yaw right.
    pub const ALL: [char; 8] = ['w', 'a', 's', 'd', 'i', 'j', 'k', 'l'];

    /// The keys that these tokens name. A token that is not exactly one of [`Held::ALL`], in lower case, is ignored, as
    /// in the reference.
    pub fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Held {
        let mut held = Held::default();
        for token in tokens {
            let mut chars = token.chars();
            if let (Some(key), None) = (chars.next(), chars.next()) {
                held = held.with(key);
            }
        }
        held
    }

    /// This set with `key` added. A character that is not in [`Held::ALL`] changes nothing.
    pub fn with(self, key: char) -> Held {
        match Self::ALL.iter().position(|&k| k == key) {
            Some(bit) => Held(self.0 | 1 << bit),
            None => self,
        }
    }

    /// The keys of both sets.
    pub fn with_all(self, other: Held) -> Held {
        Held(self.0 | other.0)
    }

    /// The keys of this set that are not in the other.
    pub fn without(self, other: Held) -> Held {
        Held(self.0 & !other.0)
    }

    /// Whether `key` is held.
    pub fn has(self, key: char) -> bool {
        Self::ALL.iter().position(|&k| k == key).is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    /// Whether no key is held.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The keys held, in the order of [`Held::ALL`].
    pub fn iter(self) -> impl Iterator<Item = char> {
        Self::ALL.into_iter().filter(move |&key| self.has(key))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.iter().collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_keys_are_a_set_of_known_tokens() {
        assert_eq!(Held::from_tokens(["w", "w", "l"]), Held::default().with('l').with('w'));
        assert_eq!(Held::from_tokens(["W", "jump", "", "ww", "x"]), Held::default());
        assert_eq!(format!("{:?}", Held::from_tokens(["d", "w"])), "[wd]");
        let [wa, ad] = [["w", "a"], ["a", "d"]].map(Held::from_tokens);
        assert_eq!((wa.with_all(ad), wa.without(ad)), (Held::from_tokens(["w", "a", "d"]), Held::from_tokens(["w"])));
    }

    #[test]
    fn controls_are_still_only_without_a_key() {
        assert!(Controls::default().is_still());
        assert!(!Controls::from(Held::default().with('w').with('s')).is_still());
        assert_eq!(Controls::from(Held::default().with('w')).held(), Held::from_tokens(["w"]));
        let rates = Rates::new([0.0, 0.0, 0.1, 0.0]).expect("rates");
        assert!(!Controls::default().with_rates(rates).is_still());
        assert!(!Controls::default().with_way(Some(Way::to(Pose::START))).is_still());
    }

    #[test]
    fn keys_and_rates_add_up_to_no_more_than_a_held_key() {
        let motion = |keys: &str, rates: [f64; 4]| {
            let held = keys.chars().fold(Held::default(), Held::with);
            Controls::from(held).with_rates(Rates::new(rates).expect("rates")).motion()
        };
        assert_eq!(motion("", [0.5, -0.25, 1.0, -1.0]), [0.5, -0.25, 1.0, -1.0]);
        assert_eq!(motion("wjd", [0.5, 0.5, 0.5, 0.0]), [1.0, 1.0, -0.5, 0.0]);
        assert_eq!(motion("wsik", [0.0; 4]), [0.0; 4]);
    }

    #[test]
    fn a_rate_or_a_part_out_of_range_is_refused_by_its_name() {
        let check = |numbers: [f64; 4], said: &str| {
            let reason = Rates::new(numbers).expect_err("out of range");
            assert!(reason.starts_with(said) && reason.ends_with("−1 to 1 is allowed"), "{reason}");
        };
        check([0.0, 1.5, 0.0, 0.0], "strafe is 1.5");
        check([0.0, 0.0, 0.0, f64::NAN], "pitch is NaN");
        for part in [0.0, -0.5, 1.01, f64::NAN] {
            assert!(Way::part_of(Pose::START, part).is_err(), "{part}");
        }
    }

    #[test]
    fn a_world_says_what_it_cannot_follow() {
        let lens = Intrinsics::new(500.0, 500.0, 1.0, 1.0).ok();
        let asks = [
            (Controls::from(Held::default().with('w')), Ok(())),
            (Controls::default().with_rates(Rates::new([1.0; 4]).expect("rates")), Err("rates")),
            (Controls::default().with_way(Some(Way::to(Pose::START))), Err("poses")),
            (Controls::default().with_intrinsics(lens), Err("intrinsics")),
        ];
        for (controls, expected) in asks {
            assert_eq!(Steering::default().check(&controls), expected);
            assert_eq!(Steering::ALL.check(&controls), Ok(()));
        }
    }
}
