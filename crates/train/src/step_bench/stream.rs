//! A synthetic text: a Markov chain over the vocabulary that a small network can learn, with half of its tokens masked.

use lldm_diffusion::Token;
use lldm_diffusion::rng::{Purpose, Rng};

/// What stands for a masked token.
pub(super) const MASK: Token = 0;

/// One batch: what the network reads, and what it is to answer at every cell.
pub(super) struct Batch {
    pub(super) tokens: Vec<Token>,
    pub(super) targets: Vec<Token>,
}

/// Batch number `step` of rows of `length` tokens; a function of its arguments alone.
pub(super) fn batch(step: usize, rows: usize, length: usize, vocabulary: usize) -> Batch {
    let (mut tokens, mut targets) = (Vec::with_capacity(rows * length), Vec::with_capacity(rows * length));
    for row in 0..rows {
        let rng = Rng::new(17, row as u64).at(step, 0);
        let mut token = 0;
        for at in 0..length {
            let draw = 1 + rng.choice(at, Purpose::Token, vocabulary - 1);
            // Three times in four the successor is fixed; draws are spread like words, the small ids often.
            token = match at > 0 && rng.uniform(at, Purpose::Corrupt) < 0.75 {
                true => 1 + (token * 5 + 3) % (vocabulary - 1),
                false => 1 + draw * draw / vocabulary * draw / vocabulary % (vocabulary - 1),
            };
            targets.push(token as Token);
            tokens.push(if rng.uniform(at, Purpose::Position) < 0.5 { MASK } else { token as Token });
        }
    }
    Batch { tokens, targets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_masked_and_most_tokens_follow_from_the_one_before() {
        let Batch { tokens, targets } = batch(3, 8, 500, 1000);
        assert!(targets.iter().all(|token| *token != MASK && *token < 1000));
        let masked = tokens.iter().filter(|token| **token == MASK).count();
        assert!((1800..2200).contains(&masked), "{masked} of 4000");
        assert!(tokens.iter().zip(&targets).all(|(token, target)| *token == MASK || token == target));
        let follows = |pair: &&[Token]| pair[1] == 1 + (pair[0] * 5 + 3) % 999;
        let found = targets.windows(2).filter(follows).count();
        assert!((2800..3200).contains(&found), "{found} of 4000");
        assert_ne!(batch(4, 8, 500, 1000).targets, targets);
    }
}
