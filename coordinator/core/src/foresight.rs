//! What a worker does and will do, and why: the worker's own rules, asked for any moment.

use bus_schemas::{
    PoolId, TimestampMs, WorkerId,
    command::{Explanation, Preview, PreviewChange, PreviewSearch, PreviewSpan},
    config::{NodeConfig, PoolConfig},
    member::{Role, Standing},
    policy::FarmConfig,
    schedule::{Agenda, MAX_AGENDA_HOURS, Schedule, Verdict},
    set_point::{self, LocalState, Reason, SetPoint, SetPointInput},
    throttle::Throttles,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most spans, and most changes, of one preview; a longer one ends there.
pub const MAX_SPANS: usize = 2_048;
/// Most looks at a schedule for one preview; a longer one ends there.
pub const MAX_LOOKS: usize = 100_000;
/// Most rules that a span names.
pub const MAX_RULES: usize = 8;
/// The load of a host is taken to last so long, milliseconds.
pub const LOAD_LASTS_MS: u64 = 60_000;
/// Longest preview in hours.
pub const MAX_HOURS: u16 = 336;
/// Length of a preview for which none is named, hours.
pub const DEFAULT_HOURS: u16 = 48;
/// Furthest moment for which anything is foretold, milliseconds from now: a year, within which calendars hold.
pub const MAX_AHEAD_MS: u64 = 366 * 86_400_000;

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFacts {
    /// Its pool.
    pub pool: PoolId,
    /// Who.
    pub worker: WorkerId,
    /// Its role.
    pub role: Role,
    /// Whether it is there.
    pub standing: Standing,
    /// What only the worker knows, as its last sign of life told.
    pub local: Option<LocalState>,
    /// What it last said that it does.
    pub reported: Option<SetPoint>,
    /// Threads that its host offers, 0 while unknown.
    pub threads: u16,
}

impl MemberFacts {
    fn local_state(&self) -> LocalState {
        self.local.clone().unwrap_or_else(|| LocalState::open(self.threads.max(1)))
    }
}

/// What decides besides the member itself.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The farm's configuration.
    pub farm: Option<&'a FarmConfig>,
    /// The pool's configuration.
    pub pool: &'a PoolConfig,
    /// The worker's own configuration.
    pub node: Option<&'a NodeConfig>,
    /// The throttle orders that are known.
    pub throttles: &'a Throttles,
}

/// Explains what `member` does at `at`, as far as that can be told at `now`.
pub fn explain(
    member: &MemberFacts,
    circumstances: Circumstances<'_>,
    at: TimestampMs,
    now: TimestampMs,
) -> Explanation {
    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
    let Circumstances { farm, pool, node, throttles } = circumstances;
    let mut assumed = Vec::new();
    if member.local.is_none() {
        let threads = member.threads.max(1);
        assumed
            .push(format!("nothing was heard of the worker; its host is taken to offer {threads} threads"));
    }
    let mut local = member.local_state();
    let later = at > now.plus_ms(LOAD_LASTS_MS);
    if later {
        if local.load.take().is_some() {
            assumed.push("the load of the host that is measured now is over by then".to_owned());
        }
        if local.vetoed {
            assumed.push("the host administrator's veto still holds".to_owned());
        }
    }
    if at != now {
        assumed.push("configurations and the worker's role are those of now".to_owned());
        assumed.push("no throttle order is given, lifted or renewed until then".to_owned());
    }
    let lease_expired = !later && member.reported.is_some_and(|s| s.reason == Reason::ConfigurationLease);
    if at != now && member.reported.is_some_and(|s| s.reason == Reason::ConfigurationLease) && later {
        assumed.push("the worker hears its configuration again by then".to_owned());
    }
    let labels = node.map_or(&NO_LABELS, |n| &n.labels);
    let verdict = set_point::verdict(Some(pool), node, at);
    let (set_point, chain) = set_point::explain(SetPointInput {
        farm,
        pool: Some(pool),
        node,
        role: Some((member.role, member.standing)),
        schedule: verdict.as_ref(),
        throttle: throttles.lowest(&member.pool, &member.worker, labels, at),
        local: &local,
        lease_expired,
    });
    Explanation {
        node: member.worker.clone(),
        pool: member.pool.clone(),
        at: at.to_rfc3339(),
        set_point,
        chain,
        reported: member.reported,
        assumed,
    }
}

