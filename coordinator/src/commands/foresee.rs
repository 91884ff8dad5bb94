//! Commands that look ahead. What only workers know comes from their signs of life: those of pools that are owned here
//! are known, those of others are listened to.

use super::{Commands, unknown_pool};
use bus_schemas::{
    PoolId, TimestampMs, WorkerId,
    command::{
        CommandError, ErrorCode, ExplainRequest, Explanation, MAX_PAGE, Membership, Preview, PreviewRequest,
    },
    config::{InvalidConfig, NodeConfig, PoolConfig, parse_strict},
    heartbeat::Heartbeat,
    subject::{Subject, filter},
};
use coordinator_core::foresight::{
    Circumstances, DEFAULT_HOURS, LOAD_LASTS_MS, MAX_AHEAD_MS, MAX_HOURS, MemberFacts, Outlook, explain,
    preview,
};
use nats_adapter::Call;
use std::{collections::BTreeMap, time::Duration};

/// Longest time for which signs of life of a pool that another coordinator owns are listened to.
const LISTEN_AT_MOST: Duration = Duration::from_secs(3);

/// Reads a moment that is not long past and not too far away; now when absent.
fn moment(text: Option<&str>, now: TimestampMs) -> Result<TimestampMs, CommandError> {
    let invalid = |why: &str| {
        CommandError::new(ErrorCode::InvalidTime, format!("{:?} {why}", text.unwrap_or_default()))
    };
    let Some(text) = text else { return Ok(now) };
    let at: jiff::Timestamp = text.parse().map_err(|_| invalid("is no time of RFC 3339"))?;
    let at = TimestampMs(u64::try_from(at.as_millisecond()).map_err(|_| invalid("is before 1970"))?);
    if now.since(at) > LOAD_LASTS_MS {
        return Err(invalid("is past; what was is told by events"));
    }
    if at.since(now) > MAX_AHEAD_MS {
        return Err(invalid("is more than a year away"));
    }
    Ok(at)
}

fn facts_of(worker: &WorkerId, membership: &Membership) -> MemberFacts {
    MemberFacts {
        pool: membership.pool.clone(),
        worker: worker.clone(),
        role: membership.role,
        standing: membership.standing,
        local: None,
        reported: None,
        threads: 0,
    }
}

impl Commands {
    fn pool_config(&self, pool: &PoolId) -> Result<&PoolConfig, CommandError> {
        self.snapshot.configs.get(pool).ok_or_else(|| unknown_pool(pool))
    }

    pub(super) async fn node_explain(&self, call: &Call) -> Result<Explanation, CommandError> {
        let node: WorkerId = call.target()?;
        let ExplainRequest { at } = call.decode()?;
        let now = TimestampMs(crate::run::wall());
        let at = moment(at.as_deref(), now)?;
        let not_a_member =
            || CommandError::new(ErrorCode::NotAMember, format!("node {node} is no member of any pool"));
        let view = self.node(&node).await;
        let own = view.as_ref().filter(|view| view.revision > 0).map(|view| view.config.clone());
        let membership = view.and_then(|view| view.membership);
        let membership = membership.ok_or_else(not_a_member)?;
        let config = self.pool_config(&membership.pool)?;
        let known = self.snapshot.facts.iter().find(|(f, _)| f.pool == membership.pool);
        let facts = match known {
            Some((facts, _)) => facts.clone(),
            None => {
                let subject = Subject::Heartbeat(membership.pool.clone(), node.clone()).to_string();
                let heard = self.listen(subject, config, 1).await;
                hear(facts_of(&node, &membership), &heard)
            }
        };
        let circumstances = Circumstances {
            farm: self.snapshot.halt.as_ref(),
            pool: config,
            node: own.as_ref(),
            throttles: &self.snapshot.throttles,
        };
        Ok(explain(&facts, circumstances, at, now))
    }

