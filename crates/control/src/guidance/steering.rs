//! FK steering: particles weighed by a reward, Singhal et al. 2025 (arXiv 2501.06848), section 3; reference:
//! zacharyhorvitz/Fk-Diffusion-Steering `discrete_diffusion/fkd_class.py`.
//!
//! The texts follow p(x) exp(lambda r(x)) / Z. On the way a particle is weighed by a potential of the rewards r_1, r_2, .. of what
//! it draws for the clean text at each step, and by what is left of exp(lambda r(x)) at the end:
//!
//! - difference: exp(lambda (r_k - r_{k-1})), which favours what gets better;
//! - max: exp(lambda max_{j <= k} r_j), which favours what has once been good;
//! - sum: exp(lambda sum_{j <= k} r_j), which favours what has been good for long.
//!
//! All three have the same law; they differ in which particles are kept on the way. Max and sum count a reward again at each
//! weighing, so that with many of them few particles are left of many: they need a small lambda, or few weighings. The potentials of a constraint that is at
//! work beside the reward are multiplied in (`diffusion/ratio.rs`): the law is then that of valid texts.
//!
//! Deviations from the reference: at the end max and sum are corrected by the reward of the text, as the paper has it, where the
//! reference takes the maximum or the sum once more; the first maximum is that of the first reward, not of 0 and it. Its `rt`
//! (the bare reward at each step) is left out. How particles are drawn anew is in `diffusion/particles.rs`.

use serde::{Deserialize, Serialize};

use lldm_diffusion::{Error, ParticleView, Potential, Result, Token};

use super::scorer::{Scorer, reward};

/// The settings of [`Steering`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SteeringConfig {
    /// What the reward is multiplied by.
    pub lambda: f64,
    /// What particles are weighed by on the way.
    pub potential: PotentialKind,
}

/// What particles are weighed by on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PotentialKind {
    /// The change of the reward.
    #[default]
    Difference,
    /// The largest reward so far.
    Max,
    /// The sum of all rewards so far.
    Sum,
}

/// How tokens become the text that is rewarded.
pub type Spell<'a> = &'a (dyn Fn(&[Token]) -> Result<(String, usize)> + Send + Sync);

/// A reward as a potential.
pub struct Steering<'a> {
    scorer: &'a dyn Scorer,
    spell: Spell<'a>,
    config: SteeringConfig,
}

impl Default for SteeringConfig {
    fn default() -> Self {
        Self { lambda: 10.0, potential: PotentialKind::Difference }
    }
}

impl<'a> Steering<'a> {
    /// Steers by `scorer`; `spell` gives the text of tokens, and how many of them belong to it.
    ///
    /// # Errors
    /// A setting's error where lambda is no finite number.
    pub fn new(scorer: &'a dyn Scorer, spell: Spell<'a>, config: SteeringConfig) -> Result<Self> {
        if !config.lambda.is_finite() {
            return Err(Error::setting("lambda", config.lambda, "it must be a finite number"));
        }
        Ok(Self { scorer, spell, config })
    }
}

impl Potential for Steering<'_> {
    fn log_potential(&self, view: &ParticleView<'_>, memory: &mut Vec<f64>) -> Result<f64> {
        let (text, length) = (self.spell)(view.tokens)?;
        let tokens = view.tokens.get(..length).unwrap_or(view.tokens);
        let now = match self.config.lambda {
            // Not 0 times infinity.
            0.0 => 0.0,
            lambda => lambda * reward(self.scorer, &text, tokens)?,
        };
        // What the rewards so far came to, and ln of the product of the potentials.
        let (before, product) = match memory[..] {
            [before, product] => (Some(before), product),
            _ => (None, 0.0),
        };
        let (came_to, own) = match self.config.potential {
            PotentialKind::Difference => (now, now - before.unwrap_or(0.0)),
            PotentialKind::Max => {
                let most = before.map_or(now, |before| before.max(now));
                (most, most)
            }
            PotentialKind::Sum => (before.unwrap_or(0.0) + now, before.unwrap_or(0.0) + now),
        };
        let own = match product {
            // What was ruled out once stays so.
            f64::NEG_INFINITY => product,
            product if view.finished => now - product,
            _ => own,
        };
        *memory = vec![came_to, product + own];
        Ok(own + view.log_ratio.unwrap_or(0.0))
    }
}
