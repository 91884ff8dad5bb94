//! What a coordinator follows for the whole farm: configurations, throttle orders, and whether the streams are there.

use super::lease::age_ms;
use crate::{
    bus::{Bus, BusError},
    follow::{Burst, Follower, Start},
    queue::Queue,
    server::{
        declared::{CONFIG, IN_FORCE, MEMBERS, THROTTLE, key_of, key_subject},
        stream::Stored,
    },
};
use bus_schemas::{
    Message, TimestampMs,
    subject::{Subject, filter},
    throttle::{KEPT_KEY, KeptOrders, Throttle, kept_target},
};
use coordinator_core::{Input, KeptDocument};

/// Pause before a stream of orders that was made anew is read again, milliseconds.
const RESTART_MS: u64 = 1_000;
/// After so long the server is asked for its time again, microseconds.
const CLOCK_LIFE_US: u64 = 10_000_000;
/// Time between two looks at which streams are missing, milliseconds.
const LOOK_MS: u64 = 2_000;

enum Watched {
    Message(Stored),
    Initialised,
    Restarted,
}

/// A bucket that is watched, for ever.
async fn watch(bus: Bus, stream: &'static str, keys: String, first: Follower, mut told: impl FnMut(Watched)) {
    let mut follower = first;
    loop {
        match follower.next().await {
            Burst::Messages { messages, caught_up } => {
                messages.into_iter().for_each(|message| told(Watched::Message(message)));
                if caught_up {
                    told(Watched::Initialised);
                }
            }
            Burst::Rewound => {
                told(Watched::Restarted);
                follower = loop {
                    match Follower::open(&bus, stream, keys.clone(), Start::LastPerSubject).await {
                        Ok(Some(follower)) => break follower,
                        _ => bus.sleep_ms(RESTART_MS).await,
                    }
                };
            }
        }
    }
}

fn edited(stored: &Stored) -> Input {
    let key = key_of(CONFIG, &stored.subject).to_owned();
    let value = (!stored.headers.deletes).then(|| stored.payload.to_vec());
    Input::Config { key, revision: stored.sequence, value }
}

/// Every kept edit in its order, then what the bucket has, then every change; after that what is in force.
pub(super) async fn configuration(bus: &Bus, inputs: &Queue<Input>) -> Result<(), BusError> {
    let history = bus.read_from(CONFIG, key_subject(CONFIG, ">"), 1).await?;
    let open = |stream| Follower::open(bus, stream, key_subject(stream, ">"), Start::LastPerSubject);
    let wishes = open(CONFIG).await?.ok_or(BusError::NoStream)?;
    let in_force = open(IN_FORCE).await?.ok_or(BusError::NoStream)?;
    let complete = Queue::default();
    let (sender, told) = (inputs.clone(), complete.clone());
    history.iter().for_each(|stored| inputs.push(edited(stored)));
    let watched = move |event: Watched| match event {
        Watched::Message(stored) => sender.push(edited(&stored)),
        Watched::Initialised => {
            sender.push(Input::ConfigComplete);
            told.push(());
        }
        Watched::Restarted => sender.push(Input::ConfigRestarted),
    };
    bus.world
        .executor
        .spawn(bus.owner, watch(bus.clone(), CONFIG, key_subject(CONFIG, ">"), wishes, watched));
    let (sender, own) = (inputs.clone(), bus.clone());
    bus.world.executor.spawn(bus.owner, async move {
        complete.next().await;
        let watched = |event: Watched| match event {
            Watched::Message(stored) => {
                let key = key_of(IN_FORCE, &stored.subject).to_owned();
                let value = (!stored.headers.deletes).then(|| stored.payload.to_vec());
                sender.push(Input::InForce { key, value });
            }
            Watched::Initialised => sender.push(Input::InForceComplete),
            Watched::Restarted => sender.push(Input::InForceRestarted),
        };
        watch(own, IN_FORCE, key_subject(IN_FORCE, ">"), in_force, watched).await;
    });
    Ok(())
}

/// The stream of orders from its beginning.
struct Opened {
    follower: Follower,
    /// The server's clock as it was told, and when.
    told_us: u64,
    asked_at_us: u64,
}

impl Opened {
    async fn open(bus: &Bus, inputs: &Queue<Input>) -> Result<Self, BusError> {
        let follower = Follower::open(bus, THROTTLE, filter::throttles(), Start::Sequence(1)).await?;
        let follower = follower.ok_or(BusError::NoStream)?;
        let bounds = bus.bounds(THROTTLE).await?;
        inputs.push(Input::ThrottlesBegin { stream: bounds.identity(), last: bounds.last });
        Ok(Self { follower, told_us: bounds.now_us, asked_at_us: bus.world.now() })
    }

