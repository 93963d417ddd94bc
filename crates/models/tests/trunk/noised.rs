//! Trunks of other noise than the mask, and with other answers than the clean token.

use lldm_diffusion::{Condition, Denoiser, LogitTransform, Prediction, Token};
use lldm_models::nn::Precision;
use lldm_models::registry::trunk_defaults;
use lldm_models::{Answers, Attention, NoiseConfig, TrunkConfig, TrunkDenoiser};
use serde_json::{Map, json};

use crate::support::{MASK, VOCABULARY, build, config, denoiser, distance, input, noised, rows, words};

fn noise(name: &str) -> NoiseConfig {
    NoiseConfig { name: name.to_string(), parameters: Map::new() }
}

fn trunk(name: &str, answers: Answers) -> TrunkDenoiser {
    build(&TrunkConfig { noise: noise(name), answers, ..config(Attention::Full) }, Precision::F32)
}

fn answer(denoiser: &TrunkDenoiser, canvas: &[Token], time: f64) -> Box<dyn Prediction> {
    let mut context = denoiser.prefill(&[]).unwrap();
    denoiser.denoise(&input(canvas, time, Condition::Given), &mut context).unwrap()
}

fn probabilities(answer: &dyn Prediction, row: usize) -> Vec<f64> {
    let targets: Vec<_> = (0..VOCABULARY as Token).map(|token| (row, token)).collect();
    let nats = answer.log_probabilities(&targets, &LogitTransform::default()).unwrap();
    nats.into_iter().map(f64::exp).collect()
}

#[test]
fn a_config_that_names_no_noise_is_masked_and_is_written_as_it_was() {
    let old = config(Attention::Full);
    let text = serde_json::to_value(&old).unwrap();
    assert!(text.get("noise").is_none() && text.get("answers").is_none(), "{text}");
    assert_eq!(serde_json::from_value::<TrunkConfig>(text).unwrap(), old);
    let masked = denoiser(Attention::Full);
    assert_eq!((masked.info().mask, masked.trunk().noise().name()), (Some(MASK), "masked"));
    let other = TrunkConfig {
        noise: NoiseConfig {
            name: "hybrid".to_string(),
            parameters: Map::from_iter([("p_uniform".into(), json!(0.2))]),
        },
        answers: Answers::Posterior,
        ..old
    };
    let text = serde_json::to_value(&other).unwrap();
    assert_eq!((&text["noise"], &text["answers"]), (&json!({"name": "hybrid", "p_uniform": 0.2}), &json!("posterior")));
    assert_eq!(serde_json::from_value::<TrunkConfig>(text).unwrap(), other);
}

#[test]
fn nothing_marks_uniform_noise_and_the_mask_is_no_answer() {
    let canvas = words(1, 4);
    for (answers, weighs, timed) in
        [(Answers::Clean, false, false), (Answers::Posterior, true, false), (Answers::Score, false, true)]
    {
        let uniform = trunk("udlm", answers);
        let info = uniform.info();
        assert_eq!((info.mask, info.weighs_held, info.time_dependent), (None, weighs, timed));
        let answer = answer(&uniform, &canvas, 0.5);
        for row in 0..4 {
            let p = probabilities(answer.as_ref(), row);
            assert_eq!(p[MASK as usize], 0.0);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        let mut context = uniform.prefill(&words(2, 2)).unwrap();
        let hidden = uniform.denoise(&input(&canvas, 0.5, Condition::Hidden), &mut context);
        assert!(hidden.err().unwrap().to_string().contains("no mask to hide it behind"));
    }
    let hybrid = trunk("gidd", Answers::Clean);
    assert_eq!(hybrid.info().mask, Some(MASK));
    assert_eq!(probabilities(answer(&hybrid, &canvas, 0.5).as_ref(), 0)[MASK as usize], 0.0);
}

#[test]
fn scores_are_clean_tokens_to_everybody_else() {
    let canvas = words(3, 4);
    let raw = trunk("uniform", Answers::Posterior);
    let score = trunk("uniform", Answers::Score);
    for time in [0.1, 0.7] {
        let (raw, found) = (rows(answer(&raw, &canvas, time).as_ref()), answer(&score, &canvas, time));
        for (row, held) in canvas.iter().enumerate() {
            let mut outputs: Vec<f64> = raw[row].iter().map(|output| f64::from(*output)).collect();
            Answers::Score.plug_in(&mut outputs, *held, score.trunk().noise(), time);
            let total: f64 = outputs.iter().map(|output| output.exp()).sum();
            for (p, output) in probabilities(found.as_ref(), row).iter().zip(outputs) {
                assert!((p - output.exp() / total).abs() < 1e-6);
            }
        }
    }
    // Under masked noise the outputs are logits as they stand, and no time is asked for.
    let (masked, absorbing) = (denoiser(Attention::Full), trunk("absorbing", Answers::Score));
    assert!(!absorbing.info().time_dependent);
    let canvas = noised(1, &canvas);
    assert_eq!(rows(answer(&absorbing, &canvas, 0.3).as_ref()), rows(answer(&masked, &canvas, 0.6).as_ref()));
}

#[test]
fn the_sampler_of_a_noise_that_changes_words_is_its_posterior() {
    let sampler = |name: &str, attention| {
        trunk_defaults(&TrunkConfig { noise: noise(name), ..config(attention) }).sampler.unwrap()
    };
    assert_eq!(sampler("masked", Attention::Full), "low_confidence");
    assert_eq!(sampler("uniform", Attention::Full), "ancestral");
    assert_eq!(sampler("hybrid", Attention::BlockCausal), "ancestral");
    assert_eq!(sampler("masked", Attention::BlockCausal), "first_hitting");
}

#[test]
fn cells_of_a_row_may_have_times_of_their_own() {
    let timed = build(&TrunkConfig { time_input: true, ..config(Attention::Full) }, Precision::F32);
    let (tokens, positions) = (words(4, 6), [0, 1, 2]);
    let pass = |times: &[f64]| -> Vec<Vec<f32>> {
        let visibility = timed.trunk().config().visibility(0);
        timed.trunk().hidden(&tokens, 2, &positions, Some(times), visibility, None).unwrap().to_vec2().unwrap()
    };
    let rows = pass(&[0.2, 0.7]);
    assert!(distance(&rows, &pass(&[0.2, 0.2, 0.2, 0.7, 0.7, 0.7])) < 1e-6);
    assert!(distance(&rows[..3], &pass(&[0.2, 0.2, 0.5, 0.7, 0.7, 0.7])[..3]) > 1e-3);
}
