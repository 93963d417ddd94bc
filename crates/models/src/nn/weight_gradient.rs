//! The gradient of a linear layer's weight: gᵀ x, a product whose inner dimension is the number of rows.

use lldm_kernels::gemm::{Layout, gemm_bf16, gemm_bf16_add};

/// Rows that are summed together. Over more of them the packed rows of a wide output leave the cache.
pub(super) const ROWS: usize = 1024;
/// From this width of the output on the rows are summed in blocks; a narrow one gains nothing.
const WIDE: usize = 512;

/// Writes gᵀ x, [O, I], for the gradient g [N, O] of the output and the input x [N, I], in bf16. The blocks of rows, and so the
/// bits, depend on the sizes alone.
pub(super) fn weight_gradient(grad: &[f32], x: &[f32], rows: usize, out: &mut [f32]) {
    if rows == 0 {
        return out.fill(0.0);
    }
    let (output, input) = (grad.len() / rows, x.len() / rows);
    let block = if output >= WIDE { ROWS } else { rows };
    let blocks = grad.chunks(block * output).zip(x.chunks(block * input));
    for (at, (grad, x)) in blocks.enumerate() {
        add_block(grad, x, [output, input], at == 0, out);
    }
}

/// Adds gᵀ x of some rows to `out`, or writes it if they are the first.
pub(super) fn add_block(grad: &[f32], x: &[f32], [output, input]: [usize; 2], first: bool, out: &mut [f32]) {
    let rows = x.len() / input;
    let (g, x_layout) = (Layout::row_major(rows, output).transposed(), Layout::row_major(rows, input));
    let product = if first { gemm_bf16 } else { gemm_bf16_add };
    product(grad, g, x, x_layout, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, whose sums are exact in whatever order.
    #[test]
    fn blocks_of_rows_give_the_whole_sum() {
        for (rows, output, input) in [(0, 3, 2), (5, 3, 4), (1030, 512, 3), (2048, 520, 5), (1100, 7, 6)] {
            let number = |i: usize| (i * 7919 % 5) as f32 - 2.0;
            let grad: Vec<f32> = (0..rows * output).map(number).collect();
            let x: Vec<f32> = (0..rows * input).map(|i| number(i + 3)).collect();
            let mut found = vec![7.0; output * input];
            weight_gradient(&grad, &x, rows, &mut found);
            for (at, found) in found.iter().enumerate() {
                let (i, j) = (at / input, at % input);
                let expected: f32 = (0..rows).map(|row| grad[row * output + i] * x[row * input + j]).sum();
                assert_eq!(*found, expected, "{rows} rows, {output} x {input}, at {i}, {j}");
            }
        }
    }
}
