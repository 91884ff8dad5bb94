//! What Alertmanager says: the body of its webhook, version 4, and the orders that follow from it. Pure.

use bus_schemas::throttle::{InvalidThrottleTarget, ThrottleTarget};
use serde::Deserialize;
use std::{collections::BTreeMap, num::ParseIntError};

/// Most bytes of a request.
pub const MAX_BODY_LEN: usize = 512 * 1024;
/// Most alerts of a request.
pub const MAX_ALERTS: usize = 256;
/// The only version that is understood; Alertmanager has written it since 2016.
const VERSION: &str = "4";
/// Label that names the target of the order.
pub const TARGET_LABEL: &str = "dcmf_target";
/// Label or annotation that names the cap, percent.
pub const CAP_LABEL: &str = "dcmf_cap_percent";

/// A request of Alertmanager; what is not needed is not read.
#[derive(Debug, Clone, Deserialize)]
struct Webhook {
    version: String,
    alerts: Vec<Alert>,
}

#[derive(Debug, Clone, Deserialize)]
struct Alert {
    status: Status,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    fingerprint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

/// Why a request is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No JSON of that shape.
    #[error("this is no webhook of Alertmanager: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Another version.
    #[error("version {0:?} of the webhook is not understood; version {VERSION:?} is")]
    Version(String),
    /// Too many alerts at once.
    #[error(
        "{0} alerts at once, at most {MAX_ALERTS} are taken; group them or set max_alerts of the receiver"
    )]
    TooMany(usize),
}

/// Why one alert is no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAlert {
    /// Its label names no target.
    #[error("alert {alert}: label {TARGET_LABEL}: {source}")]
    Target {
        /// Its name.
        alert: String,
        /// What is wrong.
        source: InvalidThrottleTarget,
    },
    /// It names no percentage.
    #[error("alert {alert}: {CAP_LABEL} is {value:?}; it must be 0 to 100")]
    Cap {
        /// Its name.
        alert: String,
        /// As given.
        value: String,
    },
}

/// What follows from an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertOrder {
    /// For whom.
    pub target: ThrottleTarget,
    /// Tells this alert from others.
    pub fingerprint: String,
    /// The cap in percent; 100 when the alert is resolved.
    pub cap: u8,
    /// Why, for people.
    pub reason: String,
}

/// Reads a request: for each alert an order or why it is none.
pub fn read(
    body: &[u8],
    default_target: &ThrottleTarget,
) -> Result<Vec<Result<AlertOrder, InvalidAlert>>, Refusal> {
    let webhook: Webhook = serde_json::from_slice(body)?;
    if webhook.version != VERSION {
        return Err(Refusal::Version(webhook.version));
    }
    if webhook.alerts.len() > MAX_ALERTS {
        return Err(Refusal::TooMany(webhook.alerts.len()));
    }
    Ok(webhook.alerts.into_iter().map(|alert| order(alert, default_target)).collect())
}

fn order(alert: Alert, default_target: &ThrottleTarget) -> Result<AlertOrder, InvalidAlert> {
    let name = alert.labels.get("alertname").map_or("without a name", String::as_str).to_owned();
    let target = match alert.labels.get(TARGET_LABEL) {
        None => default_target.clone(),
        Some(text) => text.parse().map_err(|source| InvalidAlert::Target { alert: name.clone(), source })?,
    };
    let cap = match alert.labels.get(CAP_LABEL).or_else(|| alert.annotations.get(CAP_LABEL)) {
        _ if alert.status == Status::Resolved => 100,
        None => 0,
        Some(text) => {
            let cap: Result<u8, ParseIntError> = text.parse();
            let invalid = || InvalidAlert::Cap { alert: name.clone(), value: text.clone() };
            cap.ok().filter(|cap| *cap <= 100).ok_or_else(invalid)?
        }
    };
    let summary = ["summary", "description"].into_iter().find_map(|key| alert.annotations.get(key));
    let reason = match (alert.status, summary) {
        (Status::Resolved, _) => format!("alert {name} is resolved"),
        (Status::Firing, Some(summary)) => format!("alert {name}: {summary}"),
        (Status::Firing, None) => format!("alert {name}"),
    };
    Ok(AlertOrder { target, fingerprint: alert.fingerprint, cap, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Alertmanager 0.25 sent it.
    const FIRING: &str = include_str!("alertmanager-0.25-firing.json");
    const RESOLVED: &str = include_str!("alertmanager-0.25-resolved.json");

    fn one(body: &str) -> Result<AlertOrder, InvalidAlert> {
        let mut orders = read(body.as_bytes(), &ThrottleTarget::Farm).unwrap();
        assert_eq!(orders.len(), 1);
        orders.remove(0)
    }

    #[test]
    fn a_firing_alert_orders_the_cap_of_its_label_and_a_resolved_one_lifts_it() {
        let firing = one(FIRING).unwrap();
        let wanted = AlertOrder {
            target: "label.rack.b2".parse().unwrap(),
            fingerprint: "44a699f3365492e7".into(),
            cap: 25,
            reason: "alert CheckoutSlow: p99 of the checkout is 870 ms".into(),
        };
        assert_eq!(firing, wanted);
        let resolved = one(RESOLVED).unwrap();
        assert_eq!((resolved.cap, resolved.target), (100, wanted.target));
        assert_eq!(resolved.fingerprint, wanted.fingerprint);
    }

    #[test]
    fn without_labels_of_ours_everything_stops_for_the_default_target() {
        let plain = FIRING.replace("dcmf_target", "t").replace("dcmf_cap_percent", "c");
        let order = one(&plain).unwrap();
        assert_eq!((order.target, order.cap), (ThrottleTarget::Farm, 0));
        let annotated = plain.replace("\"summary\"", "\"dcmf_cap_percent\":\"40\",\"summary\"");
        assert_eq!(one(&annotated).unwrap().cap, 40);
    }

    #[test]
    fn an_alert_that_is_no_order_is_told_with_its_name_and_spoils_no_other() {
        for (from, to, told) in [
            ("label.rack.b2", "rack.b2", "alert CheckoutSlow: label dcmf_target"),
            ("\"25\"", "\"a quarter\"", "dcmf_cap_percent is \"a quarter\"; it must be 0 to 100"),
            ("\"25\"", "\"101\"", "dcmf_cap_percent is \"101\""),
            ("\"25\"", "\"-1\"", "dcmf_cap_percent is \"-1\""),
        ] {
            let error = one(&FIRING.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn what_is_no_webhook_is_refused_whole() {
        let read = |body: &str| read(body.as_bytes(), &ThrottleTarget::Farm);
        for body in ["", "{}", "[]", "null", "{\"version\":\"4\",\"alerts\":[{}]}", &FIRING[..200]] {
            assert!(matches!(read(body), Err(Refusal::Syntax(_))), "{body}");
        }
        let other = FIRING.replace("\"version\":\"4\"", "\"version\":\"5\"");
        assert!(matches!(read(&other), Err(Refusal::Version(v)) if v == "5"));
        let alert = "{\"status\":\"firing\",\"fingerprint\":\"a\"}";
        let many = format!("{{\"version\":\"4\",\"alerts\":[{}]}}", vec![alert; MAX_ALERTS + 1].join(","));
        assert!(matches!(read(&many), Err(Refusal::TooMany(n)) if n == MAX_ALERTS + 1));
    }
}
