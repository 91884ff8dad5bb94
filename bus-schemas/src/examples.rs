//! One example of each message, from which the golden bytes, the schemas and the tests of consumers are made.

use crate::{
    blob::{Blob, Hash32},
    block::{BlockRecord, BlockState, ChainRecord, TemplateRecord},
    codec::Message,
    command::{
        CommandError, ErrorCode, ExplainRequest, Explanation, FarmDuty, FarmStatus, FarmView, JobView, Known,
        ListRequest, MemberView, Membership, NodeDuty, NodeList, NodePut, NodeView, OwnerView, PoolList,
        PoolPut, PoolRequest, PoolStatus, PoolView, Preview, PreviewChange, PreviewRequest, PreviewSearch,
        PreviewSpan, PutReply, RefusedEdit, Revision, Source, Stuck, ThrottleList, ViewOf, ViewRequest,
    },
    config::{InForce, NodeConfig, PoolConfig, SourceConfig},
    event::{Event, EventData},
    heartbeat::{Heartbeat, Lease, LoadReport},
    id::{AlgorithmId, CoordinatorId, InvalidId, JobId, PoolId, SessionId, WorkerId},
    job::{AlgorithmRef, Job, WorkUnit},
    latency::Latency,
    ledger::{Credit, LedgerRecord, RefusedShares},
    member::{Capability, DifficultyStep, JoinReply, JoinRequest, Leave, Member, Role, Standing},
    node_status::{NodeStanding, NodeStatus},
    policy::{FarmConfig, Priority},
    schedule::{Occurrence, Schedule, Weekly, Window, WindowOccurrences},
    set_point::{LoadLimit, LoadReason, LocalState, Reason, SetPoint, Step},
    share::{CryptoNoteFinding, Finding, HeaderFinding, Share, ShareRefusal},
    throttle::{KeptOrder, KeptOrders, LiveThrottle, Throttle, ThrottleTarget},
    units::{HashRate, ShareBits, Target, TimestampMs, Work},
    work::{CryptoNoteWork, HeaderWork, SearchMode},
};

/// Takes each example.
pub trait Visitor {
    /// Called once for each message type.
    fn visit<M: Message + schemars::JsonSchema + PartialEq + std::fmt::Debug>(&mut self, example: M);
}

const SHARES_STREAM: &str = "1796022214051779237";
const AT: TimestampMs = TimestampMs(1_767_225_600_000);

/// An example job; its id is derived as any job's.
pub fn job() -> Result<Job, InvalidId> {
    let mut job = Job {
        id: JobId::new("0")?,
        pool: PoolId::new("main")?,
        sequence: 12,
        epoch: 7,
        farm: 1,
        algorithm: AlgorithmRef { id: AlgorithmId::sha256d(), version: 1, digest: Blob::default() },
        mode: SearchMode::OwnBlock,
        slot_bits: 12,
        work: WorkUnit::Header(HeaderWork {
            version: 0x2000_0000,
            version_mask: 0x1fff_e000,
            prev_hash: Hash32([0x11; 32]),
            coinbase_prefix: Blob(vec![1, 0, 0, 0]),
            coinbase_suffix: Blob(vec![0xff; 4]),
            merkle_branch: vec![Hash32([0x22; 32])],
            bits: 0x1e03_ffff,
            time: 1_767_225_600,
            min_time: 1_767_225_000,
            max_time: 1_767_232_800,
        }),
        network_target: Target::from_compact(0x1e03_ffff).unwrap_or(Target::MAX),
        height: 101,
        clean: true,
        shares_after: 990,
        shares_stream: Some(SHARES_STREAM.to_owned()),
        published_at_ms: AT,
    };
    if let Some(id) = job.derive_id() {
        job.id = id;
    }
    Ok(job)
}

/// An example of Monero's work, of two transactions.
pub fn crypto_note_work() -> CryptoNoteWork {
    CryptoNoteWork {
        seed: Hash32([0x44; 32]),
        next_seed: Some(Hash32([0x55; 32])),
        major_version: 16,
        minor_version: 16,
        timestamp: 1_767_225_600,
        prev_hash: Hash32([0x11; 32]),
        coinbase_prefix: Blob(vec![2, 60, 1, 0xff]),
        coinbase_suffix: Blob(vec![]),
        merkle_branch: vec![Hash32([0x22; 32])],
        transactions: 2,
        difficulty: 600_000_000_000,
    }
}

/// [`job`] with Monero's work.
pub fn crypto_note_job() -> Result<Job, InvalidId> {
    let work = crypto_note_work();
    let network_target = work.check().unwrap_or(Target::MAX);
    let algorithm = AlgorithmRef { id: AlgorithmId::new("randomx-v1")?, version: 1, digest: Blob::default() };
    let mut job = Job { algorithm, work: WorkUnit::CryptoNote(work), network_target, ..job()? };
    if let Some(id) = job.derive_id() {
        job.id = id;
    }
    Ok(job)
}

