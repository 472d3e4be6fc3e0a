//! What steers the camera during one latent frame.
//!
//! A rollout is given [`Controls`]. Today a client steers with keys alone, and [`Held`] is all there is in it;
//! a further way of steering becomes a further field. Code that works with keys asks for [`Controls::held`] and does
//! not notice.

use std::fmt;

/// All that steers the camera during one latent frame. The default asks for no motion.
///
/// Neither `Copy` nor `Eq`, although keys alone would allow both: numbers with fractions and poses would not.
#[derive(Clone, PartialEq, Default)]
pub struct Controls {
    held: Held,
}

impl Controls {
    /// The keys held down.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Whether nothing here asks the camera to move. Keys that cancel each other count as motion, as in the reference.
    pub fn is_still(&self) -> bool {
        self.held.is_empty()
    }
}

impl From<Held> for Controls {
    fn from(held: Held) -> Controls {
        Controls { held }
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held.fmt(f)
    }
}

/// A set of keys that are held down: order and repetition mean nothing.
///
/// A key is named by its character, see [`Held::ALL`]. The default is the empty set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
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
    }

    #[test]
    fn controls_are_still_only_without_a_key() {
        assert!(Controls::default().is_still());
        assert!(!Controls::from(Held::default().with('w').with('s')).is_still());
        assert_eq!(Controls::from(Held::default().with('w')).held(), Held::from_tokens(["w"]));
    }
}
