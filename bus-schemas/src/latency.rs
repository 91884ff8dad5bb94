//! What a main application tells of its own latency, so that workers beside it can leave it room.

use crate::codec::message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A latency of the main application. JSON on `dcmf.v1.latency.<application>`, about once a second, from the
/// application itself or from whatever measures it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// The latency that matters to it, the 99th percentile of the last second for instance, microseconds.
    pub latency_us: u64,
}

message!(Latency, Json, 1_024);
