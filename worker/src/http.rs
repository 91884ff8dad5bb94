//! `/metrics`, `/livez` and `/readyz`.

use crate::metrics::Metrics;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use worker_core::Status;

#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    status: watch::Receiver<Option<Status>>,
}

/// What is missing before a worker is ready: the bus, a configuration, a role, a bus that takes shares, threads that live.
pub fn not_ready(status: &Status) -> Option<&'static str> {
    match status {
        Status { connected: false, .. } => Some("no connection to the bus"),
        Status { configured: false, .. } => Some("no configuration of the pool"),
        Status { role: None, .. } => Some("no role in the pool"),
        Status { held: true, .. } => Some("the bus takes no shares, so the search holds"),
        Status { lost_threads, search_threads: 0, .. } if *lost_threads > 0 => {
            Some("search threads have failed and none is left; see the log and start the worker again")
        }
        _ => None,
    }
}

/// Serves until `ended`.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    status: watch::Receiver<Option<Status>>,
    ended: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Shown { metrics, status });
    axum::serve(listener, routes).with_graceful_shutdown(ended.cancelled_owned()).await
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    let missing = shown.status.borrow().as_ref().map_or(Some("not started"), not_ready);
    match missing {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")),
    }
}

async fn render(State(shown): State<Shown>) -> impl IntoResponse {
    ([("content-type", "text/plain; version=0.0.4")], shown.metrics.render())
}
