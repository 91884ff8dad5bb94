//! The HTTP probe: asks the application as a client would and takes the time.

use reqwest::{Client, redirect::Policy};
use std::time::{Duration, Instant};

/// Most of an answer that is read, bytes.
const MAX_ANSWER_LEN: usize = 256 * 1024;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It took so long; one that did not come in time, or that the application could not give, counts as the timeout.
    After(Duration),
    /// Nobody is there: the application does not run, which is no slowness.
    Nobody,
}

/// Why there is no probe.
#[derive(Debug, thiserror::Error)]
#[error("the probe of {url} cannot be set up: {reason}; use http://host:port/path")]
pub struct InvalidProbe {
    /// What was to be asked.
    pub url: String,
    /// What the client said.
    pub reason: String,
}

/// Asks one address.
#[derive(Debug, Clone)]
pub struct Probe {
    client: Client,
    url: reqwest::Url,
    timeout: Duration,
}

impl Probe {
    /// For `url`; an answer counts as slow after `timeout`.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, InvalidProbe> {
        let invalid = |reason: String| InvalidProbe { url: url.to_owned(), reason };
        let parsed = reqwest::Url::parse(url).map_err(|e| invalid(e.to_string()))?;
        if parsed.scheme() != "http" {
            return Err(invalid(format!("{} is not spoken here", parsed.scheme())));
        }
        let client = Client::builder()
            .timeout(timeout)
            .redirect(Policy::none())
            .user_agent(concat!("dcmf-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| invalid(e.to_string()))?;
        Ok(Self { client, url: parsed, timeout })
    }

    /// Asks once and reads the answer.
    pub async fn ask(&self) -> Answer {
        let began = Instant::now();
        match self.exchange().await {
            Ok(true) => Answer::After(began.elapsed()),
            Ok(false) => Answer::After(self.timeout),
            Err(error) if error.is_connect() && !error.is_timeout() => Answer::Nobody,
            Err(_) => Answer::After(self.timeout),
        }
    }

    /// Whether the application could answer.
    async fn exchange(&self) -> Result<bool, reqwest::Error> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        let mut read = 0;
        while read < MAX_ANSWER_LEN {
            match response.chunk().await? {
                Some(chunk) => read += chunk.len(),
                None => break,
            }
        }
        Ok(!response.status().is_server_error())
    }
}
