//! The worker against a real server and a coordinator that the test plays by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]

use bus_schemas::{
    AlgorithmId, Hash32, PoolId, ShareBits, Target, TimestampMs, WorkerId,
    blob::Blob,
    config::{ConfigKey, NodeConfig, PoolConfig},
    heartbeat::Heartbeat,
    job::{AlgorithmRef, Job, WorkUnit},
    member::{DifficultyStep, JoinReply, JoinRequest, Leave, Member, Role, Standing},
    set_point::Reason,
    share::{Finding, HeaderFinding, Share},
    subject::{Subject, filter},
    work::{HeaderWork, SearchMode},
};
use nats_adapter::{Action, Bus, BusOptions, Delivered, Expect, Requests, Subscription, ensure, streams};
use std::{collections::BTreeSet, time::Duration};
use system_tests::{
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::repository,
    wait,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Config, RunError, Worker};

/// Longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(30);
/// The job's network target: harder than any share of these tests.
const NETWORK_BITS: u8 = 60;

fn pool() -> PoolId {
    PoolId::new("main").unwrap()
}

fn name() -> WorkerId {
    WorkerId::new("w1").unwrap()
}

/// A job whose previous block is `tip`.
fn job(sequence: u64, tip: u8, algorithm: &str) -> Job {
    let bits = Target::from_share_bits(ShareBits::new(NETWORK_BITS)).to_compact();
    let work = HeaderWork {
        version: 0x2000_0000,
        version_mask: 0x1fff_e000,
        prev_hash: Hash32([tip; 32]),
        coinbase_prefix: Blob(vec![1; 60]),
        coinbase_suffix: Blob(vec![2; 60]),
        merkle_branch: vec![Hash32([3; 32])],
        bits,
        time: 1_767_225_600,
        min_time: 1_767_225_000,
        max_time: 1_767_232_800,
    };
    let id = AlgorithmId::new(algorithm).unwrap();
    let mut job = Job {
        id: bus_schemas::JobId::new("0").unwrap(),
        pool: pool(),
        sequence,
        epoch: 1,
        farm: 1,
        algorithm: AlgorithmRef { id, version: 1, digest: Blob::default() },
        mode: SearchMode::OwnBlock,
        slot_bits: 12,
        work: WorkUnit::Header(work),
        network_target: Target::from_compact(bits).unwrap(),
        height: 100 + sequence,
        clean: true,
        shares_after: 0,
        published_at_ms: TimestampMs(1_767_225_600_000),
    };
    job.id = job.derive_id().unwrap();
    job
}

/// The bus, and the coordinator as far as a worker sees one.
struct Stage {
    server: NatsServer,
    bus: Bus,
    joins: Requests<JoinRequest>,
    heartbeats: Subscription<Heartbeat>,
    leaves: Subscription<Leave>,
    member: Option<Member>,
    bits: u8,
}

/// A worker that runs in this process.
struct Running {
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), RunError>>,
    http: String,
}

impl Stage {
    /// A server with the streams of a farm; shares will be of `bits`.
    async fn start(bits: u8) -> Self {
        let config = Some(repository().join("nats/server/one.conf"));
        let options = NatsOptions { config, ..NatsOptions::default() };
        let server = NatsServer::start_in(RunFolder::temporary().unwrap(), options).await.unwrap();
        let bus = Bus::connect(BusOptions::new("stage", [server.url()])).await.unwrap();
        ensure(&bus, 1, Action::Create).await.unwrap();
        let joins = bus.responder(filter::joins(&pool()), None).await.unwrap();
        let heartbeats = bus.subscribe(filter::heartbeats(&pool())).await.unwrap();
        let leaves = bus.subscribe(filter::leaves(&pool())).await.unwrap();
        Self { server, bus, joins, heartbeats, leaves, member: None, bits }
    }

    async fn worker(&self) -> Running {
        let config = Config {
            worker: name(),
            pool: pool(),
            servers: vec![self.server.url().to_owned()],
            max_threads: 2,
            http: Some("127.0.0.1:0".parse().unwrap()),
            credentials: None,
        };
        let worker = Worker::bind(config).await.unwrap();
        let http = format!("http://{}", worker.http_address().unwrap());
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(worker.run(shutdown.clone()));
        Running { shutdown, ended, http }
    }

    async fn put_pool(&self, config: PoolConfig) {
        self.bus.kv(streams::CONFIG).put_as(ConfigKey::Pool(pool()), &config).await.unwrap();
    }

    async fn publish_job(&self, job: &Job) {
        self.bus.publish_stored(Subject::Job(pool()), job, None, Expect::None).await.unwrap();
    }

