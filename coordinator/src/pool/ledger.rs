//! Appends to the ledger, one record after another.

use super::{Context, persist};
use bus_schemas::{Message, ledger::LedgerRecord, subject::Subject};
use coordinator_core::{PoolInput, Trouble};
use nats_adapter::streams;
use tokio::sync::mpsc;

/// Appends until the pool is given up, another owner wrote or a record can never be written.
pub(crate) async fn run(
    context: Context,
    mut queue: mpsc::Receiver<LedgerRecord>,
    mut after: u64,
) -> Trouble {
    let subject = Subject::Ledger(context.pool.clone()).to_string();
    while let Some(record) = queue.recv().await {
        let id = format!("{}-{}-{}", context.pool, record.epoch, record.number);
        let appended = match record.encode() {
            Ok(bytes) => persist::append(&context, streams::LEDGER, &subject, &id, bytes.into(), after).await,
            Err(error) => Err(error.into()),
        };
        match appended {
            Ok(sequence) => after = sequence,
            Err(error) => {
                tracing::warn!(pool = %context.pool, %error, "a ledger record was not appended");
                return error.into();
            }
        }
        context.metrics.accounted(&record);
        context.tell(PoolInput::LedgerAppended(record.number)).await;
    }
    Trouble::of("nobody gives records to the ledger any more")
}
