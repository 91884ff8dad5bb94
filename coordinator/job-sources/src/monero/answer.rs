//! What a daemon answers to `get_block_template`, and the template that is made of it.

use super::assembly::{CryptoNoteAssembly, branch};
use crate::{
    assembly::{Assembly, MAX_TRANSACTION_BYTES, MAX_TRANSACTIONS, NO_EXTRANONCE},
    source::Template,
};
use bus_schemas::{
    Blob, Hash32,
    work::{CryptoNoteWork, EXTRANONCE_LEN, Extranonce, InvalidWork, keccak256},
};
use monero::{Block, consensus};
use serde::Deserialize;

/// Length of a miner transaction's extra field of unknown meaning that holds our extranonce: the tag and a length.
const NONCE_FIELD: [u8; 2] = [0x02, EXTRANONCE_LEN as u8];

/// The result of `get_block_template`.
#[derive(Debug, Clone, Deserialize)]
pub struct TemplateAnswer {
    /// The whole block in hex, nonce and reserved bytes zero.
    pub blocktemplate_blob: String,
    /// What is hashed as long as the reserved bytes are zero, in hex.
    pub blockhashing_blob: String,
    /// Lower 64 bits of the difficulty.
    pub difficulty: u64,
    /// Upper 64 bits of the difficulty.
    #[serde(default)]
    pub difficulty_top64: u64,
    /// What the miner transaction pays, in piconero.
    pub expected_reward: u64,
    /// Height of the block.
    pub height: u64,
    /// Id of the previous block in hex.
    pub prev_hash: String,
    /// Where in the block the reserved bytes begin.
    pub reserved_offset: usize,
    /// Seed of RandomX in hex.
    pub seed_hash: String,
    /// Next seed in hex, empty while it is not known.
    #[serde(default)]
    pub next_seed_hash: String,
}

/// Why a daemon's template is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A field is not what it should be.
    #[error("its {field} is {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The block is none.
    #[error("its blocktemplate_blob is no block: {0}")]
    Block(String),
    /// The reserved bytes do not lie where the daemon says.
    #[error("its reserved bytes do not lie at {offset} in the extra field of the miner transaction")]
    Reserved {
        /// As the daemon says, in bytes from the block's begin.
        offset: usize,
    },
    /// The outputs are not the reward.
    #[error("its miner transaction pays {paid} piconero and not the expected {reward}")]
    Value {
        /// Sum of the outputs in piconero.
        paid: u128,
        /// Expected reward in piconero.
        reward: u64,
    },
    /// Our hashing blob is another than the daemon's.
    #[error("our hashing blob {ours} is not the daemon's {theirs}; blocks of this template would be refused")]
    HashingBlob {
        /// Ours in hex.
        ours: String,
        /// The daemon's in hex.
        theirs: String,
    },
    /// The result is out of the limits of a job.
    #[error(transparent)]
    Work(#[from] InvalidWork),
}

fn field(field: &'static str, problem: impl ToString) -> InvalidTemplate {
    InvalidTemplate::Field { field, problem: problem.to_string() }
}

/// An id or a seed as it stands in memory, which is how Monero writes it.
fn hash(name: &'static str, text: &str) -> Result<Hash32, InvalidTemplate> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|e| field(name, format!("no hash: {e}")))?;
    Ok(Hash32(bytes))
}

impl TemplateAnswer {
    /// Makes a template with room for our extranonce of the daemon's answer.
    pub fn into_template(self, origin: &str) -> Result<Template, InvalidTemplate> {
        let assembly = self.assembly()?;
        let network_target = assembly.work.check()?;
        self.check_reward(&assembly)?;
        self.check_hashing_blob(&assembly.work)?;
        Ok(Template {
            assembly: Assembly::CryptoNote(assembly),
            network_target,
            origin: origin.to_owned(),
            longpoll: None,
            proposals: false,
        })
    }

