//! From a finding to the bytes of a block.

use crate::{
    coinbase::{InvalidCoinbase, check_value, with_witness},
    monero::CryptoNoteAssembly,
};
use bitcoin::consensus::{Encodable, encode::VarInt};
use bus_schemas::{
    Blob, Hash32,
    share::Finding,
    work::{Extranonce, HEADER_LEN, HeaderWork, WorkUnit, sha256d},
};
use serde::{Deserialize, Serialize};

/// Most transactions of a template beside the coinbase.
pub const MAX_TRANSACTIONS: usize = 65_535;
/// Most bytes of a template's transactions together; more cannot fit four million weight units.
pub const MAX_TRANSACTION_BYTES: usize = 4_000_000;
/// Most bytes of an extension block.
pub const MAX_EXTENSION_BYTES: usize = 1_000_000;

/// Stands in a coinbase that nobody searches: of a proposal or a check.
pub const NO_EXTRANONCE: Extranonce = Extranonce { farm: 0, epoch: 0, slot: 0, job: 0, roll: 0 };

/// All that makes whole blocks of a template's findings. Plain data that is kept before the job is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assembly {
    /// Of a Bitcoin-family chain.
    Header(HeaderAssembly),
    /// Of Monero.
    CryptoNote(CryptoNoteAssembly),
}

/// What makes a block of a Bitcoin-family chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderAssembly {
    /// What is searched.
    pub work: HeaderWork,
    /// Height of the block.
    pub height: u64,
    /// What the block pays, in the smallest unit.
    pub reward: u64,
    /// Whether the coinbase gets the witness that its commitment needs.
    pub coinbase_witness: bool,
    /// All transactions but the coinbase, in order, with their witnesses.
    pub transactions: Vec<Blob>,
    /// What follows the last transaction: Litecoin's `01` and extension block, else nothing.
    #[serde(default)]
    pub extension: Blob,
}

/// A finding's place in the search space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solution {
    /// As the share claims it.
    pub extranonce: Extranonce,
    /// Block version.
    pub version: u32,
    /// Seconds since the Unix epoch.
    pub time: u32,
    /// The nonce.
    pub nonce: u32,
}

/// A block to submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBlock {
    /// The block's name, in the order in which [`Hash32::to_display_hex`] writes it as its chain does: SHA-256d of the
    /// header on every Bitcoin-family chain, also where the work is another hash.
    pub hash: Hash32,
    /// Its height.
    pub height: u64,
    /// The whole block.
    pub bytes: Vec<u8>,
}

/// Why an assembly makes no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// The coinbase must not be used.
    #[error("the block's {0}")]
    Coinbase(#[from] InvalidCoinbase),
    /// The kept bytes are not an assembly.
    #[error("the kept template is unreadable: {0}")]
    Unreadable(String),
    /// The assembly cannot be written.
    #[error("the template cannot be kept: {0}")]
    Unwritable(String),
    /// The finding belongs to another kind of template.
    #[error("the finding is of another kind of work than the template")]
    OtherWork,
}

impl Assembly {
    /// For keeping: named MessagePack.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AssemblyError> {
        rmp_serde::to_vec_named(self).map_err(|e| AssemblyError::Unwritable(e.to_string()))
    }

    /// What [`Assembly::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AssemblyError> {
        rmp_serde::from_slice(bytes).map_err(|e| AssemblyError::Unreadable(e.to_string()))
    }

    /// What a job carries.
    pub fn work(&self) -> WorkUnit {
        match self {
            Self::Header(assembly) => WorkUnit::Header(assembly.work.clone()),
            Self::CryptoNote(assembly) => WorkUnit::CryptoNote(assembly.work.clone()),
        }
    }

    /// Height of the block.
    pub fn height(&self) -> u64 {
        match self {
            Self::Header(assembly) => assembly.height,
            Self::CryptoNote(assembly) => assembly.height,
        }
    }

    /// The whole block of a finding.
    pub fn block(&self, extranonce: Extranonce, finding: &Finding) -> Result<FoundBlock, AssemblyError> {
        match (self, finding) {
            (Self::Header(assembly), Finding::Header(f)) => {
                let (version, time, nonce) = (f.version, f.time, f.nonce);
                assembly.block(&Solution { extranonce, version, time, nonce })
            }
            (Self::CryptoNote(assembly), Finding::CryptoNote(f)) => Ok(assembly.block(extranonce, f.nonce)),
            _ => Err(AssemblyError::OtherWork),
        }
    }
}

impl HeaderAssembly {
    /// Whether mining on `other` instead would change more than the time.
    pub fn differs_from(&self, other: &Self) -> bool {
        let (a, b) = (&self.work, &other.work);
        a.prev_hash != b.prev_hash
            || a.bits != b.bits
            || a.version != b.version
            || a.merkle_branch != b.merkle_branch
            || a.coinbase_prefix != b.coinbase_prefix
            || a.coinbase_suffix != b.coinbase_suffix
            || self.extension != other.extension
    }

    /// Refuses an assembly whose coinbase does not pay the reward to the unit.
    pub fn check(&self) -> Result<(), AssemblyError> {
        check_value(&self.work.coinbase(NO_EXTRANONCE), self.reward)?;
        Ok(())
    }

    /// The whole block of a finding.
    pub fn block(&self, found: &Solution) -> Result<FoundBlock, AssemblyError> {
        let legacy = self.work.coinbase(found.extranonce);
        check_value(&legacy, self.reward)?;
        let coinbase = if self.coinbase_witness { with_witness(&legacy)? } else { legacy };
        let header = self.work.header(found.extranonce, found.version, found.time, found.nonce);
        Ok(FoundBlock {
            hash: Hash32(sha256d(&header)),
            height: self.height,
            bytes: self.concatenate(&header, &coinbase),
        })
    }

