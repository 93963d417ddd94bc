//! Unigram entropy of token sequences.
//!
//! `H = - sum_v c(v)/n ln(c(v)/n)` in nats, with `c(v)` the number of times that token v occurs among n tokens (Shannon 1948).
//! Reported beside a perplexity because low temperature and other sampler faults buy the one with the other: Zheng et al.
//! 2024 (arXiv:2409.02908). It is at most `ln n`, which short texts come near.

/// Unigram entropy of one sequence, in nats; of a whole set where its tokens are given in one sequence. `None` where it is
/// empty.
///
/// ```
/// let nats = lldm::metric::unigram_entropy(&[7, 7, 9, 9]);
/// assert_eq!(nats, Some(2f64.ln()));
/// ```
pub fn unigram_entropy(tokens: &[u32]) -> Option<f64> {
    if tokens.is_empty() {
        return None;
    }
    // Sorted, so that the sum has one order and one result.
    let mut sorted = tokens.to_vec();
    sorted.sort_unstable();
    let shares = sorted.chunk_by(|a, b| a == b).map(|run| run.len() as f64 / tokens.len() as f64);
    Some(shares.map(|share| -share * share.ln()).sum::<f64>().max(0.0))
}

/// Mean over the sequences of each one's [`unigram_entropy`], in nats: the number that papers on diffusion language models
/// quote as "entropy". It grows with the sequences' length. Empty sequences are left out; `None` where no other is left.
pub fn mean_unigram_entropy<S: AsRef<[u32]>>(sequences: &[S]) -> Option<f64> {
    let entropies: Vec<f64> = sequences.iter().filter_map(|tokens| unigram_entropy(tokens.as_ref())).collect();
    (!entropies.is_empty()).then(|| entropies.iter().sum::<f64>() / entropies.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{mean_unigram_entropy, unigram_entropy};

    #[test]
    fn entropy_of_known_shares() {
        // 1/2, 1/4, 1/4: 1.5 bits.
        let nats = unigram_entropy(&[1, 2, 1, 3]).expect("not empty");
        assert!((nats - 1.5 * 2f64.ln()).abs() < 1e-15, "{nats}");
        assert_eq!(unigram_entropy(&[5; 10]), Some(0.0));
        assert_eq!(unigram_entropy(&[]), None);
    }

    #[test]
    fn mean_is_over_sequences_that_are_not_empty() {
        let mean = mean_unigram_entropy(&[vec![1, 2], vec![4, 4], vec![]]).expect("two are not empty");
        assert!((mean - 2f64.ln() / 2.0).abs() < 1e-15, "{mean}");
        assert_eq!(mean_unigram_entropy(&[[0u32; 0]]), None);
    }
}
