//! How long the gaps are: where the given tokens stand on a canvas, drawn from a prediction that sees nothing but noise there.
//!
//! The cells of such a prediction are independent. An arrangement has the probability of its given tokens in their cells, of no end
//! token in its gaps and of the end token behind the last given one: the distribution of the stopping position, for several gaps at once.
//! Sums over all arrangements go from the right to the left, the draw back (as in `lldm_control::Chain`, with gaps for states).

use std::ops::RangeInclusive;

/// What is arranged.
pub(super) struct Blocks<'a> {
    /// For each gap: the fewest and the most tokens of it.
    pub(super) gaps: &'a [RangeInclusive<usize>],
    /// For each gap: how many given tokens stand behind it.
    pub(super) given: &'a [usize],
    /// Cells of the canvas.
    pub(super) cells: usize,
}

/// Draws the number of tokens of each gap. `log_given(gap, cell)` is ln of the probability that the given tokens behind a gap stand
/// from that cell on, `log_end(cell)` of an end token there, `log_gap(cell)` of none; `uniform` gives a number for each gap, and without
/// one the most probable arrangement is taken. None where nothing fits.
pub(super) fn draw(
    blocks: &Blocks<'_>,
    log_given: &dyn Fn(usize, usize) -> f64,
    log_gap: &dyn Fn(usize) -> f64,
    log_end: &dyn Fn(usize) -> f64,
    uniform: Option<&dyn Fn(usize) -> f64>,
) -> Option<Vec<usize>> {
    let (count, cells) = (blocks.gaps.len(), blocks.cells);
    // ln of the probability that a gap's first cells are no end tokens.
    let mut no_end = vec![0.0; cells + 1];
    for cell in 0..cells {
        no_end[cell + 1] = no_end[cell] + log_gap(cell);
    }
    // rest[gap][cell]: ln of the weight of all arrangements of this gap and the following ones from that cell on.
    let mut rest = vec![vec![f64::NEG_INFINITY; cells + 1]; count];
    rest.push((0..=cells).map(log_end).collect());
    let ways = |gap: usize, from: usize, rest: &[Vec<f64>]| -> Vec<(usize, f64)> {
        let fits = blocks.gaps[gap].clone().filter(|length| from + length + blocks.given[gap] <= cells);
        let weight = |length: usize| {
            let at = from + length;
            no_end[at] - no_end[from] + log_given(gap, at) + rest[gap + 1][at + blocks.given[gap]]
        };
        fits.map(|length| (length, weight(length))).filter(|(_, weight)| *weight > f64::NEG_INFINITY).collect()
    };
    for gap in (0..count).rev() {
        for from in 0..=cells {
            let ways = ways(gap, from, &rest);
            rest[gap][from] = match uniform {
                Some(_) => log_sum(&ways),
                None => ways.iter().map(|way| way.1).fold(f64::NEG_INFINITY, f64::max),
            };
        }
    }
    let mut lengths = Vec::with_capacity(count);
    let mut from = 0;
    for gap in 0..count {
        let ways = ways(gap, from, &rest);
        let length = match uniform {
            None => ways.iter().max_by(|a, b| a.1.total_cmp(&b.1))?.0,
            Some(uniform) => {
                let mut left = uniform(gap);
                let total = rest[gap][from];
                let found = ways.iter().find(|(_, weight)| {
                    left -= (weight - total).exp();
                    left < 0.0
                });
                found.or(ways.last())?.0
            }
        };
        lengths.push(length);
        from += length + blocks.given[gap];
    }
    Some(lengths)
}

fn log_sum(ways: &[(usize, f64)]) -> f64 {
    let most = ways.iter().map(|way| way.1).fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY { most } else { most + ways.iter().map(|way| (way.1 - most).exp()).sum::<f64>().ln() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Two gaps on six cells, against all arrangements.
    #[test]
    fn arrangements_are_drawn_in_proportion() {
        let number = |a: usize, b: usize| ((a * 7 + b * 13 + 5) % 11) as f64;
        let log_given = |gap: usize, cell: usize| -0.4 * number(gap, cell);
        let log_gap = |cell: usize| -0.1 * number(3, cell);
        let log_end = |cell: usize| -0.3 * number(5, cell);
        let blocks = Blocks { gaps: &[1..=3, 0..=4], given: &[2, 1], cells: 7 };
        let mut all = HashMap::new();
        for a in 1..=3 {
            for b in 0..=4 {
                let (first, second) = (a, a + 2 + b);
                if second + 1 > 7 {
                    continue;
                }
                let gaps = (0..a).chain(a + 2..second).map(log_gap).sum::<f64>();
                let weight: f64 = gaps + log_given(0, first) + log_given(1, second) + log_end(second + 1);
                all.insert(vec![a, b], weight.exp());
            }
        }
        let total: f64 = all.values().sum();
        let n = 20_000;
        let mut counts: HashMap<Vec<usize>, f64> = HashMap::new();
        for seed in 0..n {
            let uniform = |gap: usize| lldm_diffusion::rng::open_unit(lldm_diffusion::rng::stream(seed, gap as u64));
            let drawn = draw(&blocks, &log_given, &log_gap, &log_end, Some(&uniform)).unwrap();
            *counts.entry(drawn).or_default() += 1.0;
        }
        assert!(counts.keys().all(|lengths| all.contains_key(lengths)));
        let chi = |(lengths, weight): (&Vec<usize>, &f64)| {
            let expected = weight / total * n as f64;
            (counts.get(lengths).copied().unwrap_or(0.0) - expected).powi(2) / expected
        };
        // At most 12 degrees of freedom: P(chi > 50) is 1e-6.
        assert!(all.iter().map(chi).sum::<f64>() < 50.0);
        let best = all.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(&draw(&blocks, &log_given, &log_gap, &log_end, None).unwrap(), best);
        assert_eq!(draw(&Blocks { cells: 3, ..blocks }, &log_given, &log_gap, &log_end, None), None);
    }
}
