//! What a trained model was noised by, and what its outputs are: the part of a checkpoint that joins network and process.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use lldm_diffusion::noise::registry::{self, Space};
use lldm_diffusion::{Noise, Token};

/// The noise of a model: a name in [`lldm_diffusion::noise::registry`], and its parameters beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseConfig {
    /// The name.
    pub name: String,
    /// The parameters; those that are missing have their defaults.
    #[serde(flatten)]
    pub parameters: Map<String, Value>,
}

/// What the V outputs of a cell are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// Logits of the clean token that leave the token held to the posterior of the noise: models trained by a bound.
    #[default]
    Clean,
    /// Logits of p(x_0 | x_t), which weigh the token held already: models trained by plain cross-entropy.
    Posterior,
    /// ln of the concrete score p_t(token) / p_t(held): models trained by score entropy (SEDD, Lou et al. 2024,
    /// arXiv 2310.16834). Under masked noise the common factor alpha / ((1 - alpha) (V - 1)) is left out, so that the
    /// outputs are logits of the clean token at the same time.
    Score,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        let parameters = Map::from_iter([("schedule".to_string(), Value::from("linear"))]);
        Self { name: "masked".to_string(), parameters }
    }
}

impl NoiseConfig {
    /// The same noise under its own name and with all of its parameters.
    pub fn resolved(&self) -> lldm_diffusion::Result<Self> {
        let spec = registry::find(&self.name)?;
        let parameters = match spec.resolve("noise", &self.parameters)? {
            Value::Object(parameters) => parameters,
            _ => Map::new(),
        };
        Ok(Self { name: spec.name.to_string(), parameters })
    }

    /// Builds the process over a vocabulary.
    pub fn build(&self, space: Space) -> lldm_diffusion::Result<Box<dyn Noise>> {
        registry::build(&self.name, &self.parameters, space)
    }

    /// Whether it is masked noise on the linear schedule, which checkpoints need not name.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Answers {
    /// Whether they are [`Answers::Clean`], which checkpoints need not name.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether [`Answers::plug_in`] needs the time.
    pub fn depends_on_time(self, noise: &dyn Noise) -> bool {
        self == Self::Score && noise.alphabet().is_some()
    }

    /// What [`Answers::plug_in`] adds to the logit of the token held, for answers that it turns by that alone: minus
    /// ln(q_t(held | held) / q_t(held | another)).
    pub fn held_shift(self, held: Token, noise: &dyn Noise, t: f64) -> f64 {
        if self == Self::Posterior { -noise.held_log_ratio(held, t) } else { 0.0 }
    }

    /// Turns the V outputs for a cell that holds `held` at t into logits of the clean token that leave the token held to the
    /// posterior, as [`Noise::reverse`] and the bound want them. The token that is no text (the mask) gets minus infinity.
    ///
    /// * posterior: p(x_0 | x_t) / q_t(held | x_0), up to a constant.
    /// * score under uniform noise over N tokens: q = s / sum of s with s(held) = 1, then q - (1 - alpha) / N, clipped at 0.
    ///   Nothing may be left of it at the very end of the process; then q itself.
    pub fn plug_in(self, outputs: &mut [f64], held: Token, noise: &dyn Noise, t: f64) {
        let marginal = noise.marginal(t);
        if let Some(output) = noise.not_text().and_then(|token| outputs.get_mut(token as usize)) {
            *output = f64::NEG_INFINITY;
        }
        let (Some(alphabet), Some(own)) = (noise.alphabet(), outputs.get_mut(held as usize)) else { return };
        match self {
            Self::Clean => {}
            Self::Posterior => *own += self.held_shift(held, noise, t),
            Self::Score => {
                let share = marginal.uniform * alphabet.share(held);
                *own = 0.0;
                let top = outputs.iter().copied().fold(0.0, f64::max);
                let total: f64 = outputs.iter().map(|output| (output - top).exp()).sum();
                let excess = |output: f64| (output - top).exp() / total - share;
                if outputs.iter().any(|output| excess(*output) > 0.0) {
                    outputs.iter_mut().for_each(|output| *output = excess(*output).max(0.0).ln());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lldm_diffusion::noise::{Alphabet, Uniform};
    use lldm_diffusion::schedule::Linear;

    const CLEAN: [f64; 4] = [0.5, 0.3, 0.2, 0.0];

    fn noise() -> Uniform<Linear> {
        Uniform { schedule: Linear, alphabet: Alphabet { vocabulary: 4, without: Some(3) } }
    }

    fn softmax(logits: &[f64]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits.iter().map(|logit| logit.exp() / total).collect()
    }

    fn near(found: &[f64], expected: &[f64]) -> bool {
        found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn scores_and_posteriors_lead_back_to_the_clean_token() {
        for (held, t) in [(0, 0.4), (2, 0.9)] {
            let marginal = noise().marginal(t);
            let noised = |token: usize| marginal.alpha * CLEAN[token] + marginal.uniform / 3.0;
            // What the mask's output is does not matter.
            let mut scores: Vec<f64> = (0..3).map(|token| (noised(token) / noised(held as usize)).ln()).collect();
            scores.push(7.0);
            Answers::Score.plug_in(&mut scores, held, &noise(), t);
            assert!(near(&softmax(&scores), &CLEAN), "{scores:?}");
            let seen =
                |token: Token| noise().noise_at(marginal, held) + if token == held { marginal.alpha } else { 0.0 };
            let mut posterior: Vec<f64> = (0..4).map(|token| (CLEAN[token as usize] * seen(token)).ln()).collect();
            Answers::Posterior.plug_in(&mut posterior, held, &noise(), t);
            assert!(near(&softmax(&posterior), &CLEAN), "{posterior:?}");
            let mut clean = CLEAN.map(f64::ln);
            Answers::Clean.plug_in(&mut clean, held, &noise(), t);
            assert!(near(&softmax(&clean), &CLEAN));
        }
    }

    #[test]
    fn scores_that_no_text_has_are_clipped() {
        let mut scores = [0.0, -9.0, 1.0, 0.0];
        Answers::Score.plug_in(&mut scores, 0, &noise(), 0.5);
        let found = softmax(&scores);
        assert!(found[1] == 0.0 && found[2] > found[0] && found[0] > 0.0, "{found:?}");
        let mut flat = [0.0; 4];
        Answers::Score.plug_in(&mut flat, 0, &noise(), 1.0);
        assert!(near(&softmax(&flat), &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]), "{flat:?}");
    }

    #[test]
    fn a_noise_is_written_beside_its_parameters() {
        let text = r#"{"name":"hybrid","p_uniform":0.2}"#;
        let config: NoiseConfig = serde_json::from_str(text).expect("a noise");
        assert_eq!(serde_json::to_string(&config).expect("JSON"), text);
        assert_eq!(NoiseConfig { name: "gidd".to_string(), ..config.clone() }.resolved().expect("an alias"), config);
        let bare = NoiseConfig { name: "absorb".to_string(), parameters: Map::new() };
        assert!(bare.resolved().expect("an alias").is_default());
        let space = Space { vocabulary: 5, mask: Some(4) };
        assert!((config.build(space).expect("a noise").marginal(0.5).uniform - 0.2).abs() < 1e-12);
        let wrong: NoiseConfig = serde_json::from_str(r#"{"name":"hybrid","p":0.2}"#).expect("a noise");
        assert!(wrong.build(space).is_err());
    }
}
