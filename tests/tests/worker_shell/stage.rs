//! The bus, the coordinator as far as a worker sees one, and a worker that runs in this process.

use bus_schemas::{
    AlgorithmId, Hash32, PoolId, ShareBits, Target, TimestampMs, WorkerId,
    blob::Blob,
    config::{ConfigKey, InForce, PoolConfig},
    heartbeat::Heartbeat,
    job::{AlgorithmRef, Job, WorkUnit},
    member::{DifficultyStep, JoinReply, JoinRequest, Leave, Member, Role, Standing},
    policy::LoadPolicy,
    share::{Finding, HeaderFinding, Share},
    subject::{Subject, filter},
    work::{HeaderWork, SearchMode},
};
use certification::TrustRoots;
use nats_adapter::{Action, Bus, BusOptions, Delivered, Expect, Requests, Subscription, ensure, streams};
use std::{path::PathBuf, time::Duration};
use system_tests::{
    authority::Authority,
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::repository,
    wait,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Config, RunError, Worker, group::Choice};

/// Longest wait for anything that should happen soon.
pub const SOON: Duration = Duration::from_secs(30);
/// The job's network target: harder than any share of these tests.
pub const NETWORK_BITS: u8 = 60;

pub fn pool() -> PoolId {
    PoolId::new("main").unwrap()
}

pub fn name() -> WorkerId {
    WorkerId::new("w1").unwrap()
}

/// A job whose previous block is `tip`.
pub fn job(sequence: u64, tip: u8, algorithm: &str) -> Job {
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
        shares_stream: None,
        published_at_ms: TimestampMs(1_767_225_600_000),
    };
    job.id = job.derive_id().unwrap();
    job
}

/// The bus, and the coordinator as far as a worker sees one.
pub struct Stage {
    pub server: NatsServer,
    pub bus: Bus,
    pub joins: Requests<JoinRequest>,
    pub heartbeats: Subscription<Heartbeat>,
    pub leaves: Subscription<Leave>,
    pub member: Option<Member>,
    pub bits: u8,
    pub veto: PathBuf,
    pub state: PathBuf,
    pub authority: Authority,
}

/// A worker that runs in this process.
pub struct Running {
    pub shutdown: CancellationToken,
    pub ended: JoinHandle<Result<(), RunError>>,
    pub http: String,
}

impl Stage {
    /// A server with the streams of a farm and certificates of everything; shares will be of `bits`.
    pub async fn start(bits: u8) -> Self {
        let stage = Self::without_certificates(bits).await;
        stage.authority.permit_all(&stage.bus, None).await.unwrap();
        stage
    }

    /// A server with the streams of a farm.
    pub async fn without_certificates(bits: u8) -> Self {
        let config = Some(repository().join("nats/server/one.conf"));
        let options = NatsOptions { config, ..NatsOptions::default() };
        let folder = RunFolder::temporary().unwrap();
        let (veto, state) = (folder.path().join("veto"), folder.path().join("state"));
        let server = NatsServer::start_in(folder, options).await.unwrap();
        let bus = Bus::connect(BusOptions::new("stage", [server.url()])).await.unwrap();
        ensure(&bus, 1, Action::Create).await.unwrap();
        let joins = bus.responder(filter::joins(&pool()), None).await.unwrap();
        let heartbeats = bus.subscribe(filter::heartbeats(&pool())).await.unwrap();
        let leaves = bus.subscribe(filter::leaves(&pool())).await.unwrap();
        let authority = Authority::new().unwrap();
        Self { server, bus, joins, heartbeats, leaves, member: None, bits, veto, state, authority }
    }

    pub async fn worker(&self) -> Running {
        self.worker_that_trusts(self.authority.roots().unwrap()).await
    }

    pub async fn worker_that_trusts(&self, trust: TrustRoots) -> Running {
        let config = Config {
            trust,
            state_folder: self.state.clone(),
            servers: vec![self.server.url().to_owned()],
            max_threads: 2,
            http: Some("127.0.0.1:0".parse().unwrap()),
            veto_file: self.veto.clone(),
            ungentle_percent: 100,
            pin: false,
            // Beside other tests and their programs an idle group would search next to nothing.
            group: Choice::None,
            ..Config::new(name(), pool())
        };
        let worker = Worker::bind(config).await.unwrap();
        let http = format!("http://{}", worker.http_address().unwrap());
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(worker.run(shutdown.clone()));
        Running { shutdown, ended, http }
    }

    pub async fn put_pool(&self, config: PoolConfig) {
        let in_force = InForce { revision: 1, config };
        self.bus.kv(streams::IN_FORCE).put_as(ConfigKey::Pool(pool()), &in_force).await.unwrap();
    }

    pub async fn publish_job(&self, job: &Job) {
        self.bus.publish_stored(Subject::Job(pool()), job, None, Expect::None).await.unwrap();
    }

    /// Answers the next request to join, with a role.
    pub async fn admit(&mut self, role: Role) {
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

    pub async fn put_member(&mut self, member: Member) {
        self.bus.kv(streams::MEMBERS).put_as(format!("{}.{}", pool(), name()), &member).await.unwrap();
        self.member = Some(member);
    }

    /// A server, a pool of one thread a worker, a job and a worker that is admitted.
    pub async fn mining(bits: u8, algorithm: &str) -> (Self, Running) {
        let mut stage = Self::start(bits).await;
        stage.put_pool(one_thread()).await;
        stage.publish_job(&job(1, 1, algorithm)).await;
        let worker = stage.worker().await;
        stage.admit(Role::Active).await;
        (stage, worker)
    }

    pub async fn heartbeat(&mut self, what: &str, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
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

    pub async fn stored(&self) -> Vec<Share> {
        let all = self.bus.read_all(streams::SHARE, filter::shares(&pool())).await.unwrap();
        let decode = |delivered: &Delivered| delivered.decode::<Share>().unwrap().message;
        all.iter().map(decode).collect()
    }

    pub async fn stored_at_least(&self, count: usize) -> Vec<Share> {
        let enough = async || Some(self.stored().await).filter(|shares| shares.len() >= count);
        wait::until(SOON, format!("{count} stored shares"), enough).await.unwrap()
    }
}

impl Running {
    pub async fn metric(&self, series: &str) -> u64 {
        let text = reqwest::get(format!("{}/metrics", self.http)).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    pub async fn until(&self, series: &str, wanted: impl Fn(u64) -> bool) -> u64 {
        let reached = async || Some(self.metric(series).await).filter(|value| wanted(*value));
        wait::until(SOON, series, reached).await.unwrap()
    }

    pub async fn ready(&self) -> (u16, String) {
        let answer = reqwest::get(format!("{}/readyz", self.http)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn end(self) {
        self.shutdown.cancel();
        soon("the worker to end", self.ended).await.unwrap().unwrap();
    }
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {SOON:?} in vain for {what}"),
    }
}

pub fn one_thread() -> PoolConfig {
    let load = LoadPolicy::never();
    PoolConfig { threads: Some(1), heartbeat_interval_ms: 100, load, ..PoolConfig::default() }
}

pub fn header_finding(share: &Share) -> HeaderFinding {
    let Finding::Header(finding) = share.finding else { panic!("a header") };
    finding
}

/// What a coordinator checks of a share.
pub fn assert_valid(share: &Share, job: &Job, member: &Member) {
    let WorkUnit::Header(work) = &job.work else { panic!("a header") };
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
