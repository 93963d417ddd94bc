//! A measurement as tables and as JSON.

use serde::Serialize;

use crate::machine::Machine;
use crate::render::plain;

/// A kind of constraint in one place. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) kind: String,
    pub(crate) byte_states: usize,
    pub(crate) states: usize,
    pub(crate) classes: usize,
    /// The compilation to an automaton over bytes.
    pub(crate) bytes_ms: f64,
    /// The lift to tokens.
    pub(crate) lift_ms: f64,
    /// Reading what was compiled from its file.
    pub(crate) cache_ms: f64,
    /// A draw in every row without a constraint.
    pub(crate) plain_pass_ms: f64,
    /// The statistics of the classes.
    pub(crate) class_pass_ms: f64,
    pub(crate) messages_ms: f64,
    pub(crate) draw_ms: f64,
    pub(crate) marginals_ms: f64,
    pub(crate) entropies_ms: f64,
    /// The four together.
    pub(crate) chain_ms: f64,
    /// What stands in the place of the draw at temperature 0.
    pub(crate) most_probable_ms: f64,
    /// The chain and what makes proposals of it.
    pub(crate) constrained_ms: f64,
    /// That, and by how much the pass over the logits takes longer.
    pub(crate) added_ms: f64,
    /// The share of what is added in a step without a constraint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of_step: Option<f64>,
}

/// All kinds in one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PlaceReport {
    pub(crate) place: String,
    pub(crate) cells: usize,
    /// A step without a constraint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step_ms: Option<f64>,
    pub(crate) rows: Vec<Row>,
    /// Kinds of which no text is possible there.
    pub(crate) left_out: Vec<String>,
}

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) places: Vec<PlaceReport>,
}

impl Report {
    pub(crate) fn text(&self) -> String {
        let Machine { cpu, threads, kernel } = &self.machine;
        let mut parts: Vec<_> = self.places.iter().map(PlaceReport::text).collect();
        parts.push(format!(
            "{}, {cpu}, {threads} threads, kernel {kernel}; milliseconds, medians over {} rounds",
            self.date, self.rounds
        ));
        parts.join("\n\n")
    }
}

impl PlaceReport {
    fn text(&self) -> String {
        let mut header = vec![
            "KIND", "BYTES", "STATES", "CLASSES", "COMPILE", "LIFT", "CACHE", "PASS", "BY CLASS", "CHAIN", "BEST",
            "DRAW", "ADDED",
        ];
        header.extend(self.step_ms.map(|_| "OF STEP"));
        let rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        let step =
            self.step_ms.map_or(String::new(), |step| format!("; a step without a constraint takes {step:.2} ms"));
        let mut text = format!("{}\n\n{}, {} cells{step}", plain::table(&header, &rows), self.place, self.cells);
        if !self.left_out.is_empty() {
            text.push_str(&format!("; no text is possible of {}", self.left_out.join(", ")));
        }
        text
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let counts = [self.byte_states, self.states, self.classes].map(|count| count.to_string());
        let long = [self.bytes_ms, self.lift_ms].map(|ms| format!("{ms:.1}"));
        let short = [
            self.cache_ms,
            self.plain_pass_ms,
            self.class_pass_ms,
            self.chain_ms,
            self.most_probable_ms,
            self.constrained_ms,
            self.added_ms,
        ];
        let short = short.map(|ms| format!("{ms:.2}"));
        let share = self.of_step.map(|share| format!("{:.1}%", 100.0 * share));
        [self.kind.clone()].into_iter().chain(counts).chain(long).chain(short).chain(share).collect()
    }
}
