//! Runs the tasks of all processes, one step at a time, in an order that only the seed decides.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Whose a task is: it ends with its process, or with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) process: usize,
    pub(crate) group: u64,
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    owner: Owner,
    /// Absent while it is being polled.
    work: Option<Work>,
    alarm: Arc<Alarm>,
}

#[derive(Debug, Default)]
struct Ready(Mutex<VecDeque<u64>>);

impl Ready {
    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Alarm {
    id: u64,
    rung: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.ready.lock().push_back(self.id);
        }
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<BTreeMap<u64, Task>>,
    ready: Arc<Ready>,
    next: Cell<u64>,
}

impl Executor {
    pub(crate) fn spawn(&self, owner: Owner, work: impl Future<Output = ()> + 'static) {
        let id = self.next.get();
        self.next.set(id + 1);
        let alarm = Arc::new(Alarm { id, rung: AtomicBool::new(false), ready: self.ready.clone() });
        self.tasks.borrow_mut().insert(id, Task { owner, work: Some(Box::pin(work)), alarm: alarm.clone() });
        alarm.wake();
    }

    /// A number that no other group has.
    pub(crate) fn new_group(&self) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        id
    }

    /// Ends every task of which this holds, in the middle of whatever it does.
    pub(crate) fn end(&self, is_doomed: impl Fn(Owner) -> bool) {
        // What a task holds is dropped when nothing is borrowed.
        let mut doomed = Vec::new();
        self.tasks.borrow_mut().retain(|_, task| {
            let ends = is_doomed(task.owner);
            if ends {
                doomed.push(task.work.take());
            }
            !ends
        });
    }

    /// Polls the next task that can go on; `false` when none can.
    pub(crate) fn step(&self) -> bool {
        let Some(id) = self.ready.lock().pop_front() else { return false };
        let taken = self.tasks.borrow_mut().get_mut(&id).and_then(|t| {
            t.alarm.rung.store(false, Ordering::Relaxed);
            Some((t.work.take()?, t.alarm.clone()))
        });
        let Some((mut work, alarm)) = taken else { return true };
        let waker = Waker::from(alarm);
        let done = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if done {
            self.tasks.borrow_mut().remove(&id);
        } else if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
            task.work = Some(work);
            return true;
        }
        drop(work);
        true
    }
}