/// A share of [`crypto_note_job`].
pub fn crypto_note_share() -> Result<Share, InvalidId> {
    let finding = Finding::CryptoNote(CryptoNoteFinding { roll: 5, nonce: 77 });
    Ok(Share { job: crypto_note_job()?.id, finding, ..share()? })
}

/// An example member.
pub fn member() -> Result<Member, InvalidId> {
    Ok(Member {
        pool: PoolId::new("main")?,
        worker: WorkerId::new("w1")?,
        session: SessionId::new("s-4f2a")?,
        role: Role::Active,
        standing: Standing::Present,
        slot: 3,
        generation: 9,
        slot_generation: 8,
        epoch: 7,
        difficulty: vec![
            DifficultyStep { from_job: 1, bits: ShareBits::new(20) },
            DifficultyStep { from_job: 13, bits: ShareBits::new(22) },
        ],
        reason: "1 of 2 active members".to_owned(),
        decided_at_ms: AT,
    })
}

/// An example share of [`job`] by [`member`].
pub fn share() -> Result<Share, InvalidId> {
    Ok(Share {
        job: job()?.id,
        session: SessionId::new("s-4f2a")?,
        slot: 3,
        generation: 8,
        bits: ShareBits::new(20),
        finding: Finding::Header(HeaderFinding {
            roll: 5,
            version: 0x2000_0000,
            time: 1_767_225_601,
            nonce: 77,
        }),
        found_at_ms: AT,
    })
}

fn pool_view() -> Result<PoolView, InvalidId> {
    let status = PoolStatus {
        owner: CoordinatorId::new("c1")?,
        epoch: 7,
        active: 2,
        backup: 1,
        lost: 0,
        hash_rate: HashRate(20_000_000),
        job: Some(job()?.id),
        height: 101,
        shares: 1_000,
        work: Work::from(1_048_576_000),
        shares_refused: 2,
        blocks_accepted: 4,
        blocks_open: 1,
        nodes: vec![NodeStatus {
            node: "http://127.0.0.1:8332".to_owned(),
            standing: NodeStanding::InUse,
            height: Some(41),
            answered_ms_ago: Some(250),
            last_error: None,
        }],
        at_ms: AT,
    };
    Ok(PoolView {
        pool: PoolId::new("main")?,
        revision: 5,
        config: PoolConfig::default(),
        refused: Some(RefusedEdit { revision: 6, reason: "unknown key thread".to_owned() }),
        status: Some(status),
        known: Known { source: Source::Owner, age_ms: Some(0), stale: false, note: String::new() },
        stuck: None,
    })
}

fn membership() -> Result<Membership, InvalidId> {
    Ok(Membership {
        pool: PoolId::new("main")?,
        role: Role::Active,
        standing: Standing::Present,
        slot: 3,
        generation: 9,
        reason: "1 of 2 active members".to_owned(),
        hash_rate: Some(HashRate(10_000_000)),
        threads: Some(1),
        capacity_percent: Some(100),
        set_point_reason: Some(Reason::PoolThreads),
        last_heard_ms: AT,
        known: Known { source: Source::Owner, age_ms: Some(700), stale: false, note: String::new() },
    })
}

fn node_view() -> Result<NodeView, InvalidId> {
    Ok(NodeView {
        node: WorkerId::new("w1")?,
        revision: 0,
        config: NodeConfig::default(),
        refused: None,
        membership: Some(membership()?),
    })
}

fn ledger_record() -> Result<LedgerRecord, InvalidId> {
    let worker = WorkerId::new("w1")?;
    Ok(LedgerRecord {
        pool: PoolId::new("main")?,
        epoch: 7,
        number: 4,
        shares_to: 1_002,
        shares_stream: Some(SHARES_STREAM.to_owned()),
        shares_at_ms: Some(AT),
        credits: vec![Credit { worker: worker.clone(), shares: 2, work: Work::from(2_097_152) }],
        refused: vec![RefusedShares { worker, refusal: ShareRefusal::Duplicate, shares: 1 }],
        total_shares: 1_000,
        total_work: Work::from(1_048_576_000),
        at_ms: AT,
    })
}

fn set_point() -> SetPoint {
    SetPoint { threads: 1, cap_percent: 100, priority: Priority::Idle, reason: Reason::Load }
}

