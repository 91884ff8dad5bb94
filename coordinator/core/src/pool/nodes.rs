//! How the nodes of the job source do: each change is told once.

use crate::input::NodeFacts;
use bus_schemas::{
    event::EventData,
    node_status::{NodeStanding, NodeStatus},
};

/// The nodes as they were last seen.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    known: Vec<NodeStatus>,
}

impl Nodes {
    /// The source is another one.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    pub(crate) fn status(&self) -> &[NodeStatus] {
        &self.known
    }

    /// How they do now; returns what is new.
    pub(crate) fn observe(&mut self, facts: Vec<NodeFacts>) -> Vec<EventData> {
        let known = std::mem::take(&mut self.known);
        let before =
            |node: &str| known.iter().find(|n| n.node == node).map_or(NodeStanding::Unknown, |n| n.standing);
        let events = facts.iter().filter_map(|facts| news(before(&facts.status.node), facts)).collect();
        self.known = facts.into_iter().map(|facts| facts.status).collect();
        events
    }
}

/// What is to be told of a node that stood thus before.
fn news(before: NodeStanding, facts: &NodeFacts) -> Option<EventData> {
    let NodeStatus { node, standing, height, last_error, .. } = &facts.status;
    let well = |standing: NodeStanding| matches!(standing, NodeStanding::InUse | NodeStanding::Standby);
    // That a node does what is expected of it is no news at the begin.
    let expected = before == NodeStanding::Unknown && well(*standing);
    if *standing == before || *standing == NodeStanding::Unknown || expected {
        return None;
    }
    if let (NodeStanding::Lagging, Some((further, further_height))) = (standing, &facts.behind) {
        return Some(EventData::SourceLagging {
            node: node.clone(),
            height: height.unwrap_or_default(),
            further: further.clone(),
            further_height: *further_height,
        });
    }
    let reason = match standing {
        NodeStanding::InUse => "templates come from it",
        NodeStanding::Standby if well(before) => "templates come from another",
        _ => last_error.as_deref().unwrap_or("it answers and is as far as the others"),
    };
    Some(EventData::SourceNodeChanged {
        node: node.clone(),
        standing: *standing,
        height: *height,
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(node: &str, standing: NodeStanding, height: u64) -> NodeFacts {
        let behind = (standing == NodeStanding::Lagging).then(|| ("b".to_owned(), height + 3));
        let last_error = (standing == NodeStanding::Failing).then(|| "no answer".to_owned());
        let status = NodeStatus {
            node: node.to_owned(),
            standing,
            height: Some(height),
            answered_ms_ago: None,
            last_error,
        };
        NodeFacts { status, behind }
    }

    #[test]
    fn each_change_of_a_node_is_told_once_and_the_begin_is_no_news() {
        use NodeStanding::{Failing, InUse, Lagging, Standby, Unknown};
        let mut nodes = Nodes::default();
        let mut told = |a, b| nodes.observe(vec![facts("a", a, 100), facts("b", b, 103)]);
        assert_eq!(told(Unknown, Unknown), []);
        assert_eq!(told(InUse, Standby), []);
        assert_eq!(told(InUse, Standby), []);
        let lags = EventData::SourceLagging {
            node: "a".into(),
            height: 100,
            further: "b".into(),
            further_height: 103,
        };
        let changed = |node: &str, standing, height, reason: &str| EventData::SourceNodeChanged {
            node: node.into(),
            standing,
            height: Some(height),
            reason: reason.into(),
        };
        assert_eq!(told(Lagging, InUse), [lags, changed("b", InUse, 103, "templates come from it")]);
        assert_eq!(told(Lagging, InUse), []);
        let caught_up = changed("a", Standby, 100, "it answers and is as far as the others");
        assert_eq!(told(Standby, InUse), [caught_up]);
        assert_eq!(told(Failing, InUse), [changed("a", Failing, 100, "no answer")]);
        assert_eq!(told(Failing, InUse), []);
    }

    #[test]
    fn a_node_that_fails_from_the_begin_is_told() {
        let mut nodes = Nodes::default();
        assert_eq!(nodes.observe(vec![facts("a", NodeStanding::Failing, 0)]).len(), 1);
        nodes.forget();
        assert!(nodes.status().is_empty());
    }
}
