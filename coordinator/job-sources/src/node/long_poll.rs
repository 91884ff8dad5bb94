//! Long polls, and what is left of them at a node.
//!
//! Many nodes, Bitcoin Core among them, do not look whether the client of a long poll is still there: each keeps one of a
//! few threads until the block on top changes. So there is never more than one at a node, and one that was broken off
//! is taken to wait there until the node shows another block.

use super::{follow::Answer, task::Task};
use crate::source::SourceError;
use bus_schemas::Hash32;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Most nodes of which a broken long poll is remembered.
const MAX_ABANDONED: usize = 256;

/// Which nodes may still hold a long poll that nobody waits for, and on top of which block it waits. Shared by all
/// sources of a process, so that another source of the same node knows it.
#[derive(Debug, Clone, Default)]
pub struct Abandoned(Arc<Mutex<BTreeMap<String, Hash32>>>);

impl Abandoned {
    /// Whether a long poll may begin at this node, which has this block on top.
    pub(crate) fn allows(&self, node: &str, top: Hash32) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(node) == Some(&top) {
            return false;
        }
        held.remove(node);
        true
    }

    fn remember(&self, node: &str, top: Hash32) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() < MAX_ABANDONED || held.contains_key(node) {
            held.insert(node.to_owned(), top);
        }
    }
}

/// A long poll that waits. Dropped before it is over, it is remembered as abandoned.
pub(crate) struct LongPoll {
    node: usize,
    url: String,
    top: Hash32,
    task: Task<Result<Answer, SourceError>>,
    over: bool,
    abandoned: Abandoned,
}

impl LongPoll {
    pub(crate) fn new(
        node: usize,
        url: &str,
        top: Hash32,
        task: Task<Result<Answer, SourceError>>,
        abandoned: &Abandoned,
    ) -> Self {
        Self { node, url: url.to_owned(), top, task, over: false, abandoned: abandoned.clone() }
    }

    pub(crate) fn node(&self) -> usize {
        self.node
    }

    /// The block that was on top when it began.
    pub(crate) fn top(&self) -> Hash32 {
        self.top
    }

    pub(crate) fn task(&mut self) -> &mut Task<Result<Answer, SourceError>> {
        &mut self.task
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.task.is_finished()
    }

    /// It does not wait at the node any more.
    pub(crate) fn is_over(&mut self) {
        self.over = true;
    }
}

impl Drop for LongPoll {
    fn drop(&mut self) {
        if !self.over {
            self.abandoned.remember(&self.url, self.top);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_one_was_broken_off_the_next_waits_for_another_block_on_top() {
        let (abandoned, old, new) = (Abandoned::default(), Hash32([1; 32]), Hash32([2; 32]));
        assert!(abandoned.allows("a", old));
        abandoned.remember("a", old);
        assert!(!abandoned.allows("a", old));
        assert!(abandoned.allows("b", old));
        assert!(abandoned.allows("a", new));
        // The chain went back to that block: the old one ended when the new block came.
        assert!(abandoned.allows("a", old));
    }

    #[test]
    fn no_more_are_remembered_than_the_limit() {
        let abandoned = Abandoned::default();
        for node in 0..2 * MAX_ABANDONED {
            abandoned.remember(&node.to_string(), Hash32([1; 32]));
        }
        assert_eq!(abandoned.0.lock().unwrap().len(), MAX_ABANDONED);
        assert!(!abandoned.allows("0", Hash32([1; 32])));
    }
}
