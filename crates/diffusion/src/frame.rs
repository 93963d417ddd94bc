//! A frame: what the canvas looks like after a step. Every picture, trace and stream is made of frames.

use serde::{Deserialize, Serialize};

use crate::canvas::{Cell, Token};

/// One cell as an observer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameCell {
    /// Its state. A noisy cell for which the denoiser has a proposal is shown as a draft.
    pub state: Cell,
    /// The token that it holds, or that is proposed for it.
    pub token: Token,
    /// The probability that the denoiser gave to that token when it was last asked, 1 for fixed cells, 0 for noise.
    pub probability: f32,
}

/// The canvas after a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Which sequence of the call.
    pub sequence: u64,
    /// Which canvas of the sequence.
    pub canvas: usize,
    /// Which block of the canvas.
    pub block: usize,
    /// Steps taken on this sequence so far; 0 is the noise.
    pub step: usize,
    /// The time t that the step started from.
    pub time: f64,
    /// Function evaluations spent on this sequence so far.
    pub nfe: usize,
    /// ln of the probability that the prediction gave to texts which the constraint accepts, where there is one that tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_z: Option<f64>,
    /// The L cells.
    pub cells: Vec<FrameCell>,
    /// Whether the canvas is finished.
    pub done: bool,
}
