//! The webhook receiver: `POST /alerts`, and `GET /livez`.

use super::alerts::{self, AlertOrder};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::{get, post},
};
use bus_schemas::throttle::ThrottleTarget;
use std::fmt::Write;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

/// Orders that are to be given, and where to say whether they were.
#[derive(Debug)]
pub struct Request {
    /// The orders.
    pub orders: Vec<AlertOrder>,
    /// Told once all of them are stored, or why one is not.
    pub done: oneshot::Sender<Result<(), String>>,
}

#[derive(Clone)]
struct Receiver {
    target: ThrottleTarget,
    requests: mpsc::Sender<Request>,
}

/// Serves until `ended`; orders of alerts without a target of their own are for `target`.
pub async fn serve(
    listener: TcpListener,
    target: ThrottleTarget,
    requests: mpsc::Sender<Request>,
    ended: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/alerts", post(take))
        .layer(DefaultBodyLimit::max(alerts::MAX_BODY_LEN))
        .with_state(Receiver { target, requests });
    axum::serve(listener, routes).with_graceful_shutdown(ended.cancelled_owned()).await
}

/// Alertmanager repeats what is answered with 5xx and gives up what is answered with 4xx: a request is answered well only
/// when every order that follows from it is stored.
async fn take(State(receiver): State<Receiver>, body: Bytes) -> (StatusCode, String) {
    let read = match alerts::read(&body, &receiver.target) {
        Ok(read) => read,
        Err(refusal) => {
            tracing::warn!("a webhook is refused: {refusal}");
            return (StatusCode::BAD_REQUEST, format!("{refusal}\n"));
        }
    };
    let mut refused = String::new();
    for error in &read.invalid {
        tracing::warn!("{error}");
        // Writing to a string cannot fail.
        let _ = writeln!(refused, "{error}");
    }
    let (done, answer) = oneshot::channel();
    if receiver.requests.try_send(Request { orders: read.orders, done }).is_err() {
        return again("too many requests wait");
    }
    match answer.await {
        Ok(Ok(())) if refused.is_empty() => (StatusCode::OK, refused),
        Ok(Ok(())) => (StatusCode::UNPROCESSABLE_ENTITY, refused),
        Ok(Err(error)) => again(&error),
        Err(_) => again("the monitor ends"),
    }
}

/// What asks for the same request once more.
fn again(why: &str) -> (StatusCode, String) {
    tracing::warn!("alerts are not ordered yet: {why}");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}; send it again\n"))
}
