//! The prefix, hidden for guidance.

use lldm_diffusion::{Condition, Denoiser};
use lldm_models::Attention;

use crate::support::{MASK, ask, assert_near, denoiser, distance, input, noised, rows, words};

#[test]
fn a_hidden_prefix_is_a_prefix_of_masks() {
    let denoiser = denoiser(Attention::Full);
    let (prefix, canvas) = (words(1, 4), noised(2, &words(3, 5)));
    let mut context = denoiser.prefill(&prefix).unwrap();
    let hidden = rows(denoiser.denoise(&input(&canvas, 0.5, Condition::Hidden), &mut context).unwrap().as_ref());
    let masks = ask(&denoiser, &canvas, &mut denoiser.prefill(&[MASK; 4]).unwrap());
    assert_near(&hidden, &masks, "hidden");
    assert!(distance(&hidden, &ask(&denoiser, &canvas, &mut context)) > 1e-3, "the prefix matters when it is seen");
}

#[test]
fn others_cannot_hide_their_prefix_and_say_so() {
    for attention in [Attention::BlockCausal, Attention::Causal] {
        let denoiser = denoiser(attention);
        let mut context = denoiser.prefill(&words(1, 4)).unwrap();
        let error = denoiser.denoise(&input(&[MASK], 0.5, Condition::Hidden), &mut context).err().unwrap().to_string();
        assert!(error.contains("cannot hide its prefix") && error.contains("full attention"), "{error}");
    }
}
