//! The one pass of block diffusion's training equals its denoising block by block.

use lldm_diffusion::Denoiser;
use lldm_models::Attention;
use lldm_models::nn::Visibility;

use crate::support::{BLOCK, ask, assert_near, denoiser, noised, plain, words};

#[test]
fn the_doubled_pass_answers_each_block_as_the_denoiser_does() {
    let denoiser = denoiser(Attention::BlockCausal);
    // A whole number of blocks, a short last block, less than one block.
    for length in [12, 10, 9, 3] {
        let clean = words(1, length);
        let noisy: Vec<_> = clean.chunks(BLOCK).zip(5..).flat_map(|(block, seed)| noised(seed, block)).collect();
        let doubled = [noisy.as_slice(), &clean].concat();
        let positions: Vec<_> = (0..length).chain(0..length).collect();
        let visibility = Visibility::BlockDiffusion { length, block_length: BLOCK };
        let trained = plain(&denoiser, &doubled, &positions, visibility);
        for start in (0..length).step_by(BLOCK) {
            let end = (start + BLOCK).min(length);
            let mut context = denoiser.prefill(&clean[..start]).unwrap();
            let sampled = ask(&denoiser, &noisy[start..end], &mut context);
            assert_near(&trained[start..end], &sampled, &format!("length {length}, cells {start}..{end}"));
        }
        // The clean half is a plain block-causal pass.
        let visibility = Visibility::BlockCausal { block_length: BLOCK, cached: 0 };
        let alone = plain(&denoiser, &clean, &positions[..length], visibility);
        assert_near(&trained[length..], &alone, "the clean half");
    }
}
