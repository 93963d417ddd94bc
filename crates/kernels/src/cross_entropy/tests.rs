//! The loss and its gradient against f64 and finite differences.

use super::*;
use crate::check::{assert_close, finite_difference, noise, on_threads};
use crate::simd::at_each_level;

fn naive(logits: &[f64], vocabulary: usize, targets: &[u32], weights: &[f32], banned: Option<usize>) -> f64 {
    let rows = logits.chunks_exact(vocabulary).zip(targets).zip(weights);
    rows.map(|((row, target), weight)| {
        let sum: f64 = row.iter().enumerate().filter(|(i, _)| Some(*i) != banned).map(|(_, x)| x.exp()).sum();
        f64::from(*weight) * (sum.ln() - row[*target as usize])
    })
    .sum()
}

#[test]
fn loss_and_gradient_match_f64() {
    for (rows, vocabulary, banned) in
        [(1, 2, Some(1)), (4, 37, None), (3, 64, Some(0)), (5, 35, Some(20)), (2, 33, Some(32))]
    {
        let logits = noise(1, rows * vocabulary);
        let targets: Vec<u32> = (0..rows)
            .map(|r| ((r * 7) % vocabulary) as u32)
            .map(|t| if Some(t as usize) == banned { (t + 1) % vocabulary as u32 } else { t })
            .collect();
        let weights: Vec<f32> = (0..rows).map(|r| [0.5, 0.0, 2.0][r % 3]).collect();
        let ce = CrossEntropy { logits: &logits.f32, vocabulary, targets: &targets, weights: &weights, banned };
        let run = || {
            let (mut row_loss, mut lse) = (vec![0.0; rows], vec![0.0; rows]);
            let loss = ce.forward(&mut row_loss, &mut lse);
            let mut grad = vec![7.0; logits.len()];
            ce.backward(&lse, 3.0, &mut grad);
            (loss, row_loss, grad)
        };
        let at_once = || {
            let (mut turned, mut row_loss) = (logits.f32.clone(), vec![7.0; rows]);
            cross_entropy_in_place(&mut turned, vocabulary, &targets, &weights, banned, &mut row_loss);
            (row_loss, turned)
        };
        let (loss, row_loss, grad) = at_each_level(run);
        assert_eq!(on_threads(1, run), on_threads(3, run));
        let f = |x: &[f64]| naive(x, vocabulary, &targets, &weights, banned);
        assert!((loss - f(&logits.f64)).abs() < 1e-5);
        for row in 0..rows {
            let range = row * vocabulary..(row + 1) * vocabulary;
            let one = naive(&logits.f64[range], vocabulary, &targets[row..=row], &[1.0], banned);
            let expected = if weights[row] == 0.0 { 0.0 } else { one };
            assert!((f64::from(row_loss[row]) - expected).abs() < 1e-5);
        }
        let expected: Vec<f64> = finite_difference(&logits.f64, f).iter().map(|g| 3.0 * g).collect();
        assert_close(&grad, &expected, 1e-6);
        let (same_loss, turned) = at_each_level(at_once);
        assert_eq!(on_threads(3, at_once), (same_loss.clone(), turned.clone()));
        assert_eq!(same_loss, row_loss);
        assert_close(&turned, &finite_difference(&logits.f64, f), 1e-6);
    }
}

#[test]
fn far_and_infinite_logits() {
    let logits = [1000.0, -1000.0, f32::NEG_INFINITY, 1e9];
    let (mut loss, mut lse, mut grad) = ([0.0], [0.0], [0.0; 4]);
    let ce = CrossEntropy { logits: &logits, vocabulary: 4, targets: &[0], weights: &[1.0], banned: Some(3) };
    assert_eq!(ce.forward(&mut loss, &mut lse), 0.0);
    ce.backward(&lse, 1.0, &mut grad);
    assert_eq!(grad, [0.0; 4]);
    let banned_target = CrossEntropy { targets: &[3], ..ce };
    assert_eq!(banned_target.forward(&mut loss, &mut lse), f64::INFINITY);
    let mut turned = logits;
    cross_entropy_in_place(&mut turned, 4, &[0], &[1.0], Some(3), &mut loss);
    assert_eq!((loss, turned), ([0.0], [0.0; 4]));
    let mut turned = logits;
    cross_entropy_in_place(&mut turned, 4, &[3], &[1.0], Some(3), &mut loss);
    assert_eq!((loss, turned), ([f32::INFINITY], [1.0, 0.0, 0.0, 0.0]));
}
