//! The table network of the README, in float32.

use lldm_diffusion::{Logits, Token};

use crate::file::Golden;

/// logits[l] = ((W[x_l] + U[x_(l+1)]) + ln(1 + s) T) + Pos[l] (+ Cls[c]).
pub(crate) struct Network<'a> {
    golden: &'a Golden,
    pub(crate) vocabulary: usize,
}

impl<'a> Network<'a> {
    pub(crate) fn new(golden: &'a Golden) -> Self {
        Self { golden, vocabulary: golden.size("V") }
    }

    /// The mask, which is the last token.
    pub(crate) fn mask(&self) -> Token {
        self.vocabulary as Token - 1
    }

    /// The L rows of V logits for a canvas; `condition` is what the repository tells its network about the time.
    pub(crate) fn rows(&self, tokens: &[Token], condition: f64, class: Option<usize>) -> Vec<Vec<f32>> {
        let part = |name: &str, index: &[usize]| -> Vec<f32> {
            self.golden.input(&format!("net.{name}")).at(index).iter().map(|value| *value as f32).collect()
        };
        let (time, heat) = (part("T", &[]), (1.0 + condition as f32).ln());
        let row = |at: usize| {
            let (own, next) = (tokens[at] as usize, tokens[(at + 1) % tokens.len()] as usize);
            let (own, next, position) = (part("W", &[own]), part("U", &[next]), part("Pos", &[at]));
            let class = class.map(|class| part("Cls", &[class]));
            let logit = |v: usize| {
                let logit = ((own[v] + next[v]) + heat * time[v]) + position[v];
                class.as_ref().map_or(logit, |class| logit + class[v])
            };
            (0..self.vocabulary).map(logit).collect()
        };
        (0..tokens.len()).map(row).collect()
    }

    /// The same as a prediction.
    pub(crate) fn logits(&self, tokens: &[Token], condition: f64, class: Option<usize>) -> Logits {
        Logits::new(self.rows(tokens, condition, class).concat(), self.vocabulary).expect("whole rows")
    }
}
