//! Which tokens are masked: exactly k of them, with k stratified over the rows.
//!
//! Drawing the number of masked tokens instead of each mask gives the same expectation with far less variance: the
//! weight is M / k, and no row is ever without a mask (MDM as any-order model, Ou et al. 2024, section 3.3).

use lldm_diffusion::StepRng;
use lldm_diffusion::rng::Purpose;

/// The number of masked tokens among `scored` for draw `index` of `count`: one draw from each of `count` equal strata.
/// `offset`, uniform on [0, 1), turns all of them together, so that each draw by itself is uniform on 1..=scored, too: no
/// row and no block is always the one with few masks.
pub fn stratified_count(scored: usize, index: usize, count: usize, offset: f64) -> usize {
    let u = (index as f64 / count as f64 + offset).fract();
    ((u * scored as f64) as usize).min(scored.saturating_sub(1)) + 1
}

/// Chooses `k` of `places`, every subset equally likely; `lane` numbers the row.
pub fn exact_subset(places: &[usize], k: usize, rng: &StepRng, lane: usize) -> Vec<usize> {
    let mut places = places.to_vec();
    let k = k.min(places.len());
    for i in 0..k {
        let j = i + rng.choice((lane << 12) + i, Purpose::Corrupt, places.len() - i);
        places.swap(i, j);
    }
    places.truncate(k);
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use lldm_diffusion::Rng;

    #[test]
    fn counts_cover_every_number_of_masks_evenly() {
        let mut seen = [0usize; 6];
        for trial in 0..600 {
            let offset = (trial as f64 + 0.5) / 600.0;
            for index in 0..4 {
                seen[stratified_count(5, index, 4, offset)] += 1;
            }
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|count| (470..=490).contains(count)), "{seen:?}");
    }

    #[test]
    fn each_draw_is_uniform_by_itself() {
        for index in 0..4 {
            let mut seen = [0usize; 6];
            for trial in 0..600 {
                seen[stratified_count(5, index, 4, (trial as f64 + 0.5) / 600.0)] += 1;
            }
            assert!(seen[1..].iter().all(|count| (118..=122).contains(count)), "{index}: {seen:?}");
        }
    }

    #[test]
    fn subsets_are_uniform() {
        let mut counts = std::collections::HashMap::new();
        for lane in 0..60_000 {
            *counts.entry(exact_subset(&[2, 3, 5, 7], 2, &Rng::new(1, lane).at(0, 0), 0)).or_insert(0usize) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Each has mean 10,000 and standard deviation 91.
        assert!(counts.values().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
    }
}
