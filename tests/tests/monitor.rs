//! The standalone load monitor as a program: a real bus, a real HTTP server that becomes slow, and what Alertmanager sends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bus_schemas::{
    subject::{Subject, filter},
    throttle::Throttle,
};
use nats_adapter::{Action, Bus, BusOptions, Subscription, ensure};
use nix::sys::signal::Signal;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use system_tests::{
    farm::programs::Program, folder::RunFolder, nats_server::NatsServer, ports::free_ports, process::Launch,
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(60);
/// As Alertmanager 0.25 sent them.
const FIRING: &str = include_str!("../../worker/src/monitor/alertmanager-0.25-firing.json");
const RESOLVED: &str = include_str!("../../worker/src/monitor/alertmanager-0.25-resolved.json");

/// An HTTP server whose answers take as many milliseconds as it is told.
async fn application(latency_ms: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(answer(connection, Arc::clone(&latency_ms)));
        }
    });
    url
}

async fn answer(mut connection: TcpStream, latency_ms: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut request = [0; 4_096];
    while connection.read(&mut request).await? > 0 {
        tokio::time::sleep(Duration::from_millis(latency_ms.load(Relaxed))).await;
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n").await?;
    }
    Ok(())
}

/// The next order for `target` that fits.
async fn order(
    orders: &mut Subscription<Throttle>,
    target: &str,
    fits: impl Fn(&Throttle) -> bool,
) -> Throttle {
    let wanted = Subject::Throttle(target.parse().unwrap());
    let next = async {
        loop {
            let incoming = orders.next().await.unwrap().unwrap();
            incoming.message.check().unwrap();
            if incoming.subject == wanted && fits(&incoming.message) {
                return incoming.message;
            }
        }
    };
    timeout(SOON, next).await.unwrap_or_else(|_| panic!("no such order for {target}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_application_and_a_firing_alert_become_throttle_orders_that_are_lifted_again() {
    let server = NatsServer::start().await.unwrap();
    let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
    ensure(&bus, 1, Action::Create).await.unwrap();
    let mut orders = bus.subscribe::<Throttle>(filter::throttles()).await.unwrap();
    let latency = Arc::new(AtomicU64::new(0));
    let url = application(Arc::clone(&latency)).await;
    let [port] = free_ports().unwrap();
    let folder = RunFolder::temporary().unwrap();
    let webhook = format!("127.0.0.1:{port}");
    let mut monitor = Launch::new("monitor", Program::Worker.locate().unwrap(), folder.path())
        .args(["monitor", "--target", "pool.main", "--name", "lb", "--server", server.url()])
        .args(["--probe", &url, "--limit-ms", "100", "--alerts", &webhook])
        .start()
        .unwrap();
    let client = reqwest::Client::new();
    let live = format!("http://{webhook}/livez");
    monitor.ready(SOON, "answer", async || client.get(&live).send().await.ok()).await.unwrap();

    latency.store(400, Relaxed);
    let slow = order(&mut orders, "pool.main", |order| order.cap_percent == 0).await;
    assert_eq!(slow.source, "lb-latency");
    assert!(slow.reason.contains("the limit is 100 ms"), "{}", slow.reason);

    let post = async |body: &str| {
        let sent =
            client.post(format!("http://{webhook}/alerts")).body(body.to_owned()).send().await.unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    };
    assert_eq!(post(FIRING).await.0, 200);
    let firing = order(&mut orders, "label.rack.b2", |_| true).await;
    assert_eq!((firing.cap_percent, firing.source.as_str()), (25, "lb-alert-44a699f3365492e7"));
    assert!(firing.reason.contains("p99 of the checkout is 870 ms"), "{}", firing.reason);
    assert_eq!(post(RESOLVED).await.0, 200);
    assert_eq!(order(&mut orders, "label.rack.b2", |_| true).await.cap_percent, 100);

    for (body, status, told) in [
        ("{}".to_owned(), 400, "no webhook of Alertmanager"),
        (FIRING.replace("label.rack.b2", "rack"), 422, "is no target"),
        (" ".repeat(600 * 1024), 413, ""),
    ] {
        let (answered, text) = post(&body).await;
        assert!(answered == status && text.contains(told), "{answered} {text}");
    }

    monitor.signal(Signal::SIGTERM).unwrap();
    let lifted = order(&mut orders, "pool.main", |order| order.cap_percent == 100).await;
    assert_eq!(lifted.source, "lb-latency");
    let ended = wait::until(SOON, "the monitor's end", async || monitor.ended().unwrap()).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", monitor.log_tail());
}