/// A pool whose future is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    /// The pool.
    pub id: &'a PoolId,
    /// The farm's configuration.
    pub farm: Option<&'a FarmConfig>,
    /// The configuration in force.
    pub config: &'a PoolConfig,
    /// A configuration that is proposed.
    pub proposed: Option<&'a PoolConfig>,
    /// Its members, each with its own configuration.
    pub members: &'a [(MemberFacts, Option<NodeConfig>)],
    /// From when on.
    pub from: TimestampMs,
    /// Until when.
    pub until: TimestampMs,
}

/// Members that do the same at every moment.
struct Group<'a> {
    node: Option<&'a NodeConfig>,
    local: LocalState,
    count: u32,
}

/// Puts members together whose own configuration and host say the same; labels count where a policy asks for them.
fn groups<'a>(outlook: Outlook<'a>) -> Vec<Group<'a>> {
    let policies = outlook.config.labels.iter().chain(outlook.proposed.iter().flat_map(|p| &p.labels));
    let keys: BTreeSet<&str> = policies.map(|l| l.key.as_str()).collect();
    let mut groups: BTreeMap<String, Group<'a>> = BTreeMap::new();
    let active = |f: &MemberFacts| f.role == Role::Active && f.standing == Standing::Present;
    for (facts, node) in outlook.members.iter().filter(|(f, _)| active(f)) {
        let local = LocalState { load: None, ..facts.local_state() };
        let own = node.as_ref().map(|n| {
            let asked = |(key, _): &(&String, &String)| keys.contains(key.as_str());
            let labels: Vec<_> = n.labels.iter().filter(asked).collect();
            (n.enabled, n.threads, n.cap_percent, n.priority, &n.schedule, labels)
        });
        let key = format!("{local:?} {own:?}");
        let group = groups.entry(key).or_insert_with(|| Group { node: node.as_ref(), local, count: 0 });
        group.count += 1;
    }
    groups.into_values().collect()
}

/// A schedule as it goes through time.
struct Calendar<'a> {
    schedule: &'a Schedule,
    agenda: Option<Agenda>,
    /// What holds, until when it says.
    verdict: Option<Verdict>,
}

impl<'a> Calendar<'a> {
    fn new(schedule: &'a Schedule) -> Self {
        Self { schedule, agenda: None, verdict: None }
    }

    fn at(&mut self, at: TimestampMs) -> Verdict {
        if !self.agenda.as_ref().is_some_and(|agenda| agenda.covers(at)) {
            let hours = MAX_AGENDA_HOURS.unsigned_abs();
            self.agenda = Some(self.schedule.agenda(at, at.plus_ms(hours * 3_600_000)));
        }
        let said = self.agenda.as_ref().and_then(|agenda| agenda.at(at));
        said.unwrap_or_else(|| self.schedule.at(at))
    }
}

/// One configuration as it goes through time.
struct Course<'a> {
    farm: Option<&'a FarmConfig>,
    pool: &'a PoolConfig,
    /// Each schedule once.
    schedules: Vec<Calendar<'a>>,
    /// For each group, which schedule.
    places: Vec<Option<usize>>,
}

impl<'a> Course<'a> {
    fn new(farm: Option<&'a FarmConfig>, pool: &'a PoolConfig, groups: &[Group<'a>]) -> Self {
        let mut schedules: Vec<Calendar<'a>> = Vec::new();
        let mut place = |schedule: &'a Schedule| {
            let known = schedules.iter().position(|kept| std::ptr::eq(kept.schedule, schedule));
            known.unwrap_or_else(|| {
                schedules.push(Calendar::new(schedule));
                schedules.len() - 1
            })
        };
        let places = groups.iter().map(|g| set_point::schedule(Some(pool), g.node).map(&mut place)).collect();
        Self { farm, pool, schedules, places }
    }

