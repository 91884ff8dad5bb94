//! From a node's template to ours, with every doubt refused.

use crate::{
    assembly::{
        Assembly, AssemblyError, HeaderAssembly, MAX_EXTENSION_BYTES, MAX_TRANSACTION_BYTES, MAX_TRANSACTIONS,
    },
    coinbase::{COMMITMENT_PREFIX, CoinbasePlan, InvalidCoinbase},
    merkle,
    source::Template,
};
use bus_schemas::{
    Blob, Hash32, Target,
    config::Chain,
    units::InvalidCompact,
    work::{HeaderWork, InvalidWork, sha256d},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Version bits that miners may roll (BIP 320).
pub const BIP320_MASK: u32 = 0x1fff_e000;
/// Latest that a share's time may lie ahead of the template's, in seconds; nodes refuse two hours ahead of their own
/// clock.
pub const MAX_TIME_AHEAD_S: u32 = 3_600;
/// Rules that a template may demand of us with a leading `!` (BIP 9).
const KNOWN_RULES: [&str; 5] = ["segwit", "mweb", "signet", "csv", "taproot"];
/// A signet whose blocks need no signature: `OP_TRUE`.
const OPEN_CHALLENGE: &str = "51";
/// Flag of a transaction that carries witnesses (BIP 144); Litecoin adds one for MWEB.
const MWEB_FLAG: u8 = 0x08;

/// A template as nodes send it (BIP 22, 23, 9, 145). Fields that we have no use for are ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct BlockTemplate {
    version: i64,
    /// Absent on btcd.
    rules: Option<Vec<String>>,
    #[serde(default)]
    vbrequired: u32,
    previousblockhash: String,
    transactions: Vec<TemplateTransaction>,
    #[serde(default)]
    coinbaseaux: Option<BTreeMap<String, String>>,
    coinbasevalue: Option<u64>,
    longpollid: Option<String>,
    target: Option<String>,
    mintime: Option<u32>,
    maxtime: Option<u32>,
    curtime: u32,
    bits: String,
    height: u64,
    default_witness_commitment: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    signet_challenge: Option<String>,
    mweb: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct TemplateTransaction {
    data: String,
    txid: Option<String>,
    hash: Option<String>,
}

/// What the operator decided that goes into each block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Which rules hold.
    pub chain: Chain,
    /// The output script that is paid.
    pub payout: Vec<u8>,
    /// Names the pool in the coinbase.
    pub tag: String,
}

