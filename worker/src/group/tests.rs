use super::*;
use crate::{affinity, idle_class, load::sources::thread_us};
use bus_schemas::policy::Priority;
use nix::unistd::gettid;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A thread that computes on one processor until it is dropped.
struct Spinner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Spinner {
    fn start(processor: usize, idle: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, (tell, told)) = (Arc::clone(&stop), channel());
        let thread = std::thread::spawn(move || {
            affinity::pin(0, processor).unwrap();
            if idle {
                idle_class::enter(Priority::Idle).unwrap();
            }
            tell.send(gettid().as_raw()).unwrap();
            while !ended.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self { stop, thread: Some(thread), tid: told.recv().unwrap() }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn used_us(threads: &[Spinner]) -> u64 {
    threads.iter().map(|spinner| thread_us(spinner.tid).unwrap()).sum()
}

/// The group, or why this host has none that can be written.
fn lowered(name: &str) -> Option<SearchGroup> {
    let group = SearchGroup::open_as(&Choice::Auto, Weight::Idle, name);
    if !matches!(group.lowered, Some(Lowered::Made { .. })) {
        println!("NOT RUN: no group can be made here: {}", group.check().detail);
        return None;
    }
    Some(group)
}

#[test]
fn search_threads_in_the_lowered_group_get_at_most_a_hundredth_beside_a_busy_program_in_another() {
    let Some(group) = lowered("dcmf-search-test-share") else { return };
    let report = group.check();
    assert!(report.gentle && report.share_permille <= 10, "{report:?}");
    // The other program: a group of default weight, as a service would have.
    let Found::Here(hierarchy) = &group.place else { unreachable!() };
    let folder = hierarchy.mount.join(format!("dcmf-test-other-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let processors = affinity::allowed().unwrap();
    let start = |idle| processors.iter().map(|cpu| Spinner::start(*cpu, idle)).collect::<Vec<_>>();
    let (search, other) = (start(true), start(false));
    let file = if hierarchy.offer == Offer::V1 { "tasks" } else { "cgroup.threads" };
    for spinner in &other {
        fs::write(folder.join(file), spinner.tid.to_string()).unwrap();
    }
    for spinner in &search {
        group.add(spinner.tid).unwrap();
    }
    let before = (used_us(&search), used_us(&other));
    // The other program's own use is the clock of the measurement, so that a busy machine does not matter.
    let deadline = Instant::now() + Duration::from_secs(60);
    while used_us(&other) - before.1 < 1_500_000 {
        assert!(Instant::now() < deadline, "the other program never ran for a second and a half");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let (got, others) = (used_us(&search) - before.0, used_us(&other) - before.1);
    drop((search, other));
    fs::remove_dir(&folder).unwrap();
    let permille = got * 1_000 / (got + others);
    println!("the search got {permille} thousandths; {}", report.detail);
    assert!(permille <= 20, "{got} of {} microseconds", got + others);
}

#[test]
fn the_group_is_removed_at_the_end_even_with_threads_in_it() {
    let Some(group) = lowered("dcmf-search-test-end") else { return };
    let folder = group.folder().unwrap().to_owned();
    let spinner = Spinner::start(affinity::allowed().unwrap()[0], true);
    group.add(spinner.tid).unwrap();
    let inside = fs::read_to_string(folder.join("tasks"))
        .or_else(|_| fs::read_to_string(folder.join("cgroup.threads")));
    assert_eq!(inside.unwrap().trim(), spinner.tid.to_string());
    drop(group);
    assert!(!folder.exists());
}

#[test]
fn groups_of_dead_processes_are_removed_at_the_start_and_others_are_not() {
    let Some(group) = lowered("dcmf-search-test-stale") else { return };
    let parent = group.folder().unwrap().parent().unwrap().to_owned();
    let dead = parent.join(format!("{}{}-3", lower::PREFIX, u32::MAX));
    fs::create_dir_all(&dead).unwrap();
    let living = parent.join(format!("{}1", lower::PREFIX));
    fs::create_dir_all(&living).unwrap();
    // Another worker that starts at this moment may remove it first.
    lower::remove_stale(&parent);
    assert_eq!((dead.exists(), living.exists()), (false, true));
    fs::remove_dir(&living).unwrap();
}

#[test]
fn two_workers_of_one_process_have_a_group_each() {
    let (Some(one), Some(other)) = (lowered("dcmf-search-test-two"), lowered("dcmf-search-test-two")) else {
        return;
    };
    let folder = other.folder().unwrap().to_owned();
    assert_ne!(one.folder(), Some(folder.as_path()));
    drop(one);
    assert!(folder.exists());
}

#[test]
fn a_group_that_is_raised_from_outside_is_lowered_again() {
    let Some(group) = lowered("dcmf-search-test-raised") else { return };
    let file = group.folder().unwrap().join("cpu.idle");
    if !file.exists() {
        println!("NOT RUN: this kernel has no idle groups");
        return;
    }
    fs::write(&file, "0").unwrap();
    assert!(group.check().gentle);
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), "1");
}

#[test]
fn what_the_host_file_says_is_done_or_told() {
    let none = SearchGroup::open(&Choice::None, Weight::Idle);
    assert!(none.folder().is_none() && none.add(gettid().as_raw()).is_ok());
    if matches!(none.place, Found::Here(_)) {
        let wrong = SearchGroup::open(&Choice::Path("/nonexistent".into()), Weight::Idle).check();
        assert!(wrong.detail.contains("/nonexistent is no group below"), "{}", wrong.detail);
    }
    let Some(made) = lowered("dcmf-search-test-given") else { return };
    let given = SearchGroup::open(&Choice::Path(made.folder().unwrap().to_owned()), Weight::Idle);
    assert!(given.check().gentle, "{}", given.check().detail);
    drop(given);
    assert!(made.folder().unwrap().exists(), "a given group is not removed");
}

#[test]
fn the_groups_files_of_version_2_are_written_as_its_rules_want() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| fs::write(folder.path().join("w").join(file), text).unwrap();
    let read = |file: &str| fs::read_to_string(folder.path().join("w").join(file)).unwrap();
    fs::create_dir(folder.path().join("w")).unwrap();
    write("cpu.weight", "100\n");
    write("cpu.idle", "0\n");
    write("cgroup.procs", &format!("{}\n", std::process::id()));
    let (mount, own) = (folder.path().to_owned(), folder.path().join("w"));
    let hierarchy = hierarchy::Hierarchy { offer: Offer::V2, mount, own, whole: true };
    let placement = Placement { offer: Offer::V2, levels: vec![], session: None, thread: Weight::Idle };
    let (lowered, done) = lower::lower(&hierarchy, "unused", &placement);
    assert_eq!((read("cpu.weight").as_str(), read("cpu.idle").as_str()), ("1", "0\n"), "{done}");
    write("cpu.weight", "100\n");
    lowered.as_ref().unwrap().again().unwrap();
    assert_eq!(read("cpu.weight"), "1", "systemd had written it again");
    drop(lowered);
    assert_eq!(read("cpu.weight"), "100");
    write("cgroup.procs", &format!("{}\n1\n", std::process::id()));
    let (lowered, why) = lower::lower(&hierarchy, "unused", &placement);
    assert!(lowered.is_none() && why.contains("holds other processes too"), "{why}");
    assert_eq!(read("cpu.weight"), "100");
}

#[test]
fn the_nice_value_of_a_session_is_read() {
    for (text, wanted) in [
        ("/autogroup-38 nice 0\n", Some(0)),
        ("/autogroup-1 nice -20\n", Some(-20)),
        ("", None),
        ("/a nice x", None),
    ] {
        assert_eq!(parse_session(text), wanted, "{text}");
    }
}

#[test]
fn a_limit_of_memory_is_kept_by_the_kernel_or_told_as_not_kept() {
    // In a process of its own the limit would hold for the other tests too, so a generous one.
    let limit = MemoryLimit::set(1 << 20);
    assert_eq!(limit.limited, limit.detail.starts_with("memory is limited"), "{}", limit.detail);
    if !limit.limited {
        println!("NOT RUN: {}", limit.detail);
    }
}
