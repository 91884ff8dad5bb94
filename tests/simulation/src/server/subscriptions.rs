//! Who hears what is published.

use super::declared::fits;
use crate::{executor::Owner, queue::Queue};
use std::{collections::BTreeMap, rc::Rc};

/// A message as a subscriber gets it.
#[derive(Clone)]
pub(crate) struct Heard {
    pub(crate) subject: Rc<str>,
    pub(crate) payload: Rc<[u8]>,
    /// Of what a bucket published once more: the revision, and whether it is a deletion.
    pub(crate) republished: Option<(u64, bool)>,
    /// Who waits for an answer.
    pub(crate) reply: Option<Reply>,
}

/// Where an answer goes.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) process: usize,
    pub(crate) queue: Queue<Rc<[u8]>>,
}

#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) owner: Owner,
    pub(crate) queue: Queue<Heard>,
}

/// Every subscription.
#[derive(Default)]
pub(crate) struct Subscriptions {
    exact: BTreeMap<String, Vec<Subscriber>>,
    wild: Vec<(String, Subscriber)>,
}

impl Subscriptions {
    pub(crate) fn add(&mut self, filter: &str, subscriber: Subscriber) {
        if filter.contains(['*', '>']) {
            self.wild.push((filter.to_owned(), subscriber));
        } else {
            self.exact.entry(filter.to_owned()).or_default().push(subscriber);
        }
    }

    pub(crate) fn end(&mut self, is_doomed: impl Fn(Owner) -> bool) {
        self.wild.retain(|(_, s)| !is_doomed(s.owner));
        self.exact.retain(|_, all| {
            all.retain(|s| !is_doomed(s.owner));
            !all.is_empty()
        });
    }

    /// Everybody who hears a subject.
    pub(crate) fn of(&self, subject: &str) -> Vec<Subscriber> {
        let exact = self.exact.get(subject).into_iter().flatten().cloned();
        let wild = self.wild.iter().filter(|(filter, _)| fits(filter, subject)).map(|(_, s)| s.clone());
        exact.chain(wild).collect()
    }
}
