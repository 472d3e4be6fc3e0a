//! API keys: their form, and the file that lists the valid ones.
//!
//! The file holds hashes, so reading it does not let anybody in. One SHA-256 is enough: slow hashes are for
//! passwords, which can be guessed, and these are 256 random bits.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::tokens::TOKEN_PREFIX;

/// The prefix of every key, so that scanners for leaked secrets recognise it.
pub const KEY_PREFIX: &str = "cwk_";

const HASH_PREFIX: &str = "sha256:";

/// Most keys in a file. Every attempt is compared with all of them.
pub const KEYS_MAX: usize = 10_000;

const NAME_BYTES_MAX: usize = 64;

/// Limits of one key together with all tokens made with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimits {
    /// Sessions at once.
    pub sessions: usize,
    /// Requests a minute; as many at once.
    pub requests_a_minute: u32,
}

impl Default for KeyLimits {
    fn default() -> KeyLimits {
        // Enough for a person with a few tabs who reloads often; too few for a program in a loop.
        KeyLimits { sessions: 4, requests_a_minute: 120 }
    }
}

/// A key's name, hash and limits, without the key.
#[derive(Clone)]
pub struct Key {
    /// Its name in the key file, for logs.
    pub name: Arc<str>,
    /// What it allows.
    pub limits: KeyLimits,
    hash: [u8; 32],
}

/// Leaves the hash out: more people read logs than the key file.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The valid keys; at least one.
#[derive(Debug, Clone)]
pub struct ApiKeys(Vec<Key>);

impl ApiKeys {
    /// A key file: `name sha256:HEX [sessions=N] [requests_a_minute=N]` on each line; `#` begins a comment.
    ///
    /// An error names a line by its number and never quotes it: a line that is wrong may be a key, as where
    /// `causeway key NAME >> FILE` has written both the key and its line.
    pub fn parse(text: &str, otherwise: KeyLimits) -> anyhow::Result<ApiKeys> {
        let mut keys: Vec<Key> = Vec::new();
        // Of the line on which each stands.
        let mut numbers: Vec<usize> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let number = index + 1;
            let key = Key::parse(line, otherwise).with_context(|| format!("line {number}"))?;
            let known = keys.iter().position(|known| known.name == key.name || known.hash == key.hash);
            if let Some(known) = known {
                bail!("line {number} has the same name or the same key as line {}", numbers[known]);
            }
            keys.push(key);
            numbers.push(number);
            ensure!(keys.len() <= KEYS_MAX, "more than {KEYS_MAX} keys");
        }
        ensure!(!keys.is_empty(), "no key in it: make one with `causeway key NAME`");
        Ok(ApiKeys(keys))
    }

    /// Takes the same time however much of a wrong key is right.
    pub fn find(&self, presented: &str) -> Option<&Key> {
        let hash = hash(presented);
        // Not `find`: stopping at a match would reveal its place by the time taken.
        self.0.iter().fold(None, |found, key| if bool::from(key.hash.ct_eq(&hash)) { Some(key) } else { found })
    }

    /// The key of this name.
    pub fn named(&self, name: &str) -> Option<&Key> {
        self.0.iter().find(|key| &*key.name == name)
    }

    /// Never none.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    /// Distinguishes the keys that one name had, one after the other. It is part of tokens: a piece of a hash of 256
    /// random bits reveals nothing about them.
    pub fn fingerprint(&self) -> u64 {
        u64::from_be_bytes(*self.hash.first_chunk().expect("a hash has 32 bytes"))
    }

    fn parse(line: &str, otherwise: KeyLimits) -> anyhow::Result<Key> {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a line that is not empty has a word");
        if is_secret(name) {
            bail!("a key stands where its name must: a line is the name and the hash, not the key itself");
        }
        check_name(name)?;
        let hash = words.next().and_then(|word| parse_hash(word.strip_prefix(HASH_PREFIX)?));
        let hash = hash.with_context(|| format!("after the name must come {HASH_PREFIX} and 64 hexadecimal digits"))?;
        let mut limits = otherwise;
        for word in words {
            let number = word.split_once('=').and_then(|(limit, number)| Some((limit, number.parse::<u32>().ok()?)));
            match number.filter(|&(_, number)| number > 0) {
                Some(("sessions", number)) => limits.sessions = number as usize,
                Some(("requests_a_minute", number)) => limits.requests_a_minute = number,
                _ => bail!(
                    "after the hash may come sessions=N and requests_a_minute=N, with N at least 1, and nothing else"
                ),
            }
        }
        Ok(Key { name: name.into(), limits, hash })
    }
}

/// A new key, and the line of the key file that lets it in.
pub fn new_key(name: &str) -> anyhow::Result<(String, String)> {
    check_name(name)?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("the system has no random numbers")?;
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let hexadecimal: String = hash(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((key, format!("{name} {HASH_PREFIX}{hexadecimal}")))
}

/// A name stands in tokens, in URLs and in logs. The error does not quote it: somebody may have typed a key.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    ensure!(
        plain && (1..=NAME_BYTES_MAX).contains(&name.len()) && !is_secret(name),
        "the name of a key must be 1 to {NAME_BYTES_MAX} letters, digits, - and _, and not a key itself"
    );
    Ok(())
}

/// Begins as keys and tokens do.
fn is_secret(text: &str) -> bool {
    [KEY_PREFIX, TOKEN_PREFIX].iter().any(|prefix| text.starts_with(prefix))
}

