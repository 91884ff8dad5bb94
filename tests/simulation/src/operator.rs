//! Steps are carried out: by operators, by load monitors, by whoever else reaches the bus, and by misfortune.

use crate::{
    plan::{Action, Rubbish, Step, pool_name, worker_name},
    server::{
        declared::{CONFIG, IN_FORCE, MEMBERS, SHARE, key_subject},
        stream::{Headers, Publish},
    },
    world::World,
};
use bus_schemas::{
    JobId, Message, PoolId, SessionId, ShareBits, TimestampMs, WorkerId,
    ledger::LedgerRecord,
    share::{Finding, HeaderFinding, Share},
    subject::{Subject, filter},
    throttle::Throttle,
};
use std::rc::Rc;

/// A share is sent once more while so many came after it.
const LATEST_SHARES: u64 = 40;

fn publish(world: &Rc<World>, subject: impl ToString, payload: Vec<u8>, headers: Headers) {
    let subject = subject.to_string().into();
    // A stream that is missing at the moment takes nothing.
    let _ = world.publish(Publish { subject, payload: payload.into(), headers });
}

impl World {
    /// Plans the steps that are to happen.
    pub(crate) fn plan(self: &Rc<Self>, steps: &[Step]) {
        for step in steps {
            let action = step.action.clone();
            self.schedule(step.at_us, move |world| world.carry_out(action));
        }
    }

    fn carry_out(self: &Rc<Self>, action: Action) {
        self.tell(|| format!("--- {action:?}"));
        match action {
            Action::Crash { process, down_ms } => {
                self.counts.borrow_mut().crashes += 1;
                self.kill(process, down_ms * 1_000);
            }
            Action::Fuse { process, effects, down_ms } => {
                self.counts.borrow_mut().crashes += 1;
                self.with_process(process, |p| (p.fuse, p.down_us) = (Some(effects), down_ms * 1_000));
            }
            Action::Shutdown { process } => {
                let shutdown = self.with_process(process, |p| p.shutdown.clone());
                shutdown.iter().for_each(|queue| queue.push(()));
            }
            Action::Partition { process, cut, ms } => {
                self.counts.borrow_mut().partitions += 1;
                self.cut(process, cut);
                self.schedule(self.now() + ms * 1_000, move |world| world.heal(process));
            }
            Action::Disturb { process, loss_permille, slow_ms, ms } => {
                self.counts.borrow_mut().disturbed_links += 1;
                self.disturb(process, loss_permille, slow_ms * 1_000);
                self.schedule(self.now() + ms * 1_000, move |world| world.disturb(process, 0, 0));
            }
            Action::SetClock { process, by_ms } => {
                self.with_process(process, |p| p.clock.wall_offset_ms += by_ms);
            }
            Action::Block { pool } => {
                if let Some(pool) = self.pools.get(pool) {
                    self.chain.borrow_mut().advance(pool);
                }
            }
            Action::Edit { key, json } => {
                self.counts.borrow_mut().edits += 1;
                let headers = Headers { deletes: json.is_none(), ..Headers::default() };
                publish(self, key_subject(CONFIG, key), json.unwrap_or_default().into_bytes(), headers);
            }
            order @ Action::Order { .. } => self.order(order),
            Action::Rubbish { kind, pool, worker, salt } => self.rubbish(kind, pool, worker, salt),
            Action::Recreate { stream, at_once } => self.recreate(&stream, at_once),
            Action::Restore { stream, after_ms } => {
                let backup = self.server.borrow_mut().stream(&stream, self.now()).cloned();
                let Some(backup) = backup else { return };
                self.schedule(self.now() + after_ms * 1_000, move |world| {
                    world.counts.borrow_mut().restores += 1;
                    world.tell(|| format!("--- {stream} is restored"));
                    world.server.borrow_mut().restore(&stream, &backup, world.now());
                    world.replaced(&stream);
                });
            }
        }
    }

    fn order(self: &Rc<Self>, order: Action) {
        let Action::Order { target, source, cap_percent, threads, ttl_s, by_hand } = order else { return };
        self.counts.borrow_mut().orders += 1;
        let Ok(target) = target.parse() else { return };
        let order = Throttle { cap_percent, threads, ttl_seconds: ttl_s, reason: String::new(), source };
        let headers = Headers { ttl_s: (!by_hand).then_some(u64::from(ttl_s)), ..Headers::default() };
        publish(self, Subject::Throttle(target), order.encode().unwrap_or_default(), headers);
    }

