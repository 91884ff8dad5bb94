//! Token buckets on the times at which the stream stored messages, so that every owner judges a flood alike.

use bus_schemas::TimestampMs;

/// Seconds of the steady rate that may arrive at once: what a worker kept during an outage of the bus comes together.
const BURST_SECONDS: u64 = 60;

/// Tokens in thousandths, so that slow rates are exact.
#[derive(Debug, Default)]
pub(crate) struct TokenBucket {
    milli_tokens: u64,
    filled_at: Option<TimestampMs>,
}

impl TokenBucket {
    /// Takes a token; `false` when the bucket is empty.
    pub(crate) fn take(&mut self, rate_per_second: u32, at: TimestampMs) -> bool {
        let rate = u64::from(rate_per_second);
        let capacity = rate * BURST_SECONDS * 1_000;
        self.milli_tokens = match self.filled_at {
            None => capacity,
            Some(before) => {
                self.milli_tokens.saturating_add(rate.saturating_mul(at.since(before))).min(capacity)
            }
        };
        self.filled_at = Some(self.filled_at.map_or(at, |before| before.max(at)));
        if self.milli_tokens < 1_000 {
            return false;
        }
        self.milli_tokens -= 1_000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_only_the_steady_rate() {
        let mut bucket = TokenBucket::default();
        let passed =
            |bucket: &mut TokenBucket, ms| (0..1_000).filter(|_| bucket.take(2, TimestampMs(ms))).count();
        assert_eq!(passed(&mut bucket, 0), 120);
        assert_eq!(passed(&mut bucket, 1_000), 2);
        assert_eq!(passed(&mut bucket, 500), 0);
        assert_eq!(passed(&mut bucket, 1_500), 1);
        assert_eq!(passed(&mut bucket, 1_000_000), 120);
    }
}