fn hash(presented: &str) -> [u8; 32] {
    Sha256::digest(presented.as_bytes()).into()
}

fn parse_hash(hexadecimal: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        hexadecimal.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<ApiKeys> {
        ApiKeys::parse(text, KeyLimits::default())
    }

    #[test]
    fn a_new_key_opens_with_its_line_and_no_other_key_does() {
        let (key, line) = new_key("alice").expect("a name");
        let (other, other_line) = new_key("bob").expect("a name");
        assert_ne!(key, other);
        let keys = parse(&format!("{line}\n{other_line}")).expect("two keys");
        assert_eq!(keys.find(&key).map(|key| &*key.name), Some("alice"));
        assert_eq!(keys.find(&other).map(|key| &*key.name), Some("bob"));
        let almost = format!("{}{}", &key[..key.len() - 1], if key.ends_with('A') { 'B' } else { 'A' });
        let hash = line.split_once(HASH_PREFIX).expect("a hash").1;
        for wrong in ["", "alice", &almost, hash, &line, &key.to_uppercase()] {
            assert!(keys.find(wrong).is_none(), "{wrong}");
        }
        assert_eq!(key.len(), KEY_PREFIX.len() + 43, "256 bits");
    }

    #[test]
    fn the_stored_hash_is_sha_256_of_the_whole_key() {
        // FIPS 180-2, appendix B.1.
        let keys = parse("a sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").expect("a key");
        assert!(keys.find("abc").is_some());
    }

    #[test]
    fn a_line_may_have_limits_of_its_own_and_a_comment() {
        let (_, line) = new_key("alice").expect("a name");
        let (_, other) = new_key("bob").expect("a name");
        let text = format!("# who\n\n{line} sessions=2 requests_a_minute=7 # a test\n  {other}  \n");
        let otherwise = KeyLimits { sessions: 9, requests_a_minute: 99 };
        let keys = ApiKeys::parse(&text, otherwise).expect("two keys");
        let limits = |name| keys.named(name).map(|key| key.limits);
        assert_eq!(limits("alice"), Some(KeyLimits { sessions: 2, requests_a_minute: 7 }));
        assert_eq!(limits("bob"), Some(otherwise));
        assert_eq!(limits("carol"), None);
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_with_its_line() {
        let (_, good) = new_key("alice").expect("a name");
        let hash = good.split_once(' ').expect("two words").1;
        let check = |line: &str, reason: &str| {
            let error = format!("{:#}", parse(&format!("# first\n{line}")).expect_err(line));
            assert!(error.contains("line 2") && error.contains(reason), "{line}: {error}");
        };
        check("alice", "64 hexadecimal digits");
        check("alice sha256:abc", "64 hexadecimal digits");
        check(&format!("alice {hash}0"), "64 hexadecimal digits");
        check(&format!("alice {}é", &hash[..hash.len() - 2]), "64 hexadecimal digits");
        check(&format!("alice {}", hash.replace("sha256:", "md5:")), "sha256:");
        check(&format!("al.ice {hash}"), "the name of a key must be");
        check(&format!("{} {hash}", "a".repeat(65)), "the name of a key must be");
        check(&format!("{good} sessions=0"), "at least 1");
        check(&format!("{good} sessions=-1"), "at least 1");
        check(&format!("{good} speed=9"), "nothing else");
        let twice = |other: &str| format!("{:#}", parse(&format!("{good}\n{other}")).expect_err(other));
        assert!(twice(&new_key("alice").expect("a name").1).contains("line 2 has the same name"));
        assert!(twice(&format!("\nbob {hash}")).contains("line 3 has the same name or the same key as line 1"));
        assert!(parse("# nobody\n").is_err(), "a file without keys lets nobody in, and is a mistake");
    }

    #[test]
    fn no_error_repeats_what_may_be_a_key() {
        let (key, line) = new_key("alice").expect("a name");
        let secret = key.strip_prefix(KEY_PREFIX).expect("a key has a prefix");
        let files = [
            format!("{key}\n{line}"),
            format!("alice:{key}"),
            format!("alice {key}"),
            format!("{key} {line}"),
            format!("{key} {}", line.split_once(' ').expect("two words").1),
            format!("{line} {key}"),
            format!("{line} sessions={key}"),
            format!("{line} key={key}"),
            format!("alice sha256:{key}"),
            format!("cwt_{secret} sha256:00"),
            format!("{line}\n{secret} {}", line.split_once(' ').expect("two words").1),
        ];
        for file in files {
            let error = format!("{:#}", parse(&file).expect_err("a malformed file"));
            assert!(!error.contains(secret) && error.contains("line "), "{error}");
        }
        for name in [&key, secret, &format!("{secret}.{secret}")] {
            if let Err(error) = new_key(name) {
                assert!(!error.to_string().contains(secret), "{error}");
            }
        }
        assert!(new_key(&key).is_err(), "a key is no name");
    }

    #[test]
    fn what_is_printed_of_a_key_has_no_hash_in_it() {
        let (_, line) = new_key("alice").expect("a name");
        let hash = parse_hash(line.split_once(HASH_PREFIX).expect("a hash").1).expect("a hash");
        let printed = format!("{:?}", parse(&line));
        assert!(printed.contains("alice") && !printed.contains(&format!("{}, {}, {}", hash[0], hash[1], hash[2])));
        assert!(!printed.contains("hash"));
    }
}
