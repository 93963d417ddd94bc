//! The gradient of each objective through the whole trunk, against finite differences.

use lldm_diffusion::Rng;
use lldm_models::Attention;
use lldm_models::nn::backward;
use lldm_train::objective::{Autoregressive, Block, BlockConfig, Masked, Objective, Rows};

use crate::support::{Tiny, random, words};

#[test]
fn gradients_are_those_of_the_loss() {
    let cases: [(Attention, Option<usize>, Box<dyn Objective>); 3] = [
        (Attention::Full, None, Box::new(Masked)),
        (Attention::BlockCausal, Some(3), Box::new(Block(BlockConfig { block_length: 3 }))),
        (Attention::Causal, None, Box::new(Autoregressive)),
    ];
    for (attention, block_length, objective) in cases {
        let tiny = Tiny::new(attention, block_length);
        let tokens = words(1, 14);
        let scored: Vec<_> = (0..14).map(|at| at != 7).collect();
        let rows = Rows { tokens: &tokens, scored: &scored, length: 7 };
        let loss = || objective.loss(tiny.trunk(), &rows, &Rng::new(2, 0).at(0, 0)).unwrap();
        let grads = backward(&loss().tensor).unwrap();
        let value = || loss().nats / 13.0;
        for ((name, var), stream) in tiny.parameters.iter().zip(50..) {
            let grad = grads.get(var).unwrap().unwrap_or_else(|| panic!("{name} has no gradient"));
            let norm = grad.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            assert!(norm > 1e-4, "{name} does nothing: {norm}");
            let start = var.as_tensor().copy().unwrap();
            // Along the gradient, whose slope is its norm, and along anything.
            let along = (&grad / f64::from(norm)).unwrap();
            for direction in [along, random(stream, var.dims(), 0.0, 0.3)] {
                let slope = f64::from((&grad * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
                let moved = |by: f64| {
                    var.set(&(&start + (&direction * by).unwrap()).unwrap()).unwrap();
                    value()
                };
                let step = 4e-3;
                let difference = (moved(step) - moved(-step)) / (2.0 * step);
                var.set(&start).unwrap();
                let bound = 1e-2 * slope.abs() + 1e-3;
                assert!(
                    (difference - slope).abs() < bound,
                    "{}, {name}: {difference} is not {slope}",
                    objective.name()
                );
            }
        }
    }
}
