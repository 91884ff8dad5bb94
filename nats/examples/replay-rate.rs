//! How fast shares go through a stream: `cargo run --release --example replay-rate -- nats://127.0.0.1:4222 200000`
//! on a server of its own. Prints what was stored and what was read a second, decoded.

use bus_schemas::{
    examples,
    share::{Finding, Share},
    subject::{Subject, filter},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use nats_adapter::{Action, Bus, BusOptions, Expect, ensure, streams};
use std::{error::Error, time::Instant};

/// Acknowledgements that are waited for at the same time.
const IN_FLIGHT: usize = 4_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().ok_or("name a server")?;
    let count: u32 = arguments.next().ok_or("name a number of shares")?.parse()?;
    let bus = Bus::connect(BusOptions::new("replay-rate", [server])).await?;
    ensure(&bus, 1, Action::Create).await?;
    let pool = examples::job()?.pool;
    let subject = Subject::Share(pool.clone(), examples::member()?.worker).to_string();

    let begin = Instant::now();
    let mut first = None;
    let mut pending = FuturesUnordered::new();
    for number in 0..count {
        let mut share = examples::share()?;
        let Finding::Header(finding) = &mut share.finding else { return Err("a header was expected".into()) };
        finding.nonce = number;
        let id = format!("{}-{}", begin.elapsed().as_nanos(), share.message_id());
        pending.push(bus.publish_pipelined(&subject, &share, Some(&id), Expect::None).await?.stored());
        if pending.len() >= IN_FLIGHT {
            let stored = pending.next().await.ok_or("nothing is under way")??;
            first.get_or_insert(stored.sequence);
        }
    }
    while let Some(stored) = pending.next().await {
        first.get_or_insert(stored?.sequence);
    }
    rate("stored", count, begin);

    let mut replay =
        bus.replay(streams::SHARE, filter::shares(&pool), first.ok_or("nothing was stored")?).await?;
    let begin = Instant::now();
    let mut read = 0;
    while read < count {
        for delivered in replay.next_batch(1_000).await? {
            delivered.decode::<Share>()?;
            read += 1;
        }
    }
    rate("read and decoded", count, begin);
    Ok(())
}

fn rate(what: &str, count: u32, begin: Instant) {
    println!("{what}: {:.0} a second", f64::from(count) / begin.elapsed().as_secs_f64());
}
