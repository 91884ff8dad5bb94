//! Nothing uncertified runs: what a worker does under each catalogue, on a real bus.

use crate::stage::{SOON, Stage, job, name, one_thread, soon};
use bus_schemas::{
    Message,
    event::{Event, EventData},
    heartbeat::Heartbeat,
    member::Role,
    set_point::Reason,
    subject::filter,
};
use certification::{Certificate, Digest, Purpose, Statement, Subject, TrustRoots, UnixSeconds};
use nats_adapter::RawSubscription;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use system_tests::{
    authority::{Authority, Person, publish, revoked, signed_by, statement},
    farm::programs::Program,
    process::{Launch, Process},
    wait,
};
use worker::certificates::{Kept, file_in, now};

/// The bound within which a revocation stops a search.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);
const ALGORITHM: &str = "sha256d";

/// The algorithm of these tests as it is compiled in.
fn subject() -> Subject {
    let mut all = worker::algorithms::subjects().into_iter();
    all.find(|s| matches!(s, Subject::NativeAlgorithm { id, .. } if id == ALGORITHM)).unwrap()
}

/// The same algorithm as somebody else's sources give it.
fn edited() -> Subject {
    Subject::NativeAlgorithm { id: ALGORITHM.to_owned(), version: 1, source_sha256: Digest::of(b"edited") }
}

fn valid(from: u64, to: u64) -> Statement {
    Statement::new(subject(), "Bob".to_owned(), UnixSeconds::new(from), UnixSeconds::new(to))
}

/// A worker and what it tells, with a job and no certificates yet.
struct Scene {
    stage: Stage,
    events: RawSubscription,
    serial: u64,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::without_certificates(16).await;
        let events = stage.bus.subscribe_bytes(filter::events()).await.unwrap();
        stage.put_pool(one_thread()).await;
        stage.publish_job(&job(1, 1, ALGORITHM)).await;
        Self { stage, events, serial: now().get() }
    }

    fn authority(&self) -> &Authority {
        &self.stage.authority
    }

    async fn publish(&mut self, certificates: &[Certificate]) {
        self.serial += 1;
        let catalogue = self.authority().catalogue(self.serial, certificates, None).unwrap();
        publish(&self.stage.bus, catalogue).await.unwrap();
    }

    /// Waits for the next refusal and gives its code: of the algorithm, or of the catalogue.
    async fn refused(&mut self, what: &str) -> String {
        let next = async {
            loop {
                match Event::decode(&self.events.next().await.unwrap().payload).unwrap().what {
                    EventData::WorkerAlgorithmRefused {
                        worker, algorithm, version, code, reason, ..
                    } => {
                        assert_eq!((worker, algorithm.as_str(), version), (name(), ALGORITHM, 1));
                        assert!(!reason.is_empty());
                        return code;
                    }
                    EventData::WorkerCatalogueRefused { code, .. } => return format!("catalogue {code}"),
                    _ => {}
                }
            }
        };
        soon(what, next).await
    }

    /// It is a member that searches nothing, and says why.
    async fn is_gentle(&mut self, code: &str) {
        let says = |h: &Heartbeat| h.local.as_ref().is_some_and(|l| l.uncertified.as_deref() == Some(code));
        let heartbeat = self.stage.heartbeat(code, says).await;
        assert_eq!((heartbeat.set_point.threads, heartbeat.set_point.reason), (0, Reason::NotCertified));
        assert_eq!(heartbeat.job, None);
    }

    async fn mines(&mut self) {
        let before = self.stage.stored().await.len();
        self.stage.stored_at_least(before + 3).await;
    }
}

#[tokio::test]
async fn each_reason_to_refuse_an_algorithm_is_told_and_the_worker_stays_a_member_that_searches_nothing() {
    let mut scene = Scene::new().await;
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    assert_eq!(scene.refused("that nothing is certified").await, "not-certified");
    scene.is_gentle("not-certified").await;

    let (now, authority) = (now().get(), scene.authority().clone());
    let stranger = Person::new().unwrap();
    let (author, certifier) =
        ((&authority.author, Purpose::Author), (&authority.certifier, Purpose::Certifier));
    let current = statement(subject());
    let by = |signers: &[(&Person, Purpose)]| signed_by(&current, signers).unwrap();
    for (certificate, code) in [
        (authority.certificate(&statement(edited())).unwrap(), "edited-after-certification"),
        (authority.certificate(&valid(now - 100, now - 10)).unwrap(), "certificate-expired"),
        (authority.certificate(&valid(now + 1_000, now + 2_000)).unwrap(), "not-yet-valid"),
        (by(&[author]), "certifier-signature-missing"),
        (by(&[certifier]), "author-signature-missing"),
        (by(&[(&stranger, Purpose::Author), (&stranger, Purpose::Certifier)]), "key-not-in-trust-roots"),
    ] {
        scene.publish(&[certificate]).await;
        assert_eq!(scene.refused(code).await, code);
        scene.is_gentle(code).await;
    }
    assert_eq!(worker.metric("dcmf_worker_hashes_total").await, 0);
    assert_eq!(worker.metric("dcmf_worker_permitted_algorithms").await, 0);
    let series = "dcmf_worker_algorithms_refused_total{code=\"certificate-expired\"}";
    assert_eq!(worker.metric(series).await, 1);
    worker.end().await;
}

