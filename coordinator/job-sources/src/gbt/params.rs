//! What is asked of `getblocktemplate`.

use bus_schemas::config::Chain;
use serde_json::{Value, json};

/// The rules that a chain's template is asked for with. Litecoin refuses a request for fewer or more than its two.
pub(crate) fn rules(chain: Chain) -> &'static [&'static str] {
    match chain {
        Chain::Bitcoin => &["segwit"],
        Chain::BitcoinSignet => &["segwit", "signet"],
        Chain::Litecoin => &["mweb", "segwit"],
    }
}

/// Asks for a template, or with `longpoll` for the one after it.
pub(crate) fn template(chain: Chain, longpoll: Option<&str>) -> Value {
    let mut request =
        json!({ "capabilities": ["coinbasevalue", "longpoll", "proposal"], "rules": rules(chain) });
    if let (Some(id), Some(fields)) = (longpoll, request.as_object_mut()) {
        fields.insert("longpollid".to_owned(), id.into());
    }
    json!([request])
}

/// Asks what the node thinks of a block that has no work (BIP 23).
pub(crate) fn proposal(chain: Chain, block: &[u8]) -> Value {
    json!([{ "mode": "proposal", "data": hex::encode(block), "rules": rules(chain) }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litecoin_is_asked_with_exactly_its_two_rules_and_signet_with_its_own() {
        assert_eq!(template(Chain::Litecoin, None)[0]["rules"], json!(["mweb", "segwit"]));
        assert_eq!(template(Chain::Bitcoin, None)[0]["rules"], json!(["segwit"]));
        assert_eq!(template(Chain::BitcoinSignet, None)[0]["rules"], json!(["segwit", "signet"]));
        assert_eq!(proposal(Chain::Litecoin, &[1])[0]["rules"], json!(["mweb", "segwit"]));
    }

    #[test]
    fn only_a_long_poll_carries_an_id() {
        assert_eq!(template(Chain::Bitcoin, Some("abc"))[0]["longpollid"], json!("abc"));
        assert_eq!(template(Chain::Bitcoin, None)[0].get("longpollid"), None);
    }
}
