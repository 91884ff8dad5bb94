use super::*;
use axum::{Router, http::StatusCode, routing::get};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// An application whose answers take as many microseconds as it is told.
async fn application(latency_us: Arc<AtomicU32>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move || {
        let wait = Duration::from_micros(latency_us.load(Relaxed).into());
        async move {
            tokio::time::sleep(wait).await;
            "hello"
        }
    };
    let broken = async || StatusCode::SERVICE_UNAVAILABLE;
    let routes = Router::new().route("/", get(answer)).route("/broken", get(broken));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

fn sink() -> Sink {
    Sink { slowdown: Slowdown::default(), hundredths: Arc::new(AtomicU32::new(0)) }
}

#[tokio::test]
async fn an_application_that_becomes_slow_while_something_is_searched_is_noticed() {
    let latency = Arc::new(AtomicU32::new(2_000));
    let address = application(Arc::clone(&latency)).await;
    let config = ProbeConfig {
        url: format!("http://{address}/"),
        interval: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
    };
    let sink = sink();
    let probing = tokio::spawn(probe(config, sink.clone()));
    let until = async |wanted: fn(Option<u16>) -> bool| {
        let seen = async {
            while !wanted(sink.slowdown.get()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), seen).await.unwrap();
    };
    until(|percent| percent.is_some()).await;
    sink.hundredths.store(100, Relaxed);
    latency.store(60_000, Relaxed);
    until(|percent| percent > Some(100)).await;
    probing.abort();
    until(|percent| percent.is_none()).await;
}

#[tokio::test]
async fn no_answer_in_time_and_a_broken_application_are_slow_and_nobody_is_not() {
    let latency = Arc::new(AtomicU32::new(10_000_000));
    let address = application(latency).await;
    let limit = Duration::from_millis(50);
    let ask = async |path: &str| Probe::new(&format!("http://{address}{path}"), limit).unwrap().ask().await;
    assert_eq!(ask("/").await, Answer::After(limit));
    assert_eq!(ask("/broken").await, Answer::After(limit));
    assert!(matches!(ask("/missing").await, Answer::After(_)));
    // Port 1 of this machine serves nothing.
    assert_eq!(Probe::new("http://127.0.0.1:1/", limit).unwrap().ask().await, Answer::Nobody);
    for url in ["", "nothing", "https://127.0.0.1/", "file:///etc/passwd"] {
        assert!(Probe::new(url, limit).is_err(), "{url}");
    }
}
