//! A sum over blocks: each block's value given the clean text before it.

use lldm_diffusion::{Condition, Context, Denoiser, LogitTransform, State, StepInput, Token};

use super::estimate::{Estimate, Kind};
use crate::error::Result;

/// What was found for one block.
pub(super) struct Block {
    pub(super) nats: f64,
    /// The variance of `nats`, where the draws tell it.
    pub(super) variance: Option<f64>,
    pub(super) nfe: usize,
    /// Whether `nats` is the block's exact value.
    pub(super) exact: bool,
}

/// Where a block stands.
pub(super) struct Place<'a> {
    /// The block's number.
    pub(super) number: usize,
    /// Its clean tokens.
    pub(super) cells: &'a [Token],
}

/// Sums `measure` over the blocks of a text: of `block_length` tokens (0 is the whole text), or of the family's canvas; they
/// end on the family's grid. `kind` is what the sum is where not every block is exact.
pub(super) fn sum(
    denoiser: &dyn Denoiser,
    prefix: &[Token],
    text: &[Token],
    block_length: usize,
    kind: Kind,
    mut measure: impl FnMut(Place<'_>, &mut Context) -> Result<Block>,
) -> Result<Estimate> {
    let info = denoiser.info();
    let length = info.canvas_length.unwrap_or(match block_length {
        0 => text.len().max(1),
        length => length,
    });
    let mut context = denoiser.prefill(prefix)?;
    let mut total = Estimate { nats: 0.0, standard_error: None, tokens: text.len(), nfe: 0, kind: Kind::Exact };
    let mut variance = Some(0.0);
    let (mut start, mut number) = (0, 0);
    while start < text.len() {
        let grid = info.canvas_grid.map(|grid| grid - (prefix.len() + start) % grid);
        let end = (start + length.min(grid.unwrap_or(length))).min(text.len());
        let cells = &text[start..end];
        let block = measure(Place { number, cells }, &mut context)?;
        total.nats += block.nats;
        total.nfe += block.nfe;
        variance = variance.zip(block.variance).map(|(sum, more)| sum + more);
        if !block.exact {
            total.kind = kind;
        }
        if end < text.len() {
            denoiser.extend(&mut context, cells)?;
        }
        (start, number) = (end, number + 1);
    }
    total.standard_error = variance.map(f64::sqrt);
    Ok(total)
}

/// -log p of the cells at `places`, all masked, given the others: one forward pass.
pub(super) fn masked_nats(
    denoiser: &dyn Denoiser,
    context: &mut Context,
    cells: &[Token],
    places: &[usize],
) -> Result<f64> {
    let values = masked_log_probabilities(denoiser, context, cells, places, places)?;
    Ok(-values.iter().sum::<f64>())
}

/// ln p of the cells at `wanted`, with those at `places` masked: one forward pass.
pub(super) fn masked_log_probabilities(
    denoiser: &dyn Denoiser,
    context: &mut Context,
    cells: &[Token],
    places: &[usize],
    wanted: &[usize],
) -> Result<Vec<f64>> {
    let info = denoiser.info();
    let mask = info.mask.ok_or_else(|| lldm_diffusion::Error::Denoiser {
        message:
            "has no mask token: this estimator is for masked, block and autoregressive models; take the Monte Carlo \
                  bound of its noise"
                .to_string(),
    })?;
    let mut canvas = cells.to_vec();
    for place in places {
        canvas[*place] = mask;
    }
    let input = StepInput {
        state: State::Tokens(&canvas),
        time: places.len() as f64 / cells.len() as f64,
        temperature: 1.0,
        previous: None,
        condition: Condition::Given,
    };
    let prediction = denoiser.denoise(&input, context)?;
    let targets: Vec<_> = wanted.iter().map(|place| (*place, cells[*place])).collect();
    let transform = LogitTransform { banned: vec![mask], ..LogitTransform::default() };
    Ok(prediction.log_probabilities(&targets, &transform)?)
}

/// `k` of 0..`n`, every subset equally likely (Fisher-Yates, cut short).
pub(super) fn choose(n: usize, k: usize, below: impl Fn(usize, usize) -> usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..n).collect();
    for i in 0..k {
        places.swap(i, i + below(i, n - i));
    }
    places.truncate(k);
    places
}

/// The mean of some values and the variance of that mean, where there is more than one.
pub(super) fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| squares / ((count - 1.0) * count)))
}
