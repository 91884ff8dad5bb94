//! JSON-RPC over HTTP with limits: one keep-alive client a node, a deadline and a size for every answer.

use crate::source::SourceError;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// What a node may take of our time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For an answer that needs no waiting.
    pub answer: Duration,
    /// For an answer to a long poll; afterwards the node is asked plainly, which also tells whether it lives.
    pub longpoll: Duration,
    /// For an answer to a submitted block.
    pub submit: Duration,
    /// Largest answer in bytes.
    pub answer_len: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            answer: Duration::from_secs(10),
            longpoll: Duration::from_secs(90),
            submit: Duration::from_secs(30),
            answer_len: 32 * 1024 * 1024,
        }
    }
}

/// How a node knows us. Neither printed nor logged.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Credentials {
    /// Name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("password", &"redacted").finish()
    }
}

/// How a family of nodes is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// JSON-RPC 1.0 at the root, which all Bitcoin-family nodes understand.
    Bitcoin,
    /// JSON-RPC 2.0 at `/json_rpc`.
    Monero,
}

/// One node.
pub(crate) struct Rpc {
    /// As the operator wrote it.
    pub(crate) url: String,
    endpoint: String,
    version: &'static str,
    credentials: Option<Credentials>,
    client: reqwest::Client,
    limits: Limits,
}

/// The envelope of JSON-RPC 1.0 and 2.0; btcd answers 1.0 whatever it is asked.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<RpcFault>,
}

#[derive(Deserialize)]
struct RpcFault {
    code: i64,
    message: String,
}

/// Longest part of an answer that an error quotes, in characters.
const QUOTED: usize = 120;

impl Rpc {
    pub(crate) fn new(
        url: String,
        dialect: Dialect,
        credentials: Option<Credentials>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        // Neither proxies nor redirects: the password goes to this node and nowhere else.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .tcp_keepalive(Duration::from_secs(30))
            .build()
            .map_err(|e| SourceError::Setup { reason: format!("no HTTP client: {e}") })?;
        let (endpoint, version) = match dialect {
            Dialect::Bitcoin => (url.clone(), "1.0"),
            Dialect::Monero => (format!("{}/json_rpc", url.trim_end_matches('/')), "2.0"),
        };
        Ok(Self { url, endpoint, version, credentials, client, limits })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Calls `method` and reads its result, all within `limit`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        limit: Duration,
    ) -> Result<T, SourceError> {
        let value = match tokio::time::timeout(limit, self.exchange(method, params)).await {
            Ok(value) => value?,
            Err(_) => {
                let limit_ms = limit.as_millis().try_into().unwrap_or(u64::MAX);
                return Err(SourceError::Timeout { node: self.url.clone(), method, limit_ms });
            }
        };
        serde_json::from_value(value).map_err(|e| self.bad(method, format!("an unexpected result: {e}")))
    }

    async fn exchange(&self, method: &'static str, params: Value) -> Result<Value, SourceError> {
        let body = json!({ "jsonrpc": self.version, "id": "dcmf", "method": method, "params": params });
        let mut request = self.client.post(&self.endpoint).json(&body);
        if let Some(credentials) = &self.credentials {
            request = request.basic_auth(&credentials.user, Some(&credentials.password));
        }
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status == reqwest::StatusCode::UNAUTHORIZED || status == reqwest::StatusCode::FORBIDDEN {
            return Err(SourceError::Unauthorized { node: self.url.clone() });
        }
        let body = self.body(method, response).await?;
        // Nodes send their errors with status 500 and a JSON body.
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|e| {
            let quoted: String = String::from_utf8_lossy(&body).chars().take(QUOTED).collect();
            self.bad(method, format!("HTTP {status} and no JSON-RPC ({e}): {quoted:?}"))
        })?;
        match envelope.error {
            Some(RpcFault { code, message }) => {
                Err(SourceError::Rpc { node: self.url.clone(), method, code, message })
            }
            None if status.is_success() => Ok(envelope.result),
            None => Err(self.bad(method, format!("HTTP {status} without an error"))),
        }
    }

    async fn body(
        &self,
        method: &'static str,
        mut response: reqwest::Response,
    ) -> Result<Vec<u8>, SourceError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if body.len() + chunk.len() > self.limits.answer_len {
                return Err(self.bad(method, format!("more than {} bytes", self.limits.answer_len)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn bad(&self, method: &'static str, what: String) -> SourceError {
        SourceError::BadAnswer { node: self.url.clone(), method, what }
    }

    fn unreachable(&self, error: &reqwest::Error) -> SourceError {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        SourceError::Unreachable { node: self.url.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let credentials = Credentials { user: "farm".into(), password: "s3cret".into() };
        assert_eq!(format!("{credentials:?}"), r#"Credentials { user: "farm", password: "redacted" }"#);
    }
}
