//! The time in the network.

use lldm_diffusion::{Condition, Denoiser};
use lldm_models::nn::Precision;
use lldm_models::{Attention, TrunkConfig};

use crate::support::{build, config, denoiser, distance, input, noised, rows, words};

#[test]
fn time_changes_the_answer_only_where_it_enters() {
    let canvas = noised(1, &words(2, 5));
    let timed = build(&TrunkConfig { time_input: true, ..config(Attention::Full) }, Precision::F32);
    assert!(timed.info().time_dependent);
    let answer = |denoiser: &dyn Denoiser, time: f64| {
        let mut context = denoiser.prefill(&words(3, 2)).unwrap();
        rows(denoiser.denoise(&input(&canvas, time, Condition::Given), &mut context).unwrap().as_ref())
    };
    assert!(distance(&answer(&timed, 0.2), &answer(&timed, 0.8)) > 1e-3);
    assert_eq!(answer(&timed, 0.2), answer(&timed, 0.2));
    let timeless = denoiser(Attention::Full);
    assert!(!timeless.info().time_dependent);
    assert_eq!(answer(&timeless, 0.2), answer(&timeless, 0.8));
}

#[test]
fn each_row_of_a_pass_has_its_own_time() {
    let timed = build(&TrunkConfig { time_input: true, ..config(Attention::Full) }, Precision::F32);
    let (trunk, positions) = (timed.trunk(), [0, 1, 2]);
    let visibility = trunk.config().visibility(0);
    let tokens = words(4, 6);
    let pass = |tokens: &[u32], times: Option<&[f64]>| {
        trunk.hidden(tokens, tokens.len() / 3, &positions, times, visibility, None)
    };
    let both: Vec<Vec<f32>> = pass(&tokens, Some(&[0.1, 0.9])).unwrap().to_vec2().unwrap();
    for (row, time) in [0.1, 0.9].into_iter().enumerate() {
        let alone: Vec<Vec<f32>> = pass(&tokens[3 * row..3 * row + 3], Some(&[time])).unwrap().to_vec2().unwrap();
        assert!(distance(&both[3 * row..3 * row + 3], &alone) < 1e-5, "row {row}");
    }
    for times in [None, Some(&[0.5][..])] {
        let error = pass(&tokens, times).unwrap_err().to_string();
        assert!(error.contains("times for 2 rows"), "{error}");
    }
}
