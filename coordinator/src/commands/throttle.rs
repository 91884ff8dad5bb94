//! Throttle orders by command: the same message that any load monitor publishes.

use super::{
    Commands, bus_error,
    snapshot::{after_order, last_if, listing, next_order},
};
use bus_schemas::{
    TimestampMs,
    command::{CommandError, ErrorCode, Page, ThrottleList},
    subject::Subject,
    throttle::{LiveThrottle, Throttle, ThrottleTarget},
};
use nats_adapter::{Call, Expect};

impl Commands {
    pub(super) async fn throttle_put(&self, call: &Call) -> Result<ThrottleList, CommandError> {
        let target: ThrottleTarget = call.target()?;
        let order: Throttle = call.decode()?;
        let invalid = |e: String| CommandError::new(ErrorCode::InvalidThrottle, e);
        order.check().map_err(|e| invalid(e.to_string()))?;
        // The stream holds it longer than it lives: it may lift an order that lives longer, and someone who is cut off now
        // must find it later.
        let subject = Subject::Throttle(target.clone());
        self.bus.publish_stored(subject, &order, None, Expect::None).await.map_err(bus_error)?;
        let given_at_ms = TimestampMs(crate::run::wall());
        let until_ms = given_at_ms.plus_ms(u64::from(order.ttl_seconds) * 1_000);
        let throttles = vec![LiveThrottle { target, order, given_at_ms, until_ms }];
        Ok(ThrottleList { throttles, next: None })
    }

    pub(super) fn throttle_list(&self, call: &Call) -> Result<ThrottleList, CommandError> {
        let request = listing(call)?;
        after_order(&request)?;
        let page = Page::of(self.snapshot.listed.iter().cloned(), request.most());
        let next = last_if(page.goes_on, &page.entries, next_order);
        Ok(ThrottleList { throttles: page.entries, next })
    }
}
