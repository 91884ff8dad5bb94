//! `/metrics`, `/livez` and `/readyz`.

use crate::{health::Health, metrics::Metrics, tasks::Vital};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// Names of the tasks, without which the process goes on.
pub(crate) const PAGES: &str = "http";
pub(crate) const UPKEEP: &str = "metrics upkeep";
/// Time between two clean-ups of the metrics' buffers.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Pages {
    metrics: Arc<Metrics>,
    health: Health,
}

/// Serves until the tasks are dropped. Returns the address that was bound.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    health: Health,
    tasks: &mut Vital,
) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let upkeep = metrics.handle();
    tasks.spawn(UPKEEP, async move {
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
        .with_state(Pages { metrics, health });
    tasks.spawn(PAGES, async move {
        if let Err(error) = axum::serve(listener, pages).await {
            tracing::error!(%error, "http ended");
        }
    });
    Ok(bound)
}

async fn ready_page(State(pages): State<Pages>) -> (StatusCode, String) {
    let reasons = pages.health.reasons();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines = reasons.iter().map(|reason| format!("not ready: {reason}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
}
