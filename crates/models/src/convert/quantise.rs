//! Rows of f32 as blocks of a GGUF format, by candle's quantisers.

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use lldm_kernels::QuantFormat;
use rayon::prelude::*;

use crate::error::Result;
use crate::nn::ggml_type;

/// Rows that one task quantises.
const ROWS: usize = 8;

/// The blocks of rows of `columns` values, which are whole blocks; `values` become what the blocks hold.
pub(super) fn quantise(format: QuantFormat, columns: usize, values: &mut [f32]) -> Result<Vec<u8>> {
    let parts: Vec<_> = values
        .par_chunks_mut((ROWS * columns).max(1))
        .map(|values| {
            let tensor = Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu)?;
            let blocks = QTensor::quantize(&tensor, ggml_type(format))?.data()?.into_owned();
            let whole = format.dequantize(&blocks, values);
            whole.map_err(|error| candle_core::Error::Msg(format!("candle's quantiser: {error}")).bt())?;
            Ok(blocks)
        })
        .collect::<Result<_>>()?;
    Ok(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of the formats against the spread of values between -1 and 1: each format errs by its own number of bits.
    #[test]
    fn every_format_errs_by_its_bits() {
        let values: Vec<f32> = (0..64 * 512).map(|at| ((at * 7919 + at / 512) % 2003) as f32 / 1001.0 - 1.0).collect();
        let mut errors = Vec::new();
        for format in QuantFormat::ALL {
            let mut found = values.clone();
            let blocks = quantise(format, 512, &mut found).expect("whole blocks");
            assert_eq!(Some(blocks.len()), format.matrix_bytes(64, 512));
            let mut whole = vec![0.0; values.len()];
            format.dequantize(&blocks, &mut whole).expect("whole blocks");
            assert_eq!(found, whole, "rows quantised apart are the rows of the matrix");
            let sum = |f: &dyn Fn(usize) -> f32| (0..values.len()).map(|at| f64::from(f(at)).powi(2)).sum::<f64>();
            errors.push((sum(&|at| found[at] - values[at]) / sum(&|at| values[at])).sqrt());
        }
        // q4_0, q4_1, q5_0, q8_0, q4_k, q5_k, q6_k; half a step of 2 / 2^bits is 1 / sqrt 3 of it in the r.m.s., and so are the values.
        let most = [0.075, 0.075, 0.04, 0.005, 0.09, 0.05, 0.03];
        assert!(errors.iter().zip(most).all(|(error, most)| *error < most && *error > most / 3.0), "{errors:?}");
    }
}
