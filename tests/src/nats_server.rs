//! A nats-server of one's own, with JetStream in its own folder and on a port that it chose itself.

use crate::HarnessError;
use crate::folder::RunFolder;
use crate::parts::Part;
use crate::process::{Launch, Process, ProcessError};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// How long the server may take to open its ports and JetStream.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// How long the server may take to write its streams and go.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// The server's own way to say "any free port".
const ANY_PORT: &str = "-1";

/// What the server writes into its ports file.
#[derive(Debug, Deserialize)]
struct OpenPorts {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

/// What is special about a server; by default nothing is.
#[derive(Debug, Default)]
pub struct NatsOptions {
    /// A configuration file. The harness's address and ports win over it; a relative `store_dir` belongs to the server's
    /// folder, as does everything when it names none.
    pub config: Option<PathBuf>,
    /// A client port of one's choice instead of any free one.
    pub port: Option<u16>,
}

/// A running server; stopped or killed, it can be started again with its streams on its port.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    url: String,
    monitoring_url: String,
    options: NatsOptions,
    folder: RunFolder,
}

impl NatsServer {
    /// Starts a server whose streams are gone with it.
    pub async fn start() -> Result<Self, HarnessError> {
        Self::start_in(RunFolder::temporary()?, NatsOptions::default()).await
    }

    /// Starts a server that writes to `folder`.
    pub async fn start_in(folder: RunFolder, options: NatsOptions) -> Result<Self, HarnessError> {
        let (process, url, monitoring_url) = launch(&folder, &options).await?;
        Ok(Self { process, url, monitoring_url, options, folder })
    }

    /// `nats://127.0.0.1:<port>`; the same after a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `http://127.0.0.1:<port>` of the server's monitoring (`/varz`, `/jsz`, …); another one after a restart.
    pub fn monitoring_url(&self) -> &str {
        &self.monitoring_url
    }

    /// Where the server writes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it in order.
    pub async fn stop(&mut self) -> Result<ExitStatus, ProcessError> {
        self.process.stop(STOP_DEADLINE).await
    }

    /// Kills it where it stands.
    pub fn kill9(&mut self) -> Result<ExitStatus, ProcessError> {
        self.process.kill9()
    }

    /// Starts it again after a stop or a kill, with the same streams on the same client port.
    pub async fn start_again(&mut self) -> Result<(), HarnessError> {
        self.process.kill9()?;
        self.options.port = self.url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        (self.process, self.url, self.monitoring_url) = launch(&self.folder, &self.options).await?;
        Ok(())
    }

    /// The process, for signals and for its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

async fn launch(
    folder: &RunFolder,
    options: &NatsOptions,
) -> Result<(Process, String, String), HarnessError> {
    let [store, ports] = [folder.inner("jetstream")?, folder.inner("ports")?];
    let port = options.port.map_or_else(|| ANY_PORT.to_owned(), |port| port.to_string());
    let mut launch = Launch::new("nats-server", Part::NatsServer.locate()?, folder.path())
        .args(["--addr", "127.0.0.1", "--port", &port, "--http_port", ANY_PORT, "--jetstream"])
        .args(["--ports_file_dir".as_ref(), ports.as_os_str()])
        .current_dir(folder.path());
    let mut names_store = false;
    if let Some(config) = &options.config {
        let reading = || HarnessError::io(format!("reading {}", config.display()));
        // The server refuses a store folder that is named twice.
        names_store = std::fs::read_to_string(config).map_err(reading())?.contains("store_dir");
        launch = launch.args(["--config".into(), std::path::absolute(config).map_err(reading())?]);
    }
    if !names_store {
        launch = launch.args(["--store_dir".as_ref(), store.as_os_str()]);
    }
    let mut process = launch.start()?;
    let file = ports.join(format!("nats-server_{}.ports", process.id()));
    let open = process.ready(READY_DEADLINE, "open its ports", async || read_ports(&file)).await?;
    let client = process
        .ready(READY_DEADLINE, "accept a connection", async || async_nats::connect(&open.0).await.ok())
        .await?;
    let jetstream = async_nats::jetstream::new(client);
    process.ready(READY_DEADLINE, "open JetStream", async || jetstream.query_account().await.ok()).await?;
    Ok((process, open.0, open.1))
}

/// The client's and the monitoring URL, once the server has written both.
fn read_ports(file: &Path) -> Option<(String, String)> {
    let OpenPorts { nats, monitoring } = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    Some((nats.into_iter().next()?, monitoring.into_iter().next()?))
}