    /// Answers the next request to join, with a role.
    async fn admit(&mut self, role: Role) {
        let request = soon("a request to join", self.joins.next()).await.unwrap().unwrap();
        assert_eq!(request.subject, Subject::Join(pool(), name()));
        assert!(request.message.capability.algorithms.contains(&AlgorithmId::sha256d()));
        let member = Member {
            pool: pool(),
            worker: name(),
            session: request.message.session.clone(),
            role,
            standing: Standing::Present,
            slot: 5,
            generation: 1,
            slot_generation: 1,
            epoch: 1,
            difficulty: vec![DifficultyStep { from_job: 0, bits: ShareBits::new(self.bits) }],
            reason: "played".to_owned(),
            decided_at_ms: TimestampMs(1_767_225_600_000),
        };
        self.put_member(member.clone()).await;
        request.reply(&JoinReply::Accepted(Box::new(member))).await.unwrap();
    }

    async fn put_member(&mut self, member: Member) {
        self.bus.kv(streams::MEMBERS).put_as(format!("{}.{}", pool(), name()), &member).await.unwrap();
        self.member = Some(member);
    }

    /// A server, a pool of one thread a worker, a job and a worker that is admitted.
    async fn mining(bits: u8, algorithm: &str) -> (Self, Running) {
        let mut stage = Self::start(bits).await;
        stage.put_pool(one_thread()).await;
        stage.publish_job(&job(1, 1, algorithm)).await;
        let worker = stage.worker().await;
        stage.admit(Role::Active).await;
        (stage, worker)
    }

    async fn heartbeat(&mut self, what: &str, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let next = async {
            loop {
                let heartbeat = self.heartbeats.next().await.unwrap().unwrap().message;
                if wanted(&heartbeat) {
                    return heartbeat;
                }
            }
        };
        soon(what, next).await
    }

    async fn stored(&self) -> Vec<Share> {
        let all = self.bus.read_all(streams::SHARE, filter::shares(&pool())).await.unwrap();
        let decode = |delivered: &Delivered| delivered.decode::<Share>().unwrap().message;
        all.iter().map(decode).collect()
    }

    async fn stored_at_least(&self, count: usize) -> Vec<Share> {
        let enough = async || Some(self.stored().await).filter(|shares| shares.len() >= count);
        wait::until(SOON, format!("{count} stored shares"), enough).await.unwrap()
    }
}

