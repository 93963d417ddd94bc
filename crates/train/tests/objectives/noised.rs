//! The objectives of uniform and hybrid noise and of scores on a tiny trunk, against enumeration of all that noise can make of
//! a text, and their gradients against finite differences.

use lldm_diffusion::{Noise, Rng, Token};
use lldm_models::Answers;
use lldm_models::nn::backward;
use lldm_train::objective::closed_form::{divergence, reconstruction_nats};
use lldm_train::objective::{
    Denoising, Elbo, Gidd, GiddConfig, Measures, NoisedCell, Objective, Rows, ScoreEntropy, ScoreEntropyConfig,
    ScoreNoise, T_MAX, T_MIN, Uniform, UniformBlock, UniformBlockConfig, Weighting, score_entropy,
};

use crate::support::{Tiny, VOCABULARY, all_texts, assert_within, integral, mean, random, words};

/// What a cell costs, from its outputs.
type Value<'a> = dyn Fn(&dyn Noise, &[f64], &NoisedCell) -> f64 + 'a;

fn gidd(weighting: Weighting) -> Gidd {
    Gidd(GiddConfig { weighting, p_uniform: 0.3, ..GiddConfig::default() })
}

fn scores(noise: ScoreNoise) -> ScoreEntropy {
    ScoreEntropy(ScoreEntropyConfig { noise, ..ScoreEntropyConfig::default() })
}

fn blocks(block_length: usize) -> UniformBlock {
    UniformBlock(UniformBlockConfig { block_length, ..UniformBlockConfig::default() })
}

fn objectives() -> Vec<Box<dyn Objective>> {
    vec![
        Box::new(Uniform::default()),
        Box::new(blocks(3)),
        Box::new(gidd(Weighting::Elbo)),
        Box::new(gidd(Weighting::Clip)),
        Box::new(gidd(Weighting::Dynamic)),
        Box::new(scores(ScoreNoise::Absorbing)),
        Box::new(scores(ScoreNoise::Uniform)),
        Box::new(Denoising::default()),
    ]
}

/// Every noised canvas with its probability.
fn states(noise: &dyn Noise, canvas: &[Token], t: f64) -> Vec<(Vec<Token>, f64)> {
    let marginal = noise.marginal(t);
    let seen = |z: Token, x: Token| noise.noise_at(marginal, z) + if z == x { marginal.alpha } else { 0.0 };
    let states = all_texts(VOCABULARY as Token, canvas.len()).into_iter();
    let weighed = states.map(|z| {
        let chance: f64 = z.iter().zip(canvas).map(|(z, x)| seen(*z, *x)).product();
        (z, chance)
    });
    weighed.filter(|(_, chance)| *chance > 0.0).collect()
}

/// The expectation at t of the sum over cells of `value(outputs, cell)`.
fn at_time(tiny: &Tiny, prefix: &[Token], canvas: &[Token], time: f64, value: &Value<'_>) -> f64 {
    let noise = tiny.trunk().noise();
    let (canvases, chances): (Vec<_>, Vec<_>) = states(noise, canvas, time).into_iter().unzip();
    let outputs = tiny.outputs(prefix, &canvases, time);
    let sum = |(z, outputs): (&Vec<Token>, Vec<Vec<f64>>)| -> f64 {
        let cells = outputs.into_iter().zip(z).zip(canvas);
        let cell = |((outputs, held), clean): ((Vec<f64>, &Token), &Token)| {
            value(noise, &outputs, &NoisedCell { clean: *clean, held: *held, time })
        };
        cells.map(cell).sum()
    };
    canvases.iter().zip(outputs).map(sum).zip(chances).map(|(sum, chance)| chance * sum).sum()
}

fn weighed(weight: f64, noise: &dyn Noise, outputs: &[f64], cell: &NoisedCell) -> f64 {
    if weight == 0.0 { 0.0 } else { weight * divergence(noise, outputs, cell).nats() }
}

fn closed_form(noise: &dyn Noise, outputs: &[f64], cell: &NoisedCell) -> f64 {
    weighed(noise.bound_weight(cell.held, cell.clean, cell.time), noise, outputs, cell)
}

