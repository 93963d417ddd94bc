//! The bound of a trunk's own noise in closed form, over whole rows or block by block: what the objectives of uniform and
//! hybrid noise train, and what measures every model of such noise.

use lldm_diffusion::{Noise, StepRng};
use lldm_models::{Answers, Attention, NoiseConfig, Trunk};

use super::closed_form::{ClosedForm, NoisedCell, T_MAX, T_MIN, reconstruction_nats};
use super::loss::{Loss, Measures, Objective, Rows};
use super::noised::Noised;
use super::row_loss::{RowLoss, sum_rows};
use crate::error::{Error, Result};

/// The bound of any noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Elbo {
    /// The noise.
    pub noise: NoiseConfig,
    /// What the trunk answers: logits of the clean token, or of the posterior, from which they follow.
    pub answers: Answers,
    /// Cells of a block, for a trunk that is block-causal.
    pub block_length: Option<usize>,
}

impl Objective for Elbo {
    fn name(&self) -> &'static str {
        "elbo"
    }

    fn attention(&self) -> Attention {
        if self.block_length.is_some() { Attention::BlockCausal } else { Attention::Full }
    }

    fn block_length(&self) -> Option<usize> {
        self.block_length
    }

    fn noise(&self) -> NoiseConfig {
        self.noise.clone()
    }

    fn answers(&self) -> Answers {
        self.answers
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn measures(&self) -> Measures {
        Measures::Bound
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        check(self, trunk)?;
        weighted(trunk, rows, self.block_length, rng, |noise, cell| {
            noise.bound_weight(cell.held, cell.clean, cell.time)
        })
    }

    fn remainder(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<f64> {
        check(self, trunk)?;
        remainder(trunk, rows, self.block_length, rng, |outputs, cell| {
            self.answers.plug_in(outputs, cell.held, trunk.noise(), cell.time);
        })
    }
}

/// The closed form with any weight, per scored token.
pub(super) fn weighted(
    trunk: &Trunk,
    rows: &Rows<'_>,
    block_length: Option<usize>,
    rng: &StepRng,
    weight: impl Fn(&dyn Noise, &NoisedCell) -> f64,
) -> Result<Loss> {
    let (noise, answers) = (trunk.noise(), trunk.config().answers);
    integrate(trunk, rows, block_length, rng, |cell, share| {
        // The logits of a posterior differ from those of the clean token by a constant at the token held.
        let shift = answers.held_shift(cell.held, noise, cell.time);
        ClosedForm::new(noise, cell, share * weight(noise, cell), shift)
    })
}

/// The mean over the scored tokens of the integral over the time of a loss of rows; `loss` is given each cell and its share.
pub(super) fn integrate<R: RowLoss>(
    trunk: &Trunk,
    rows: &Rows<'_>,
    block_length: Option<usize>,
    rng: &StepRng,
    loss: impl Fn(&NoisedCell, f64) -> R,
) -> Result<Loss> {
    let scored = rows.scored_tokens().max(1);
    let noised = Noised::spread(rows, trunk.noise(), block_length, rng);
    let logits = noised.logits(trunk, rows, block_length)?;
    let share = (T_MAX - T_MIN) / scored as f64;
    let tensor = sum_rows(&logits, noised.cells.iter().map(|cell| loss(cell, share)).collect())?;
    let nats = f64::from(tensor.to_scalar::<f32>()?) * scored as f64;
    Ok(Loss { tensor, nats, tokens: scored })
}

/// What the integral leaves out of the bound: the reconstruction at `T_MIN` and the prior at `T_MAX`, in nats over all
/// scored tokens. `predict` turns outputs into logits of the clean token.
pub(super) fn remainder(
    trunk: &Trunk,
    rows: &Rows<'_>,
    block_length: Option<usize>,
    rng: &StepRng,
    predict: impl Fn(&mut [f64], &NoisedCell),
) -> Result<f64> {
    let noise = trunk.noise();
    let noised = Noised::at(rows, noise, T_MIN, rng);
    let logits = noised.logits(trunk, rows, block_length)?;
    let mut nats = noised.cells.len() as f64 * noise.prior_nats(trunk.config().vocab_size, T_MAX);
    for (at, cell) in noised.cells.iter().enumerate() {
        let row = logits.get(at)?.to_vec1::<f32>()?;
        let mut row: Vec<f64> = row.into_iter().map(f64::from).collect();
        predict(&mut row, cell);
        nats += reconstruction_nats(noise, &row, cell);
    }
    Ok(nats)
}

/// An objective works on a trunk of its own noise and answers only.
pub(super) fn check(objective: &dyn Objective, trunk: &Trunk) -> Result<()> {
    let config = trunk.config();
    if (&config.noise, config.answers) == (&objective.noise(), objective.answers()) {
        return Ok(());
    }
    let message = format!(
        "`{}` is for a trunk of {:?} noise with {:?} answers, but this one has {:?} noise and {:?} answers",
        objective.name(),
        objective.noise().name,
        objective.answers(),
        config.noise.name,
        config.answers
    );
    Err(Error::recipe("objective", message))
}
