//! Everything that a worker can ask of its shell.

use crate::{calendar::AgendaQuestion, governor::Rhythm, input::Authority, notice::Notice, plan::Unit};
use bus_schemas::{
    ShareBits, Target,
    event::Event,
    heartbeat::Heartbeat,
    job::{AlgorithmRef, Job},
    member::{JoinRequest, Leave},
    policy::Priority,
    share::Share,
};
use std::sync::Arc;

/// An output of [`crate::WorkerCore::next_effect`].
#[derive(Debug, Clone)]
pub enum Effect {
    /// Ask to join; answered by [`crate::Input::JoinReply`] or [`crate::Input::JoinFailed`].
    Join(Box<JoinRequest>),
    /// Read configuration, role and job; answered by [`crate::Input::ConfigurationRead`] or
    /// [`crate::Input::ReadFailed`].
    ReadConfiguration(Authority),
    /// Obtain an algorithm that is not here and have its certificates judged; answered by exactly one of
    /// [`crate::Input::AlgorithmObtained`] and [`crate::Input::AlgorithmDenied`]. One is asked for at a time.
    ObtainAlgorithm(AlgorithmRef),
    /// Find the times of a schedule; answered by [`crate::Input::Agenda`]. It is work, so not where anything else waits.
    MakeAgenda(AgendaQuestion),
    /// Search; answered by findings and then by exactly one of [`crate::Input::UnitEnded`],
    /// [`crate::Input::SearchRefused`] and [`crate::Input::ThreadFailed`].
    StartSearch(SearchOrder),
    /// Stop a thread's search soon; the answer is that of its [`Effect::StartSearch`].
    StopSearch {
        /// The thread.
        thread: u16,
        /// The order to be stopped; a later one goes on.
        order: u64,
    },
    /// Publish and wait until it is stored; answered by [`crate::Input::Acked`] or
    /// [`crate::Input::PublishFailed`], always.
    Publish(Publication),
    /// All search threads keep this pace from now on, in the middle of what they search.
    SetPace(Pace),
    /// Publish a fact, once; it is lost when the bus is not there.
    PublishEvent(Box<Event>),
    /// Publish a sign of life, once.
    PublishHeartbeat(Box<Heartbeat>),
    /// Publish a good-bye, once.
    PublishLeave(Leave),
    /// For the log and the metrics.
    Notice(Notice),
    /// Nothing is left to do: end.
    Exit,
}

/// How search threads use their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Share of the time in which each searches, 1 to 100 percent.
    pub cap_percent: u8,
    /// How the kernel ranks them.
    pub priority: Priority,
    /// Their short rests.
    pub rhythm: Rhythm,
    /// Whether they may use wide vectors, after which a processor's clock may be lower for a while.
    pub wide_vectors: bool,
}

/// What a search thread does until told otherwise.
#[derive(Debug, Clone)]
pub struct SearchOrder {
    /// Which thread, counted from zero.
    pub thread: u16,
    /// Rises with every order of this process.
    pub order: u64,
    /// What is searched.
    pub assignment: Arc<Assignment>,
    /// Which part of it.
    pub unit: Unit,
}

/// What all threads search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The job.
    pub job: Arc<Job>,
    /// The worker's slot.
    pub slot: u16,
    /// Generation at which it got the slot.
    pub slot_generation: u64,
    /// Difficulty of its shares.
    pub bits: ShareBits,
    /// The highest hash that is to be reported: that of a share or that of a block, whichever is easier.
    pub target: Target,
}

/// The subject of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// [`bus_schemas::subject::Subject::Share`].
    Share,
    /// [`bus_schemas::subject::Subject::Found`].
    Found,
}

/// A share on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Names it in the answer.
    pub id: u64,
    /// Counts its attempts from one.
    pub attempt: u32,
    /// Where to.
    pub lane: Lane,
    /// What; [`Share::message_id`] is its message id.
    pub share: Share,
}
