//! What Alertmanager says: the body of its webhook, version 4, and the orders that follow from it. Pure.

use super::orders::LIFTED;
use bus_schemas::throttle::{InvalidThrottleTarget, ThrottleTarget};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, num::ParseIntError};

/// Most bytes of a request: room for some ten thousand alerts with long texts.
pub const MAX_BODY_LEN: usize = 64 * 1024 * 1024;
/// Bytes of the digest of a group's key in the source of its order.
const GROUP_DIGEST_LEN: usize = 8;
/// The only version that is understood; Alertmanager has written it since 2016.
const VERSION: &str = "4";
/// Label that names the target of the order.
pub const TARGET_LABEL: &str = "dcmf_target";
/// Label or annotation that names the cap, percent.
pub const CAP_LABEL: &str = "dcmf_cap_percent";

/// A request of Alertmanager: a group of alerts; what is not needed is not read.
#[derive(Debug, Clone, Deserialize)]
struct Webhook {
    version: String,
    #[serde(default, rename = "groupKey")]
    group: String,
    /// Alerts of the group that the request leaves out.
    #[serde(default, rename = "truncatedAlerts")]
    truncated: u64,
    /// Of the whole group: resolved when all of its alerts are.
    #[serde(default)]
    status: Option<Status>,
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

/// What follows from a group of alerts for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertOrder {
    /// For whom.
    pub target: ThrottleTarget,
    /// Tells this group from others: the same in every request about it.
    pub group: String,
    /// The lowest cap of its alerts that fire, percent; 100 when none does.
    pub cap: u8,
    /// Why, for people.
    pub reason: String,
}

/// What a request says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// One order for each target that the group names.
    pub orders: Vec<AlertOrder>,
    /// Alerts that are no order.
    pub invalid: Vec<InvalidAlert>,
}

/// What one alert says.
struct Said {
    cap: u8,
    reason: String,
}

/// Reads a request. Nothing is remembered from one to the next: a request names every alert of its group that fires, so
/// that its order follows from it alone, also after a restart.
pub fn read(body: &[u8], default_target: &ThrottleTarget) -> Result<Read, Refusal> {
    let webhook: Webhook = serde_json::from_slice(body)?;
    if webhook.version != VERSION {
        return Err(Refusal::Version(webhook.version));
    }
    let all_resolved = webhook.status == Some(Status::Resolved);
    let mut read = Read::default();
    let mut groups: BTreeMap<(ThrottleTarget, String), Vec<Said>> = BTreeMap::new();
    for mut alert in webhook.alerts {
        if all_resolved {
            alert.status = Status::Resolved;
        }
        let group = if webhook.group.is_empty() { &alert.fingerprint } else { &webhook.group };
        let group = hex::encode(Sha256::digest(group.as_bytes()).get(..GROUP_DIGEST_LEN).unwrap_or_default());
        match said(&alert, default_target) {
            Ok((target, said)) => groups.entry((target, group)).or_default().push(said),
            Err(error) => read.invalid.push(error),
        }
    }
    for ((target, group), said) in groups {
        let alerts = said.len();
        let Some(Said { cap, mut reason }) = said.into_iter().min_by_key(|said| said.cap) else { continue };
        if cap == LIFTED && webhook.truncated > 0 && !all_resolved {
            // One that was left out may fire still.
            continue;
        }
        if alerts > 1 {
            reason = format!("{alerts} alerts, among them {reason}");
        }
        read.orders.push(AlertOrder { target, group, cap, reason });
    }
    Ok(read)
}

