//! A row's answer does not depend on its neighbours.

use lldm_diffusion::{Condition, Context, Denoiser};
use lldm_models::nn::Precision;
use lldm_models::{Attention, TrunkDenoiser};

use crate::support::{BLOCK, MASK, build, config, input, noised, rows, words};

#[test]
fn any_grouping_gives_the_same_bits() {
    let attentions = [Attention::Full, Attention::BlockCausal, Attention::Causal];
    for (attention, precision) in attentions.into_iter().flat_map(|a| [(a, Precision::F32), (a, Precision::FrozenBf16)])
    {
        let denoiser = build(&config(attention), precision);
        let alone: Vec<_> = (0..6).map(|row| bits(&answers(&denoiser, &[row])[0])).collect();
        for groups in [&[6][..], &[1, 5], &[2, 3, 1], &[3, 3]] {
            let mut start = 0;
            for size in groups {
                let group: Vec<_> = (start..start + size).collect();
                for (row, answer) in group.iter().zip(answers(&denoiser, &group)) {
                    assert_eq!(bits(&answer), alone[*row], "{attention:?}, groups of {groups:?}, row {row}");
                }
                start += size;
            }
            // The order within a group is nothing either.
            let reversed: Vec<_> = (0..6).rev().collect();
            for (row, answer) in reversed.iter().zip(answers(&denoiser, &reversed)) {
                assert_eq!(bits(&answer), alone[*row], "{attention:?}, reversed");
            }
        }
    }
}

/// The answers of one call for rows of different prefixes, through two rounds: the second one meets filled caches.
fn answers(denoiser: &TrunkDenoiser, group: &[usize]) -> Vec<Vec<Vec<f32>>> {
    let causal = denoiser.info().canvas_length == Some(1);
    let mut contexts: Vec<Context> =
        group.iter().map(|row| denoiser.prefill(&words(*row as u64, 2 * row)).unwrap()).collect();
    let mut out = Vec::new();
    for round in 0..2 {
        let canvases: Vec<_> = group
            .iter()
            .zip(&contexts)
            .map(|(row, context)| match causal {
                true => vec![MASK],
                false => noised(*row as u64, &words(20 + round, BLOCK - context.tokens.len() % BLOCK)),
            })
            .collect();
        let inputs: Vec<_> = canvases.iter().map(|canvas| input(canvas, 0.25, Condition::Given)).collect();
        let mut borrowed: Vec<_> = contexts.iter_mut().collect();
        let predictions = denoiser.denoise_batch(&inputs, &mut borrowed).unwrap();
        out = predictions.iter().map(|prediction| rows(prediction.as_ref())).collect();
        // One call a row gives the same as the call for all of them.
        for ((input, context), answer) in inputs.iter().zip(&mut contexts).zip(&out) {
            let single = rows(denoiser.denoise(input, context).unwrap().as_ref());
            assert_eq!(bits(&single), bits(answer));
        }
        for (context, canvas) in contexts.iter_mut().zip(&canvases) {
            denoiser.extend(context, &words(30, canvas.len())).unwrap();
        }
    }
    out
}

fn bits(answer: &[Vec<f32>]) -> Vec<u32> {
    answer.iter().flatten().map(|value| value.to_bits()).collect()
}
