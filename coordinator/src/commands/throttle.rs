//! Throttle orders by command: the same message that any load monitor publishes.

use super::{Commands, bus_error};
use bus_schemas::{
    TimestampMs,
    command::{CommandError, ErrorCode, ThrottleList, ThrottlePut},
    subject::Subject,
    throttle::{LiveThrottle, ThrottleTarget},
};
use nats_adapter::{Call, Expect};

impl Commands {
    pub(super) async fn throttle_put(&self, call: &Call) -> Result<ThrottleList, CommandError> {
        let ThrottlePut { target, order } = call.decode()?;
        let invalid = |e: String| CommandError::new(ErrorCode::InvalidThrottle, e);
        let target: ThrottleTarget = target
            .parse()
            .map_err(|e: bus_schemas::throttle::InvalidThrottleTarget| invalid(e.to_string()))?;
        order.check().map_err(|e| invalid(e.to_string()))?;
        // The stream holds it longer than it lives: it may lift an order that lives longer, and someone who is cut off now
        // must find it later.
        let subject = Subject::Throttle(target.clone());
        self.bus.publish_stored(subject, &order, None, Expect::None).await.map_err(bus_error)?;
        let given_at_ms = TimestampMs(crate::run::wall());
        let until_ms = given_at_ms.plus_ms(u64::from(order.ttl_seconds) * 1_000);
        Ok(ThrottleList {
            throttles: vec![LiveThrottle { target, order, given_at_ms, until_ms }],
            next: None,
        })
    }

    pub(super) fn throttle_list(&self) -> ThrottleList {
        let now = TimestampMs(crate::run::wall());
        ThrottleList { throttles: self.snapshot.throttles.live(now).cloned().collect(), next: None }
    }
}
