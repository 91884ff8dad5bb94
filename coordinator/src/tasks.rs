//! Every task's end is seen, however it comes.
//!
//! A task is started through [`guarded`], which turns a panic into a text; what then follows is the caller's declared
//! answer (the table in the crate's documentation). [`Faults`] lets a test break a task on purpose where it runs.

use crate::metrics::Metrics;
use bus_schemas::event::EventData;
use coordinator_core::{Input, JudgeTask};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use std::{any::Any, fmt, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};

/// A judge that has worked on one share for longer than this hangs.
pub const JUDGE_STALL: Duration = Duration::from_secs(60);

/// A task's breakage by name: when the future ends or panics, so does the task.
type TaskFault = dyn Fn(&str) -> BoxFuture<'static, ()> + Send + Sync;
/// What happens before a share is judged.
type JudgeFault = dyn Fn(&JudgeTask) + Send + Sync;

/// What a test breaks on purpose; by default nothing, and no operator can ask for it.
#[derive(Clone)]
pub struct Faults {
    tasks: Option<Arc<TaskFault>>,
    judge: Option<Arc<JudgeFault>>,
    pub(crate) judge_stall: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self { tasks: None, judge: None, judge_stall: JUDGE_STALL }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    /// Each task ends or panics as the future does that `fault` gives for its name.
    #[must_use]
    pub fn in_tasks(
        mut self,
        fault: impl Fn(&str) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        self.tasks = Some(Arc::new(fault));
        self
    }

    /// A judge that has worked on one share for longer than `stall` hangs.
    #[must_use]
    pub fn judges_stall_after(mut self, stall: Duration) -> Self {
        self.judge_stall = stall;
        self
    }

    /// Runs before each share is judged.
    #[must_use]
    pub fn in_judges(mut self, fault: impl Fn(&JudgeTask) + Send + Sync + 'static) -> Self {
        self.judge = Some(Arc::new(fault));
        self
    }

    pub(crate) fn before_judging(&self, task: &JudgeTask) {
        if let Some(fault) = &self.judge {
            fault(task);
        }
    }

    fn of(&self, name: &str) -> Option<BoxFuture<'static, ()>> {
        self.tasks.as_ref().map(|fault| fault(name))
    }
}

/// Runs a task to its end; a panic ends it as well, with its text. `None` when it was broken on purpose.
pub(crate) async fn guarded<T>(
    faults: &Faults,
    name: &str,
    task: impl Future<Output = T>,
) -> Result<Option<T>, String> {
    let fault = faults.of(name);
    let whole = async {
        match fault {
            None => Some(task.await),
            // A task that never waits is broken as well.
            Some(fault) => match select(fault, pin!(task)).await {
                Either::Left(_) => None,
                Either::Right((done, _)) => Some(done),
            },
        }
    };
    AssertUnwindSafe(whole).catch_unwind().await.map_err(|panic| text_of(&*panic))
}

/// Tasks that run as long as the process does, by name. Each end is seen, however it comes.
pub(crate) struct Vital {
    tasks: JoinSet<&'static str>,
    faults: Faults,
}

impl Vital {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { tasks: JoinSet::new(), faults }
    }

    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let faults = self.faults.clone();
        self.tasks.spawn(async move {
            if let Err(panic) = guarded(&faults, name, task).await {
                tracing::error!(task = name, panic, "a task failed");
            }
            name
        });
    }

    /// The name of the next that ends; nothing when there is none.
    pub(crate) async fn ended(&mut self) -> Option<&'static str> {
        // What panics outside of its guard, where nothing is left that can, has no name.
        self.tasks.join_next().await.map(|ended| ended.unwrap_or("a task of the coordinator"))
    }
}

/// What a panic says.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "it panicked".to_owned(), |text| format!("it panicked: {text}"))
}

/// How an end that should not have come is made known: log, metric, event.
#[derive(Clone)]
pub(crate) struct Obituary {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Obituary {
    /// Tells that a task ended. Never waits: with a full queue the log and the metric have it.
    pub(crate) fn tell(&self, task: &str, reason: &str, answer: &str) {
        tracing::error!(task, reason, answer, "a task failed");
        self.metrics.task_failed(task);
        let (task, reason, answer) = (task.to_owned(), reason.to_owned(), answer.to_owned());
        let event = EventData::TaskFailed { task, reason, answer };
        let _ = self.inputs.try_send(Input::News { id: None, event });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_text_and_an_end_stays_an_end() {
        let none = Faults::default();
        assert_eq!(guarded(&none, "t", async { 3 }).await, Ok(Some(3)));
        let panics = async { assert_eq!(1, 2, "numbers differ") };
        assert!(guarded(&none, "t", panics).await.unwrap_err().contains("numbers differ"));
        let broken = Faults::default().in_tasks(|name| {
            let mine = name == "t";
            Box::pin(async move {
                if !mine {
                    std::future::pending().await
                }
            })
        });
        assert_eq!(guarded(&broken, "t", std::future::pending::<()>()).await, Ok(None));
        assert_eq!(guarded(&broken, "u", async { 4 }).await, Ok(Some(4)));
    }
}
