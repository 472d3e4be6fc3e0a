//! Where a resumable session is, by the hash of its token.

use serde::{Deserialize, Serialize};

use super::ticket::Needs;

/// Where a resumable session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stand {
    /// On this node, and nowhere else.
    Node(String),
    /// On this node, with a journal: another can go on with it.
    Journaled {
        /// The node.
        node: String,
        /// What a node needs for it.
        needs: Needs,
        /// The key that it counts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
}

impl Stand {
    /// The node that has it, or had it last.
    pub fn node(&self) -> &str {
        match self {
            Stand::Node(node) | Stand::Journaled { node, .. } => node,
        }
    }

    /// Whether another node can go on with it.
    pub fn has_journal(&self) -> bool {
        matches!(self, Stand::Journaled { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::rules;

    #[test]
    fn a_session_without_a_journal_is_written_as_ever() {
        let needs = Needs { bytes: 1, pixels: 2, period_us: None };
        for stand in [Stand::Node("a".into()), Stand::Journaled { node: "a".into(), needs, key: Some("k".into()) }] {
            let record = rules::write(&stand).expect("it is short");
            assert_eq!(rules::read::<Stand>(&record), Ok(stand.clone()));
            assert_eq!(rules::read::<String>(&record).is_ok(), !stand.has_journal());
        }
    }
}
