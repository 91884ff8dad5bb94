//! The chains on which the pools mine, one for each: what is wanted next, and what becomes of a block.

use crate::{
    random::{Random, mix},
    world::World,
};
use bus_schemas::{
    AlgorithmId, Blob, Hash32, PoolId, ShareBits, Target,
    job::{AlgorithmRef, WorkUnit},
    work::HeaderWork,
};
use coordinator_core::Template;
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Difficulty of a block in bits for so many workers; twice as many workers face one more.
const NETWORK_BITS: u8 = 11;
const FEW_WORKERS: usize = 8;
/// Submissions of a thousand of which nothing is heard.
const SILENT_PERMILLE: u64 = 150;

/// What the network says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    NotTip,
    Silence,
}

#[derive(Debug, Clone)]
struct Tip {
    height: u64,
    hash: Hash32,
}

/// See the module's documentation.
pub(crate) struct Chain {
    tips: BTreeMap<PoolId, Tip>,
    known: BTreeSet<Hash32>,
    random: Random,
    seed: u64,
    bits: u8,
}

fn hash_of(seed: u64, height: u64) -> Hash32 {
    let mut bytes = [0; 32];
    let words = (0..4).map(|n| mix(seed ^ mix(height.wrapping_mul(4) + n)).to_le_bytes());
    bytes.iter_mut().zip(words.flatten()).for_each(|(byte, word)| *byte = word);
    Hash32(bytes)
}

impl Chain {
    pub(crate) fn new(seed: u64, workers: usize) -> Self {
        let doublings = (workers / FEW_WORKERS).max(1).ilog2();
        let bits = NETWORK_BITS + u8::try_from(doublings).unwrap_or_default();
        let random = Random::new(seed, 7);
        Self { tips: BTreeMap::new(), known: BTreeSet::new(), random, seed, bits }
    }

    fn tip(&self, pool: &PoolId) -> Tip {
        let first = || Tip { height: 0, hash: hash_of(self.seed, 0) };
        self.tips.get(pool).cloned().unwrap_or_else(first)
    }

    pub(crate) fn template(&self, pool: &PoolId) -> Template {
        let tip = self.tip(pool);
        let bits = Target::from_share_bits(ShareBits::new(self.bits)).to_compact();
        let time = 1_000_000 + u32::try_from(tip.height).unwrap_or(u32::MAX / 2);
        let work = HeaderWork {
            version: 0x2000_0000,
            version_mask: 0x00ff_0000,
            prev_hash: tip.hash,
            coinbase_prefix: Blob(vec![1]),
            coinbase_suffix: Blob(vec![2]),
            merkle_branch: vec![],
            bits,
            time,
            min_time: time,
            max_time: time + 7_200,
        };
        Template {
            algorithm: AlgorithmRef { id: AlgorithmId::sha256d(), version: 1, digest: Blob::default() },
            work: WorkUnit::Header(work),
            network_target: Target::from_compact(bits).unwrap_or(Target::MAX),
            height: tip.height + 1,
            assembly: Blob(tip.hash.0.to_vec()),
        }
    }

    /// Somebody else finds a block.
    pub(crate) fn advance(&mut self, pool: &PoolId) {
        let Tip { height, .. } = self.tip(pool);
        let hash = hash_of(self.seed ^ self.random.draw(), height + 1);
        self.tips.insert(pool.clone(), Tip { height: height + 1, hash });
    }
}

impl World {
    /// Submits a block that was made on `prev_hash`.
    pub(crate) fn submit(self: &Rc<Self>, pool: &PoolId, hash: Hash32, prev_hash: &Blob) -> Answer {
        let mut chain = self.chain.borrow_mut();
        if chain.random.chance(SILENT_PERMILLE) {
            return Answer::Silence;
        }
        if chain.known.contains(&hash) {
            return Answer::Accepted;
        }
        let tip = chain.tip(pool);
        if tip.hash.0.as_slice() != prev_hash.0.as_slice() {
            return Answer::NotTip;
        }
        chain.known.insert(hash);
        chain.tips.insert(pool.clone(), Tip { height: tip.height + 1, hash });
        self.counts.borrow_mut().blocks += 1;
        Answer::Accepted
    }
}
