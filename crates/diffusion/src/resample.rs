//! Weights of particles in logarithms, and systematic resampling (Kitagawa 1996; Douc and Cappé 2005, section 2.4): one uniform
//! draw decides for all, and a particle of weight w goes on in floor(N w) or ceil(N w) copies.

/// ln of the sum of the exponentials.
pub(crate) fn log_sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}

/// The weights with their sum brought to 1; not all may be minus infinity.
pub(crate) fn normalised(logs: &[f64]) -> Vec<f64> {
    let total = log_sum(logs);
    logs.iter().map(|log| (log - total).exp()).collect()
}

/// The effective sample size 1 / sum w^2 of weights with the sum 1: from 1 to N.
pub(crate) fn effective_size(weights: &[f64]) -> f64 {
    1.0 / weights.iter().map(|weight| weight * weight).sum::<f64>()
}

/// The parent of each particle that goes on, by weights with the sum 1 and a draw `uniform` in (0, 1). A particle that goes on
/// keeps its place, so that only those that end are written over.
pub(crate) fn parents(weights: &[f64], uniform: f64) -> Vec<usize> {
    let count = weights.len();
    let mut copies = vec![0usize; count];
    let (mut sum, mut taken) = (0.0, 0);
    let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
    for (at, weight) in weights.iter().enumerate() {
        sum += weight;
        // Rounding must not leave a place unfilled, nor fill one with a particle without weight.
        let end =
            if at == last { count } else { (sum * count as f64 - uniform).ceil().clamp(0.0, count as f64) as usize };
        copies[at] = end.saturating_sub(taken);
        taken = taken.max(end);
    }
    let mut parents: Vec<_> = copies.iter().enumerate().map(|(at, copies)| (*copies > 0).then_some(at)).collect();
    let mut spare =
        copies.iter().enumerate().flat_map(|(at, copies)| std::iter::repeat_n(at, copies.saturating_sub(1)));
    for parent in &mut parents {
        *parent = parent.or_else(|| spare.next());
    }
    parents.into_iter().enumerate().map(|(at, parent)| parent.unwrap_or(at)).collect()
}

/// A draw of one particle by weights with the sum 1.
pub(crate) fn pick(weights: &[f64], uniform: f64) -> usize {
    let mut left = uniform;
    let mut possible = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
    let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
    let picked = possible.find(|(_, weight)| {
        left -= **weight;
        left < 0.0
    });
    picked.map_or(last, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_copies_is_that_of_the_weight_rounded_up_or_down() {
        let weights = [0.05, 0.4, 0.0, 0.3, 0.25];
        let mut mean = [0.0; 5];
        let draws = 1000;
        for draw in 0..draws {
            let parents = parents(&weights, (f64::from(draw) + 0.5) / f64::from(draws));
            for (at, weight) in weights.iter().enumerate() {
                let copies = parents.iter().filter(|parent| **parent == at).count() as f64;
                assert!(copies == (5.0 * weight).floor() || copies == (5.0 * weight).ceil(), "{parents:?}");
                assert!(copies == 0.0 || parents[at] == at, "{parents:?}: who goes on keeps its place");
                mean[at] += copies / f64::from(draws) / 5.0;
            }
        }
        assert!(mean.iter().zip(weights).all(|(mean, weight)| (mean - weight).abs() < 1e-9), "{mean:?}");
    }

    #[test]
    fn weights_far_from_one_lose_nothing() {
        let logs = [-1000.0, -1000.0 + 3f64.ln(), f64::NEG_INFINITY];
        assert!((log_sum(&logs) - (-1000.0 + 4f64.ln())).abs() < 1e-12);
        let weights = normalised(&logs);
        assert!((weights[1] - 0.75).abs() < 1e-12 && weights[2] == 0.0);
        assert!((effective_size(&weights) - 1.0 / (0.0625 + 0.5625)).abs() < 1e-12);
        assert_eq!((parents(&weights, 0.1), parents(&weights, 0.999)), (vec![0, 1, 1], vec![1; 3]));
        assert_eq!((pick(&weights, 0.2), pick(&weights, 0.9999)), (0, 1));
        assert_eq!(log_sum(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
    }
}
