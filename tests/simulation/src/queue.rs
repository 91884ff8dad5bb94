//! What waits for a task, and waiting for it.

use crate::world::World;
use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

struct Inner<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
}

/// A queue with one reader; clones share it.
pub(crate) struct Queue<T>(Rc<RefCell<Inner<T>>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Inner { items: VecDeque::new(), waker: None })))
    }
}

impl<T> Queue<T> {
    pub(crate) fn push(&self, item: T) {
        let waker = {
            let mut inner = self.0.borrow_mut();
            inner.items.push_back(item);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.borrow_mut().items.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().items.len()
    }

    /// Has the task woken by the next item.
    pub(crate) fn listen(&self, context: &Context<'_>) {
        self.0.borrow_mut().waker = Some(context.waker().clone());
    }

    /// Waits for the next item.
    pub(crate) async fn next(&self) -> T {
        std::future::poll_fn(|context| match self.pop() {
            Some(item) => Poll::Ready(item),
            None => {
                self.listen(context);
                Poll::Pending
            }
        })
        .await
    }

    /// Waits for the next item, no longer than until then.
    pub(crate) async fn next_until(&self, world: &Rc<World>, at_us: Option<u64>) -> Option<T> {
        let mut timer =
            Timer { world: world.clone(), at_us: at_us.unwrap_or(u64::MAX), set: at_us.is_none() };
        std::future::poll_fn(move |context| {
            if let Some(item) = self.pop() {
                return Poll::Ready(Some(item));
            }
            self.listen(context);
            Pin::new(&mut timer).poll(context).map(|()| None)
        })
        .await
    }
}

/// Waits until a moment of the simulation.
pub(crate) struct Timer {
    world: Rc<World>,
    at_us: u64,
    set: bool,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.at_us {
            return Poll::Ready(());
        }
        if !self.set {
            self.set = true;
            let waker = context.waker().clone();
            self.world.schedule(self.at_us, move |_| waker.wake());
        }
        Poll::Pending
    }
}

/// Waits for so many milliseconds.
pub(crate) fn sleep_ms(world: &Rc<World>, ms: u64) -> Timer {
    Timer { world: world.clone(), at_us: world.now() + ms * 1_000, set: false }
}

/// The next item of the first queue that has one; the first goes before the second.
pub(crate) async fn first_of<A, B>(a: &Queue<A>, b: &Queue<B>) -> Result<A, B> {
    std::future::poll_fn(|context| {
        if let Some(item) = a.pop() {
            return Poll::Ready(Ok(item));
        }
        if let Some(item) = b.pop() {
            return Poll::Ready(Err(item));
        }
        a.listen(context);
        b.listen(context);
        Poll::Pending
    })
    .await
}
