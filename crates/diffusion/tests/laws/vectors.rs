//! The toy over vectors against Bayes' rule by brute force.

use std::f64::consts::PI;

use lldm_diffusion::toy::Vectors;
use lldm_diffusion::{Condition, Denoiser, LogitTransform, State, StepInput};

#[test]
fn vectors_answer_with_the_posterior_of_bayes() {
    let embeddings = vec![vec![1.0, 0.2], vec![-0.3, 0.9], vec![0.4, -0.8], vec![-0.9, -0.6]];
    let prior = [0.4, 0.3, 0.2, 0.1];
    let vectors = Vectors::new(embeddings.clone(), prior.to_vec()).unwrap();
    let z: Vec<f32> = (0..40).map(|n| (n as f32 * 0.77).sin() * 1.4).collect();
    for time in [1e-4, 0.05, 0.3, 0.8, 1.0] {
        let input = StepInput {
            state: State::Vectors(&z, 2),
            time,
            temperature: 1.0,
            previous: None,
            condition: Condition::Given,
        };
        let prediction = vectors.denoise(&input, &mut vectors.prefill(&[]).unwrap()).unwrap();
        assert_eq!(prediction.rows(), 20);
        for (row, z) in z.chunks(2).enumerate() {
            let targets: Vec<_> = (0..4).map(|token| (row, token)).collect();
            let found = prediction.log_probabilities(&targets, &LogitTransform::default()).unwrap();
            let squares = |v: usize, alpha: f64| -> f64 {
                z.iter().zip(&embeddings[v]).map(|(z, e)| (f64::from(*z) - alpha * f64::from(*e)).powi(2)).sum()
            };
            // The densities at z, over the nearest one's: at small times the others are 0 even in float64.
            let alpha = (1.0 - time).sqrt();
            let least = (0..4).map(|v| squares(v, alpha)).fold(f64::INFINITY, f64::min);
            let density = |v: usize| prior[v] * ((least - squares(v, alpha)) / (2.0 * time)).exp() / (2.0 * PI * time);
            let total: f64 = (0..4).map(density).sum();
            for (v, found) in found.iter().enumerate() {
                assert!((found.exp() - density(v) / total).abs() < 1e-4, "row {row}, token {v} at {time}");
            }
            if time <= 1e-4 {
                let nearest = (0..4).min_by(|a, b| squares(*a, 1.0).total_cmp(&squares(*b, 1.0))).unwrap();
                assert!(found[nearest] > -1e-3, "row {row}: {found:?}, nearest is {nearest}");
            }
        }
    }
}
