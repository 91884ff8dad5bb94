//! Blocks: found once, kept before they are submitted, submitted until a node answers.

use crate::effect::BlockDuty;
use bus_schemas::{Hash32, WorkerId, block::BlockState, event::EventData, job::Job, share::Finding};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Most blocks that are remembered; older ones are in the stream.
pub const MAX_BLOCKS: usize = 1_024;
/// Most unanswered blocks of former terms that are submitted again at a takeover.
pub const MAX_RESUBMITS: usize = 256;
/// Block candidates a second of one worker that are judged; a real one comes far less often.
pub const FOUND_RATE_LIMIT: u32 = 20;

/// Blocks on one previous block that are submitted, unless refused: the chain takes one, and where a block is easier
/// than a share there are thousands before the next job is there.
pub const MAX_SIBLINGS: usize = 4;

#[derive(Debug)]
struct Block {
    height: u64,
    /// The previous block's hash, unknown after a recovery.
    previous: Option<Hash32>,
    worker: WorkerId,
    state: BlockState,
    /// Messages of the block lane that wait until its bytes are kept.
    waiting: BTreeSet<u64>,
    stored: bool,
}

/// The blocks of one pool.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    known: BTreeMap<Hash32, Block>,
    order: VecDeque<Hash32>,
    pub(crate) accepted: u64,
}

/// What is to be done about a block candidate that meets the network target.
#[derive(Debug)]
pub(crate) enum Discovery {
    /// New: work on it; its message waits.
    New(Box<BlockDuty>, EventData),
    /// Under way; its message waits as well.
    UnderWay,
    /// Its bytes are kept already, or need not be: enough siblings are there.
    Kept,
}

impl Blocks {
    /// Blocks as their records tell; the second value is which must be submitted again.
    pub(crate) fn recover(records: Vec<(Hash32, u64, WorkerId, BlockState)>) -> (Self, Vec<Hash32>) {
        let mut this = Self::default();
        let mut again = Vec::new();
        for (hash, height, worker, state) in records {
            if state == BlockState::Found && again.len() < MAX_RESUBMITS {
                again.push(hash);
            }
            let waiting = BTreeSet::new();
            this.insert(hash, Block { height, previous: None, worker, state, waiting, stored: true });
        }
        (this, again)
    }

    fn insert(&mut self, hash: Hash32, block: Block) {
        self.known.insert(hash, block);
        self.order.push_back(hash);
        while self.order.len() > MAX_BLOCKS {
            if let Some(old) = self.order.pop_front() {
                self.known.remove(&old);
            }
        }
    }

    pub(crate) fn discovered(
        &mut self,
        hash: Hash32,
        job: &Arc<Job>,
        slot: u16,
        finding: Finding,
        worker: &WorkerId,
        token: Option<u64>,
    ) -> Discovery {
        if let Some(block) = self.known.get_mut(&hash) {
            if block.stored {
                return Discovery::Kept;
            }
            block.waiting.extend(token);
            return Discovery::UnderWay;
        }
        let previous = Some(job.work.prev_hash());
        let siblings = self
            .known
            .values()
            .filter(|block| block.previous == previous && !matches!(block.state, BlockState::Refused { .. }));
        if siblings.count() >= MAX_SIBLINGS {
            return Discovery::Kept;
        }
        let block = Block {
            height: job.height,
            previous,
            worker: worker.clone(),
            state: BlockState::Found,
            waiting: token.into_iter().collect(),
            stored: false,
        };
        self.insert(hash, block);
        let event = EventData::BlockFound {
            hash: hash.to_display_hex(),
            height: job.height,
            worker: worker.clone(),
            job: job.id.clone(),
        };
        let duty = BlockDuty::Make { hash, job: job.clone(), slot, finding, worker: worker.clone() };
        Discovery::New(Box::new(duty), event)
    }

    /// Its bytes are kept; returns the messages that may be acknowledged.
    pub(crate) fn stored(&mut self, hash: Hash32) -> BTreeSet<u64> {
        let Some(block) = self.known.get_mut(&hash) else { return BTreeSet::new() };
        block.stored = true;
        std::mem::take(&mut block.waiting)
    }

    /// The state of a block is known; `None` when it was known before.
    pub(crate) fn answered(&mut self, hash: Hash32, state: BlockState) -> Option<(BlockDuty, EventData)> {
        let block = self.known.get_mut(&hash)?;
        if block.state != BlockState::Found || state == BlockState::Found {
            return None;
        }
        block.state = state.clone();
        let (height, worker) = (block.height, block.worker.clone());
        let id = hash.to_display_hex();
        let refused =
            |reason| EventData::BlockRefused { hash: id.clone(), height, worker: worker.clone(), reason };
        let event = match &state {
            BlockState::Refused { reason } => refused(reason.clone()),
            BlockState::NotTip => refused("another block of this height was first".to_owned()),
            BlockState::Accepted | BlockState::Found => {
                self.accepted += 1;
                EventData::BlockAccepted { hash: id, height, worker: worker.clone() }
            }
        };
        Some((BlockDuty::StoreState { hash, height, worker, state }, event))
    }
}
