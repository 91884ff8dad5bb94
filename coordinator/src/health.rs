//! Whether this coordinator is ready, and every reason why not.

use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// The reasons why a coordinator is not ready, each under a key of its own. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<watch::Sender<BTreeMap<String, String>>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Health {
    /// There is a reason, or it is worded anew.
    pub(crate) fn bad(&self, key: &str, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.send_if_modified(|reasons| reasons.insert(key.to_owned(), reason.clone()) != Some(reason));
    }

    /// The reason is gone.
    pub(crate) fn good(&self, key: &str) {
        self.0.send_if_modified(|reasons| reasons.remove(key).is_some());
    }

    /// The reasons whose keys begin so are these and no others.
    pub(crate) fn only(&self, prefix: &str, now: Vec<(String, String)>) {
        self.0.send_if_modified(|reasons| {
            let before = reasons.clone();
            reasons.retain(|key, _| !key.starts_with(prefix));
            reasons.extend(now.into_iter().map(|(key, reason)| (format!("{prefix}{key}"), reason)));
            *reasons != before
        });
    }

    /// Every reason, none when it is ready.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.0.borrow().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_and_go_by_their_keys() {
        let health = Health::default();
        assert!(health.reasons().is_empty());
        health.bad("a", "one");
        health.only("pool-", vec![("main".to_owned(), "two".to_owned())]);
        assert_eq!(health.reasons(), ["one", "two"]);
        health.only("pool-", Vec::new());
        health.good("a");
        assert!(health.reasons().is_empty());
    }
}