/// The mean loss over draws is the integral of the expectation of `value`. With the time in the network the integrand swings
/// with sin(1000 t), which asks for many more intervals.
fn check(objective: &dyn Objective, time_input: bool, value: &Value<'_>) {
    let tiny = Tiny::of(objective, time_input);
    let canvas = words(5, 2);
    let expected = integral(if time_input { 3000 } else { 24 }, |t| at_time(&tiny, &[], &canvas, t, value));
    let copies = canvas.repeat(8);
    let rows = Rows { tokens: &copies, scored: &[true; 16], length: 2 };
    let (found, error) = tiny.mean_nats(objective, &rows, 1500);
    let what = format!("{}, {time_input}", objective.name());
    assert_within((found / 8.0, error / 8.0), expected, &what);
    assert!(error / 8.0 < 0.1 * expected, "{what}: {error} says little about {expected}");
    let rng = Rng::new(1, 0).at(0, 0);
    let again = || objective.loss(tiny.trunk(), &rows, &rng).unwrap();
    assert_eq!((again().nats, again().tokens), (again().nats, 16));
    assert!((f64::from(again().tensor.to_scalar::<f32>().unwrap()) * 16.0 - again().nats).abs() < 1e-4);
}

#[test]
fn the_mean_uniform_loss_is_the_integral_of_the_closed_form() {
    for time_input in [false, true] {
        check(&Uniform::default(), time_input, &closed_form);
    }
    assert_eq!(Uniform::default().measures(), Measures::Bound);
}

#[test]
fn the_mean_loss_under_hybrid_noise_has_the_weights_asked_for() {
    for weighting in [Weighting::Elbo, Weighting::Clip, Weighting::Dynamic] {
        let objective = gidd(weighting);
        check(&objective, false, &|noise, outputs, cell| weighed(objective.weight(noise, cell), noise, outputs, cell));
        let bound = weighting == Weighting::Elbo;
        assert_eq!(objective.measures(), if bound { Measures::Bound } else { Measures::Neither });
    }
}

#[test]
fn the_mean_score_entropy_is_its_integral() {
    for noise in [ScoreNoise::Absorbing, ScoreNoise::Uniform] {
        check(&scores(noise), false, &|noise, outputs, cell| score_entropy(noise, outputs, cell));
    }
}

#[test]
fn the_mean_loss_in_blocks_is_the_sum_over_blocks() {
    for (time_input, block_length) in [(false, 2), (true, 1)] {
        let objective = blocks(block_length);
        let tiny = Tiny::of(&objective, time_input);
        // A whole block and a short one.
        let text = words(7, 3);
        let block = |start: usize| {
            let end = (start + block_length).min(3);
            let intervals = if time_input { 3000 } else { 24 };
            integral(intervals, |t| at_time(&tiny, &text[..start], &text[start..end], t, &closed_form))
        };
        let expected: f64 = (0..3).step_by(block_length).map(block).sum();
        let copies = text.repeat(6);
        let rows = Rows { tokens: &copies, scored: &[true; 18], length: 3 };
        let (found, error) = tiny.mean_nats(&objective, &rows, 1500);
        assert_within((found / 6.0, error / 6.0), expected, &format!("blocks of {block_length}, {time_input}"));
    }
}

/// What the integral leaves out, by enumeration at its lower end.
#[test]
fn the_remainder_is_reconstruction_and_prior() {
    let objectives: [Box<dyn Objective>; 4] = [
        Box::new(Uniform::default()),
        Box::new(gidd(Weighting::Elbo)),
        Box::new(scores(ScoreNoise::Absorbing)),
        Box::new(scores(ScoreNoise::Uniform)),
    ];
    for objective in objectives {
        let tiny = Tiny::of(objective.as_ref(), true);
        let canvas = words(8, 2);
        let answers = objective.answers();
        let start = at_time(&tiny, &[], &canvas, T_MIN, &|noise, outputs, cell| {
            let mut logits = outputs.to_vec();
            if answers == Answers::Score {
                logits[cell.held as usize] = 0.0;
            }
            reconstruction_nats(noise, &logits, cell)
        });
        let prior = 2.0 * tiny.trunk().noise().prior_nats(VOCABULARY, T_MAX);
        let copies = canvas.repeat(200);
        let rows = Rows { tokens: &copies, scored: &[true; 400], length: 2 };
        let remainder = |draw| objective.remainder(tiny.trunk(), &rows, &Rng::new(9, 0).at(draw, 0)).unwrap() / 200.0;
        let found = mean((0..150).map(remainder).collect());
        assert_within(found, start + prior, objective.name());
        assert!(start + prior < 1.0, "{}: {start} and {prior}", objective.name());
    }
}

