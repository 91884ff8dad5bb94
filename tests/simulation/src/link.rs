//! The connection of one process with the bus: in order, late, lossy, cut off.
//!
//! What a short partition holds back comes late; when the client has noticed and given the connection up, it never comes.

use crate::{random::Random, world::World};
use std::{rc::Rc, task::Waker};

/// Something that happens at an end of a link.
pub(crate) type Arrival = Box<dyn FnOnce(&Rc<World>)>;

/// After so long in silence a client gives its connection up, microseconds.
const NOTICED_US: (u64, u64) = (2_000_000, 12_000_000);
/// After so long a client is connected again when the way is free, microseconds.
const RECONNECT_US: (u64, u64) = (50_000, 2_000_000);

/// Which ways are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing gets through.
    Both,
    /// What the process sends is held back; it hears everything.
    Out,
    /// The process hears nothing; what it sends gets through.
    In,
}

pub(crate) struct Link {
    cut_out: bool,
    cut_in: bool,
    /// As the client knows it.
    pub(crate) connected: bool,
    /// Which connection it is, counted from the first.
    pub(crate) connects: u64,
    cuts: u64,
    /// Messages of a thousand that are lost either way.
    pub(crate) loss_permille: u64,
    /// What every message takes longer, at most, microseconds.
    pub(crate) slow_us: u64,
    out_free_us: u64,
    in_free_us: u64,
    held_out: Vec<Arrival>,
    held_in: Vec<Arrival>,
    random: Random,
    /// Since when everything gets through at once.
    pub(crate) sound_since_us: u64,
    /// Since when the process hears nothing, if it does not.
    pub(crate) deaf_since_us: Option<u64>,
    pub(crate) watchers: Vec<Waker>,
}

impl Link {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            cut_out: false,
            cut_in: false,
            connected: false,
            connects: 0,
            cuts: 0,
            loss_permille: 0,
            slow_us: 0,
            out_free_us: 0,
            in_free_us: 0,
            held_out: Vec::new(),
            held_in: Vec::new(),
            random,
            sound_since_us: 0,
            deaf_since_us: None,
            watchers: Vec::new(),
        }
    }

    /// Whether everything gets through at once.
    pub(crate) fn is_sound(&self) -> bool {
        self.connected && !self.cut_out && !self.cut_in && self.loss_permille == 0 && self.slow_us == 0
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut_out || self.cut_in
    }

    /// Notes whether the process hears anything.
    fn note_deaf(&mut self, now_us: u64) {
        if !self.cut_in && self.connected {
            self.deaf_since_us = None;
        } else if self.deaf_since_us.is_none() {
            self.deaf_since_us = Some(now_us);
        }
    }

    fn delay(&mut self) -> u64 {
        let usual = self.random.between(100, 2_000);
        let hiccup = if self.random.chance(10) { self.random.below(60_000) } else { 0 };
        usual + hiccup + self.random.below(self.slow_us + 1)
    }

    fn notify(&mut self) {
        self.watchers.drain(..).for_each(Waker::wake);
    }

    /// A new process: a new connection, unless the way is cut off.
    pub(crate) fn begin(&mut self, now_us: u64) {
        self.connected = !self.is_cut();
        self.connects += 1;
        self.held_in.clear();
        self.sound_since_us = now_us;
        self.note_deaf(now_us);
    }
}

impl World {
    /// Sends something to the server.
    pub(crate) fn send_out(self: &Rc<Self>, process: usize, arrival: Arrival) {
        let planned = self.with_link(process, |link| {
            if !link.connected || link.random.chance(link.loss_permille) {
                return None;
            }
            let at = (self.now() + link.delay()).max(link.out_free_us);
            link.out_free_us = at;
            Some((at, link.connects))
        });
        let Some((at, connects)) = planned else { return };
        self.schedule(at, move |world| {
            let now = world.with_link(process, |link| {
                if link.connects != connects || !link.connected {
                    return None;
                }
                if !link.cut_out {
                    return Some(arrival);
                }
                link.held_out.push(arrival);
                None
            });
            if let Some(arrival) = now {
                arrival(world);
            }
        });
    }

    /// Sends something to a process.
    pub(crate) fn send_in(self: &Rc<Self>, process: usize, arrival: Arrival) {
        let planned = self.with_link(process, |link| {
            if !link.connected || link.random.chance(link.loss_permille) {
                return None;
            }
            let at = (self.now() + link.delay()).max(link.in_free_us);
            link.in_free_us = at;
            Some((at, link.connects))
        });
        let Some((at, connects)) = planned else { return };
        self.schedule(at, move |world| {
            let now = world.with_link(process, |link| {
                if link.connects != connects || !link.connected {
                    return None;
                }
                if !link.cut_in {
                    return Some(arrival);
                }
                link.held_in.push(arrival);
                None
            });
            if let Some(arrival) = now {
                arrival(world);
            }
        });
    }

    /// Cuts a process off.
    pub(crate) fn cut(self: &Rc<Self>, process: usize, cut: Cut) {
        let (noticed_us, this) = self.with_link(process, |link| {
            link.cut_out |= cut != Cut::In;
            link.cut_in |= cut != Cut::Out;
            link.cuts += 1;
            link.note_deaf(self.now());
            (link.random.between(NOTICED_US.0, NOTICED_US.1), link.cuts)
        });
        self.schedule(self.now() + noticed_us, move |world| {
            let now = world.now();
            world.with_link(process, |link| {
                if link.is_cut() && link.cuts == this && link.connected {
                    link.connected = false;
                    link.note_deaf(now);
                    link.held_out.clear();
                    link.held_in.clear();
                    link.notify();
                }
            });
        });
    }

    /// The way is free again.
    pub(crate) fn heal(self: &Rc<Self>, process: usize) {
        let (held_out, held_in) = self.with_link(process, |link| {
            (link.cut_out, link.cut_in) = (false, false);
            link.cuts += 1;
            link.sound_since_us = self.now();
            link.note_deaf(self.now());
            (std::mem::take(&mut link.held_out), std::mem::take(&mut link.held_in))
        });
        held_out.into_iter().for_each(|arrival| self.send_out(process, arrival));
        held_in.into_iter().for_each(|arrival| self.send_in(process, arrival));
        self.reconnect(process);
    }

    fn reconnect(self: &Rc<Self>, process: usize) {
        let due = self.with_link(process, |link| {
            (!link.connected).then(|| link.random.between(RECONNECT_US.0, RECONNECT_US.1))
        });
        let Some(due) = due else { return };
        self.schedule(self.now() + due, move |world| {
            let now = world.now();
            world.with_link(process, |link| {
                if !link.is_cut() && !link.connected {
                    link.connected = true;
                    link.connects += 1;
                    link.sound_since_us = now;
                    link.note_deaf(now);
                    link.notify();
                }
            });
        });
    }

    /// Makes a link lossy and slow, or sound again.
    pub(crate) fn disturb(self: &Rc<Self>, process: usize, loss_permille: u64, slow_us: u64) {
        let now = self.now();
        self.with_link(process, |link| {
            (link.loss_permille, link.slow_us) = (loss_permille, slow_us);
            link.sound_since_us = now;
        });
    }
}
