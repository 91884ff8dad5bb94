//! How the nodes of a job source do, for people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a node of a job source is good for now.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStanding {
    /// Templates come from it.
    InUse,
    /// It answers and is as far as the others; templates would come from it if those before it failed.
    Standby,
    /// It does not answer, or wrongly; it is asked again after a pause.
    Failing,
    /// Another node has been further for longer than a grace.
    Lagging,
    /// It refused its own template as a proposal; it is left alone for a while.
    Refusing,
    /// It was not asked yet, or a newer version says something that this one does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl NodeStanding {
    /// Every standing.
    pub const ALL: [Self; 6] =
        [Self::InUse, Self::Standby, Self::Failing, Self::Lagging, Self::Refusing, Self::Unknown];

    /// Its name, as it stands in JSON, in labels and in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in-use",
            Self::Standby => "standby",
            Self::Failing => "failing",
            Self::Lagging => "lagging",
            Self::Refusing => "refusing",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for NodeStanding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One node of a job source, as the pool's owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Its URL without name, password and query, or `embedded`.
    pub node: String,
    /// What it is good for now.
    #[serde(default)]
    pub standing: NodeStanding,
    /// Height of its best block, `None` while it is not known.
    #[serde(default)]
    pub height: Option<u64>,
    /// Age of its last good answer in milliseconds, `None` when there was none.
    #[serde(default)]
    pub answered_ms_ago: Option<u64>,
    /// Its last failure since then, for people.
    #[serde(default)]
    pub last_error: Option<String>,
}
