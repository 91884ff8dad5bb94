//! `/metrics`, `/livez` and `/readyz`.

use crate::metrics::Metrics;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// Time between two clean-ups of the metrics' buffers.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Pages {
    metrics: Arc<Metrics>,
    ready: watch::Receiver<bool>,
}

/// Serves until the tasks are dropped. Returns the address that was bound.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    ready: watch::Receiver<bool>,
    tasks: &mut JoinSet<&'static str>,
) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let upkeep = metrics.handle();
    tasks.spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    let pages = Router::new()
        .route("/metrics", get(|State(p): State<Pages>| async move { p.metrics.render() }))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready_page))
        .with_state(Pages { metrics, ready });
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, pages).await {
            tracing::error!(%error, "http ended");
        }
        "http"
    });
    Ok(bound)
}

async fn ready_page(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    if *pages.ready.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: no connection to NATS, or the configuration was not read yet\n",
        )
    }
}