#[test]
fn tokens_that_are_not_scored_stay_clean_and_cost_nothing() {
    for objective in objectives() {
        let tiny = Tiny::of(objective.as_ref(), false);
        let tokens = words(3, 12);
        let nothing = Rows { tokens: &tokens, scored: &[false; 12], length: 6 };
        let rng = Rng::new(1, 0).at(0, 0);
        let loss = objective.loss(tiny.trunk(), &nothing, &rng).unwrap();
        assert_eq!(loss.nats, 0.0, "{}", objective.name());
        backward(&loss.tensor).unwrap();
        // One scored cell of the second row; the first row says nothing to it.
        let scored: Vec<_> = (0..12).map(|at| at == 8).collect();
        let other = [words(4, 6), tokens[6..].to_vec()].concat();
        let [found, again] = [&tokens, &other].map(|tokens| {
            let rows = Rows { tokens, scored: &scored, length: 6 };
            objective.loss(tiny.trunk(), &rows, &rng).unwrap().nats
        });
        assert!((found - again).abs() < 1e-5 * found.abs().max(1.0), "{}: {found} and {again}", objective.name());
        assert!(found >= 0.0);
    }
}

#[test]
fn a_trunk_of_another_noise_is_refused() {
    let tokens = words(1, 4);
    let rows = Rows { tokens: &tokens, scored: &[true; 4], length: 4 };
    let rng = Rng::new(1, 0).at(0, 0);
    for (objective, trunk) in [
        (&Uniform::default() as &dyn Objective, Tiny::of(&gidd(Weighting::Elbo), false)),
        (&Uniform::default(), Tiny::of(&Denoising::default(), false)),
        (&scores(ScoreNoise::Uniform), Tiny::of(&Uniform::default(), false)),
    ] {
        let error = objective.loss(trunk.trunk(), &rows, &rng).err().unwrap().to_string();
        assert!(error.contains("is for a trunk of"), "{error}");
    }
}

/// A posterior's logits are brought back before the bound reads them.
#[test]
fn the_bound_of_a_posterior_is_that_of_its_clean_token() {
    let denoising = Denoising::default();
    let tiny = Tiny::of(&denoising, false);
    let objective = Elbo { noise: denoising.noise(), answers: Answers::Posterior, block_length: None };
    let canvas = words(5, 2);
    let expected = integral(24, |t| {
        at_time(&tiny, &[], &canvas, t, &|noise, outputs, cell| {
            let mut logits = outputs.to_vec();
            Answers::Posterior.plug_in(&mut logits, cell.held, noise, cell.time);
            closed_form(noise, &logits, cell)
        })
    });
    let copies = canvas.repeat(8);
    let rows = Rows { tokens: &copies, scored: &[true; 16], length: 2 };
    let (found, error) = tiny.mean_nats(&objective, &rows, 1500);
    assert_within((found / 8.0, error / 8.0), expected, "a posterior");
}

#[test]
fn gradients_are_those_of_the_loss() {
    for objective in objectives() {
        for time_input in [false, true] {
            let tiny = Tiny::of(objective.as_ref(), time_input);
            let tokens = words(1, 14);
            let scored: Vec<_> = (0..14).map(|at| at != 7).collect();
            let rows = Rows { tokens: &tokens, scored: &scored, length: 7 };
            let loss = || objective.loss(tiny.trunk(), &rows, &Rng::new(2, 0).at(0, 0)).unwrap();
            let grads = backward(&loss().tensor).unwrap();
            let value = || loss().nats / 13.0;
            for ((name, var), stream) in tiny.parameters.iter().zip(50..) {
                let grad = grads.get(var).unwrap().unwrap_or_else(|| panic!("{name} has no gradient"));
                let norm = grad.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
                let start = var.as_tensor().copy().unwrap();
                let along = (&grad / f64::from(norm.max(1e-6))).unwrap();
                for direction in [along, random(stream, var.dims(), 0.0, 0.3)] {
                    let slope = f64::from((&grad * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
                    let moved = |by: f64| {
                        var.set(&(&start + (&direction * by).unwrap()).unwrap()).unwrap();
                        value()
                    };
                    let step = 2e-3;
                    let difference = (moved(step) - moved(-step)) / (2.0 * step);
                    var.set(&start).unwrap();
                    // Rounding of the loss in float32, over the step.
                    let bound = 1e-2 * slope.abs() + 2e-3 * value().max(1.0);
                    assert!(
                        (difference - slope).abs() < bound,
                        "{}, {name}: {difference} is not {slope}",
                        objective.name()
                    );
                }
            }
        }
    }
}
