//! JSON-RPC to a node, as much as tests ask of it. The product has its own client with its own limits.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// How long one call may take; generating hundreds of blocks is the slowest.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// A node's refusal to do a call, or no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The node refused.
    #[error("{method} refused by the node: {message} (code {code})")]
    Refused {
        /// The method called.
        method: String,
        /// The node's error code.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// The node did not answer.
    #[error("{method}: {source}")]
    Transport {
        /// The method called.
        method: String,
        /// What went wrong on the way.
        source: reqwest::Error,
    },
    /// The answer has another shape than asked for.
    #[error("{method} answered something else than expected: {source}")]
    Shape {
        /// The method called.
        method: String,
        /// What did not fit.
        source: serde_json::Error,
    },
}

impl RpcError {
    /// Whether the node wants to know first who asks.
    pub fn is_unauthorized(&self) -> bool {
        let unauthorized = Some(reqwest::StatusCode::UNAUTHORIZED);
        matches!(self, Self::Transport { source, .. } if source.status() == unauthorized)
    }
}

/// A node's JSON-RPC over HTTP, with a name and a password where it asks for them.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// `http://127.0.0.1:<port>`, with a path where the node has one.
    pub url: String,
    /// The user's name; empty where the node asks for none.
    pub user: String,
    /// The password.
    pub password: String,
    client: reqwest::Client,
}

impl Rpc {
    /// The node at `port` of loopback.
    pub fn local(port: u16, user: &str, password: &str) -> Self {
        Self::new(format!("http://127.0.0.1:{port}"), user.to_owned(), password.to_owned())
    }

    /// A node at `url` that asks for no name.
    pub fn open(url: String) -> Self {
        Self::new(url, String::new(), String::new())
    }

    fn new(url: String, user: String, password: String) -> Self {
        // A bitcoind that is told to stop waits up to 30 s for a connection that is kept open.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap_or_default();
        Self { url, user, password, client }
    }

    /// Calls `method` with positional parameters, `json!([…])`, or named ones, `json!({…})`.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, RpcError> {
        let transport = |source| RpcError::Transport { method: method.to_owned(), source };
        let body = json!({"jsonrpc": "1.0", "id": 1, "method": method, "params": params});
        let mut request = self.client.post(&self.url);
        if !self.user.is_empty() {
            request = request.basic_auth(&self.user, Some(&self.password));
        }
        let answer = request.timeout(CALL_DEADLINE).json(&body).send().await.map_err(transport)?;
        // Nodes send a refusal with status 500 and the reason in the body; a body that is no JSON says nothing.
        let mut answer: Value = match answer.error_for_status_ref() {
            Err(status) => answer.json().await.map_err(|_| transport(status))?,
            Ok(_) => answer.json().await.map_err(transport)?,
        };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(RpcError::Refused {
                method: method.to_owned(),
                code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            });
        }
        let result = answer.get_mut("result").map(Value::take).unwrap_or_default();
        serde_json::from_value(result).map_err(|source| RpcError::Shape { method: method.to_owned(), source })
    }

    /// The height of the tip.
    pub async fn height(&self) -> Result<u64, RpcError> {
        self.call("getblockcount", json!([])).await
    }

    /// The block at `height`, as `getblock` describes it: `verbosity` 0 is its bytes in hex, 1 lists transaction ids, 2
    /// holds the transactions.
    pub async fn block_at(&self, height: u64, verbosity: u8) -> Result<Value, RpcError> {
        let hash: String = self.call("getblockhash", json!([height])).await?;
        self.call("getblock", json!([hash, verbosity])).await
    }
}
