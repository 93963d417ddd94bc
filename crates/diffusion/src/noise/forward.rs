//! The contract of a forward process q(x_t | x_0), and everything that follows from its marginals alone: draws, the
//! reverse posterior, and the weight of the likelihood bound.
//!
//! The marginals are q_t(z | x) = alpha_t [z = x] + mask_t [z = mask] + uniform_t / N. The conditional between two times
//! s < t has the same form with alpha_ts = alpha_t / alpha_s and the noise n_t(z) - alpha_ts n_s(z), where n_t(z) is what
//! the noise gives to z (GIDD, von Rütte et al. 2025, arXiv 2503.04482, equations 3 and 5).

use crate::canvas::Token;
use crate::noise::Mixture;
use crate::rng::{Purpose, StepRng};

/// Where a token is at time t: itself with probability `alpha`, the mask with `mask`, a uniform draw with `uniform`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marginal {
    /// The probability that the token is still itself.
    pub alpha: f64,
    /// The probability of the mask.
    pub mask: f64,
    /// The probability of a draw from the uniform distribution (which may give the token itself).
    pub uniform: f64,
}

/// The tokens of a uniform draw: all V, or all but the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alphabet {
    /// The size of the vocabulary V.
    pub vocabulary: usize,
    /// A token that is no noise.
    pub without: Option<Token>,
}