    fn assembly(&self) -> Result<CryptoNoteAssembly, InvalidTemplate> {
        let block = self.block()?;
        let (prefix, at) = self.reserved(&block)?;
        let ids: Vec<[u8; 32]> = block.tx_hashes.iter().map(|id| id.0).collect();
        let version = |name, version: u64| u8::try_from(version).map_err(|_| field(name, version));
        let prev_hash = hash("prev_hash", &self.prev_hash)?;
        if block.header.prev_id.0 != prev_hash.0 {
            return Err(field("prev_hash", "another than the block's"));
        }
        if self.difficulty_top64 != 0 {
            return Err(field("difficulty", "above 64 bits, which no network has yet"));
        }
        let next = Some(self.next_seed_hash.as_str()).filter(|seed| !seed.is_empty());
        let next_seed = next.map(|seed| hash("next_seed_hash", seed)).transpose()?;
        let work = CryptoNoteWork {
            seed: hash("seed_hash", &self.seed_hash)?,
            next_seed,
            major_version: version("major version", block.header.major_version.0)?,
            minor_version: version("minor version", block.header.minor_version.0)?,
            timestamp: block.header.timestamp.0,
            prev_hash,
            coinbase_prefix: Blob(prefix.get(..at).unwrap_or_default().to_vec()),
            coinbase_suffix: Blob(prefix.get(at + EXTRANONCE_LEN..).unwrap_or_default().to_vec()),
            merkle_branch: branch(&ids, |a, b| keccak256(&[a, b])).into_iter().map(Hash32).collect(),
            transactions: u32::try_from(ids.len() + 1).map_err(|_| field("transactions", ids.len()))?,
            difficulty: self.difficulty,
        };
        let transactions = ids.into_iter().map(Hash32).collect();
        Ok(CryptoNoteAssembly { work, height: self.height, reward: self.expected_reward, transactions })
    }

    fn block(&self) -> Result<Block, InvalidTemplate> {
        let limit = MAX_TRANSACTION_BYTES;
        if self.blocktemplate_blob.len() / 2 > limit {
            let len = self.blocktemplate_blob.len() / 2;
            return Err(field("blocktemplate_blob", format!("{len} bytes long, the limit is {limit}")));
        }
        let bytes = hex::decode(&self.blocktemplate_blob)
            .map_err(|e| field("blocktemplate_blob", format!("no hex: {e}")))?;
        let block: Block =
            consensus::deserialize(&bytes).map_err(|e| InvalidTemplate::Block(e.to_string()))?;
        // What is put together of parts must be the same bytes again.
        if consensus::serialize(&block) != bytes {
            return Err(InvalidTemplate::Block("written again, it is another one".to_owned()));
        }
        if block.tx_hashes.len() > MAX_TRANSACTIONS {
            return Err(field("transactions", format!("{} entries long", block.tx_hashes.len())));
        }
        if block.miner_tx.prefix.version.0 != 2 {
            let version = block.miner_tx.prefix.version.0;
            return Err(field("miner transaction", format!("of version {version}, only 2 is known here")));
        }
        Ok(block)
    }

    /// The miner transaction's prefix and where in it the reserved bytes begin.
    fn reserved(&self, block: &Block) -> Result<(Vec<u8>, usize), InvalidTemplate> {
        let offset = self.reserved_offset;
        let prefix = consensus::serialize(&block.miner_tx.prefix);
        let at = offset.checked_sub(consensus::serialize(&block.header).len());
        let at = at.ok_or(InvalidTemplate::Reserved { offset })?;
        let begin = at.checked_sub(NONCE_FIELD.len());
        let field = begin.and_then(|begin| prefix.get(begin..at + EXTRANONCE_LEN));
        let is_ours = |field: &[u8]| {
            let (head, reserved) = field.split_at(NONCE_FIELD.len());
            head == NONCE_FIELD && reserved.iter().all(|byte| *byte == 0)
        };
        match field {
            Some(field) if is_ours(field) => Ok((prefix, at)),
            _ => Err(InvalidTemplate::Reserved { offset }),
        }
    }

    fn check_reward(&self, assembly: &CryptoNoteAssembly) -> Result<(), InvalidTemplate> {
        let prefix = assembly.work.coinbase(NO_EXTRANONCE);
        let prefix: monero::TransactionPrefix =
            consensus::deserialize(&prefix).map_err(|e| InvalidTemplate::Block(e.to_string()))?;
        let paid = prefix.outputs.iter().map(|output| u128::from(output.amount.0)).sum();
        if paid != u128::from(self.expected_reward) {
            return Err(InvalidTemplate::Value { paid, reward: self.expected_reward });
        }
        Ok(())
    }

    fn check_hashing_blob(&self, work: &CryptoNoteWork) -> Result<(), InvalidTemplate> {
        let zero: Extranonce = NO_EXTRANONCE;
        let ours = hex::encode(work.hashing_blob(&work.tree_root(zero), 0));
        if ours != self.blockhashing_blob {
            return Err(InvalidTemplate::HashingBlob { ours, theirs: self.blockhashing_blob.clone() });
        }
        Ok(())
    }
}
