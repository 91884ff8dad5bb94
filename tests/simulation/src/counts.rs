//! How much happened, so that nobody thinks that an idle run passed.

/// Counts of one simulation, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inputs that cores handled.
    pub steps: u64,
    /// Terms of owners.
    pub terms: u64,
    /// Events that were told.
    pub events: u64,
    /// Processes that were killed, at a moment or between two effects.
    pub crashes: u64,
    /// Processes that were cut off from the bus.
    pub partitions: u64,
    /// Links that were made lossy or slow.
    pub disturbed_links: u64,
    /// Streams and buckets that were made anew.
    pub recreations: u64,
    /// Streams and buckets that were set back to a backup.
    pub restores: u64,
    /// Edits of configurations, good and broken.
    pub edits: u64,
    /// Throttle orders, lifts and unreadable ones included.
    pub orders: u64,
    /// Messages that no owner wrote where only owners write, and other rubbish.
    pub rubbish: u64,
    /// Shares that were stored.
    pub shares: u64,
    /// Shares that the ledger credited.
    pub credited: u64,
    /// Shares that the ledger refused.
    pub refused: u64,
    /// Shares that were destroyed with a stream before they were accounted.
    pub destroyed: u64,
    /// Shares of which a destroyed store leaves open whether they count.
    pub uncertain: u64,
    /// Blocks that the network took.
    pub blocks: u64,
    /// Blocks whose template was gone.
    pub blocks_without_template: u64,
    /// Ledger records.
    pub records: u64,
    /// Pools whose books were closed: stores were replaced so often that nobody can tell any more what was accounted.
    pub closed_books: u64,
    /// Jobs and members' records of an owner that another one had followed already.
    pub late_records: u64,
}

impl Counts {
    fn all(&mut self) -> [(&'static str, &mut u64); 21] {
        [
            ("steps", &mut self.steps),
            ("terms of owners", &mut self.terms),
            ("events", &mut self.events),
            ("crashes", &mut self.crashes),
            ("partitions", &mut self.partitions),
            ("disturbed links", &mut self.disturbed_links),
            ("recreated stores", &mut self.recreations),
            ("restored stores", &mut self.restores),
            ("edits", &mut self.edits),
            ("throttle orders", &mut self.orders),
            ("rubbish", &mut self.rubbish),
            ("shares", &mut self.shares),
            ("credited", &mut self.credited),
            ("refused", &mut self.refused),
            ("destroyed", &mut self.destroyed),
            ("uncertain", &mut self.uncertain),
            ("blocks", &mut self.blocks),
            ("blocks without template", &mut self.blocks_without_template),
            ("ledger records", &mut self.records),
            ("closed books", &mut self.closed_books),
            ("late jobs and records", &mut self.late_records),
        ]
    }

    /// Adds those of another simulation.
    pub fn add(&mut self, mut other: Self) {
        for ((_, mine), (_, theirs)) in self.all().into_iter().zip(other.all()) {
            *mine += *theirs;
        }
    }

    /// For people.
    pub fn summary(&self) -> String {
        let mut copy = self.clone();
        let parts: Vec<_> = copy.all().into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        parts.join(", ")
    }
}
