//! How the nodes of job sources do, as Prometheus text. The recorder forgets no series; these end with their node, and with the
//! ownership of its pool.

use bus_schemas::{
    PoolId,
    node_status::{NodeStanding, NodeStatus},
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

const STANDING: &str = "dcmf_coordinator_source_node_standing";
const HEIGHT: &str = "dcmf_coordinator_source_node_height_blocks";
const ANSWER_AGE: &str = "dcmf_coordinator_source_node_answer_age_seconds";

/// The nodes of the pools that are owned here.
#[derive(Debug, Default)]
pub(crate) struct NodeMetrics(Mutex<BTreeMap<String, Vec<NodeStatus>>>);

impl NodeMetrics {
    fn pools(&self) -> MutexGuard<'_, BTreeMap<String, Vec<NodeStatus>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, pool: &PoolId, nodes: &[NodeStatus]) {
        self.pools().insert(pool.to_string(), nodes.to_vec());
    }

    /// The pool is not owned here any more.
    pub(crate) fn end(&self, pool: &str) {
        self.pools().remove(pool);
    }

    /// Appends the series that live.
    pub(crate) fn render(&self, text: &mut String) {
        let pools = self.pools();
        let nodes = || {
            pools.iter().flat_map(|(pool, nodes)| {
                let labels = move |(index, node): (usize, &NodeStatus)| {
                    format!("pool=\"{pool}\",index=\"{index}\",node=\"{}\"", host(&node.node))
                };
                nodes.iter().enumerate().map(move |(index, node)| (labels((index, node)), node))
            })
        };
        let mut family = |name: &str, about: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} gauge");
                for line in lines {
                    let _ = writeln!(text, "{name}{line}");
                }
            }
        };
        let standings = nodes().flat_map(|(labels, node)| {
            NodeStanding::ALL.map(|standing| {
                let is = u8::from(standing == node.standing);
                format!("{{{labels},standing=\"{standing}\"}} {is}")
            })
        });
        family(STANDING, "1 for what a node of a job source is good for now", standings.collect());
        let heights = nodes().filter_map(|(labels, node)| Some(format!("{{{labels}}} {}", node.height?)));
        family(HEIGHT, "Height of the best block of a node of a job source", heights.collect());
        let ages = nodes().filter_map(|(labels, node)| {
            let ms = node.answered_ms_ago?;
            Some(format!("{{{labels}}} {}.{:03}", ms / 1_000, ms % 1_000))
        });
        family(ANSWER_AGE, "Age of the last good answer of a node of a job source", ages.collect());
    }
}

/// Host and port of a URL, or what stands in its place.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    host.chars().filter(|c| c.is_ascii_alphanumeric() || ".:-[]_".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(url: &str, standing: NodeStanding) -> NodeStatus {
        NodeStatus {
            node: url.to_owned(),
            standing,
            height: Some(41),
            answered_ms_ago: Some(1_250),
            last_error: Some("no answer".to_owned()),
        }
    }

    #[test]
    fn each_node_has_its_series_which_end_with_it_and_with_the_pool() {
        let (metrics, pool) = (NodeMetrics::default(), PoolId::new("main").unwrap());
        let render = || {
            let mut text = String::new();
            metrics.render(&mut text);
            text
        };
        metrics.set(
            &pool,
            &[node("http://a:8332/x", NodeStanding::Lagging), node("http://b:8332", NodeStanding::InUse)],
        );
        let text = render();
        for line in [
            r#"dcmf_coordinator_source_node_standing{pool="main",index="0",node="a:8332",standing="lagging"} 1"#,
            r#"dcmf_coordinator_source_node_standing{pool="main",index="0",node="a:8332",standing="in-use"} 0"#,
            r#"dcmf_coordinator_source_node_height_blocks{pool="main",index="1",node="b:8332"} 41"#,
            r#"dcmf_coordinator_source_node_answer_age_seconds{pool="main",index="1",node="b:8332"} 1.250"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
        metrics.set(&pool, &[node("http://b:8332", NodeStanding::InUse)]);
        assert!(!render().contains("a:8332"));
        metrics.end("main");
        assert_eq!(render(), "");
    }

    #[test]
    fn no_secret_becomes_a_label() {
        assert_eq!(host("http://me:secret@10.0.0.1:8332/x?key=secret"), "10.0.0.1:8332");
        assert_eq!(host("http://[::1]:80/\"}"), "[::1]:80");
    }
}