fn said(alert: &Alert, default_target: &ThrottleTarget) -> Result<(ThrottleTarget, Said), InvalidAlert> {
    let name = alert.labels.get("alertname").map_or("without a name", String::as_str).to_owned();
    let target = match alert.labels.get(TARGET_LABEL) {
        None => default_target.clone(),
        Some(text) => text.parse().map_err(|source| InvalidAlert::Target { alert: name.clone(), source })?,
    };
    let cap = match alert.labels.get(CAP_LABEL).or_else(|| alert.annotations.get(CAP_LABEL)) {
        _ if alert.status == Status::Resolved => LIFTED,
        None => 0,
        Some(text) => {
            let cap: Result<u8, ParseIntError> = text.parse();
            let invalid = || InvalidAlert::Cap { alert: name.clone(), value: text.clone() };
            cap.ok().filter(|cap| *cap <= LIFTED).ok_or_else(invalid)?
        }
    };
    let summary = ["summary", "description"].into_iter().find_map(|key| alert.annotations.get(key));
    let reason = match (alert.status, summary) {
        (Status::Resolved, _) => format!("alert {name} is resolved"),
        (Status::Firing, Some(summary)) => format!("alert {name}: {summary}"),
        (Status::Firing, None) => format!("alert {name}"),
    };
    Ok((target, Said { cap, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Alertmanager 0.25 sent it.
    const FIRING: &str = include_str!("alertmanager-0.25-firing.json");
    const RESOLVED: &str = include_str!("alertmanager-0.25-resolved.json");

    fn one(body: &str) -> Result<AlertOrder, InvalidAlert> {
        let Read { mut orders, mut invalid } = read(body.as_bytes(), &ThrottleTarget::Farm).unwrap();
        assert_eq!(orders.len() + invalid.len(), 1);
        orders.pop().ok_or_else(|| invalid.remove(0))
    }

    /// A group of alerts with their caps; without a cap one is resolved.
    fn group(key: &str, truncated: u64, caps: &[Option<u8>]) -> Vec<AlertOrder> {
        let alert = |(n, cap): (usize, &Option<u8>)| {
            let status = if cap.is_some() { "firing" } else { "resolved" };
            let labels =
                serde_json::json!({ "alertname": format!("a{n}"), CAP_LABEL: cap.map(|c| c.to_string()) });
            let labels: BTreeMap<String, serde_json::Value> = serde_json::from_value(labels).unwrap();
            let labels: BTreeMap<_, _> = labels.into_iter().filter(|(_, v)| !v.is_null()).collect();
            serde_json::json!({ "status": status, "labels": labels, "fingerprint": n.to_string(),
                "annotations": { "summary": "x".repeat(5_000) } })
        };
        let alerts: Vec<_> = caps.iter().enumerate().map(alert).collect();
        let body = serde_json::json!({ "version": "4", "groupKey": key, "truncatedAlerts": truncated,
            "status": "firing", "alerts": alerts });
        read(body.to_string().as_bytes(), &ThrottleTarget::Farm).unwrap().orders
    }

    #[test]
    fn a_group_of_however_many_alerts_is_one_order_of_its_lowest_cap() {
        let mut caps = vec![Some(60); 3_000];
        caps.extend([None, Some(20), None]);
        let orders = group("{}:{a}", 0, &caps);
        assert_eq!((orders.len(), orders[0].cap), (1, 20));
        assert!(
            orders[0].reason.starts_with("3003 alerts, among them alert a3001: "),
            "{}",
            orders[0].reason
        );
        let resolved = group("{}:{a}", 0, &[None, None]);
        assert_eq!((resolved[0].cap, &resolved[0].group), (LIFTED, &orders[0].group));
        assert_ne!(group("{}:{b}", 0, &[None])[0].group, orders[0].group);
    }

    #[test]
    fn a_group_of_which_alerts_are_left_out_is_not_lifted() {
        assert_eq!(group("g", 5, &[None]), []);
        assert_eq!(group("g", 5, &[None, Some(30)])[0].cap, 30);
    }

    #[test]
    fn a_firing_alert_orders_the_cap_of_its_label_and_a_resolved_one_lifts_it() {
        let firing = one(FIRING).unwrap();
        let wanted = AlertOrder {
            target: "label.rack.b2".parse().unwrap(),
            group: firing.group.clone(),
            cap: 25,
            reason: "alert CheckoutSlow: p99 of the checkout is 870 ms".into(),
        };
        assert_eq!(firing, wanted);
        let resolved = one(RESOLVED).unwrap();
        assert_eq!((resolved.cap, resolved.target), (100, wanted.target));
        assert_eq!((resolved.group, firing.group.len()), (wanted.group, 2 * GROUP_DIGEST_LEN));
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
    }
}
