//! One product of a mixture of experts: every token meets the experts that it chose, about sixteen rows each.
//!
//! candle has no such operation for the CPU; beside ours stands its QMatMul, expert by expert, on rows that were gathered before.

use anyhow::Result;
use candle_core::quantized::QMatMul;
use candle_core::{Device, Module, Tensor};
use lldm_kernels::quant::gemm_grouped;
use lldm_kernels::{PackedQuant, QuantFormat, int8_path};

use super::quantised::{peak_type, weights};
use super::report::Row;
use super::setting::{Setting, values};
use crate::render::plain;

/// Tokens, experts, choices, inner, columns: a layer of DiffusionGemma on a canvas of 256.
const SHAPE: [usize; 5] = [256, 128, 8, 2816, 1408];
const FORMATS: [QuantFormat; 3] = [QuantFormat::Q4_0, QuantFormat::Q4K, QuantFormat::Q8_0];

/// A row for each format.
pub(super) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for format in FORMATS {
        let kernel = format!("experts_{format}");
        if !setting.wants(&kernel) {
            continue;
        }
        let [tokens, experts, choices, k, n] = SHAPE;
        plain::note(&format!("measuring {kernel}: {tokens} tokens, {choices} of {experts} experts, {k} x {n}"));
        let (mut packed, mut candle): (Vec<PackedQuant>, Vec<QMatMul>) = (Vec::new(), Vec::new());
        for expert in 0..experts {
            let (own, peer) = weights(format, [n, k], expert as u64)?;
            packed.push(own);
            candle.push(peer);
        }
        let x = values(tokens * k);
        let groups = groups(tokens, experts, choices);
        let starts = starts(&groups);
        let list: Vec<u32> = groups.concat();
        let mut gathered = Vec::new();
        for group in &groups {
            let rows: Vec<f32> = group.iter().flat_map(|row| &x[*row as usize * k..][..k]).copied().collect();
            gathered.push(Tensor::from_vec(rows, (group.len(), k), &Device::Cpu)?);
        }
        let mut out = vec![0.0; list.len() * n];
        let peak = setting.peak_of(int8_path().name(), peak_type());
        let (seconds, peak) = setting.beside(
            peak,
            &mut [
                &mut || {
                    gemm_grouped(&x, &packed, &list, &starts, &mut out);
                    Ok(())
                },
                &mut || {
                    for (matrix, rows) in candle.iter().zip(&gathered).filter(|(_, rows)| rows.dims()[0] > 0) {
                        matrix.forward(rows)?;
                    }
                    Ok(())
                },
            ],
        )?;
        let work = 2.0 * (list.len() * k * n) as f64;
        rows.push(Row::new(setting, &kernel, int8_path().name(), format.name(), peak, &SHAPE, work, &seconds));
    }
    Ok(rows)
}

/// The tokens of each expert: every token chooses different ones, at random.
pub(super) fn groups(tokens: usize, experts: usize, choices: usize) -> Vec<Vec<u32>> {
    let mut groups = vec![Vec::new(); experts];
    let mut state = 1u64;
    for token in 0..tokens as u32 {
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < choices.min(experts) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let expert = (state >> 33) as usize % experts;
            if !chosen.contains(&expert) {
                chosen.push(expert);
                groups[expert].push(token);
            }
        }
    }
    groups
}

/// Where each group begins in their list, and its length.
pub(super) fn starts(groups: &[Vec<u32>]) -> Vec<usize> {
    let ends = groups.iter().scan(0, |end, group| {
        *end += group.len();
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_chooses_different_experts() {
        let groups = groups(40, 12, 3);
        assert_eq!(starts(&groups).last(), Some(&120));
        for token in 0..40 {
            assert_eq!(groups.iter().filter(|group| group.contains(&token)).count(), 3);
        }
        assert!(groups.iter().all(|group| group.is_sorted_by(|a, b| a < b)));
    }
}