    pub(super) async fn pool_preview(&self, call: &Call) -> Result<Preview, CommandError> {
        let pool: PoolId = call.target()?;
        let PreviewRequest { config: proposed, from, hours } = call.decode()?;
        let now = TimestampMs(crate::run::wall());
        let from = moment(from.as_deref(), now)?;
        let hours = hours.unwrap_or(DEFAULT_HOURS);
        if !(1..=MAX_HOURS).contains(&hours) {
            let text = format!("hours is {hours}; it must be 1 to {MAX_HOURS}");
            return Err(CommandError::new(ErrorCode::InvalidTime, text));
        }
        let config = self.pool_config(&pool)?.clone();
        let invalid = |e: InvalidConfig| CommandError::new(ErrorCode::InvalidConfig, format!("{pool}: {e}"));
        let read = |json: serde_json::Value| parse_strict::<PoolConfig>(json.to_string().as_bytes());
        let proposed = proposed.map(read).transpose().map_err(invalid)?;
        let members = self.members_of(&pool, &config).await;
        let farm = self.snapshot.halt.clone();
        let until = from.plus_ms(u64::from(hours) * 3_600_000);
        let id = pool.clone();
        let look = move || {
            let (config, proposed) = (&config, proposed.as_ref());
            preview(Outlook {
                id: &id,
                farm: farm.as_ref(),
                config,
                proposed,
                members: &members,
                from,
                until,
            })
        };
        // It may take a while, and nothing else waits for it.
        tokio::task::spawn_blocking(look).await.map_err(super::bus_error)
    }

    /// Every member of the pool with its own configuration.
    async fn members_of(&self, pool: &PoolId, config: &PoolConfig) -> Vec<(MemberFacts, Option<NodeConfig>)> {
        if self.snapshot.elsewhere.is_empty() {
            return self.snapshot.facts.clone();
        }
        let mut facts = Vec::new();
        let mut after = None;
        loop {
            let (nodes, goes_on) = self.nodes(after.take(), usize::from(MAX_PAGE)).await;
            after = nodes.last_key_value().filter(|_| goes_on).map(|(node, _)| node.clone());
            facts.extend(nodes.into_values().filter_map(|view| {
                let membership = view.membership.as_ref().filter(|m| m.pool == *pool)?;
                let facts = facts_of(&view.node, membership);
                Some((facts, Some(view.config).filter(|_| view.revision > 0)))
            }));
            if after.is_none() {
                break;
            }
        }
        if !facts.is_empty() {
            let heard = self.listen(filter::heartbeats(pool), config, facts.len()).await;
            facts = facts.into_iter().map(|(f, own)| (hear(f, &heard), own)).collect();
        }
        facts
    }

    /// Listens for one interval of heartbeats and a half, or until `enough` workers were heard.
    async fn listen(
        &self,
        subject: String,
        config: &PoolConfig,
        enough: usize,
    ) -> BTreeMap<WorkerId, Heartbeat> {
        let mut heard = BTreeMap::new();
        let interval = Duration::from_millis(u64::from(config.heartbeat_interval_ms) * 3 / 2);
        let Ok(mut heartbeats) = self.bus.subscribe::<Heartbeat>(subject).await else { return heard };
        let hear = async {
            while heard.len() < enough {
                match heartbeats.next().await {
                    Some(Ok(incoming)) => {
                        if let Subject::Heartbeat(_, worker) = incoming.subject {
                            heard.insert(worker, incoming.message);
                        }
                    }
                    Some(Err(error)) => tracing::debug!(%error, "a sign of life cannot be read"),
                    None => return,
                }
            }
        };
        // Who is silent is foretold without its own words, and the answer says so.
        let _ = tokio::time::timeout(interval.min(LISTEN_AT_MOST), hear).await;
        heard
    }
}

fn hear(facts: MemberFacts, heard: &BTreeMap<WorkerId, Heartbeat>) -> MemberFacts {
    match heard.get(&facts.worker) {
        Some(heartbeat) => MemberFacts {
            local: heartbeat.local.clone(),
            reported: Some(heartbeat.set_point),
            threads: heartbeat.local.as_ref().map_or(0, |l| l.threads),
            ..facts
        },
        None => facts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_of_rfc_3339_not_past_and_not_too_far_away() {
        let now = TimestampMs(1_795_219_200_000);
        assert_eq!(moment(None, now), Ok(now));
        assert_eq!(moment(Some("2026-11-21T01:00:00+01:00"), now), Ok(now));
        for bad in ["", "tomorrow", "2026-11-21T00:00", "2026-11-20T23:58:00Z", "2028-01-01T00:00:00Z"] {
            assert_eq!(moment(Some(bad), now).map_err(|e| e.code), Err(ErrorCode::InvalidTime), "{bad}");
        }
    }
}