impl Running {
    async fn metric(&self, series: &str) -> u64 {
        let text = reqwest::get(format!("{}/metrics", self.http)).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    async fn until(&self, series: &str, wanted: impl Fn(u64) -> bool) -> u64 {
        let reached = async || Some(self.metric(series).await).filter(|value| wanted(*value));
        wait::until(SOON, series, reached).await.unwrap()
    }

    async fn ready(&self) -> (u16, String) {
        let answer = reqwest::get(format!("{}/readyz", self.http)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn end(self) {
        self.shutdown.cancel();
        soon("the worker to end", self.ended).await.unwrap().unwrap();
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {SOON:?} in vain for {what}"),
    }
}

fn one_thread() -> PoolConfig {
    PoolConfig { threads: Some(1), heartbeat_interval_ms: 100, ..PoolConfig::default() }
}

fn header_finding(share: &Share) -> HeaderFinding {
    let Finding::Header(finding) = share.finding;
    finding
}

/// What a coordinator checks of a share.
fn assert_valid(share: &Share, job: &Job, member: &Member) {
    let WorkUnit::Header(work) = &job.work;
    let finding = header_finding(share);
    assert_eq!((&share.job, &share.session, share.slot), (&job.id, &member.session, member.slot));
    assert_eq!(
        (share.generation, Some(share.bits)),
        (member.slot_generation, member.bits_for_job(job.sequence))
    );
    assert!(work.allows_version(finding.version) && work.allows_time(finding.time));
    assert!(job.nonce_range(share.slot).unwrap().contains(finding.nonce));
    let extranonce = job.extranonce(share.slot, finding.roll);
    let header = work.header(extranonce, finding.version, finding.time, finding.nonce);
    let algorithm = worker::algorithms::find(&job.algorithm.id, job.algorithm.version).unwrap();
    let hash = algorithm.verify(&header, &finding.nonce.to_le_bytes()).unwrap();
    assert!(Target::from_share_bits(share.bits).is_met_by(&hash), "{share:?}");
}

#[tokio::test]
async fn a_worker_joins_and_its_shares_verify_with_both_algorithms() {
    for (algorithm, bits) in [("sha256d", 16), ("scrypt-1024-1-1", 6)] {
        let (stage, worker) = Stage::mining(bits, algorithm).await;
        let shares = stage.stored_at_least(20).await;
        let (job, member) = (job(1, 1, algorithm), stage.member.clone().unwrap());
        shares.iter().for_each(|share| assert_valid(share, &job, &member));
        let different: BTreeSet<_> = shares.iter().map(Share::message_id).collect();
        assert_eq!(different.len(), shares.len());
        assert_eq!(worker.ready().await, (200, "ready\n".to_owned()));
        worker.end().await;
    }
}

#[tokio::test]
async fn a_worker_without_a_pool_or_a_place_says_what_it_waits_for() {
    let mut stage = Stage::start(16).await;
    let worker = stage.worker().await;
    worker.until("dcmf_worker_connected", |connected| connected == 1).await;
    assert_eq!(worker.ready().await, (503, "not ready: no configuration of the pool\n".to_owned()));
    stage.put_pool(one_thread()).await;
    worker.until("dcmf_worker_pool_config_revision", |revision| revision == 1).await;
    assert_eq!(worker.ready().await, (503, "not ready: no role in the pool\n".to_owned()));
    stage.admit(Role::Active).await;
    worker.until("dcmf_worker_ready", |ready| ready == 1).await;
    worker.end().await;
}

#[tokio::test]
async fn no_share_is_lost_or_doubled_when_the_server_is_killed_and_comes_back() {
    let (mut stage, worker) = Stage::mining(17, "sha256d").await;
    stage.stored_at_least(5).await;
    stage.server.kill9().unwrap();
    worker.until("dcmf_worker_outbox_shares", |waiting| waiting >= 20).await;
    stage.server.start_again().await.unwrap();
    worker.until("dcmf_worker_reconnects_total", |times| times == 1).await;
    let mut link = stage.bus.link();
    soon("our own connection", link.wait_for(|link| link.connects > 1)).await.unwrap();
    stage.put_pool(PoolConfig { paused: true, ..one_thread() }).await;
    stage
        .heartbeat("an empty outbox", |h| !h.set_point.enabled() && h.job.is_none() && h.outbox_len == 0)
        .await;
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    worker.until("dcmf_worker_outbox_shares", |waiting| waiting == 0).await;
    let found = worker.metric("dcmf_worker_shares_found_total").await;
    let stored: Vec<_> = stage.stored().await.iter().map(Share::message_id).collect();
    assert_eq!(stored.len() as u64, found);
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), stored.len());
    assert_eq!(worker.metric("dcmf_worker_shares_published_total{lane=\"share\"}").await, found);
    worker.end().await;
}

#[tokio::test]
async fn a_new_job_replaces_the_old_one_and_the_time_to_stop_is_measured() {
    const JOBS: u64 = 40;
    let (mut stage, worker) = Stage::mining(16, "sha256d").await;
    for sequence in 2..=JOBS {
        let job = job(sequence, 1, "sha256d");
        stage.publish_job(&job).await;
        stage.heartbeat("the new job", |h| h.job.as_ref() == Some(&job.id)).await;
    }
    let stops = "dcmf_worker_search_stop_seconds";
    worker.until(&format!("{stops}_count"), |count| count >= JOBS - 1).await;
    let within = worker.metric(&format!("{stops}_bucket{{le=\"0.01\"}}")).await;
    let all = worker.metric(&format!("{stops}_count")).await;
    println!("{within} of {all} searches of an old job ended within 10 ms of the order to stop");
    let last = stage.stored().await.len();
    let newest = job(JOBS, 1, "sha256d").id;
    let later = stage.stored_at_least(last + 5).await;
    assert!(later.iter().skip(last + 1).all(|share| share.job == newest));
    worker.end().await;
}

#[tokio::test]
async fn a_paused_worker_stops_and_goes_on_at_its_place() {
    let (mut stage, worker) = Stage::mining(14, "sha256d").await;
    stage.stored_at_least(10).await;
    for _ in 0..2 {
        stage.put_pool(PoolConfig { paused: true, ..one_thread() }).await;
        stage.heartbeat("the pause", |h| h.set_point.reason == Reason::PoolPaused).await;
        worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
        worker.until("dcmf_worker_outbox_shares", |waiting| waiting == 0).await;
        let (before, hashes) = (stage.stored().await.len(), worker.metric("dcmf_worker_hashes_total").await);
        stage.heartbeat("another sign of life", |h| h.hashes_total == hashes).await;
        assert_eq!(stage.stored().await.len(), before);
        stage.put_pool(one_thread()).await;
        stage.stored_at_least(before + 10).await;
    }
    let nonces: Vec<_> =
        stage.stored().await.iter().map(header_finding).map(|f| (f.version, f.nonce)).collect();
    assert!(nonces.is_sorted() && nonces.windows(2).all(|w| w[0] != w[1]), "{nonces:?}");
    worker.end().await;
}

#[tokio::test]
async fn threads_change_while_the_worker_runs_and_a_backup_does_not_search() {
    let (mut stage, worker) = Stage::mining(18, "sha256d").await;
    stage.heartbeat("one thread", |h| h.set_point.threads == 1).await;
    let node = NodeConfig { threads: Some(9), ..NodeConfig::default() };
    stage.bus.kv(streams::CONFIG).put_as(ConfigKey::Node(name()), &node).await.unwrap();
    let limited = stage.heartbeat("the host's limit", |h| h.set_point.threads == 2).await;
    assert_eq!(limited.set_point.reason, Reason::LocalLimit);
    worker.until("dcmf_worker_search_threads", |threads| threads == 2).await;

    let backup = Member { role: Role::Backup, generation: 2, ..stage.member.clone().unwrap() };
    stage.put_member(backup).await;
    stage.heartbeat("the backup", |h| h.set_point.reason == Reason::Backup && h.generation == 2).await;
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    let hashes = worker.metric("dcmf_worker_hashes_total").await;
    for _ in 0..3 {
        assert_eq!(stage.heartbeat("a backup's sign of life", |_| true).await.hashes_total, hashes);
    }
    worker.end().await;
}

#[tokio::test]
async fn bad_orders_are_refused_and_counted_and_mining_goes_on() {
    let (mut stage, worker) = Stage::mining(16, "sha256d").await;
    stage.stored_at_least(1).await;
    let mut forged = job(7, 9, "sha256d");
    forged.height += 1;
    forged.slot_bits = 3;
    stage.publish_job(&forged).await;
    stage.publish_job(&job(8, 9, "x11")).await;
    stage.bus.publish_bytes(Subject::Job(pool()), "rubbish".into()).await.unwrap();
    stage.put_member(Member { epoch: 0, ..stage.member.clone().unwrap() }).await;
    let config = stage.bus.kv(streams::CONFIG);
    config.put(ConfigKey::Pool(pool()), r#"{"slot_bits": 99}"#.into()).await.unwrap();
    config.put(ConfigKey::Pool(pool()), "{".into()).await.unwrap();
    for reason in ["job-invalid", "algorithm-not-offered", "role-outdated"] {
        let series = format!("dcmf_worker_orders_refused_total{{reason=\"{reason}\"}}");
        worker.until(&series, |count| count == 1).await;
    }
    worker.until("dcmf_worker_orders_refused_total{reason=\"config-invalid\"}", |count| count == 2).await;
    worker.until("dcmf_worker_undecodable_total", |count| count == 1).await;
    stage.heartbeat("the job as before", |h| h.job == Some(job(1, 1, "sha256d").id)).await;
    let so_far = stage.stored().await.len();
    stage.stored_at_least(so_far + 3).await;
    worker.end().await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_sends_what_it_found_and_says_good_bye() {
    let (mut stage, worker) = Stage::mining(14, "sha256d").await;
    let stored = stage.stored_at_least(3).await;
    worker.end().await;
    let leave = soon("the good-bye", stage.leaves.next()).await.unwrap().unwrap();
    assert_eq!(leave.subject, Subject::Leave(pool(), name()));
    assert_eq!(leave.message.session, stage.member.clone().unwrap().session);
    assert!(stage.stored().await.len() >= stored.len());
}

#[tokio::test]
async fn a_block_is_on_the_lane_of_blocks_as_well() {
    let mut stage = Stage::start(16).await;
    stage.put_pool(one_thread()).await;
    let mut job = job(1, 1, "sha256d");
    let WorkUnit::Header(work) = &mut job.work;
    work.bits = Target::from_share_bits(ShareBits::new(18)).to_compact();
    job.network_target = Target::from_compact(work.bits).unwrap();
    job.id = job.derive_id().unwrap();
    stage.publish_job(&job).await;
    let worker = stage.worker().await;
    stage.admit(Role::Active).await;
    let found = async || {
        let all = stage.bus.read_all(streams::FOUND, filter::found(&pool())).await.unwrap();
        Some(all).filter(|all| !all.is_empty())
    };
    let found = wait::until(SOON, "a block candidate", found).await.unwrap();
    let block = found[0].decode::<Share>().unwrap().message;
    assert_valid(&block, &job, &stage.member.clone().unwrap());
    let as_share = async || stage.stored().await.contains(&block).then_some(());
    wait::until(SOON, "the block among the shares", as_share).await.unwrap();
    worker.end().await;
}