/// A forward process on tokens. With ideal endpoints of its schedule `corrupt(x0, 0)` is the identity and
/// `corrupt(x0, 1)` is the prior; otherwise both hold up to the schedule's clip.
pub trait Noise: Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// The marginal at t.
    fn marginal(&self, t: f64) -> Marginal;

    /// The derivative of the marginal by t.
    fn slope(&self, t: f64) -> Marginal;

    /// The mask token, where the process has one.
    fn mask(&self) -> Option<Token>;

    /// The tokens of uniform noise, where the process has any.
    fn alphabet(&self) -> Option<Alphabet>;

    /// L tokens of pure noise.
    fn prior(&self, length: usize, rng: &StepRng) -> Vec<Token> {
        match (self.mask(), self.alphabet()) {
            (Some(mask), _) => vec![mask; length],
            (None, Some(alphabet)) => (0..length).map(|at| alphabet.draw(at, rng, Purpose::Prior)).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Draws x_t given the L clean tokens.
    fn corrupt(&self, clean: &[Token], t: f64, rng: &StepRng) -> Vec<Token> {
        clean.iter().enumerate().map(|(at, token)| self.corrupt_cell(t, at, rng).unwrap_or(*token)).collect()
    }

    /// What the noise has put into a cell by t; none where the clean token survives. `place` numbers the cell's draws.
    fn corrupt_cell(&self, t: f64, place: usize, rng: &StepRng) -> Option<Token> {
        let marginal = self.marginal(t);
        let u = rng.uniform(place, Purpose::Corrupt) - marginal.alpha;
        match (u < 0.0, self.mask(), self.alphabet()) {
            (true, ..) => None,
            (_, Some(mask), alphabet) if u < marginal.mask || alphabet.is_none() => Some(mask),
            (_, _, alphabet) => alphabet.map(|alphabet| alphabet.draw(place, rng, Purpose::Prior)),
        }
    }

    /// What the noise at t gives to the token `z`.
    fn noise_at(&self, marginal: Marginal, z: Token) -> f64 {
        let masked = if self.mask() == Some(z) { marginal.mask } else { 0.0 };
        let uniform = self.alphabet().map_or(0.0, |alphabet| alphabet.share(z)) * marginal.uniform;
        masked + uniform
    }

    /// q(x_s | x_t = `held`, x_0 ~ p) for one cell and s < t, where p gives `held` the probability `held_probability`.
    ///
    /// The clean token enters as a distribution that does not know the token held, as the bound has it (UDLM, Schiff et al.
    /// 2024, equation 14). For a known x_0 it is 1 or 0. At s = 0 all noise is gone, whatever the schedule's clip.
    fn reverse(&self, held: Token, held_probability: f64, s: f64, t: f64) -> Mixture {
        let now = self.marginal(t);
        let past = if s <= 0.0 { Marginal { alpha: 1.0, mask: 0.0, uniform: 0.0 } } else { self.marginal(s) };
        let kept = if past.alpha > 0.0 { now.alpha / past.alpha } else { 1.0 };
        // What noise between s and t gives to the token held; rounding may leave less than nothing.
        let arrived = (self.noise_at(now, held) - kept * self.noise_at(past, held)).max(0.0);
        let mixture = Mixture {
            keep: kept * (past.alpha * held_probability + self.noise_at(past, held)),
            draw: arrived * past.alpha,
            uniform: arrived * past.uniform,
            mask: arrived * past.mask,
        };
        mixture.normalised().unwrap_or(Mixture::KEEP)
    }

    /// q(x_s | x_t, x_0 ~ `clean`) for one cell, s < t: V probabilities from the V probabilities of the clean token.
    fn posterior(&self, held: Token, clean: &[f64], s: f64, t: f64) -> Vec<f64> {
        let mixture = self.reverse(held, clean.get(held as usize).copied().unwrap_or(0.0), s, t);
        mixture.probabilities(held, clean, self.mask(), self.alphabet())
    }

    /// ln(q_t(held | held) / q_t(held | another clean token)): what a prediction that weighs the token held has added to its
    /// logit. 0 where a held token tells nothing (the mask) or everything.
    fn held_log_ratio(&self, held: Token, t: f64) -> f64 {
        let now = self.marginal(t);
        let share = self.alphabet().map_or(0.0, |alphabet| now.uniform * alphabet.share(held));
        if share > 0.0 { (now.alpha / share).ln_1p() } else { 0.0 }
    }

    /// The token that no clean text holds: the mask, or the token that uniform draws leave out.
    fn not_text(&self) -> Option<Token> {
        self.mask().or_else(|| self.alphabet().and_then(|alphabet| alphabet.without))
    }

    /// The rate at which noise brings a cell to `z` at t, the same from every other token: n'_t(z) - (alpha' / alpha) n_t(z).
    fn arrival_rate(&self, z: Token, t: f64) -> f64 {
        let (now, slope) = (self.marginal(t), self.slope(t));
        self.noise_at(slope, z) - slope.alpha / now.alpha * self.noise_at(now, z)
    }

    /// The reconstruction term of the bound for one cell, in nats: -ln p(x | z), the last step of the reverse process from t,
    /// where the prediction gives the clean token exp(`log_clean`) and the token held `held_probability`.
    fn reconstruction_nats(&self, clean: Token, held: Token, log_clean: f64, held_probability: f64, t: f64) -> f64 {
        let step = self.reverse(held, held_probability, 0.0, t);
        if held == clean { -(step.keep + step.draw * log_clean.exp()).ln() } else { -(step.draw.ln() + log_clean) }
    }

    /// The prior term of the bound for one cell over V entries, in nats: KL(q_t(. | x) || q_t(. | a uniform draw)), whatever x.
    fn prior_nats(&self, vocabulary: usize, t: f64) -> f64 {
        let now = self.marginal(t);
        let count = (vocabulary - usize::from(self.not_text().is_some())) as f64;
        let share = self.alphabet().map_or(0.0, |alphabet| now.uniform / alphabet.len() as f64);
        let mean = now.alpha / count + share;
        let part = |mass: f64| if mass > 0.0 { mass * (mass / mean).ln() } else { 0.0 };
        part(now.alpha + share) + (count - 1.0) * part(share)
    }

    /// The weight of a cell that holds `z` at t, whose clean token is `clean`, in the likelihood bound
    /// -log p <= E_t sum of w (KL(q_t(. | x) || q_t(. | x_theta)) + r - 1 - ln r), r = q_t(z | x) / q_t(z | x_theta):
    /// w = (n'_t(z) - (alpha' / alpha) n_t(z)) / q_t(z | x) (GIDD, theorem 1).
    fn bound_weight(&self, z: Token, clean: Token, t: f64) -> f64 {
        let (now, rate) = (self.marginal(t), self.arrival_rate(z, t));
        let seen = self.noise_at(now, z) + if z == clean { now.alpha } else { 0.0 };
        if rate == 0.0 { 0.0 } else { rate / seen }
    }
}

impl<T: Noise + ?Sized> Noise for &T {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn marginal(&self, t: f64) -> Marginal {
        (**self).marginal(t)
    }

    fn slope(&self, t: f64) -> Marginal {
        (**self).slope(t)
    }

    fn mask(&self) -> Option<Token> {
        (**self).mask()
    }

    fn alphabet(&self) -> Option<Alphabet> {
        (**self).alphabet()
    }
}

impl Alphabet {
    /// The number of noise tokens N.
    pub fn len(&self) -> usize {
        self.vocabulary - usize::from(self.without.is_some_and(|token| (token as usize) < self.vocabulary))
    }

    /// Whether there is no noise token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The probability of a token under the uniform distribution.
    pub fn share(&self, token: Token) -> f64 {
        if self.without == Some(token) || token as usize >= self.vocabulary { 0.0 } else { 1.0 / self.len() as f64 }
    }

    /// A uniform draw for a position.
    pub fn draw(&self, position: usize, rng: &StepRng, purpose: Purpose) -> Token {
        let choice = rng.choice(position, purpose, self.len()) as Token;
        choice + Token::from(self.without.is_some_and(|without| without <= choice))
    }
}
