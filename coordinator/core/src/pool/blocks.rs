//! Blocks: found once, kept before they are submitted, and submitted until they are decided. Silence and "not now" decide
//! nothing: a block is submitted again after a pause, however often, until it is accepted, the chain has another in its
//! place for good, or every node that can judge says no.

use crate::{effect::BlockDuty, input::BlockAnswer, time::MonoMs};
use bus_schemas::{Hash32, WorkerId, block::BlockState, event::EventData, job::Job, share::Finding};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Most blocks that are remembered; older ones are in the stream.
pub const MAX_BLOCKS: usize = 1_024;
/// Most undecided blocks of former terms that are submitted again at a takeover.
pub const MAX_RESUBMITS: usize = 256;
/// Most blocks that are submitted again at the same time, so that a new one need not wait for them.
pub const MAX_RESUBMITS_UNDER_WAY: usize = 16;
/// First pause before a block is submitted again, milliseconds; each is twice as long as the one before.
pub const FIRST_RESUBMIT_MS: u64 = 250;
/// Longest such pause, milliseconds.
pub const MAX_RESUBMIT_MS: u64 = 30_000;
/// How long a block is submitted again although some node has said a definite no, or every answer is one whose meaning is
/// not known, milliseconds. Then that stands.
pub const PATIENCE_MS: u64 = 3_600_000;
/// How long a block may be undecided until people are told, milliseconds.
pub const WAITING_NOTICE_MS: u64 = 120_000;
/// Block candidates a second of one worker that are judged; a real one comes far less often.
pub const FOUND_RATE_LIMIT: u32 = 20;
/// Blocks of one job that are submitted, unless refused: the chain takes one, and where a block is easier than a share
/// there are thousands before the next job is there. A later job on the same previous block is another matter: then the
/// chain has gone back to it.
pub const MAX_SIBLINGS: usize = 4;

#[derive(Debug)]
struct Block {
    height: u64,
    /// Number of its job, unknown after a recovery.
    job: Option<u64>,
    worker: WorkerId,
    state: BlockState,
    /// Messages of the block lane that wait until its bytes are kept.
    waiting: BTreeSet<u64>,
    stored: bool,
    /// Since when nodes have left it undecided.
    open_since: Option<MonoMs>,
    /// The last pause before it was submitted again, milliseconds.
    pause: u64,
    /// People know that it is undecided.
    told: bool,
}

/// The blocks of one pool.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    known: BTreeMap<Hash32, Block>,
    order: VecDeque<Hash32>,
    /// When undecided blocks are to be submitted again.
    due: BTreeSet<(MonoMs, Hash32)>,
    /// Those that are being submitted again.
    under_way: BTreeSet<Hash32>,
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

/// What an answer leads to.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) duty: Option<BlockDuty>,
    pub(crate) event: Option<EventData>,
    /// Messages that need not come again.
    pub(crate) acknowledged: BTreeSet<u64>,
}

impl Blocks {
    /// Blocks as their records tell. Those that are undecided are due at once.
    pub(crate) fn recover(records: Vec<(Hash32, u64, WorkerId, BlockState)>, now: MonoMs) -> Self {
        let mut this = Self::default();
        for (hash, height, worker, state) in records {
            if state == BlockState::Found && this.due.len() < MAX_RESUBMITS {
                this.due.insert((now, hash));
            }
            this.insert(hash, Block { stored: true, ..Block::new(height, None, worker, state) });
        }
        this
    }

