//! How a node signs in to NATS: a file, because a command line can be read by everybody on the machine.
//!
//! Either a credentials file as `nsc` writes it (a JWT and a seed), or lines of a name and a value:
//!
//! ```text
//! nkey SUAB…              # or
//! user causeway           # and
//! password …
//! ca /etc/causeway/ca.pem          # TLS: who signs the servers
//! cert /etc/causeway/node.pem      # TLS: this node's own, and
//! key /etc/causeway/node-key.pem
//! ```

use std::path::PathBuf;

/// What a file says.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The whole file, if it is one of `nsc`.
    pub nsc: Option<String>,
    /// The seed of an nkey.
    pub nkey: Option<String>,
    /// A user and a password.
    pub user: Option<(String, String)>,
    /// Certificates that are believed.
    pub ca: Option<PathBuf>,
    /// This node's certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// What `text` says.
    ///
    /// # Errors
    /// Names the line that is wrong, never its value.
    pub fn parse(text: &str) -> Result<Credentials, String> {
        if text.contains("-----BEGIN NATS USER JWT-----") {
            return Ok(Credentials { nsc: Some(text.to_owned()), ..Credentials::default() });
        }
        let mut said = Credentials::default();
        let (mut user, mut password, mut cert, mut key) = (None, None, None, None);
        for (at, line) in text.lines().enumerate() {
            let line = line.split_once(" #").map_or(line, |(line, _)| line).trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = at + 1;
            let (name, value) = line.split_once(char::is_whitespace).ok_or(format!("line {at}: a name and a value"))?;
            let value = value.trim().to_owned();
            let place = match name {
                "nkey" => &mut said.nkey,
                "user" => &mut user,
                "password" => &mut password,
                "ca" => {
                    said.ca = Some(value.into());
                    continue;
                }
                "cert" => &mut cert,
                "key" => &mut key,
                _ => return Err(format!("line {at}: the name must be nkey, user, password, ca, cert or key")),
            };
            if place.replace(value).is_some() {
                return Err(format!("line {at}: {name} stands there twice"));
            }
        }
        said.user = both(user, password, "user and password")?;
        said.own = both(cert, key, "cert and key")?.map(|(cert, key)| (cert.into(), key.into()));
        if said == Credentials::default() {
            return Err("says nothing: give nkey, user and password, or ca".to_owned());
        }
        Ok(said)
    }
}

fn both(one: Option<String>, other: Option<String>, names: &str) -> Result<Option<(String, String)>, String> {
    match (one, other) {
        (None, None) => Ok(None),
        (Some(one), Some(other)) => Ok(Some((one, other))),
        _ => Err(format!("{names} belong together")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_how_to_sign_in() {
        let said = Credentials::parse("# ours\nuser causeway\npassword a b c\n\nca /ca.pem  # of the company\n");
        let said = said.expect("all of it is allowed");
        assert_eq!(said.user, Some(("causeway".into(), "a b c".into())));
        assert_eq!(said.ca, Some("/ca.pem".into()));
        assert!(!format!("{said:?}").contains("causeway"), "it is not printed");
        let nsc = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n";
        assert_eq!(Credentials::parse(nsc).expect("as nsc writes it").nsc.as_deref(), Some(nsc));
    }

    #[test]
    fn a_mistake_is_named_by_its_line_and_without_its_value() {
        for (text, expected) in [
            ("", "says nothing"),
            ("user a\n", "user and password"),
            ("cert a\n", "cert and key"),
            ("nkey SUSECRET\nnkey SUSECRET\n", "line 2"),
            ("password=SUSECRET\n", "line 1"),
            ("passwort SUSECRET\n", "line 1"),
        ] {
            let error = Credentials::parse(text).expect_err(text);
            assert!(error.contains(expected) && !error.contains("SUSECRET"), "{text:?}: {error}");
        }
    }
}
