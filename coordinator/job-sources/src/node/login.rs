//! How a node is told who asks: not at all, by HTTP Basic (RFC 7617), or by HTTP Digest (RFC 7616), which is all that
//! monerod speaks.

use super::rpc::Dialect;
use http_auth::{PasswordClient, PasswordParams};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use std::fmt;
use tokio::sync::{Mutex, MutexGuard};

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

/// Requests of one call, at most: one that is told the challenge, one that answers it, and one more where the node wants
/// another by then.
pub(super) const DIGEST_ATTEMPTS: usize = 3;

/// The login of one node.
pub(super) enum Login {
    None,
    Basic(Credentials),
    Digest(Digest),
}

impl Login {
    pub(super) fn new(dialect: Dialect, credentials: Option<Credentials>) -> Self {
        match (dialect, credentials) {
            (_, None) => Self::None,
            (Dialect::Bitcoin, Some(credentials)) => Self::Basic(credentials),
            (Dialect::Monero, Some(credentials)) => {
                Self::Digest(Digest { credentials, challenge: Mutex::new(None) })
            }
        }
    }
}

/// What the node asked for last. A node may have a challenge for each connection and count the answers: so one call
/// has its turn after another, on one connection.
pub(super) struct Digest {
    credentials: Credentials,
    challenge: Mutex<Option<PasswordClient>>,
}

impl Digest {
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { credentials: &self.credentials, challenge: self.challenge.lock().await }
    }
}

/// The only call that a node has now.
pub(super) struct Turn<'a> {
    credentials: &'a Credentials,
    challenge: MutexGuard<'a, Option<PasswordClient>>,
}

impl Turn<'_> {
    /// The header `Authorization` of a POST to `path`, once there is a challenge.
    pub(super) fn authorization(&mut self, path: &str) -> Option<String> {
        let wanted = PasswordParams {
            username: &self.credentials.user,
            password: &self.credentials.password,
            uri: path,
            method: "POST",
            body: None,
        };
        self.challenge.as_mut()?.respond(&wanted).ok()
    }

    /// Reads the challenge of a refusal; false if there is none that can be answered.
    pub(super) fn is_challenged_by(&mut self, refusal: &HeaderMap) -> bool {
        let texts = refusal.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let read = texts.fold(PasswordClient::builder(), |builder, text| builder.challenges(text));
        *self.challenge = read.build().ok();
        self.challenge.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    /// Of monerod 0.18.
    const CHALLENGES: [&str; 2] = [
        r#"Digest qop="auth",algorithm=MD5,realm="monero-rpc",nonce="0COLonU84FmAC6BO0SIrfw==",stale=false"#,
        r#"Digest qop="auth",algorithm=MD5-sess,realm="monero-rpc",nonce="0COLonU84FmAC6BO0SIrfw==",stale=false"#,
    ];

    fn credentials() -> Credentials {
        Credentials { user: "farm".into(), password: "s3cret".into() }
    }

    fn refusal(challenges: &[&'static str]) -> HeaderMap {
        challenges.iter().map(|text| (WWW_AUTHENTICATE, HeaderValue::from_static(text))).collect()
    }

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(format!("{:?}", credentials()), r#"Credentials { user: "farm", password: "redacted" }"#);
    }

    #[tokio::test]
    async fn a_challenge_is_answered_and_the_answers_are_counted() {
        let Login::Digest(digest) = Login::new(Dialect::Monero, Some(credentials())) else { panic!() };
        let mut turn = digest.turn().await;
        assert_eq!(turn.authorization("/json_rpc"), None);
        assert!(turn.is_challenged_by(&refusal(&CHALLENGES)));
        for count in ["00000001", "00000002"] {
            let answer = turn.authorization("/json_rpc").unwrap();
            for part in [r#"username="farm""#, r#"uri="/json_rpc""#, "0COLonU84FmAC6BO0SIrfw==", count] {
                assert!(answer.contains(part), "{answer}");
            }
            assert!(!answer.contains("s3cret") && !answer.contains("sess"), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_asks_for_no_digest_is_no_challenge() {
        let Login::Digest(digest) = Login::new(Dialect::Monero, Some(credentials())) else { panic!() };
        let mut turn = digest.turn().await;
        for text in
            ["", "Basic realm=\"x\"", "Digest", "Digest nonce=", "\u{7f}", "Digest algorithm=X,nonce=\"\""]
        {
            let refusal = [(WWW_AUTHENTICATE, HeaderValue::from_bytes(text.as_bytes()))];
            let refusal = refusal.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))).collect();
            assert!(!turn.is_challenged_by(&refusal), "{text}");
            assert_eq!(turn.authorization("/"), None);
        }
    }
}
