//! What a training reports, and the contract of those who take it.

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// The state of a training after an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Updates made.
    pub step: usize,
    /// Updates planned.
    pub steps: usize,
    /// The mean loss since the last report, in nats per scored token.
    pub loss: f64,
    /// Bits per byte of held-out text under the averaged parameters, where it was measured. An upper bound for the
    /// diffusion objectives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_bits_per_byte: Option<f64>,
    /// The mean norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate's factor.
    pub rate: f64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Tokens per second since the last report.
    pub tokens_per_second: f64,
}

/// Takes what a training reports.
pub trait Tracker {
    /// Called every `log_every` updates and after each look at held-out text.
    fn record(&mut self, metrics: &Metrics) -> Result<()>;

    /// Called when something is worth a line of its own.
    fn note(&mut self, _: &str) {}
}

/// Takes nothing where there is none.
impl<T: Tracker> Tracker for Option<T> {
    fn record(&mut self, metrics: &Metrics) -> Result<()> {
        self.iter_mut().try_for_each(|tracker| tracker.record(metrics))
    }

    fn note(&mut self, text: &str) {
        self.iter_mut().for_each(|tracker| tracker.note(text));
    }
}

impl Tracker for Vec<&mut dyn Tracker> {
    fn record(&mut self, metrics: &Metrics) -> Result<()> {
        self.iter_mut().try_for_each(|tracker| tracker.record(metrics))
    }

    fn note(&mut self, text: &str) {
        self.iter_mut().for_each(|tracker| tracker.note(text));
    }
}