fn schedule() -> Schedule {
    Schedule {
        time_zone: "Europe/Berlin".to_owned(),
        weekly: Some(Weekly { mon: Some("########............####".to_owned()), ..Weekly::default() }),
        windows: vec![Window {
            name: "maintenance".to_owned(),
            priority: 10,
            start: "2026-12-05T06:00".to_owned(),
            end: "2026-12-05T08:00".to_owned(),
            repeat: Some("FREQ=MONTHLY;BYDAY=1SA".to_owned()),
            threads: None,
            cap_percent: Some(0),
            finish_by_seconds: 600,
        }],
    }
}

fn node_config() -> NodeConfig {
    NodeConfig { threads: Some(1), schedule: Some(schedule()), ..NodeConfig::default() }
}

fn farm_config() -> FarmConfig {
    FarmConfig { halted: true, reason: "drill".to_owned() }
}

fn throttle() -> Throttle {
    Throttle {
        cap_percent: 25,
        threads: None,
        ttl_seconds: 60,
        reason: "black friday".to_owned(),
        source: "ops".to_owned(),
    }
}

fn heartbeat() -> Result<Heartbeat, InvalidId> {
    Ok(Heartbeat {
        session: SessionId::new("s-4f2a")?,
        generation: 9,
        sequence: 44,
        job: Some(job()?.id),
        hash_rate: HashRate(10_000_000),
        hashes_total: 440_000_000,
        outbox_len: 0,
        set_point: set_point(),
        local: Some(LocalState {
            load: Some(LoadLimit { percent: 50, reason: LoadReason::Demand, measured: 91 }),
            ..LocalState::open(2)
        }),
        load: Some(LoadReport {
            demand_percent: 91,
            search_percent: 7,
            steal_percent: 0,
            memory_pressure_percent: 0,
            slowdown_percent: Some(3),
            wide_vectors: false,
        }),
        sent_at_ms: AT,
    })
}

fn join_request() -> Result<JoinRequest, InvalidId> {
    Ok(JoinRequest {
        session: SessionId::new("s-4f2a")?,
        capability: Capability {
            threads: 2,
            memory_mib: 24_064,
            processor: "AMD EPYC".to_owned(),
            algorithms: vec![AlgorithmId::sha256d()],
            agent_version: "0.1.0".to_owned(),
        },
        expected_rate: None,
    })
}

fn visit_orders<V: Visitor>(v: &mut V) -> Result<(), InvalidId> {
    v.visit(job()?);
    v.visit(share()?);
    v.visit(member()?);
    v.visit(heartbeat()?);
    v.visit(Lease { coordinator: CoordinatorId::new("c1")?, renewed_at_ms: AT });
    v.visit(join_request()?);
    v.visit(JoinReply::Accepted(Box::new(member()?)));
    v.visit(Leave { session: SessionId::new("s-4f2a")?, reason: "shut down".to_owned() });
    v.visit(PoolConfig::default());
    v.visit(node_config());
    v.visit(farm_config());
    v.visit(InForce { revision: 5, config: PoolConfig::default() });
    v.visit(InForce { revision: 3, config: node_config() });
    v.visit(InForce { revision: 2, config: farm_config() });
    v.visit(throttle());
    let keep_until_ms = AT.plus_ms(60_000);
    let kept = KeptOrder { order: throttle(), stored_at_ms: AT, keep_until_ms };
    v.visit(KeptOrders { stream: "1767225600000000000".to_owned(), sequence: 12, orders: vec![kept] });
    v.visit(Latency { latency_us: 1_850 });
    v.visit(ledger_record()?);
    Ok(())
}

fn visit_blocks<V: Visitor>(v: &mut V) -> Result<(), InvalidId> {
    let found = BlockRecord {
        pool: PoolId::new("main")?,
        hash: Hash32([0x33; 32]),
        height: 101,
        job: job()?.id,
        worker: WorkerId::new("w1")?,
        epoch: 7,
        state: BlockState::Found,
        bytes: Blob(vec![0xab; 8]),
        at_ms: AT,
        source: Some(SourceConfig::default()),
    };
    v.visit(found);
    v.visit(TemplateRecord {
        job: job()?.id,
        assembly: Blob(vec![1, 2, 3]),
        source: Some(SourceConfig::default()),
    });
    v.visit(ChainRecord { height: 101, hash: Hash32([0x33; 32]), record: Blob(vec![4, 5]) });
    Ok(())
}

