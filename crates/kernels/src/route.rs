//! Which experts a token goes to: those with the highest scores, weighted by a softmax over them (Shazeer et al. 2017, arXiv
//! 1701.06538, equations 3 to 5, without noise; the weights are those of a softmax over all, scaled to sum to 1).

use rayon::prelude::*;

use crate::exp::exp;

/// The `top_k` experts of each of N tokens and their weights, `[N, K]` each, from scores `[N, E]`: the highest first, of equal ones
/// that with the lower number.
pub fn route(scores: &[f32], experts: usize, top_k: usize) -> (Vec<u32>, Vec<f32>) {
    assert!(
        experts > 0 && scores.len().is_multiple_of(experts),
        "route: {} scores for {experts} experts",
        scores.len()
    );
    assert!(0 < top_k && top_k <= experts, "route: {top_k} of {experts} experts");
    let pairs = scores.len() / experts * top_k;
    let (mut chosen, mut weights) = (vec![0u32; pairs], vec![0f32; pairs]);
    let rows = chosen.par_chunks_mut(top_k).zip(weights.par_chunks_mut(top_k)).zip(scores.par_chunks(experts));
    rows.with_min_len(16).for_each(|((chosen, weights), scores)| {
        let mut order: Vec<u32> = (0..experts as u32).collect();
        let higher = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        order.select_nth_unstable_by(top_k - 1, higher);
        order.truncate(top_k);
        order.sort_unstable_by(higher);
        let highest = scores[order[0] as usize];
        weights.iter_mut().zip(&order).for_each(|(weight, expert)| *weight = exp(scores[*expert as usize] - highest));
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        chosen.copy_from_slice(&order);
    });
    (chosen, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{noise, on_threads};

    #[test]
    fn the_best_are_chosen_and_share_one() {
        let (tokens, experts, top_k) = (37, 24, 5);
        let mut scores = noise(1, tokens * experts).f32;
        // Ties, within the choice and at its edge.
        scores.iter_mut().for_each(|score| *score = (*score * 4.0).round() / 4.0);
        let (chosen, weights) = on_threads(1, || route(&scores, experts, top_k));
        assert_eq!(on_threads(3, || route(&scores, experts, top_k)), (chosen.clone(), weights.clone()));
        for token in 0..tokens {
            let own = &scores[token * experts..][..experts];
            let mut all: Vec<u32> = (0..experts as u32).collect();
            all.sort_by(|a, b| own[*b as usize].total_cmp(&own[*a as usize]));
            assert_eq!(chosen[token * top_k..][..top_k], all[..top_k], "a stable sort keeps the lower number first");
            let all: f64 = all[..top_k].iter().map(|expert| f64::from(own[*expert as usize]).exp()).sum();
            for (expert, weight) in chosen[token * top_k..][..top_k].iter().zip(&weights[token * top_k..]) {
                assert!((f64::from(own[*expert as usize]).exp() / all - f64::from(*weight)).abs() < 1e-6);
            }
        }
        assert_eq!(route(&[], 3, 2), (vec![], vec![]));
        assert_eq!(route(&[1.0, f32::NEG_INFINITY], 2, 2), (vec![0, 1], vec![1.0, 0.0]));
    }
}