/// Why a template must not be mined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A field that is not what its BIP says.
    #[error("{field} is {problem}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No `coinbasevalue`: the node wants its own coinbase, we mine only ours.
    #[error("it has no coinbasevalue, so no coinbase of our own can be made")]
    NoCoinbaseValue,
    /// A rule that a miner must understand and we do not.
    #[error("rule {0:?} must be understood by miners and is unknown here")]
    UnknownRule(String),
    /// A signet whose blocks must be signed.
    #[error("signet challenge {0} asks for signed blocks; only the open challenge 51 can be mined")]
    SignetChallenge(String),
    /// `bits` and `target` contradict each other.
    #[error("bits {bits} and target {target} are not the same")]
    TargetMismatch {
        /// The compact form.
        bits: String,
        /// The whole form.
        target: String,
    },
    /// An extension block without the transaction that binds it, or the other way round.
    #[error("its extension block and its last transaction do not belong together: {0}")]
    Mweb(&'static str),
    /// The coinbase cannot be made.
    #[error(transparent)]
    Coinbase(#[from] InvalidCoinbase),
    /// The bits are no target.
    #[error(transparent)]
    Bits(#[from] InvalidCompact),
    /// The result is out of the limits of a job.
    #[error(transparent)]
    Work(#[from] InvalidWork),
}

impl From<AssemblyError> for InvalidTemplate {
    fn from(error: AssemblyError) -> Self {
        match error {
            AssemblyError::Coinbase(error) => Self::Coinbase(error),
            other => Self::Field { field: "coinbase", problem: other.to_string() },
        }
    }
}

fn field(field: &'static str, problem: impl ToString) -> InvalidTemplate {
    InvalidTemplate::Field { field, problem: problem.to_string() }
}

/// A hash as nodes write it, most significant byte first, in header order.
fn hash(name: &'static str, text: &str) -> Result<[u8; 32], InvalidTemplate> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|e| field(name, format!("no hash: {e}")))?;
    bytes.reverse();
    Ok(bytes)
}

fn bytes(name: &'static str, text: &str, limit: usize) -> Result<Vec<u8>, InvalidTemplate> {
    if text.len() / 2 > limit {
        return Err(field(name, format!("{} bytes long, the limit is {limit}", text.len() / 2)));
    }
    hex::decode(text).map_err(|e| field(name, format!("no hex: {e}")))
}

/// The template's transactions in the three forms that are needed.
struct Transactions {
    ids: Vec<[u8; 32]>,
    witness_ids: Vec<[u8; 32]>,
    raw: Vec<Blob>,
}

impl BlockTemplate {
    /// Makes a template with our coinbase of the node's answer.
    pub fn into_template(self, recipe: &Recipe, origin: &str) -> Result<Template, InvalidTemplate> {
        self.check_rules()?;
        let network_target = self.network_target()?;
        let transactions = self.transactions()?;
        let extension = self.extension(recipe.chain, &transactions.raw)?;
        let (commitment, coinbase_witness) = self.commitment(recipe.chain, &transactions)?;
        let reward = self.coinbasevalue.ok_or(InvalidTemplate::NoCoinbaseValue)?;
        let (coinbase_prefix, coinbase_suffix) = CoinbasePlan {
            height: self.height,
            auxiliary: &self.auxiliary()?,
            tag: &recipe.tag,
            reward,
            payout: &recipe.payout,
            commitment: commitment.as_deref(),
        }
        .halves()?;
        let version = self.version()?;
        let time = self.curtime.max(self.mintime.unwrap_or(0));
        let work = HeaderWork {
            version,
            version_mask: self.version_mask(recipe.chain),
            prev_hash: Hash32(hash("previousblockhash", &self.previousblockhash)?),
            coinbase_prefix,
            coinbase_suffix,
            merkle_branch: merkle::branch(&transactions.ids).into_iter().map(Hash32).collect(),
            bits: network_target.to_compact(),
            time,
            min_time: self.mintime.unwrap_or(time),
            max_time: self.maxtime.unwrap_or(u32::MAX).min(time.saturating_add(MAX_TIME_AHEAD_S)),
        };
        work.check()?;
        let assembly = HeaderAssembly {
            work,
            height: self.height,
            reward,
            coinbase_witness,
            transactions: transactions.raw,
            extension: Blob(extension),
        };
        assembly.check()?;
        Ok(Template {
            assembly: Assembly::Header(assembly),
            network_target,
            origin: origin.to_owned(),
            longpoll: self.longpollid,
            proposals: self.capabilities.iter().any(|capability| capability == "proposal"),
        })
    }

    fn check_rules(&self) -> Result<(), InvalidTemplate> {
        let demanded = self.rules.iter().flatten().filter_map(|rule| rule.strip_prefix('!'));
        for rule in demanded {
            if !KNOWN_RULES.contains(&rule) {
                return Err(InvalidTemplate::UnknownRule(rule.to_owned()));
            }
        }
        match self.signet_challenge.as_deref() {
            Some(challenge) if challenge != OPEN_CHALLENGE => {
                Err(InvalidTemplate::SignetChallenge(challenge.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn network_target(&self) -> Result<Target, InvalidTemplate> {
        let bits = u32::from_str_radix(&self.bits, 16).map_err(|e| field("bits", e))?;
        let target = Target::from_compact(bits)?;
        match &self.target {
            Some(text) if hash("target", text)? != target.to_le_bytes() => {
                Err(InvalidTemplate::TargetMismatch { bits: self.bits.clone(), target: text.clone() })
            }
            _ => Ok(target),
        }
    }

    /// Versions are signed in nodes and only bits here.
    fn version(&self) -> Result<u32, InvalidTemplate> {
        i32::try_from(self.version)
            .map(i32::cast_unsigned)
            .or_else(|_| u32::try_from(self.version))
            .map_err(|_| field("version", "not of 32 bits"))
    }

    /// Scrypt is far too slow to need more than the nonce and the extranonce.
    fn version_mask(&self, chain: Chain) -> u32 {
        match chain {
            Chain::Bitcoin | Chain::BitcoinSignet => BIP320_MASK & !self.vbrequired,
            Chain::Litecoin => 0,
        }
    }

    fn auxiliary(&self) -> Result<Vec<u8>, InvalidTemplate> {
        let mut all = Vec::new();
        for text in self.coinbaseaux.iter().flat_map(BTreeMap::values) {
            all.extend(bytes("coinbaseaux", text, crate::coinbase::MAX_SCRIPT_SIG_LEN)?);
        }
        Ok(all)
    }

    fn transactions(&self) -> Result<Transactions, InvalidTemplate> {
        if self.transactions.len() > MAX_TRANSACTIONS {
            return Err(field("transactions", format!("{} entries long", self.transactions.len())));
        }
        let mut all = Transactions { ids: Vec::new(), witness_ids: Vec::new(), raw: Vec::new() };
        let mut left = MAX_TRANSACTION_BYTES;
        for transaction in &self.transactions {
            let raw = bytes("transactions.data", &transaction.data, left)?;
            left -= raw.len();
            let own = sha256d(&raw);
            // BIP 22: `hash` is that of the whole data; BIP 145: `txid` is absent only without witness.
            let witness_id = transaction.hash.as_deref().map_or(Ok(own), |h| hash("transactions.hash", h))?;
            let id = transaction.txid.as_deref().map_or(Ok(witness_id), |h| hash("transactions.txid", h))?;
            all.ids.push(id);
            all.witness_ids.push(witness_id);
            all.raw.push(Blob(raw));
        }
        Ok(all)
    }

    /// The commitment's script, and whether the coinbase needs its witness.
    ///
    /// Some nodes add a missing witness in silence, others refuse an unneeded one, so it is decided here: by the
    /// template's rules, or where a node (btcd) sends none, by what the template holds. A signet's blocks carry a
    /// commitment always, because its solution lives there (BIP 325).
    fn commitment(
        &self,
        chain: Chain,
        transactions: &Transactions,
    ) -> Result<(Option<Vec<u8>>, bool), InvalidTemplate> {
        let given = match &self.default_witness_commitment {
            None => None,
            Some(text) => {
                let script = bytes("default_witness_commitment", text, bus_schemas::config::MAX_SCRIPT_LEN)?;
                if !script.starts_with(&COMMITMENT_PREFIX) || script.len() < COMMITMENT_PREFIX.len() + 32 {
                    return Err(field("default_witness_commitment", "no commitment of BIP 141"));
                }
                Some(script)
            }
        };
        let witness = match &self.rules {
            Some(rules) => rules.iter().any(|rule| rule.trim_start_matches('!') == "segwit"),
            None => given.is_some() || transactions.ids != transactions.witness_ids,
        };
        let witness = witness || chain == Chain::BitcoinSignet;
        if witness && given.is_none() {
            return Ok((Some(merkle::witness_commitment(&transactions.witness_ids)), true));
        }
        Ok((given, witness))
    }

    /// What follows the last transaction: `01` and the extension block, once MWEB is active on Litecoin. The last
    /// transaction is then the one that binds it (the HogEx), and the order is never touched here.
    fn extension(&self, chain: Chain, raw: &[Blob]) -> Result<Vec<u8>, InvalidTemplate> {
        let binds = raw.last().is_some_and(|last| {
            let marker_and_flag = (last.0.get(4), last.0.get(5));
            matches!(marker_and_flag, (Some(0), Some(flag)) if flag & MWEB_FLAG != 0)
        });
        match (&self.mweb, chain) {
            (None, Chain::Litecoin) if binds => Err(InvalidTemplate::Mweb("the block is missing")),
            (Some(_), Chain::Litecoin) if !binds => Err(InvalidTemplate::Mweb("the transaction is missing")),
            (Some(text), Chain::Litecoin) => {
                Ok([vec![1], bytes("mweb", text, MAX_EXTENSION_BYTES)?].concat())
            }
            _ => Ok(Vec::new()),
        }
    }
}