    /// The server's time, which is asked for again after a while.
    async fn now_us(&mut self, bus: &Bus) -> u64 {
        if bus.world.now() - self.asked_at_us > CLOCK_LIFE_US
            && let Ok(bounds) = bus.bounds(THROTTLE).await
        {
            (self.told_us, self.asked_at_us) = (bounds.now_us, bus.world.now());
        }
        self.told_us + (bus.world.now() - self.asked_at_us)
    }
}

/// Reads the throttle orders; it goes on over a stream that is made anew.
pub(super) async fn throttles(bus: &Bus, inputs: &Queue<Input>) -> Result<(), BusError> {
    kept_orders(bus, inputs).await?;
    let (bus, inputs) = (bus.clone(), inputs.clone());
    let mut opened = Opened::open(&bus, &inputs).await?;
    bus.world.clone().executor.spawn(bus.owner, async move {
        loop {
            match opened.follower.next().await {
                Burst::Messages { messages, caught_up } => {
                    let now_us = opened.now_us(&bus).await;
                    messages.iter().for_each(|stored| inputs.push(order(stored, now_us)));
                    if caught_up {
                        inputs.push(Input::ThrottlesComplete);
                    }
                }
                Burst::Rewound => {
                    opened = loop {
                        bus.sleep_ms(RESTART_MS).await;
                        if let Ok(again) = Opened::open(&bus, &inputs).await {
                            break again;
                        }
                    };
                }
            }
        }
    });
    Ok(())
}

/// The documents of kept orders. The server's time is that of the present, which the real shell knows to some milliseconds.
async fn kept_orders(bus: &Bus, inputs: &Queue<Input>) -> Result<(), BusError> {
    let keys = key_subject(IN_FORCE, format!("{KEPT_KEY}.>"));
    let documents = Follower::open(bus, IN_FORCE, keys.clone(), Start::LastPerSubject).await?;
    let documents = documents.ok_or(BusError::NoStream)?;
    let (inputs, own) = (inputs.clone(), bus.clone());
    let told = move |event: Watched| match event {
        Watched::Message(stored) => {
            let Some(target) = kept_target(key_of(IN_FORCE, &stored.subject)) else { return };
            let orders = KeptOrders::decode(&stored.payload).ok().filter(|_| !stored.headers.deletes);
            let kept = orders.map(|orders| KeptDocument { revision: stored.sequence, orders });
            let at = TimestampMs(own.world.server.borrow().clock_us(own.world.now()) / 1_000);
            inputs.push(Input::ThrottlesKept { target, kept: Box::new(kept.unwrap_or_default()), at });
        }
        Watched::Initialised => inputs.push(Input::ThrottlesKeptComplete),
        Watched::Restarted => inputs.push(Input::ThrottlesKeptRestarted),
    };
    bus.world.executor.spawn(bus.owner, watch(bus.clone(), IN_FORCE, keys, documents, told));
    Ok(())
}

fn order(stored: &Stored, now_us: u64) -> Input {
    let (sequence, stored_at) = (stored.sequence, stored.stored_at());
    let age_ms = age_ms(now_us, stored_at);
    let unreadable = |reason: String| Input::ThrottleUnreadable {
        sequence,
        stored_at,
        subject: stored.subject.to_string(),
        reason,
    };
    let Ok(Subject::Throttle(target)) = stored.subject.parse::<Subject>() else {
        return unreadable("it is no subject of throttle orders".to_owned());
    };
    match Throttle::decode(&stored.payload) {
        Ok(order) => match order.check() {
            Ok(()) => Input::Throttle { sequence, target, order, stored_at, age_ms },
            Err(error) => unreadable(error.to_string()),
        },
        Err(error) => unreadable(error.to_string()),
    }
}

/// Makes streams anew that are missing at two looks in a row, and tells when the bucket of members is another one.
pub(super) async fn streams(bus: Bus, inputs: Queue<Input>) {
    let (mut missed, mut members): (Vec<String>, Option<u64>) = (Vec::new(), None);
    loop {
        bus.sleep_ms(LOOK_MS).await;
        if !bus.is_connected() {
            continue;
        }
        if let Ok(bounds) = bus.bounds(MEMBERS).await
            && members.replace(bounds.created_ns).is_some_and(|before| before != bounds.created_ns)
        {
            inputs.push(Input::MembersReplaced);
        }
        let Ok(missing) = bus.call(|w| w.server.borrow().missing()).await else { continue };
        if missing.iter().any(|name| missed.contains(name)) {
            if bus.call(|w| w.ensure_streams()).await.is_ok() {
                missed.clear();
            }
        } else {
            missed = missing;
        }
    }
}
