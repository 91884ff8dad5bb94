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
    farm::programs::Program,
    folder::RunFolder,
    nats_server::NatsServer,
    parts::Part,
    ports::free_ports,
    process::{Launch, Process},
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

/// A monitor named `lb` that answers, and the address of its webhook.
async fn monitor(server: &NatsServer, folder: &RunFolder, arguments: &[&str]) -> (Process, String) {
    let [port] = free_ports().unwrap();
    let mut monitor = Launch::new("monitor", Program::Worker.locate().unwrap(), folder.path())
        .args(["monitor", "--name", "lb", "--target", "pool.main", "--server", server.url()])
        .args(["--alerts".to_owned(), format!("127.0.0.1:{port}")])
        .args(arguments)
        .start()
        .unwrap();
    let (client, live) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}/livez"));
    monitor.ready(SOON, "answer", async || client.get(&live).send().await.ok()).await.unwrap();
    (monitor, format!("http://127.0.0.1:{port}/alerts"))
}

/// A real Alertmanager that sends everything to `webhook`, and the address at which it takes alerts.
async fn alertmanager(folder: &RunFolder, webhook: &str) -> (Process, String) {
    let [port] = free_ports().unwrap();
    let config = folder.path().join("alertmanager.yml");
    let text = format!(
        "route: {{ receiver: dcmf, group_wait: 0s, group_interval: 1s }}\n\
         receivers: [{{ name: dcmf, webhook_configs: [{{ url: '{webhook}', send_resolved: true }}] }}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let data = folder.inner("alertmanager").unwrap();
    let mut process = Launch::new("alertmanager", Part::Alertmanager.locate().unwrap(), folder.path())
        .args([format!("--config.file={}", config.display()), format!("--storage.path={}", data.display())])
        .args([format!("--web.listen-address=127.0.0.1:{port}")])
        .args(["--cluster.listen-address="])
        .start()
        .unwrap();
    let (client, ready) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}/-/ready"));
    let answered =
        async || client.get(&ready).send().await.ok().filter(|answer| answer.status().is_success());
    process.ready(SOON, "be ready", answered).await.unwrap();
    (process, format!("http://127.0.0.1:{port}/api/v2/alerts"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_that_alertmanager_fires_and_resolves_becomes_an_order_and_its_end() {
    let server = NatsServer::start().await.unwrap();
    let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
    ensure(&bus, 1, Action::Create).await.unwrap();
    let mut orders = bus.subscribe::<Throttle>(filter::throttles()).await.unwrap();
    let folder = RunFolder::temporary().unwrap();
    let (_monitor, webhook) = monitor(&server, &folder, &[]).await;
    let (_alertmanager, alerts) = alertmanager(&folder, &webhook).await;

    let client = reqwest::Client::new();
    let mut alert = serde_json::json!([{
        "labels": { "alertname": "CheckoutSlow", "dcmf_target": "label.rack.b2", "dcmf_cap_percent": "35" },
        "annotations": { "summary": "p99 of the checkout is 870 ms" },
        "startsAt": "2001-01-01T00:00:00Z",
    }]);
    let sent = client.post(&alerts).json(&alert).send().await.unwrap();
    assert!(sent.status().is_success(), "{}", sent.text().await.unwrap());
    let firing = order(&mut orders, "label.rack.b2", |_| true).await;
    assert_eq!(firing.cap_percent, 35);
    assert!(firing.reason.contains("p99 of the checkout is 870 ms"), "{}", firing.reason);

    alert[0]["endsAt"] = "2001-01-01T00:00:01Z".into();
    client.post(&alerts).json(&alert).send().await.unwrap();
    let resolved = order(&mut orders, "label.rack.b2", |order| order.cap_percent == 100).await;
    assert_eq!(resolved.source, firing.source);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_application_and_a_firing_alert_become_throttle_orders_that_are_lifted_again() {
    let server = NatsServer::start().await.unwrap();
    let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
    ensure(&bus, 1, Action::Create).await.unwrap();
    let mut orders = bus.subscribe::<Throttle>(filter::throttles()).await.unwrap();
    let latency = Arc::new(AtomicU64::new(0));
    let url = application(Arc::clone(&latency)).await;
    let folder = RunFolder::temporary().unwrap();
    let (mut monitor, webhook) = monitor(&server, &folder, &["--probe", &url, "--limit-ms", "100"]).await;
    let client = reqwest::Client::new();

    latency.store(400, Relaxed);
    let slow = order(&mut orders, "pool.main", |order| order.cap_percent == 0).await;
    assert_eq!(slow.source, "lb-latency");
    assert!(slow.reason.contains("the limit is 100 ms"), "{}", slow.reason);

    let post = async |body: &str| {
        let sent = client.post(&webhook).body(body.to_owned()).send().await.unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    };
    assert_eq!(post(FIRING).await.0, 200);
    let firing = order(&mut orders, "label.rack.b2", |_| true).await;
    assert_eq!(firing.cap_percent, 25);
    assert!(firing.source.starts_with("lb-alert-") && firing.ttl_seconds > 4 * 3_600, "{firing:?}");
    assert!(firing.reason.contains("p99 of the checkout is 870 ms"), "{}", firing.reason);
    assert_eq!(post(RESOLVED).await.0, 200);
    assert_eq!(order(&mut orders, "label.rack.b2", |_| true).await.cap_percent, 100);

    for (body, status, told) in [
        ("{}".to_owned(), 400, "no webhook of Alertmanager"),
        (FIRING.replace("label.rack.b2", "rack"), 422, "is no target"),
        (" ".repeat(65 * 1024 * 1024), 413, ""),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_alert_orders_outlives_the_monitor_and_another_one_lifts_it() {
    let server = NatsServer::start().await.unwrap();
    let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
    ensure(&bus, 1, Action::Create).await.unwrap();
    let mut orders = bus.subscribe::<Throttle>(filter::throttles()).await.unwrap();
    let folder = RunFolder::temporary().unwrap();
    let client = reqwest::Client::new();
    let post =
        async |webhook: &str, body: String| client.post(webhook).body(body).send().await.unwrap().status();

    let (mut first, webhook) = monitor(&server, &folder, &[]).await;
    let alert = &FIRING[FIRING.find("\"alerts\":[").unwrap() + 10..];
    let alert = &alert[..alert.find("}],").unwrap() + 1];
    let many = FIRING.replace(alert, &vec![alert.replace("870 ms", &"x".repeat(3_000)); 300].join(","));
    assert_eq!(post(&webhook, many).await, 200);
    let firing = order(&mut orders, "label.rack.b2", |order| order.cap_percent == 25).await;
    first.signal(Signal::SIGTERM).unwrap();
    wait::until(SOON, "the monitor's end", async || first.ended().unwrap()).await.unwrap();

    let (_second, webhook) = monitor(&server, &folder, &[]).await;
    assert_eq!(post(&webhook, RESOLVED.to_owned()).await, 200);
    let next = order(&mut orders, "label.rack.b2", |_| true).await;
    assert_eq!((next.cap_percent, next.source), (100, firing.source), "nothing was lifted before");
}
