//! Contenders that take turns, and the figures of it.

use super::{
    Plan, case,
    contender::{Contender, Searched},
};
use crate::{bench::Figure, coordinator::Failure};
use serde_json::{Value, json};

/// What one contender did in all its turns.
struct Row {
    contender: Box<dyn Contender>,
    turns: Vec<Searched>,
}

/// All contenders of one algorithm on one number of threads.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

/// What a case says beside the algorithm and the threads.
pub(super) type Extra<'a> = &'a [(&'static str, Value)];

impl Rows {
    pub(super) fn add(&mut self, contender: impl Contender + 'static) {
        self.0.push(Row { contender: Box::new(contender), turns: Vec::new() });
    }

    /// Where the contender of this name stands.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|row| row.contender.name() == name)
    }

    /// Lets each have its turns.
    pub(super) fn turns(&mut self, plan: Plan, algorithm: &str, threads: usize) -> Result<(), Failure> {
        for round in 0..plan.rounds {
            for row in &mut self.0 {
                let searched = row.contender.search(threads, plan.length)?;
                tracing::info!(
                    "{algorithm} {} on {threads}: {:.0} hashes a CPU-second, round {round}",
                    row.contender.name(),
                    searched.per_cpu_second()
                );
                row.turns.push(searched);
            }
        }
        Ok(())
    }

    /// The rates of each.
    pub(super) fn figures(&self, algorithm: &str, threads: usize, extra: Extra<'_>) -> Vec<Figure> {
        let mut figures = Vec::new();
        for row in &self.0 {
            let path = [("path", json!(row.contender.name()))];
            // What is said beside belongs to our own rows.
            let extra = if row.contender.peer().is_some() { &[] } else { extra };
            let case = case(algorithm, threads, &[&path, extra].concat());
            let samples = |of: fn(&Searched) -> f64| row.turns.iter().map(of).collect::<Vec<_>>();
            let (by_cpu, by_clock) = (samples(Searched::per_cpu_second), samples(Searched::per_second));
            figures.extend(Figure::higher("hashes_per_cpu_second", "1/s", &case, &by_cpu, None));
            figures.extend(Figure::higher("hashes_per_second", "1/s", &case, &by_clock, None));
        }
        figures
    }

    /// How much faster the contender at `own` is than each peer, turn by turn, by processor time.
    pub(super) fn ratios(
        &self,
        algorithm: &str,
        threads: usize,
        own: usize,
        extra: Extra<'_>,
        goal: Option<f64>,
    ) -> Vec<Figure> {
        let Some(own) = self.0.get(own) else { return Vec::new() };
        let figure = |peer: &Row| {
            let name = [("peer", json!(peer.contender.peer()?))];
            let turns = own.turns.iter().zip(&peer.turns);
            let ratios: Vec<f64> =
                turns.map(|(own, peer)| own.per_cpu_second() / peer.per_cpu_second()).collect();
            let case = case(algorithm, threads, &[&name, extra].concat());
            Figure::higher("ratio_to_peer", "ratio", &case, &ratios, goal)
        };
        self.0.iter().filter_map(figure).collect()
    }
}
