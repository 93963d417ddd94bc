//! The samplers of published repositories against ours, step by step (`golden/objectives`).
//!
//! Every step starts from the reference's own canvas, at the reference's times. What our sampler draws a cell from, as a
//! mixture, is turned into V probabilities and compared with what the reference drew from; the reference's draw from ours
//! must give the reference's token. `LLDM_GOLDEN` names another folder of the same form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod draws;
mod duo;
mod file;
mod gidd;
mod guidance;
mod network;
mod psi;
mod remdm;
mod replay;
mod sedd;

/// The README: probabilities to 2e-5 of the largest.
const TOLERANCE: f64 = 2e-5;
/// The README: where e^sigma is large (log-linear noise of SEDD near t = 1, D3PM with alpha = 1e-6).
const WIDE_TOLERANCE: f64 = 5e-4;

/// Why the output of a sampler is not reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    /// The corrector schedule of discrete flow matching: no sampler here has it.
    FlowMatching,
    /// A cut of small probabilities after the step (`min_p`): a sampler here sees no probabilities of single tokens, and the
    /// transform of the logits comes before the step.
    MinP,
    /// Guidance by a classifier: it is no sampler's, and needs a classifier's answer for every token.
    ClassifierGuidance,
}

/// `count` + 1 times from `from` to `to`.
fn linspace(from: f64, to: f64, count: usize) -> Vec<f64> {
    (0..=count).map(|at| from + (to - from) * at as f64 / count as f64).collect()
}
