//! The log probabilities of given tokens, for likelihoods: every weight is f64, so that what adds up to one does so to 1e-13.

use super::exp64::exp64;
use super::lanes::VocabSimd;
use super::summary::{check_rows, for_each_row, row};
use super::sums::Sums;
use super::transform::{BLOCK, Buffer, Row, Transform};
use super::walk::{chunk_maxima, largest};
use crate::scalar::ln;
use crate::simd::dispatch;

/// ln p(token) of each (row, token) of the logits `[N, V]`, at temperature 1 and without top-k and top-p; NaN where no
/// token is allowed, or one without bound. A row that is asked for several times in sequence is walked once.
pub fn log_probabilities(
    logits: &[f32],
    vocabulary: usize,
    targets: &[(usize, u32)],
    transform: &Transform<'_>,
) -> Vec<f64> {
    transform.check();
    check_rows(logits, vocabulary, targets.iter().map(|target| target.0));
    assert!(targets.iter().all(|(_, token)| (*token as usize) < vocabulary), "vocab: a token is beyond V");
    let rows: Vec<&[(usize, u32)]> = targets.chunk_by(|a, b| a.0 == b.0).collect();
    let answers = for_each_row(vocabulary, &rows, |targets| {
        let row = row(logits, vocabulary, targets[0].0, transform);
        let mut sums = Sums::new(1.0);
        add_row(&row, &mut sums);
        row.changed.iter().for_each(|token| sums.add_logit(token.logit));
        let log_sum = if sums.max.is_finite() { ln(sums.sum) } else { f64::NAN };
        targets.iter().map(|(_, token)| row.logit(*token) - sums.max - log_sum).collect::<Vec<_>>()
    });
    answers.concat()
}

fn add_row(row: &Row<'_>, sums: &mut Sums) {
    dispatch!(add_row_body(row: &Row<'_>, sums: &mut Sums))
}

#[inline(always)]
fn add_row_body<S: VocabSimd>(s: S, row: &Row<'_>, sums: &mut Sums) {
    let mut buffer = Buffer::new();
    for index in 0..row.chunks() {
        let values = row.chunk(s, index, &mut buffer);
        let max = largest(s, &chunk_maxima(s, values));
        if max == f32::NEG_INFINITY {
            continue;
        }
        let max = f64::from(max);
        let mut weights = [0.0; BLOCK];
        for block in values.chunks_exact(BLOCK) {
            for (weight, logit) in weights.iter_mut().zip(block) {
                let exponent = f64::from(*logit) - max;
                // What is impossible, and what is no number, weighs exp(-700).
                *weight += exp64(if exponent > -700.0 { exponent } else { -700.0 });
            }
        }
        sums.add(max, weights.iter().sum(), 0.0);
    }
}
