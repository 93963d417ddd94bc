//! Hybrid noise: a token becomes the mask, and on the way there for a while a uniform draw.
//!
//! GIDD, von Rütte et al. 2025 (arXiv 2503.04482), section 3.2; reference: dvruette/gidd `diffusion_process.py`. With
//! c_t = B sqrt(t (1 - t)) and C_t = 1 + c_t: alpha = (1 - t) / C_t, mask = t / C_t, uniform = c_t / C_t, and
//! B = 2 p / (1 - p) makes the uniform share p at t = 1/2. The mask is no uniform draw. Its time is its schedule: there is
//! no other.
//!
//! Deviation: `p_uniform = 0` is exactly masked noise; the reference has e^-20 there.

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::{Alphabet, Marginal, Noise};
use crate::canvas::Token;
use crate::registry::{Kind, Parameter};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "hybrid",
    aliases: &["gidd"],
    presets: &[],
    summary: "a token becomes the mask, on the way there also a uniform draw",
    paper: "GIDD, von Rütte et al. 2025, arXiv 2503.04482",
    parameters: &[P_UNIFORM],
    build: |values, space| {
        let HybridConfig { p_uniform } = serde_json::from_value(values)?;
        Ok(space.mask.map(|mask| Box::new(Hybrid::new(p_uniform, space.vocabulary, mask)) as Box<dyn Noise>))
    },
};

/// The description of the share of uniform noise.
pub const P_UNIFORM: Parameter = Parameter {
    name: "p_uniform",
    kind: Kind::Number { min: 0.0, max: 0.99 },
    default: "0.1",
    help: "the share of uniform noise at t = 1/2",
};

/// The settings of [`Hybrid`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HybridConfig {
    /// The share of uniform noise at t = 1/2.
    pub p_uniform: f64,
}

/// Mask and uniform noise together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hybrid {
    /// B.
    scale: f64,
    alphabet: Alphabet,
    mask: Token,
}

impl Hybrid {
    /// The process with `p_uniform` of uniform noise at t = 1/2, over `vocabulary` tokens with their `mask`.
    pub fn new(p_uniform: f64, vocabulary: usize, mask: Token) -> Self {
        let scale = 2.0 * p_uniform / (1.0 - p_uniform);
        Self { scale, alphabet: Alphabet { vocabulary, without: Some(mask) }, mask }
    }
}

impl Noise for Hybrid {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn marginal(&self, t: f64) -> Marginal {
        let c = self.scale * (t * (1.0 - t)).max(0.0).sqrt();
        Marginal { alpha: (1.0 - t) / (1.0 + c), mask: t / (1.0 + c), uniform: c / (1.0 + c) }
    }

    fn slope(&self, t: f64) -> Marginal {
        let root = (t * (1.0 - t)).sqrt();
        let c = self.scale * root;
        let c_slope = if self.scale == 0.0 { 0.0 } else { self.scale * (1.0 - 2.0 * t) / (2.0 * root) };
        let square = (1.0 + c) * (1.0 + c);
        Marginal {
            alpha: (-(1.0 + c) - (1.0 - t) * c_slope) / square,
            mask: (1.0 + c - t * c_slope) / square,
            uniform: c_slope / square,
        }
    }

    fn mask(&self) -> Option<Token> {
        Some(self.mask)
    }

    fn alphabet(&self) -> Option<Alphabet> {
        Some(self.alphabet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_way_the_uniform_share_is_p() {
        let noise = Hybrid::new(0.2, 7, 6);
        let marginal = noise.marginal(0.5);
        assert!((marginal.uniform - 0.2).abs() < 1e-12);
        assert!((marginal.alpha + marginal.mask + marginal.uniform - 1.0).abs() < 1e-12);
        assert_eq!(noise.marginal(0.0), Marginal { alpha: 1.0, mask: 0.0, uniform: 0.0 });
        assert_eq!(noise.marginal(1.0), Marginal { alpha: 0.0, mask: 1.0, uniform: 0.0 });
    }
}
