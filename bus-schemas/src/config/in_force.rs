//! What is in force. An edit of the bucket `dcmf_config` is a wish; a coordinator judges it and publishes what follows
//! from it, in full and in one spelling, under the same key of the bucket `dcmf_in_force`, which is republished to
//! `dcmf.v1.in-force.<key>`. Workers obey that and nothing else.

use super::{InvalidConfig, NodeConfig, PoolConfig};
use crate::{
    codec::{Encoding, MAX_MESSAGE_LEN, Message},
    policy::FarmConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest configuration in force in bytes: with every default written out it is longer than the edit that it comes from.
pub const MAX_IN_FORCE_LEN: usize = MAX_MESSAGE_LEN / 2;

/// A configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InForce<C> {
    /// Revision of `dcmf_config` that it comes from. It names an edit and orders nothing: where that bucket is made anew,
    /// its revisions begin again.
    pub revision: u64,
    /// The whole configuration.
    pub config: C,
}

/// The edit that something in force comes from, whatever version wrote it; nothing where no coordinator wrote it.
pub fn edit_of(in_force: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Edit {
        revision: u64,
    }
    serde_json::from_slice::<Edit>(in_force).ok().map(|edit| edit.revision)
}

macro_rules! in_force {
    ($($config:ty => $name:literal),+ $(,)?) => {$(
        impl Message for InForce<$config> {
            const ENCODING: Encoding = Encoding::Json;
            const NAME: &'static str = $name;
            const MAX_LEN: usize = MAX_IN_FORCE_LEN;
        }
    )+};
}

in_force!(PoolConfig => "PoolInForce", NodeConfig => "NodeInForce", FarmConfig => "FarmInForce");

impl<C> InForce<C>
where
    Self: Message,
{
    /// The one spelling. An edit whose spelling in full is above [`MAX_IN_FORCE_LEN`] cannot be in force.
    pub fn canonical(&self) -> Result<Vec<u8>, InvalidConfig> {
        self.encode().map_err(|e| InvalidConfig::Malformed(format!("with every default written out: {e}")))
    }
}