    /// What the groups do at `at`, and until when at least.
    fn at(
        &mut self,
        groups: &[Group<'a>],
        at: TimestampMs,
        looks: &mut usize,
    ) -> (PreviewSearch, TimestampMs) {
        let mut until = TimestampMs(u64::MAX);
        for kept in &mut self.schedules {
            if kept.verdict.as_ref().is_none_or(|verdict| verdict.until <= at) {
                *looks += 1;
                kept.verdict = Some(kept.at(at));
            }
            until = kept.verdict.as_ref().map_or(until, |verdict| until.min(verdict.until));
        }
        let mut search = PreviewSearch::default();
        let mut rules = BTreeSet::new();
        for (group, place) in groups.iter().zip(&self.places) {
            let verdict = place.and_then(|i| self.schedules.get(i)).and_then(|kept| kept.verdict.as_ref());
            let set_point = set_point::resolve(SetPointInput {
                farm: self.farm,
                pool: Some(self.pool),
                node: group.node,
                role: Some((Role::Active, Standing::Present)),
                schedule: verdict,
                throttle: None,
                local: &group.local,
                lease_expired: false,
            });
            search.workers += if set_point.enabled() { group.count } else { 0 };
            search.thread_hundredths += u64::from(set_point.capacity()) * u64::from(group.count);
            *search.reasons.entry(set_point.reason).or_default() += group.count;
            rules.extend(verdict.filter(|v| v.cap_percent < 100 || v.threads.is_some()).map(|v| &v.rule));
        }
        search.rules = rules.into_iter().take(MAX_RULES).cloned().collect();
        (search, until)
    }
}

/// Whether the same is searched for the same reasons, whatever the rules are called.
fn same(a: &PreviewSearch, b: &PreviewSearch) -> bool {
    (a.workers, a.thread_hundredths, &a.reasons) == (b.workers, b.thread_hundredths, &b.reasons)
}

fn add_rules(to: &mut Vec<String>, from: &[String]) {
    for rule in from {
        if to.len() < MAX_RULES && !to.contains(rule) {
            to.push(rule.clone());
        }
    }
}

fn put_span(spans: &mut Vec<PreviewSpan>, from: &str, until: &str, search: &PreviewSearch) {
    match spans.last_mut().filter(|last| same(&last.search, search)) {
        Some(last) => {
            until.clone_into(&mut last.until);
            add_rules(&mut last.search.rules, &search.rules);
        }
        None => {
            let (from, until) = (from.to_owned(), until.to_owned());
            spans.push(PreviewSpan { from, until, search: search.clone() });
        }
    }
}

fn put_change(
    changes: &mut Vec<PreviewChange>,
    from: &str,
    until: &str,
    before: &PreviewSearch,
    after: &PreviewSearch,
) {
    if same(before, after) {
        return;
    }
    let goes_on = |last: &&mut PreviewChange| {
        last.until == from && same(&last.before, before) && same(&last.after, after)
    };
    match changes.last_mut().filter(goes_on) {
        Some(last) => {
            until.clone_into(&mut last.until);
            add_rules(&mut last.before.rules, &before.rules);
            add_rules(&mut last.after.rules, &after.rules);
        }
        None => changes.push(PreviewChange {
            from: from.to_owned(),
            until: until.to_owned(),
            before: before.clone(),
            after: after.clone(),
        }),
    }
}

/// Goes through time from one change of a schedule to the next. Costs one agenda of each different schedule, a look at it for
/// each of them, and a resolution for each group of members that are alike; at most [`MAX_LOOKS`] and [`MAX_SPANS`].
pub fn preview(outlook: Outlook<'_>) -> Preview {
    let groups = groups(outlook);
    let mut now = Course::new(outlook.farm, outlook.config, &groups);
    let mut then = outlook.proposed.map(|pool| Course::new(outlook.farm, pool, &groups));
    let (mut spans, mut changes, mut looks) = (Vec::new(), Vec::new(), 0);
    let mut at = outlook.from;
    while at < outlook.until && spans.len() < MAX_SPANS && changes.len() < MAX_SPANS && looks < MAX_LOOKS {
        let (before, mut until) = now.at(&groups, at, &mut looks);
        let after = then.as_mut().map(|course| course.at(&groups, at, &mut looks));
        until = after.as_ref().map_or(until, |(_, also)| until.min(*also)).min(outlook.until);
        // A schedule that cannot be read says so for ever; time goes on all the same.
        until = until.max(at.plus_ms(1));
        let (from, to) = (at.to_rfc3339(), until.to_rfc3339());
        put_span(&mut spans, &from, &to, &before);
        if let Some((after, _)) = after {
            put_change(&mut changes, &from, &to, &before, &after);
        }
        at = until;
    }
    Preview { pool: outlook.id.clone(), workers: groups.iter().map(|g| g.count).sum(), spans, changes }
}
