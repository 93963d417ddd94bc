//! Muon: momentum, made orthogonal by Newton-Schulz iterations, for the matrices inside the network.
//!
//! Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the quintic's coefficients are theirs.

use lldm_kernels::{Layout, gemm_bf16};

/// The state and settings for one matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Muon {
    /// The momentum buffer.
    pub momentum: Vec<f32>,
    /// Its decay.
    pub beta: f64,
    /// Weight decay, as a share of the learning rate.
    pub weight_decay: f64,
}

/// Brings the singular values of a row-major matrix near 1 by five quintic Newton-Schulz iterations. The products take
/// bf16 factors, as the authors' own do.
pub fn orthogonalise(matrix: &[f32], shape: (usize, usize)) -> Vec<f32> {
    let norm = matrix.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32 + 1e-7;
    // The Gram matrix is taken on the shorter side.
    let tall = shape.0 > shape.1;
    let (short, long) = (shape.0.min(shape.1), shape.0.max(shape.1));
    let wide = Layout::row_major(short, long);
    let mut x: Vec<f32> = if tall {
        (0..short * long).map(|at| matrix[at % long * short + at / long] / norm).collect()
    } else {
        matrix.iter().map(|value| value / norm).collect()
    };
    let square = Layout::row_major(short, short);
    let (mut gram, mut gram_squared) = (vec![0.0; short * short], vec![0.0; short * short]);
    let mut next = vec![0.0; x.len()];
    for _ in 0..5 {
        gemm_bf16(&x, wide, &x, wide.transposed(), &mut gram);
        gemm_bf16(&gram, square, &gram, square, &mut gram_squared);
        for (first, second) in gram.iter_mut().zip(&gram_squared) {
            *first = -4.775 * *first + 2.0315 * second;
        }
        gemm_bf16(&gram, square, &x, wide, &mut next);
        for (value, next) in x.iter_mut().zip(&next) {
            *value = 3.4445 * *value + next;
        }
    }
    if tall { (0..x.len()).map(|at| x[at % short * long + at / short]).collect() } else { x }
}

impl Muon {
    /// A fresh buffer for `count` values.
    pub fn new(count: usize, beta: f64, weight_decay: f64) -> Self {
        Self { momentum: vec![0.0; count], beta, weight_decay }
    }

    /// Makes an update on a matrix of `shape`; Nesterov momentum, and the step scaled by sqrt(max(1, rows / columns)).
    pub fn update(&mut self, values: &mut [f32], shape: (usize, usize), grad: &[f32], scale: f64, rate: f64) {
        let (beta, scale) = (self.beta as f32, scale as f32);
        let ahead: Vec<f32> = self
            .momentum
            .iter_mut()
            .zip(grad)
            .map(|(momentum, grad)| {
                *momentum += (1.0 - beta) * (grad * scale - *momentum);
                beta * *momentum + (1.0 - beta) * grad * scale
            })
            .collect();
        let step = orthogonalise(&ahead, shape);
        let stride = (rate * (shape.0 as f64 / shape.1 as f64).max(1.0).sqrt()) as f32;
        let shrink = (1.0 - rate * self.weight_decay) as f32;
        for (value, step) in values.iter_mut().zip(step) {
            *value = *value * shrink - stride * step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With X = U S V^T the result is near U V^T: its Gram matrix is near the identity on the shorter side.
    #[test]
    fn singular_values_come_near_one() {
        for shape in [(4, 7), (7, 4), (5, 5)] {
            let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| ((i * 37 % 11) as f32 - 5.0) * 0.3).collect();
            let out = orthogonalise(&values, shape);
            assert_eq!(out.len(), values.len());
            // The sum of the squared singular values, all in about (0.7, 1.2)^2.
            let trace: f32 = out.iter().map(|value| value * value).sum();
            let rank = shape.0.min(shape.1) as f32;
            assert!(trace > 0.4 * rank && trace < 1.5 * rank, "{trace} for rank {rank}");
            // Orthogonalising keeps the direction: the inner product with the input is its nuclear norm, about.
            let inner: f32 = out.iter().zip(&values).map(|(a, b)| a * b).sum();
            let norm: f32 = values.iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!(inner > 0.7 * norm, "{inner} for norm {norm}");
        }
    }

    #[test]
    fn a_tall_matrix_is_the_transpose_of_a_wide_one() {
        let wide: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
        let tall: Vec<f32> = (0..12).map(|at| wide[at % 3 * 4 + at / 3]).collect();
        let (from_wide, from_tall) = (orthogonalise(&wide, (3, 4)), orthogonalise(&tall, (4, 3)));
        for at in 0..12 {
            assert_eq!(from_tall[at], from_wide[at % 3 * 4 + at / 3]);
        }
    }
}
