//! From a payout as configured to an output script.

use bitcoin::{
    Address, Network, PubkeyHash, ScriptBuf, ScriptHash, WitnessProgram, WitnessVersion,
    address::NetworkUnchecked, base58, bech32, hashes::Hash,
};
use bus_schemas::config::{Chain, MAX_SCRIPT_LEN, Payout};

/// Human-readable parts of Litecoin's segwit addresses: main network, test network, regtest.
const LITECOIN_HRPS: [&str; 3] = ["ltc", "tltc", "rltc"];
/// Version bytes of Litecoin's pay-to-public-key-hash addresses: main network, test networks.
const LITECOIN_P2PKH: [u8; 2] = [0x30, 0x6f];
/// Version bytes of Litecoin's pay-to-script-hash addresses, new and old form of each network.
const LITECOIN_P2SH: [u8; 4] = [0x32, 0x05, 0x3a, 0xc4];

/// Why nobody can be paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayout {
    /// Not an address of the chain.
    #[error("{address:?} is not an address of {chain:?}: {reason}")]
    Address {
        /// As configured.
        address: String,
        /// The pool's chain.
        chain: Chain,
        /// What is wrong with it.
        reason: String,
    },
    /// A script that nobody can spend from or that no node takes.
    #[error("the payout script has {len} bytes; it must have 1 to {MAX_SCRIPT_LEN}")]
    Script {
        /// Its length.
        len: usize,
    },
}

/// The output script that the coinbase pays.
pub fn output_script(payout: &Payout, chain: Chain) -> Result<Vec<u8>, InvalidPayout> {
    match payout {
        Payout::Script(script) if script.0.is_empty() || script.0.len() > MAX_SCRIPT_LEN => {
            Err(InvalidPayout::Script { len: script.0.len() })
        }
        Payout::Script(script) => Ok(script.0.clone()),
        Payout::Address(address) => {
            let script = match chain {
                Chain::Bitcoin => bitcoin(address, None),
                Chain::BitcoinSignet => bitcoin(address, Some(Network::Signet)),
                Chain::Litecoin => litecoin(address),
            };
            script.map(ScriptBuf::into_bytes).map_err(|reason| InvalidPayout::Address {
                address: address.clone(),
                chain,
                reason,
            })
        }
    }
}

fn bitcoin(text: &str, network: Option<Network>) -> Result<ScriptBuf, String> {
    let address: Address<NetworkUnchecked> = text.parse().map_err(|e| format!("{e}"))?;
    match network {
        Some(network) => {
            address.require_network(network).map(|a| a.script_pubkey()).map_err(|e| e.to_string())
        }
        None => Ok(address.assume_checked().script_pubkey()),
    }
}

fn litecoin(text: &str) -> Result<ScriptBuf, String> {
    if let Ok((hrp, version, program)) = bech32::segwit::decode(text) {
        if !LITECOIN_HRPS.contains(&hrp.to_lowercase().as_str()) {
            return Err(format!("it begins with {hrp:?} instead of one of {LITECOIN_HRPS:?}"));
        }
        let version = WitnessVersion::try_from(version).map_err(|e| e.to_string())?;
        let program = WitnessProgram::new(version, &program).map_err(|e| e.to_string())?;
        return Ok(ScriptBuf::new_witness_program(&program));
    }
    let payload = base58::decode_check(text).map_err(|e| format!("neither segwit nor base58: {e}"))?;
    let (version, hash) = payload.split_first().ok_or("it is empty")?;
    let hash: [u8; 20] = hash.try_into().map_err(|_| "its hash does not have 20 bytes")?;
    if LITECOIN_P2PKH.contains(version) {
        Ok(ScriptBuf::new_p2pkh(&PubkeyHash::from_byte_array(hash)))
    } else if LITECOIN_P2SH.contains(version) {
        Ok(ScriptBuf::new_p2sh(&ScriptHash::from_byte_array(hash)))
    } else {
        Err(format!("its version byte {version:#04x} is none of Litecoin's"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::Blob;

    fn script(address: &str, chain: Chain) -> Result<String, InvalidPayout> {
        output_script(&Payout::Address(address.to_owned()), chain).map(hex::encode)
    }

    #[test]
    fn addresses_of_bip173_and_the_genesis_block_give_their_scripts() {
        let hash = "751e76e8199196d454941c45d1b3a323f1433bd6";
        let signet = script("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", Chain::BitcoinSignet);
        assert_eq!(signet, Ok(format!("0014{hash}")));
        let main = script("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", Chain::Bitcoin);
        assert_eq!(main, Ok(format!("0014{hash}")));
        let genesis = script("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", Chain::Bitcoin);
        assert_eq!(genesis.unwrap(), "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac");
    }

    #[test]
    fn litecoin_addresses_of_every_kind_give_their_scripts() {
        let program = [0x75; 20];
        for hrp in LITECOIN_HRPS {
            let address = bech32::segwit::encode_v0(bech32::Hrp::parse(hrp).unwrap(), &program).unwrap();
            assert_eq!(script(&address, Chain::Litecoin), Ok(format!("0014{}", hex::encode(program))));
        }
        for (versions, before, after) in
            [(&LITECOIN_P2PKH[..], "76a914", "88ac"), (&LITECOIN_P2SH[..], "a914", "87")]
        {
            for version in versions {
                let address = base58::encode_check(&[&[*version][..], &program].concat());
                let wanted = format!("{before}{}{after}", hex::encode(program));
                assert_eq!(script(&address, Chain::Litecoin), Ok(wanted));
            }
        }
    }

    #[test]
    fn an_address_of_another_chain_or_with_a_typing_error_is_refused() {
        for (address, chain) in [
            ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Chain::Litecoin),
            ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", Chain::Litecoin),
            ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Chain::BitcoinSignet),
            ("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsy", Chain::BitcoinSignet),
            ("ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", Chain::Bitcoin),
            ("", Chain::Litecoin),
            ("", Chain::Bitcoin),
        ] {
            assert!(matches!(script(address, chain), Err(InvalidPayout::Address { .. })), "{address}");
        }
    }

    #[test]
    fn an_empty_or_oversized_script_is_refused() {
        for len in [0, MAX_SCRIPT_LEN + 1] {
            let payout = Payout::Script(Blob(vec![0x51; len]));
            assert_eq!(output_script(&payout, Chain::Bitcoin), Err(InvalidPayout::Script { len }));
        }
    }
}