fn visit_commands<V: Visitor>(v: &mut V) -> Result<(), InvalidId> {
    let pool = PoolId::new("main")?;
    v.visit(PoolRequest { reason: "maintenance".to_owned(), force: false });
    v.visit(PoolPut { config: serde_json::json!({ "threads": 1 }), revision: Some(0) });
    v.visit(ViewOf {});
    v.visit(NodePut { config: serde_json::json!({ "enabled": false }), revision: None });
    v.visit(Revision { revision: 5 });
    let occurrence = Occurrence {
        from: "2026-12-05T22:00:00+01:00".to_owned(),
        until: "2026-12-06T06:00:00+01:00".to_owned(),
        from_utc: "2026-12-05T21:00:00.000Z".to_owned(),
        until_utc: "2026-12-06T05:00:00.000Z".to_owned(),
    };
    let (schedule, window) = ("pool".to_owned(), "closing".to_owned());
    let windows = vec![WindowOccurrences { schedule, window, next: vec![occurrence] }];
    v.visit(PutReply { revision: 5, windows });
    v.visit(pool_view()?);
    v.visit(ListRequest { limit: Some(100), after: Some("w1".to_owned()) });
    v.visit(PoolList { pools: vec![pool_view()?], next: None });
    v.visit(node_view()?);
    v.visit(NodeList { nodes: vec![node_view()?], next: Some("w1".to_owned()) });
    let known = Known { source: Source::JobStream, age_ms: Some(12_000), stale: false, note: String::new() };
    v.visit(JobView { job: job()?, known });
    v.visit(FarmStatus {
        coordinator: CoordinatorId::new("c1")?,
        version: "0.1.0".to_owned(),
        farm: FarmView { revision: 2, config: farm_config(), refused: None },
        pools: vec![pool_view()?],
        next: None,
    });
    visit_foresight(v)?;
    v.visit(CommandError::new(ErrorCode::UnknownPool, "pool \"other\" does not exist"));
    let source = CoordinatorId::new("c1")?;
    let what = EventData::BlockAccepted { hash: "00".repeat(32), height: 101, worker: WorkerId::new("w1")? };
    v.visit(Event::new(&source, "7-3", Some(&pool), AT, what));
    Ok(())
}

fn visit_foresight<V: Visitor>(v: &mut V) -> Result<(), InvalidId> {
    let (pool, node) = (PoolId::new("main")?, WorkerId::new("w1")?);
    let time = || "2026-12-05T05:00:00Z".to_owned();
    v.visit(NodeDuty { reason: "new disks".to_owned() });
    v.visit(FarmDuty { reason: "drill".to_owned() });
    v.visit(ExplainRequest { at: Some(time()) });
    v.visit(Explanation {
        node,
        pool: pool.clone(),
        at: time(),
        set_point: set_point(),
        chain: vec![Step {
            rule: Reason::Load,
            says: "demand of 91 % leaves 50 %".to_owned(),
            threads: 2,
            cap_percent: 50,
            decides: true,
        }],
        reported: Some(set_point()),
        assumed: vec!["the load of the host is as it is now".to_owned()],
    });
    let config = Some(serde_json::json!({ "threads": 1 }));
    v.visit(PreviewRequest { config, from: None, hours: Some(48) });
    let search = PreviewSearch {
        workers: 2,
        thread_hundredths: 400,
        reasons: [(Reason::HostThreads, 2)].into(),
        rules: vec!["weekly mon 00:00 '#'".to_owned()],
    };
    v.visit(Preview {
        pool: pool.clone(),
        workers: 2,
        spans: vec![PreviewSpan { from: time(), until: time(), search: search.clone() }],
        changes: vec![PreviewChange {
            from: time(),
            until: time(),
            before: search,
            after: PreviewSearch { workers: 2, thread_hundredths: 200, ..PreviewSearch::default() },
        }],
    });
    let live = LiveThrottle {
        target: ThrottleTarget::Pool(pool),
        order: throttle(),
        given_at_ms: AT,
        until_ms: TimestampMs(AT.0 + 60_000),
    };
    v.visit(ThrottleList { throttles: vec![live], next: None });
    visit_views(v)
}

fn visit_views<V: Visitor>(v: &mut V) -> Result<(), InvalidId> {
    let node = WorkerId::new("w1")?;
    let (after, limit) = (None, None);
    v.visit(ViewRequest { node: Some(node.clone()), status_only: false, after, limit });
    let stuck = Stuck {
        reason: "the template of job 0a is larger than the server's max_payload".to_owned(),
        stream: Some("DCMF_TEMPLATE".to_owned()),
        sequence: None,
        repair: "set max_payload: 8MiB in the server's file; nats-server --signal reload".to_owned(),
    };
    let status = pool_view()?.status.into_iter();
    let view = |status| OwnerView { status, stuck: Some(stuck.clone()), members: Vec::new(), next: None };
    let views = status.map(view);
    for mut view in views {
        view.members.push(MemberView { node: node.clone(), membership: membership()? });
        v.visit(view);
    }
    Ok(())
}

/// Shows every example to `visitor`.
pub fn visit<V: Visitor>(visitor: &mut V) -> Result<(), InvalidId> {
    visit_orders(visitor)?;
    visit_blocks(visitor)?;
    visit_commands(visitor)
}
