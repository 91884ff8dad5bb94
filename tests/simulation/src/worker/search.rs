//! Search threads: each goes through its unit at the machine's pace and finds what the cheap hash makes a finding.

use crate::{bus::Bus, hashing::Base, queue::Queue};
use bus_schemas::job::WorkUnit;
use std::{cell::Cell, collections::BTreeMap, rc::Rc};
use worker_core::{Input, SearchOrder};

/// Longest time until a thread has stopped, microseconds.
const STOP_US: u64 = 30_000;

/// The threads of one worker.
pub(super) struct Threads {
    bus: Bus,
    inputs: Queue<Input>,
    /// Nonces a second of each.
    rate: u64,
    percent: Rc<Cell<u8>>,
    running: BTreeMap<u16, (u64, Queue<()>)>,
}

impl Threads {
    pub(super) fn new(bus: Bus, inputs: Queue<Input>, rate: u64) -> Self {
        Self { bus, inputs, rate, percent: Rc::new(Cell::new(100)), running: BTreeMap::new() }
    }

    pub(super) fn set_pace(&self, percent: u8) {
        self.percent.set(percent.max(1));
    }

    pub(super) fn start(&mut self, order: SearchOrder) {
        let (world, process) = (self.bus.world.clone(), self.bus.owner.process);
        world.begins_search(process, &order);
        let stop = Queue::default();
        self.running.insert(order.thread, (order.order, stop.clone()));
        let us_each = 1_000_000 * 100 / (self.rate.max(1) * u64::from(self.percent.get()));
        let task = search(self.bus.clone(), self.inputs.clone(), order, us_each.max(1), stop);
        world.executor.spawn(self.bus.owner, task);
    }

    pub(super) fn stop(&mut self, thread: u16, order: u64) {
        if let Some((_, stop)) = self.running.get(&thread).filter(|(running, _)| *running == order) {
            stop.push(());
        }
    }
}

async fn search(bus: Bus, inputs: Queue<Input>, order: SearchOrder, us_each: u64, stop: Queue<()>) {
    let SearchOrder { thread, order, assignment, unit } = order;
    let world = bus.world.clone();
    let (begin, first) = (world.now(), unit.nonces.start);
    let at = |nonce: u64| begin + (nonce - first + 1) * us_each;
    let WorkUnit::Header(work) = &assignment.job.work else { return };
    let (roll, version) = unit.roll(&assignment.job.work);
    let base = Base::new(&assignment.job.id, assignment.slot, roll, version, work.time);
    let mut highest = [0; 8];
    highest.copy_from_slice(&assignment.target.to_le_bytes()[24..]);
    let highest = u64::from_le_bytes(highest);
    for nonce in unit.nonces.start..unit.nonces.end {
        let Ok(short) = u32::try_from(nonce) else { break };
        if base.top(short) > highest {
            continue;
        }
        let hash = base.hash(short);
        if !assignment.target.is_met_by(&hash) {
            continue;
        }
        if stop.next_until(&world, Some(at(nonce))).await.is_some() {
            return stopped(&bus, &inputs, thread, order, first + (world.now() - begin) / us_each, nonce)
                .await;
        }
        world.finds(&assignment, unit.row, short, &hash);
        inputs.push(Input::Found { thread, order, nonce: short, hash });
    }
    let end = unit.nonces.end;
    if stop.next_until(&world, Some(at(end.saturating_sub(1)))).await.is_some() {
        return stopped(&bus, &inputs, thread, order, first + (world.now() - begin) / us_each, end).await;
    }
    inputs.push(Input::UnitEnded { thread, order, next: end });
}

async fn stopped(bus: &Bus, inputs: &Queue<Input>, thread: u16, order: u64, reached: u64, most: u64) {
    let pause = bus.world.with_process(bus.owner.process, |p| p.random.below(STOP_US));
    bus.sleep_ms(pause / 1_000).await;
    inputs.push(Input::UnitEnded { thread, order, next: reached.min(most) });
}
