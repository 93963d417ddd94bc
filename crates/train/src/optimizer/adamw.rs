//! AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2), on one parameter.

use lldm_kernels::AdamWStep;

/// The state and settings for one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// First and second moments.
    pub moments: [Vec<f32>; 2],
    /// Decay rates of the moments.
    pub betas: (f64, f64),
    /// Weight decay, as a share of the learning rate.
    pub weight_decay: f64,
}

impl AdamW {
    /// Fresh moments for `count` values.
    pub fn new(count: usize, betas: (f64, f64), weight_decay: f64) -> Self {
        Self { moments: [vec![0.0; count], vec![0.0; count]], betas, weight_decay }
    }

    /// Makes update number `step` (from 1) on `values`.
    pub fn update(&mut self, values: &mut [f32], grad: &[f32], scale: f64, rate: f64, step: usize) {
        let (b1, b2) = self.betas;
        let (c1, c2) = (1.0 - b1.powi(step as i32), 1.0 - b2.powi(step as i32));
        let by = AdamWStep {
            scale: scale as f32,
            betas: [b1 as f32, b2 as f32],
            stride: (rate / c1) as f32,
            root: (1.0 / c2) as f32,
            shrink: (1.0 - rate * self.weight_decay) as f32,
        };
        let [first, second] = &mut self.moments;
        by.apply(values, grad, first, second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two updates by hand: with a constant gradient the bias-corrected step is rate * sign(grad).
    #[test]
    fn constant_gradients_move_by_the_rate() {
        let mut adam = AdamW::new(2, (0.9, 0.99), 0.0);
        let mut values = [1.0f32, -1.0];
        for step in 1..=2 {
            adam.update(&mut values, &[0.3, -5.0], 1.0, 0.1, step);
        }
        assert!((values[0] - 0.8).abs() < 1e-5 && (values[1] + 0.8).abs() < 1e-5);
        let mut decayed = AdamW::new(1, (0.9, 0.99), 0.5);
        let mut value = [2.0f32];
        decayed.update(&mut value, &[0.0], 1.0, 0.1, 1);
        assert!((value[0] - 1.9).abs() < 1e-6);
    }
}
