//! Every command: its name, what stands for its target in its subject, and who may ask for it.

use crate::subject::{command, command_on};
use std::fmt;

/// What a command is about. Its id stands in the subject, so that a permission can pin it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The whole farm: no target stands in the subject.
    Farm,
    /// One pool.
    Pool,
    /// One worker.
    Node,
    /// Those whom a throttle order concerns, in one to three tokens, see [`crate::throttle::ThrottleTarget`].
    Throttle,
}

impl Aim {
    /// The target in texts for people, as it stands in the subject; nothing for the farm.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Farm => "",
            Self::Pool => "<pool>",
            Self::Node => "<node>",
            Self::Throttle => "<farm, pool.ID, worker.ID or label.KEY.VALUE>",
        }
    }
}

/// Who may ask for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody who may see the farm: it changes nothing.
    Read,
    /// Only who may steer it.
    Steer,
}

/// A command's name: `dcmf.v1.cmd.<entity>.<verb>[.<target>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandName {
    /// What kind of thing it is about.
    pub entity: &'static str,
    /// What is to be done.
    pub verb: &'static str,
    /// Its target.
    pub aim: Aim,
    /// Who may ask for it.
    pub access: Access,
}

const fn of(entity: &'static str, verb: &'static str, aim: Aim, access: Access) -> CommandName {
    CommandName { entity, verb, aim, access }
}

/// Every command.
pub const COMMANDS: [CommandName; 19] = [
    of("farm", "status", Aim::Farm, Access::Read),
    of("farm", "halt", Aim::Farm, Access::Steer),
    of("farm", "resume", Aim::Farm, Access::Steer),
    of("pool", "list", Aim::Farm, Access::Read),
    of("pool", "get", Aim::Pool, Access::Read),
    of("pool", "preview", Aim::Pool, Access::Read),
    of("pool", "put", Aim::Pool, Access::Steer),
    of("pool", "pause", Aim::Pool, Access::Steer),
    of("pool", "resume", Aim::Pool, Access::Steer),
    of("pool", "delete", Aim::Pool, Access::Steer),
    of("node", "list", Aim::Farm, Access::Read),
    of("node", "get", Aim::Node, Access::Read),
    of("node", "explain", Aim::Node, Access::Read),
    of("node", "put", Aim::Node, Access::Steer),
    of("node", "drain", Aim::Node, Access::Steer),
    of("node", "undrain", Aim::Node, Access::Steer),
    of("job", "show", Aim::Pool, Access::Read),
    of("throttle", "list", Aim::Farm, Access::Read),
    of("throttle", "put", Aim::Throttle, Access::Steer),
];

impl CommandName {
    /// The command of this entity and verb.
    pub fn find(entity: &str, verb: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|known| (known.entity, known.verb) == (entity, verb))
    }

    /// Its subject without a target.
    pub fn bare(&self) -> String {
        command(self.entity, self.verb)
    }

    /// Its subject for a target.
    pub fn on(&self, target: impl fmt::Display) -> String {
        command_on(self.entity, self.verb, target)
    }

    /// The subject on which it is served: with a wildcard for the target.
    pub fn served(&self) -> String {
        match self.aim {
            Aim::Farm => self.bare(),
            Aim::Pool | Aim::Node => self.on("*"),
            Aim::Throttle => self.on(">"),
        }
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.entity, self.verb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_served_where_its_target_stands_in_the_subject() {
        for (entity, verb, served) in [
            ("farm", "halt", "dcmf.v1.cmd.farm.halt"),
            ("pool", "pause", "dcmf.v1.cmd.pool.pause.*"),
            ("node", "drain", "dcmf.v1.cmd.node.drain.*"),
            ("throttle", "put", "dcmf.v1.cmd.throttle.put.>"),
        ] {
            assert_eq!(CommandName::find(entity, verb).unwrap().served(), served);
        }
        assert_eq!(CommandName::find("pool", "pause").unwrap().on("main"), "dcmf.v1.cmd.pool.pause.main");
        assert_eq!(CommandName::find("pool", "burn"), None);
    }
}
