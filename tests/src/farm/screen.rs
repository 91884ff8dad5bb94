//! What a person sees of `make run`.

use super::chain::ChainKind;
use super::{Farm, WORKERS, programs};
use crate::parts::Part;
use bus_schemas::command::PoolStatus;
use bus_schemas::event::{Event, EventData};
use bus_schemas::subject::{Subject, command, command_on, filter};
use bus_schemas::{HashRate, WorkerId};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Digits of a hash that are shown.
const HASH_DIGITS: usize = 20;

/// The terminal, or nobody.
#[derive(Debug)]
pub struct Screen {
    started: Instant,
    shown: bool,
}

impl Screen {
    /// A screen whose clock starts now.
    pub fn new() -> Self {
        Self { started: Instant::now(), shown: true }
    }

    /// A screen that nobody sees.
    pub fn dark() -> Self {
        Self { shown: false, ..Self::new() }
    }

    /// How long it has been there.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One line. A terminal that is gone does not stop the farm.
    pub fn line(&self, text: impl std::fmt::Display) {
        if self.shown {
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }

    /// One line with the time in front.
    pub fn timed(&self, text: impl std::fmt::Display) {
        self.line(format_args!("{:7.1} s  {text}", self.elapsed().as_secs_f64()));
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// The first screen: what runs and how to look at it.
pub fn welcome(farm: &Farm) -> Result<String, bus_schemas::id::InvalidId> {
    let pool = &farm.pool;
    let worker = WorkerId::new(WORKERS[0])?;
    let url = farm.server.url();
    let looks = [
        (format!("nats sub '{}'", filter::events()), "what happens"),
        (format!("nats req {} ''", command("farm", "status")), "the farm at a glance"),
        (format!("nats req {} ''", command_on("pool", "pause", pool)), "stop mining; resume likewise"),
        (format!("nats kv watch dcmf_status {pool}"), "the pool, every second"),
        (
            format!(
                "nats sub '{}' --translate 'dcmf-decode --subject {{{{Subject}}}}'",
                filter::shares(pool)
            ),
            "findings",
        ),
        (format!("nats sub {} --last", Subject::Ledger(pool.clone())), "what is credited"),
    ];
    let mut text = format!(
        "\nA farm mines {}: algorithm {}, pool {pool}.\n  \
         bus {url}, coordinator c1, active workers {} and {}, backup {worker_of_backup}\n  \
         logs and state in {folder}; Ctrl-C stops everything\n\n\
         Look at it from another terminal:\n  export NATS_URL={url} PATH=\"{path}:$PATH\"\n",
        farm.chain.kind,
        farm.config.algorithm,
        worker,
        WORKERS[1],
        worker_of_backup = WORKERS[2],
        folder = short(farm.folder.path()),
        path = search_path(),
    );
    let width = looks.iter().map(|(line, _)| line.len()).filter(|len| *len < 60).max().unwrap_or(0);
    for (line, about) in looks {
        text.push_str(&format!("  {line:width$}   # {about}\n"));
    }
    text.push_str("Every command: docs/commands.md\n");
    Ok(text)
}

/// Folders that hold the `nats` program and ours.
fn search_path() -> String {
    let nats = Part::NatsCli.locate().ok().and_then(|path| path.parent().map(Path::to_owned));
    let folders = nats.into_iter().chain([programs::folder()]);
    folders.map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":")
}

fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// The line for an event, `None` for those that come too often to be told one by one.
pub fn told(event: &Event) -> Option<String> {
    Some(match &event.what {
        EventData::BlockAccepted { hash, height, worker } => {
            format!("block accepted   height {height:<6} {}  found by {worker}", digits(hash))
        }
        EventData::BlockRefused { hash, height, worker, reason } => {
            format!("block refused    height {height:<6} {}  found by {worker}: {reason}", digits(hash))
        }
        EventData::BlockWaiting { hash, height, worker, reason } => {
            format!("block waiting    height {height:<6} {}  found by {worker}: {reason}", digits(hash))
        }
        EventData::BlockUnkept { hash, height, worker, reason } => {
            format!("block not kept   height {height:<6} {}  found by {worker}: {reason}", digits(hash))
        }
        EventData::WorkerJoined { worker, role, slot, .. } => {
            format!("worker joined    {worker} as {} in slot {slot}", lower(role))
        }
        EventData::WorkerLost { worker, silent_ms } => {
            format!("worker lost      {worker} was silent for {silent_ms} ms")
        }
        EventData::WorkerReturned { worker, role } => {
            format!("worker returned  {worker} as {}", lower(role))
        }
        EventData::WorkerLeft { worker, reason } => format!("worker left      {worker}: {reason}"),
        EventData::WorkerRoleChanged { worker, role, reason } => {
            format!("role changed     {worker} is {} now: {reason}", lower(role))
        }
        EventData::ConfigApplied { key, revision } => {
            format!("configuration    {key} revision {revision} is in force")
        }
        EventData::ConfigBucketReplaced { kept } => {
            format!("bucket replaced  dcmf_config was made anew; {kept} configurations stay in force")
        }
        EventData::ConfigRefused { key, revision, reason, in_force } => {
            format!(
                "configuration    {key} revision {revision} is refused: {reason}; {in_force} stays in force"
            )
        }
        EventData::PoolOwned { coordinator, epoch } => {
            format!("pool owned       by {coordinator}, epoch {epoch}")
        }
        EventData::PoolDisowned { coordinator, reason, .. } => {
            format!("pool given up    by {coordinator}: {reason}")
        }
        EventData::ThrottleEngaged { worker, reason, measured, left_percent } => {
            format!("throttled        {worker} for {reason:?} of {measured} %: {left_percent} % is left")
        }
        EventData::ThrottleReleased { worker, engaged_ms, .. } => {
            format!("throttle lifted  {worker} after {engaged_ms} ms")
        }
        EventData::ThrottleOrdered { target, source, cap_percent, ttl_seconds, reason } => {
            format!(
                "throttle ordered {target} to {cap_percent} % for {ttl_seconds} s by {source:?}: {reason}"
            )
        }
        EventData::WorkerVetoed { worker, reason } => {
            format!("vetoed           {worker} on its host: {reason}")
        }
        EventData::WorkerVetoLifted { worker } => format!("veto lifted      {worker}"),
        EventData::WorkerGroupChecked { worker, gentle, share_permille, detail } => {
            let how = if *gentle { "gentle" } else { "not gentle" };
            format!("scheduling       {worker} is {how}: {share_permille} ‰ beside a busy program; {detail}")
        }
        EventData::WorkerAlgorithmRefused { worker, algorithm, code, reason, .. } => {
            format!("not certified    {worker} does not run {algorithm} ({code}): {reason}")
        }
        EventData::WorkerCatalogueRefused { worker, code, reason } => {
            format!("certificates     {worker} does not believe the catalogue ({code}): {reason}")
        }
        EventData::PoolStopped { after_ms, workers } => {
            format!("pool stopped     {workers} workers within {after_ms} ms")
        }
        EventData::PoolCapacityChanged { capacity_percent, wanted_percent, enough } => {
            let how = if *enough { "enough again" } else { "too little" };
            format!("capacity         {capacity_percent} of {wanted_percent} %: {how}")
        }
        EventData::SourceFailed { reason } => format!("job source       gives nothing: {reason}"),
        EventData::SourceRecovered {} => "job source       gives jobs again".to_owned(),
        EventData::SourceLagging { node, height, further, further_height } => {
            format!("node lags        {node} is at {height}, {further} at {further_height}")
        }
        EventData::SourceNodeChanged { node, standing, reason, .. } => {
            format!("node             {node} is {standing}: {reason}")
        }
        EventData::PoolStuck { reason, repair, .. } => format!("pool stuck       {reason}; {repair}"),
        EventData::PoolUnstuck { stuck_ms } => format!("pool goes on     after {stuck_ms} ms"),
        EventData::StreamMade { stream } => format!("stream made      {stream} was missing"),
        EventData::StreamReplaced { stream, goes_on_after, reason, .. } => {
            format!("stream replaced  {stream}: {reason}; goes on after {goes_on_after}")
        }
        EventData::StoreFailing { stream, reason, repair, .. } => {
            format!("store failing    {stream}: {reason}; {repair}")
        }
        EventData::StoreRecovered { stream, failed_ms } => {
            format!("store recovered  {stream} after {failed_ms} ms")
        }
        EventData::TaskFailed { task, reason, answer } => {
            format!("task failed      {task}: {reason}; {answer}")
        }
        EventData::MessageUndecodable { subject, reason, count } => {
            format!("unreadable       {count} messages on {subject}: {reason}")
        }
        EventData::JobPublished { .. } | EventData::ShareRefused { .. } | EventData::BlockFound { .. } => {
            return None;
        }
    })
}

fn digits(hash: &str) -> &str {
    hash.get(..HASH_DIGITS).unwrap_or(hash)
}

fn lower(role: &bus_schemas::member::Role) -> &'static str {
    match role {
        bus_schemas::member::Role::Active => "active",
        bus_schemas::member::Role::Backup => "backup",
    }
}

/// The line that comes every few seconds.
pub fn status_line(status: &PoolStatus, blocks: usize) -> String {
    let PoolStatus { active, backup, lost, hash_rate, shares, shares_refused, height, .. } = status;
    let lost = if *lost > 0 { format!(", {lost} lost") } else { String::new() };
    format!(
        "{active} active, {backup} backup{lost}; {}; {shares} shares, {shares_refused} refused; {blocks} blocks; \
         seeking height {height}",
        HashRate(hash_rate.0)
    )
}

/// What is said while a farm comes up.
pub fn starting(chain: ChainKind) -> String {
    let nodes = match chain {
        ChainKind::Embedded => "",
        ChainKind::Bitcoin => ", two btcd",
        ChainKind::Litecoin => ", two litecoind",
        ChainKind::Monero => ", monerod",
    };
    format!("starting nats-server{nodes}, one coordinator and {} workers …", WORKERS.len())
}