    fn concatenate(&self, header: &[u8; HEADER_LEN], coinbase: &[u8]) -> Vec<u8> {
        let mut bytes = header.to_vec();
        // Writing to a vector cannot fail.
        let _ = VarInt::from(self.transactions.len() + 1).consensus_encode(&mut bytes);
        bytes.extend_from_slice(coinbase);
        for transaction in &self.transactions {
            bytes.extend_from_slice(&transaction.0);
        }
        bytes.extend_from_slice(&self.extension.0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gbt::{
            BlockTemplate, Recipe,
            vectors::{self, BlockSet},
        },
        merkle,
    };
    use bitcoin::{Block, consensus};
    use bus_schemas::{config::Chain, share::HeaderFinding};

    fn assembly(set: &BlockSet, chain: Chain) -> HeaderAssembly {
        let template: BlockTemplate = serde_json::from_value(set.template.clone()).unwrap();
        let recipe = Recipe { chain, payout: vec![0x51], tag: String::new() };
        template.into_template(&recipe, "test").unwrap().header().unwrap().clone()
    }

    const FOUND: Solution = Solution {
        extranonce: Extranonce { farm: 1, epoch: 2, slot: 3, job: 4, roll: 5 },
        version: 0x2000_0000,
        time: 1_795_245_400,
        nonce: 77,
    };

    #[test]
    fn the_blocks_that_live_nodes_accepted_are_reproduced_byte_for_byte() {
        for (set, chain) in [(vectors::bitcoin(), Chain::Bitcoin), (vectors::litecoin(), Chain::Litecoin)] {
            let assembly = assembly(&set, chain);
            let branch: Vec<_> = assembly.work.merkle_branch.iter().map(|hash| hash.0).collect();
            assert_eq!(branch.iter().map(hex::encode).collect::<Vec<_>>(), set.merkle_branch);
            let coinbase_id = sha256d(&hex::decode(&set.coinbase_legacy).unwrap());
            assert_eq!(hex::encode(merkle::fold(coinbase_id, &branch)), set.merkle_root_le);

            let header: [u8; HEADER_LEN] = hex::decode(&set.header).unwrap().try_into().unwrap();
            let work = &assembly.work;
            assert_eq!(header[..4], work.version.to_le_bytes());
            assert_eq!(header[4..36], work.prev_hash.0);
            assert_eq!(header[68..72], work.time.to_le_bytes());
            assert_eq!(header[72..76], work.bits.to_le_bytes());
            assert_eq!(Hash32(sha256d(&header)).to_display_hex(), set.block_hash);

            assert!(assembly.coinbase_witness);
            let coinbase = hex::decode(&set.coinbase_full).unwrap();
            assert_eq!(hex::encode(assembly.concatenate(&header, &coinbase)), set.block_hex);
        }
    }

    #[test]
    fn our_own_block_is_a_whole_block_to_rust_bitcoin() {
        let assembly = assembly(&vectors::bitcoin(), Chain::Bitcoin);
        let found = assembly.block(&FOUND).unwrap();
        let block: Block = consensus::deserialize(&found.bytes).unwrap();
        assert!(block.check_merkle_root());
        assert!(block.check_witness_commitment());
        assert_eq!(block.bip34_block_height(), Ok(125));
        assert_eq!(block.block_hash().to_string(), found.hash.to_display_hex());
        let paid: u64 = block.txdata[0].output.iter().map(|output| output.value.to_sat()).sum();
        assert_eq!(paid, 5_000_007_440);
    }

    #[test]
    fn litecoins_extension_block_ends_the_block_after_its_binding_transaction() {
        let set = vectors::litecoin();
        let assembly = assembly(&set, Chain::Litecoin);
        let found = assembly.block(&FOUND).unwrap();
        let last = set.template["transactions"].as_array().unwrap().last().unwrap();
        let mweb = set.template["mweb"].as_str().unwrap();
        let tail = format!("{}01{mweb}", last["data"].as_str().unwrap());
        assert!(hex::encode(found.bytes).ends_with(&tail));
    }

    #[test]
    fn an_assembly_that_was_kept_makes_the_same_block_anywhere() {
        for (set, chain) in [(vectors::bitcoin(), Chain::Bitcoin), (vectors::litecoin(), Chain::Litecoin)] {
            let assembly = assembly(&set, chain);
            let kept = Assembly::Header(assembly.clone()).to_bytes().unwrap();
            let Solution { extranonce, version, time, nonce } = FOUND;
            let finding = Finding::Header(HeaderFinding { roll: extranonce.roll, version, time, nonce });
            let again = Assembly::from_bytes(&kept).unwrap().block(extranonce, &finding);
            assert_eq!(again, assembly.block(&FOUND));
        }
        assert!(matches!(Assembly::from_bytes(&[0xc1, 1, 2]), Err(AssemblyError::Unreadable(_))));
    }

    #[test]
    fn a_coinbase_that_pays_less_than_the_template_is_refused_by_us_since_no_node_would() {
        let mut assembly = assembly(&vectors::bitcoin(), Chain::Bitcoin);
        assembly.reward += 1;
        let refused =
            AssemblyError::Coinbase(InvalidCoinbase::Value { paid: 5_000_007_440, reward: 5_000_007_441 });
        assert_eq!(assembly.check(), Err(refused.clone()));
        assert_eq!(assembly.block(&FOUND), Err(refused));
    }
}