#[tokio::test]
async fn a_certified_algorithm_is_searched_and_its_revocation_stops_it_within_a_second() {
    let mut scene = Scene::new().await;
    let certificate = scene.authority().certificate(&statement(subject())).unwrap();
    scene.publish(std::slice::from_ref(&certificate)).await;
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    scene.mines().await;
    assert_eq!(worker.metric("dcmf_worker_permitted_algorithms").await, 1);

    scene.serial += 1;
    let list = scene.authority().revocations(scene.serial, vec![revoked(subject().digest())]).unwrap();
    let catalogue =
        scene.authority().catalogue(scene.serial, std::slice::from_ref(&certificate), Some(list)).unwrap();
    let revoked_at = Instant::now();
    publish(&scene.stage.bus, catalogue).await.unwrap();
    scene.is_gentle("digest-revoked").await;
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    let took = revoked_at.elapsed();
    println!("a revocation stopped the search within {} ms", took.as_millis());
    assert!(took < STOPPED_WITHIN, "{took:?}");
    assert_eq!(scene.refused("the revocation").await, "digest-revoked");

    // What is revoked stays so, whatever is published after it.
    let hashes = worker.metric("dcmf_worker_hashes_total").await;
    scene.publish(&[certificate]).await;
    let file = file_in(&scene.stage.state, &name());
    let taken = async || Kept::read(&file).ok().filter(|kept| kept.seen.catalogue == scene.serial);
    wait::until(SOON, "the next catalogue to be believed", taken).await.unwrap();
    scene.is_gentle("digest-revoked").await;
    assert_eq!(worker.metric("dcmf_worker_hashes_total").await, hashes);
    worker.end().await;
}

#[tokio::test]
async fn a_certificate_that_ends_while_it_is_searched_stops_the_search() {
    let mut scene = Scene::new().await;
    let begin = now().get();
    let certificate = scene.authority().certificate(&valid(begin - 10, begin + 4)).unwrap();
    scene.publish(&[certificate]).await;
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    scene.mines().await;
    assert_eq!(scene.refused("the end of the certificate").await, "certificate-expired");
    assert!(now().get() >= begin + 4);
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    scene.is_gentle("certificate-expired").await;
    worker.end().await;
}

#[tokio::test]
async fn a_host_that_trusts_nobody_runs_nothing_whatever_the_bus_says() {
    let mut scene = Scene::new().await;
    let certificate = scene.authority().certificate(&statement(subject())).unwrap();
    scene.publish(&[certificate]).await;
    let worker = scene.stage.worker_that_trusts(TrustRoots::none()).await;
    scene.stage.admit(Role::Active).await;
    assert_eq!(scene.refused("the refusal").await, "no-trust-roots");
    scene.is_gentle("no-trust-roots").await;
    assert!(!scene.stage.state.exists(), "it keeps nothing that it does not believe");
    worker.end().await;
}

#[tokio::test]
async fn an_older_catalogue_is_refused_by_a_worker_that_runs_and_by_one_that_was_started_again() {
    let mut scene = Scene::new().await;
    let certificate = scene.authority().certificate(&statement(subject())).unwrap();
    let old = scene.authority().catalogue(scene.serial, &[certificate], None).unwrap();
    publish(&scene.stage.bus, old.clone()).await.unwrap();
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    scene.mines().await;
    scene.publish(&[]).await;
    assert_eq!(scene.refused("that it is withdrawn").await, "not-certified");
    publish(&scene.stage.bus, old).await.unwrap();
    assert_eq!(scene.refused("the old catalogue").await, "catalogue rolled-back");
    scene.is_gentle("not-certified").await;
    worker.end().await;

    let again = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    let mut codes = [scene.refused("one refusal").await, scene.refused("the other").await];
    codes.sort();
    assert_eq!(codes, ["catalogue rolled-back", "not-certified"]);
    scene.is_gentle("not-certified").await;
    assert_eq!(again.metric("dcmf_worker_hashes_total").await, 0);
    again.end().await;
}