    fn recreate(self: &Rc<Self>, stream: &str, at_once: bool) {
        self.counts.borrow_mut().recreations += 1;
        self.server.borrow_mut().delete(stream);
        if at_once {
            self.server.borrow_mut().ensure(self.now());
        }
        self.replaced(stream);
    }

    fn rubbish(self: &Rc<Self>, kind: Rubbish, pool: usize, worker: usize, salt: u64) {
        self.counts.borrow_mut().rubbish += 1;
        let (Ok(pool), Ok(worker)) = (PoolId::new(pool_name(pool)), WorkerId::new(worker_name(worker)))
        else {
            return;
        };
        let bytes = format!("rubbish {salt}").into_bytes();
        let (subject, payload) = match kind {
            Rubbish::UnreadableShare => (Subject::Share(pool, worker).to_string(), bytes),
            Rubbish::ForgedShare => {
                let share = self.forged_share(&pool, &worker, salt);
                (Subject::Share(pool, worker).to_string(), share.unwrap_or(bytes))
            }
            Rubbish::StrangersShare => {
                let share = self.forged_share(&pool, &worker, salt);
                let Ok(stranger) = WorkerId::new("stranger") else { return };
                (Subject::Share(pool, stranger).to_string(), share.unwrap_or(bytes))
            }
            Rubbish::ReplayedShare => {
                let Some(again) = self.earlier_share(&pool, salt) else { return };
                again
            }
            Rubbish::UnreadableRecord => (Subject::Ledger(pool).to_string(), bytes),
            Rubbish::ForgedRecord => {
                let record = forged_record(&pool, salt);
                (Subject::Ledger(pool).to_string(), record.encode().unwrap_or_default())
            }
            Rubbish::UnreadableJob => (Subject::Job(pool).to_string(), bytes),
            Rubbish::UnreadableMember => (key_subject(MEMBERS, format!("{pool}.{worker}")), bytes),
            Rubbish::UnreadableInForce => (key_subject(IN_FORCE, format!("pool.{pool}")), bytes),
            Rubbish::UnreadableOrder => {
                (Subject::Throttle(bus_schemas::throttle::ThrottleTarget::Farm).to_string(), bytes)
            }
            Rubbish::UnreadableFound => (Subject::Found(pool, worker).to_string(), bytes),
        };
        publish(self, subject, payload, Headers::default());
    }

    /// One of the latest shares of a pool.
    fn earlier_share(&self, pool: &PoolId, salt: u64) -> Option<(String, Vec<u8>)> {
        let mut server = self.server.borrow_mut();
        let stream = server.stream(SHARE, self.now())?;
        let from = stream.last.saturating_sub(1 + salt % LATEST_SHARES);
        let of_pool = filter::shares(pool);
        let again = stream.from(from, &of_pool).next()?;
        Some((again.subject.to_string(), again.payload.to_vec()))
    }

    /// A share of the current job that nobody found.
    fn forged_share(self: &Rc<Self>, pool: &PoolId, worker: &WorkerId, salt: u64) -> Option<Vec<u8>> {
        let job: JobId = self.truth.borrow().shares.pools.get(pool)?.job_ids().next()?;
        let word = |n: u64| u32::try_from(crate::random::mix(salt ^ n) >> 32).unwrap_or_default();
        let finding = HeaderFinding { roll: word(1), version: 0x2000_0000, time: word(2), nonce: word(3) };
        let share = Share {
            job,
            session: SessionId::new(format!("forged-{worker}")).ok()?,
            slot: u16::try_from(salt % 8).ok()?,
            generation: salt % 3,
            bits: ShareBits::new(6),
            finding: Finding::Header(finding),
            found_at_ms: TimestampMs(0),
        };
        share.encode().ok()
    }
}

fn forged_record(pool: &PoolId, salt: u64) -> LedgerRecord {
    LedgerRecord {
        pool: pool.clone(),
        epoch: 1,
        number: salt % 50,
        shares_to: salt % 1_000,
        shares_stream: None,
        shares_at_ms: None,
        credits: Vec::new(),
        refused: Vec::new(),
        total_shares: 1_000_000,
        total_work: 1_000_000.into(),
        at_ms: TimestampMs(0),
    }
}
