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
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct Receiver {
    target: ThrottleTarget,
    orders: mpsc::Sender<AlertOrder>,
}

/// Serves until `ended`; orders of alerts without a target of their own are for `target`.
pub async fn serve(
    listener: TcpListener,
    target: ThrottleTarget,
    orders: mpsc::Sender<AlertOrder>,
    ended: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/alerts", post(take))
        .layer(DefaultBodyLimit::max(alerts::MAX_BODY_LEN))
        .with_state(Receiver { target, orders });
    axum::serve(listener, routes).with_graceful_shutdown(ended.cancelled_owned()).await
}

/// Alertmanager repeats what is answered with 5xx and gives up what is answered with 4xx.
async fn take(State(receiver): State<Receiver>, body: Bytes) -> (StatusCode, String) {
    let read = match alerts::read(&body, &receiver.target) {
        Ok(read) => read,
        Err(refusal) => {
            tracing::warn!("a webhook is refused: {refusal}");
            return (StatusCode::BAD_REQUEST, format!("{refusal}\n"));
        }
    };
    let mut refused = String::new();
    for alert in read {
        match alert {
            Ok(order) => {
                if receiver.orders.try_send(order).is_err() {
                    return (
                        StatusCode::SERVICE_UNAVAILABLE,
                        "too many alerts wait; send them again\n".to_owned(),
                    );
                }
            }
            Err(error) => {
                tracing::warn!("{error}");
                // Writing to a string cannot fail.
                let _ = writeln!(refused, "{error}");
            }
        }
    }
    let status = if refused.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    (status, refused)
}