    fn insert(&mut self, hash: Hash32, block: Block) {
        self.known.insert(hash, block);
        self.order.push_back(hash);
        while self.order.len() > MAX_BLOCKS {
            // One that is undecided is forgotten last; its bytes are in the stream for the next owner.
            let known = &self.known;
            let decided =
                |hash: &Hash32| known.get(hash).is_none_or(|block| block.state != BlockState::Found);
            let place = self.order.iter().position(decided).unwrap_or(0);
            if let Some(old) = self.order.remove(place) {
                self.known.remove(&old);
                self.under_way.remove(&old);
                self.due.retain(|(_, due)| *due != old);
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
            if block.stored || block.state != BlockState::Found {
                return Discovery::Kept;
            }
            block.waiting.extend(token);
            return Discovery::UnderWay;
        }
        let of_job = |block: &&Block| {
            block.job == Some(job.sequence) && !matches!(block.state, BlockState::Refused { .. })
        };
        if self.known.values().filter(of_job).count() >= MAX_SIBLINGS {
            return Discovery::Kept;
        }
        let mut block = Block::new(job.height, Some(job.sequence), worker.clone(), BlockState::Found);
        block.waiting.extend(token);
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

    /// Its bytes cannot be kept; it is submitted all the same.
    pub(crate) fn unkept(&self, hash: Hash32, reason: String) -> Option<EventData> {
        let block = self.known.get(&hash)?;
        let (height, worker) = (block.height, block.worker.clone());
        Some(EventData::BlockUnkept { hash: hash.to_display_hex(), height, worker, reason })
    }

    /// What the nodes say of a block. Nothing comes of it when it was decided before.
    pub(crate) fn answered(&mut self, hash: Hash32, answer: BlockAnswer, now: MonoMs) -> Answered {
        self.under_way.remove(&hash);
        let Some(block) = self.known.get_mut(&hash) else { return Answered::default() };
        if block.state != BlockState::Found {
            return Answered::default();
        }
        let state = match answer {
            BlockAnswer::Accepted => BlockState::Accepted,
            BlockAnswer::NotTip => BlockState::NotTip,
            BlockAnswer::Refused(reason) => BlockState::Refused { reason },
            BlockAnswer::Open { said, unknown, standing } => {
                let since = *block.open_since.get_or_insert(now);
                let tired = now.since(since) >= PATIENCE_MS;
                match (tired, standing, unknown) {
                    (true, Some(standing), _) => return self.answered(hash, *standing, now),
                    (true, None, true) => BlockState::Refused {
                        reason: format!(
                            "no answer within {} min had a meaning: {said}",
                            PATIENCE_MS / 60_000
                        ),
                    },
                    _ => {
                        return Answered {
                            event: self.wait(hash, said, unknown, now),
                            ..Answered::default()
                        };
                    }
                }
            }
        };
        self.decide(hash, state)
    }

    /// Submits it again later; tells people once.
    fn wait(&mut self, hash: Hash32, said: String, unknown: bool, now: MonoMs) -> Option<EventData> {
        let block = self.known.get_mut(&hash)?;
        block.pause = (block.pause * 2).clamp(FIRST_RESUBMIT_MS, MAX_RESUBMIT_MS);
        self.due.insert((now.plus(block.pause), hash));
        let long = block.open_since.is_some_and(|since| now.since(since) >= WAITING_NOTICE_MS);
        if block.told || !(unknown || long) {
            return None;
        }
        block.told = true;
        let (height, worker) = (block.height, block.worker.clone());
        Some(EventData::BlockWaiting { hash: hash.to_display_hex(), height, worker, reason: said })
    }

    fn decide(&mut self, hash: Hash32, state: BlockState) -> Answered {
        let Some(block) = self.known.get_mut(&hash) else { return Answered::default() };
        block.state = state.clone();
        let acknowledged = std::mem::take(&mut block.waiting);
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
        let duty = BlockDuty::StoreState { hash, height, worker, state };
        Answered { duty: Some(duty), event: Some(event), acknowledged }
    }

    /// Undecided blocks whose time has come.
    pub(crate) fn due(&mut self, now: MonoMs) -> Vec<Hash32> {
        let mut due = Vec::new();
        while self.under_way.len() < MAX_RESUBMITS_UNDER_WAY
            && let Some((_, hash)) = self.due.first().copied().filter(|(at, _)| *at <= now)
        {
            self.due.pop_first();
            self.under_way.insert(hash);
            due.push(hash);
        }
        due
    }

    /// When [`Blocks::due`] has something.
    pub(crate) fn deadline(&self) -> Option<MonoMs> {
        let room = self.under_way.len() < MAX_RESUBMITS_UNDER_WAY;
        self.due.first().filter(|_| room).map(|(at, _)| *at)
    }

    /// How many are undecided.
    pub(crate) fn open(&self) -> u64 {
        self.known.values().filter(|block| block.state == BlockState::Found).count() as u64
    }
}

impl Block {
    fn new(height: u64, job: Option<u64>, worker: WorkerId, state: BlockState) -> Self {
        Self {
            height,
            job,
            worker,
            state,
            waiting: BTreeSet::new(),
            stored: false,
            open_since: None,
            pause: 0,
            told: false,
        }
    }
}
