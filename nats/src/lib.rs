//! The typed adapter over async-nats, and the streams, buckets and server configurations