#[tokio::test]
async fn what_was_kept_permits_after_a_restart_and_a_damaged_record_permits_nothing() {
    let mut scene = Scene::new().await;
    let certificate = scene.authority().certificate(&statement(subject())).unwrap();
    scene.publish(&[certificate]).await;
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    scene.mines().await;
    worker.end().await;

    // Nothing on the bus any more: what was kept holds.
    let bucket = scene.stage.bus.kv(nats_adapter::streams::CERTIFICATES);
    bucket.delete(bus_schemas::subject::CATALOGUE_KEY).await.unwrap();
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    scene.mines().await;
    worker.end().await;

    let record = file_in(&scene.stage.state, &name());
    let whole = fs::read_to_string(&record).unwrap();
    fs::write(&record, &whole[..whole.len() / 2]).unwrap();
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    assert_eq!(scene.refused("the damaged record").await, "state-unusable");
    scene.is_gentle("state-unusable").await;
    let certificate = scene.authority().certificate(&statement(subject())).unwrap();
    scene.publish(&[certificate]).await;
    assert_eq!(scene.refused("a newer catalogue").await, "catalogue state-unusable");
    assert_eq!(fs::read_to_string(&record).unwrap(), whole[..whole.len() / 2], "it is left to a person");
    worker.end().await;
}

#[tokio::test]
async fn a_catalogue_of_a_stranger_is_refused_and_the_last_good_one_goes_on() {
    let mut scene = Scene::new().await;
    let certificate = scene.authority().certificate(&statement(subject())).unwrap();
    scene.publish(std::slice::from_ref(&certificate)).await;
    let worker = scene.stage.worker().await;
    scene.stage.admit(Role::Active).await;
    scene.mines().await;
    let strangers = Authority::new().unwrap();
    let foreign = strangers.catalogue(scene.serial + 9, &[], None).unwrap();
    publish(&scene.stage.bus, foreign).await.unwrap();
    assert_eq!(scene.refused("the stranger").await, "catalogue key-not-in-trust-roots");
    publish(&scene.stage.bus, "rubbish".to_owned()).await.unwrap();
    let refused = "dcmf_worker_catalogues_refused_total{code=\"malformed\"}";
    worker.until(refused, |count| count >= 1).await;
    scene.mines().await;
    worker.end().await;
}

/// The real program at `path`, as a process.
fn start(scene: &Scene, program: &Path) -> Process {
    let folder = scene.stage.state.parent().unwrap();
    let file = folder.join("w1.toml");
    let text = format!(
        "worker = \"w1\"\npool = \"main\"\nservers = [\"{}\"]\nmax_threads = 1\npin = false\ngroup = \"none\"\n\
         ungentle_percent = 100\nstate_folder = \"{}\"\n{}",
        scene.stage.server.url(),
        scene.stage.state.display(),
        scene.authority().trust("program_must_be_certified = true")
    );
    fs::write(&file, text).unwrap();
    let launch = Launch::new("w1", program, folder);
    launch.args(["--config".as_ref(), file.as_os_str()]).start().unwrap()
}

#[tokio::test]
async fn a_program_that_was_changed_after_it_was_certified_searches_nothing_and_says_so() {
    let mut scene = Scene::new().await;
    let program = Program::Worker.locate().unwrap();
    let certificates = scene.authority().certify_all(Some(&program)).unwrap();
    scene.publish(&certificates).await;
    let mut worker = start(&scene, &program);
    scene.stage.admit(Role::Active).await;
    scene.mines().await;
    worker.stop(SOON).await.unwrap();

    let tampered = scene.stage.state.parent().unwrap().join("tampered");
    let mut bytes = fs::read(&program).unwrap();
    // Behind the last section: it runs as before, and only its digest tells.
    bytes.push(0);
    fs::write(&tampered, bytes).unwrap();
    fs::set_permissions(&tampered, fs::metadata(&program).unwrap().permissions()).unwrap();
    let mut worker = start(&scene, &tampered);
    scene.stage.admit(Role::Active).await;
    assert_eq!(scene.refused("the tampered program").await, "program-tampered");
    scene.is_gentle("program-tampered").await;
    worker.stop(SOON).await.unwrap();
}
