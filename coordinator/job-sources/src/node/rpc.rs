//! JSON-RPC over HTTP with limits: one keep-alive client a node, a deadline and a size for every answer.

use super::login::{Credentials, DIGEST_ATTEMPTS, Login, Turn};
use crate::source::SourceError;
use reqwest::{RequestBuilder, Response, StatusCode, header::AUTHORIZATION};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::time::Duration;

/// What a node may take of our time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For an answer that needs no waiting.
    pub answer: Duration,
    /// Longest silence of a long poll until the node is asked plainly beside it, which tells whether it lives.
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
    /// As the operator wrote it, less what may be secret: its name for people.
    pub(crate) url: String,
    endpoint: String,
    /// The endpoint less the host: what a digest is made over.
    path: String,
    version: &'static str,
    login: Login,
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
/// Longest part of a node's own words that is kept, in characters.
const MAX_WORDS: usize = 300;

/// A node's own words, as long as people and messages bear.
pub(crate) fn words(said: &str) -> String {
    said.chars().take(MAX_WORDS).collect()
}

/// A URL without name, password, query and fragment.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit('@').next().unwrap_or_default();
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => url.to_owned(),
    }
}

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
        let path = match reqwest::Url::parse(&endpoint) {
            Ok(endpoint) => endpoint.path().to_owned(),
            Err(error) => return Err(SourceError::Setup { reason: format!("the URL {url:?}: {error}") }),
        };
        let login = Login::new(dialect, credentials);
        let url = shown(&url);
        Ok(Self { url, endpoint, path, version, login, client, limits })
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
        let request = self.client.post(&self.endpoint).json(&body);
        let request = match &self.login {
            Login::None => request,
            Login::Basic(known) => request.basic_auth(&known.user, Some(&known.password)),
            Login::Digest(digest) => return self.challenged(method, request, digest.turn().await).await,
        };
        self.read(method, self.sent(request).await?).await
    }

    /// Sends a request until the node takes what it is told, and reads the answer.
    async fn challenged(
        &self,
        method: &'static str,
        request: RequestBuilder,
        mut turn: Turn<'_>,
    ) -> Result<Value, SourceError> {
        for _ in 0..DIGEST_ATTEMPTS {
            let Some(mut attempt) = request.try_clone() else { break };
            if let Some(authorization) = turn.authorization(&self.path) {
                attempt = attempt.header(AUTHORIZATION, authorization);
            }
            let response = self.sent(attempt).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return self.read(method, response).await;
            }
            if !turn.is_challenged_by(response.headers()) {
                break;
            }
            // A challenge may hold for its connection only, which is used again once this is read.
            self.body(method, response).await?;
        }
        Err(SourceError::Unauthorized { node: self.url.clone() })
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        request.send().await.map_err(|e| self.unreachable(e))
    }

    async fn read(&self, method: &'static str, response: Response) -> Result<Value, SourceError> {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(SourceError::Unauthorized { node: self.url.clone() });
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(SourceError::Busy { node: self.url.clone(), method, status: status.as_u16() });
        }
        let body = self.body(method, response).await?;
        // Nodes send their errors with status 500 and a JSON body.
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|e| {
            let quoted: String = String::from_utf8_lossy(&body).chars().take(QUOTED).collect();
            self.bad(method, format!("HTTP {status} and no JSON-RPC ({e}): {quoted:?}"))
        })?;
        match envelope.error {
            Some(RpcFault { code, message }) => {
                Err(SourceError::Rpc { node: self.url.clone(), method, code, message: words(&message) })
            }
            None if status.is_success() => Ok(envelope.result),
            None => Err(self.bad(method, format!("HTTP {status} without an error"))),
        }
    }

    async fn body(&self, method: &'static str, mut response: Response) -> Result<Vec<u8>, SourceError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(e))? {
            if body.len() + chunk.len() > self.limits.answer_len {
                return Err(self.bad(method, format!("more than {} bytes", self.limits.answer_len)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn bad(&self, method: &'static str, what: String) -> SourceError {
        SourceError::BadAnswer { node: self.url.clone(), method, what: words(&what) }
    }

    fn unreachable(&self, error: reqwest::Error) -> SourceError {
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        SourceError::Unreachable { node: self.url.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, wanted) in [
            ("http://127.0.0.1:8332", "http://127.0.0.1:8332"),
            ("http://me:word@10.0.0.1:8332/wallet/x?token=s#f", "http://10.0.0.1:8332/wallet/x"),
            ("https://node.example/?key=secret", "https://node.example/"),
        ] {
            assert_eq!(shown(url), wanted);
        }
    }
}
