//! Muon: momentum, made orthogonal by Newton-Schulz iterations, for the matrices inside the network.
//!
//! Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the quintic's coefficients are theirs.

use lldm_kernels::vector::{approach, combine, scaled, sum_of_squares};
use lldm_kernels::{Layout, gemm_bf16};
use lldm_models::nn::Buffer;

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
pub fn orthogonalise(matrix: &mut [f32], shape: (usize, usize)) {
    let norm = sum_of_squares(matrix).sqrt() as f32 + 1e-7;
    // The Gram matrix is taken on the shorter side; it is symmetric, so a tall matrix is multiplied from the right.
    let (rows, columns) = shape;
    let layout = Layout::row_major(rows, columns);
    let (tall, short) = (rows > columns, rows.min(columns));
    let wide = if tall { layout.transposed() } else { layout };
    let square = Layout::row_major(short, short);
    let (mut gram, mut gram_squared) = (Buffer::new(short * short), Buffer::new(short * short));
    let (mut x, mut next) = (Buffer::new(matrix.len()), Buffer::new(matrix.len()));
    scaled(1.0 / norm, matrix, &mut x);
    for _ in 0..5 {
        gemm_bf16(&x, wide, &x, wide.transposed(), &mut gram);
        gemm_bf16(&gram, square, &gram, square, &mut gram_squared);
        combine(-4.775, &mut gram, 2.0315, &gram_squared);
        match tall {
            true => gemm_bf16(&x, layout, &gram, square, &mut next),
            false => gemm_bf16(&gram, square, &x, layout, &mut next),
        }
        combine(3.4445, &mut x, 1.0, &next);
    }
    matrix.copy_from_slice(&x);
}

impl Muon {
    /// A fresh buffer for `count` values.
    pub fn new(count: usize, beta: f64, weight_decay: f64) -> Self {
        Self { momentum: vec![0.0; count], beta, weight_decay }
    }

    /// Makes an update on a matrix of `shape`; Nesterov momentum, and the step scaled by sqrt(max(1, rows / columns)).
    pub fn update(&mut self, values: &mut [f32], shape: (usize, usize), grad: &[f32], scale: f64, rate: f64) {
        let (beta, scale) = (self.beta as f32, scale as f32);
        let mut step = Buffer::new(grad.len());
        scaled(scale, grad, &mut step);
        approach(1.0 - beta, &mut self.momentum, &step);
        combine(1.0 - beta, &mut step, beta, &self.momentum);
        orthogonalise(&mut step, shape);
        let stride = (rate * (shape.0 as f64 / shape.1 as f64).max(1.0).sqrt()) as f32;
        combine((1.0 - rate * self.weight_decay) as f32, values, -stride, &step);
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
            let mut out = values.clone();
            orthogonalise(&mut out, shape);
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
        let (mut from_wide, mut from_tall) = (wide, tall);
        orthogonalise(&mut from_wide, (3, 4));
        orthogonalise(&mut from_tall, (4, 3));
        for at in 0..12 {
            assert_eq!(from_tall[at], from_wide[at % 3 * 4 + at / 3]);
        }
    }
}
