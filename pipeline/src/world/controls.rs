//! What a client holds during one latent frame.

use std::fmt;

/// The keys held during one latent frame: a set, so order and repetition mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Keys(u8);

impl Keys {
    /// Forward, left, back, right; pitch up, yaw left, pitch down, yaw right.
    pub const ALL: [char; 8] = ['w', 'a', 's', 'd', 'i', 'j', 'k', 'l'];

    /// The keys named by these tokens. What is not one of [`Keys::ALL`], exactly and in lower case, is ignored, as the
    /// reference does.
    pub fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Keys {
        let mut keys = Keys::default();
        for token in tokens {
            let mut chars = token.chars();
            if let (Some(key), None) = (chars.next(), chars.next()) {
                keys = keys.with(key);
            }
        }
        keys
    }

    /// This set and one more key.
    pub fn with(self, key: char) -> Keys {
        match Self::ALL.iter().position(|&k| k == key) {
            Some(bit) => Keys(self.0 | 1 << bit),
            None => self,
        }
    }

    pub fn has(self, key: char) -> bool {
        Self::ALL.iter().position(|&k| k == key).is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The keys held, in the order of [`Keys::ALL`].
    pub fn iter(self) -> impl Iterator<Item = char> {
        Self::ALL.into_iter().filter(move |&key| self.has(key))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.iter().collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_a_set_of_known_tokens() {
        assert_eq!(Keys::from_tokens(["w", "w", "l"]), Keys::default().with('l').with('w'));
        assert_eq!(Keys::from_tokens(["W", "jump", "", "ww", "x"]), Keys::default());
        assert_eq!(format!("{:?}", Keys::from_tokens(["d", "w"])), "[wd]");
    }
}
