//! Ratios of pairs for people: a row for each case, a line of Markdown each, as docs/hybrid-mode.md has them. Pure.

use super::figures::NOTHING;
use crate::bench::Figure;
use serde_json::Value;

/// The ratios of a row, by their names in figures, and their columns.
const COLUMNS: [(&str, &str); 4] =
    [("p50_ratio", "p50"), ("mean_ratio", "mean"), ("p99_ratio", "p99"), ("p999_ratio", "p99.9")];
/// What stands in a cell for a figure that is absent.
const ABSENT: &str = "–";
/// How the table is read.
const LEGEND: &str = "Ratios to no mining: median (quartiles) [quartiles of the noise]. \
    **Bold** lies, before rounding, outside the noise's quartiles; whatever is not bold cannot be told from chance. \
    [?]: the noise is not known.";

/// The table and how it is read. Nothing without pairs.
pub fn lines(figures: &[Figure]) -> Vec<String> {
    let of_pairs: Vec<&Figure> = figures.iter().filter(|figure| figure.case.contains_key("mode")).collect();
    if of_pairs.is_empty() {
        return Vec::new();
    }
    let columns = COLUMNS.map(|(_, column)| column).join(" | ");
    let head = format!("| application, share of the machine | mined | {columns} | idle time used |");
    let mut lines = vec![String::new(), LEGEND.to_owned(), String::new(), head, "|---".repeat(7) + "|"];
    lines.extend(of_pairs.chunk_by(|a, b| a.case == b.case).filter_map(row));
    lines.push(String::new());
    lines
}

/// The row of all figures of one case.
fn row(figures: &[&Figure]) -> Option<String> {
    let case = &figures.first()?.case;
    let text = |key| case.get(key).and_then(Value::as_str).unwrap_or(ABSENT);
    let load = case.get("load").and_then(Value::as_f64)? * 100.0;
    let of = |wanted| figures.iter().find(|figure| figure.name == wanted);
    let is_noise = text("algorithm") == NOTHING;
    let ratio = |name| of(name).map_or_else(|| ABSENT.to_owned(), |figure| cell(figure, is_noise));
    let ratios = COLUMNS.map(|(name, _)| ratio(name));
    let used = match (of("harvested"), is_noise) {
        (Some(figure), _) => format!("{:.0} %", figure.value * 100.0),
        (None, true) => String::new(),
        (None, false) => ABSENT.to_owned(),
    };
    let (application, algorithm, mode) = (text("application"), text("algorithm"), text("mode"));
    let ratios = ratios.join(" | ");
    Some(format!("| {application}, {load:.0} % | {algorithm}, {mode} | {ratios} | {used} |"))
}

/// A ratio with its quartiles and those of the noise, unless it is the noise itself.
fn cell(figure: &Figure, is_noise: bool) -> String {
    let (value, quartiles) =
        (format!("{:.2}", figure.value), format!("({:.2}–{:.2})", figure.low, figure.high));
    match &figure.noise {
        Some(noise) => {
            let mark = if noise.is_outside() { "**" } else { "" };
            format!("{mark}{value}{mark} {quartiles} [{:.2}–{:.2}]", noise.low, noise.high)
        }
        None if is_noise => format!("{value} {quartiles}"),
        None => format!("{value} {quartiles} [?]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::idle::noise::{Noise, Verdict};
    use serde_json::json;

    fn figure(name: &'static str, mode: &str, noise: Option<Verdict>) -> Figure {
        let algorithm = if noise.is_some() || name == "harvested" { "sha256d" } else { NOTHING };
        let case = [("application", "http"), ("algorithm", algorithm), ("mode", mode)];
        let mut case: std::collections::BTreeMap<_, _> =
            case.into_iter().map(|(key, value)| (key, json!(value))).collect();
        case.insert("load", json!(0.33));
        let noise = noise.map(|verdict| Noise {
            low: 0.9,
            value: 1.0,
            high: 1.1,
            samples: 24,
            verdict,
            by_chance: 0.14,
        });
        let (value, low, high) = (1.234, 1.0, 1.5);
        Figure {
            name,
            case,
            value,
            unit: "ratio",
            low,
            high,
            samples: 12,
            goal: None,
            better: "lower",
            noise,
        }
    }

    #[test]
    fn a_row_has_the_noise_beside_each_ratio_and_marks_what_lies_outside() {
        let figures = [
            figure("p50_ratio", "noise", None),
            figure("p50_ratio", "worker", Some(Verdict::Within)),
            figure("p99_ratio", "worker", Some(Verdict::Above)),
            Figure { noise: None, ..figure("p999_ratio", "worker", Some(Verdict::Within)) },
            figure("harvested", "worker", None),
        ];
        let lines = lines(&figures);
        assert!(lines.contains(&LEGEND.to_owned()));
        assert!(
            lines.contains(&"| http, 33 % | nothing, noise | 1.23 (1.00–1.50) | – | – | – |  |".to_owned())
        );
        let row = "| http, 33 % | sha256d, worker | 1.23 (1.00–1.50) [0.90–1.10] | – | \
                   **1.23** (1.00–1.50) [0.90–1.10] | 1.23 (1.00–1.50) [?] | 123 % |";
        assert!(lines.contains(&row.to_owned()), "{lines:#?}");
    }

    #[test]
    fn there_is_no_table_without_pairs() {
        let saturated =
            Figure { case: [("deployment", json!("container"))].into(), ..figure("a", "b", None) };
        assert!(lines(&[saturated]).is_empty());
    }
}
