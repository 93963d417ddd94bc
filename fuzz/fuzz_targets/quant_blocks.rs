//! Broken quantised blocks and odd shapes: packing and products answer with an error or a number, and never crash.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use lldm_kernels::quant::gemm_grouped;
use lldm_kernels::{PackedQuant, QuantFormat, gemm_quant};

fuzz_target!(|data: &[u8]| {
    let [format, rows, columns, tokens, wide, bytes @ ..] = data else { return };
    let format = QuantFormat::ALL[usize::from(*format) % QuantFormat::ALL.len()];
    // Small shapes that may fit, and such as would overflow.
    let widen = |value: u8| match wide % 4 {
        0 => usize::from(value) << 56,
        1 => usize::MAX - usize::from(value),
        _ => usize::from(value),
    };
    let columns = if wide % 8 < 4 { widen(*columns) } else { usize::from(*columns % 4) * format.block_len() };
    let shape = [if wide % 16 < 8 { widen(*rows) } else { usize::from(*rows % 70) }, columns];
    let expected = format.matrix_bytes(shape[0], shape[1]);
    let mut blocks = bytes.to_vec();
    if let Some(expected) = expected.filter(|expected| *expected < 1 << 18 && wide % 32 < 24) {
        blocks.resize(expected, 0x5a);
    }
    assert_eq!(PackedQuant::pack(format, shape, &blocks).is_ok(), expected == Some(blocks.len()));
    let owner = Arc::new(blocks.clone());
    let (start, end) = (usize::from(*tokens).min(blocks.len()), blocks.len());
    let mapped = PackedQuant::from_packed(format, shape, owner, start..end);
    let packed = PackedQuant::pack(format, shape, &blocks);
    for weights in mapped.into_iter().chain(packed).filter(|weights| weights.inputs() > 0 && weights.outputs() > 0) {
        let tokens = usize::from(*tokens % 9);
        let values = bytes.iter().cycle().map(|byte| f32::from_bits(u32::from(*byte) << 23 | 0x1234));
        let x: Vec<f32> = values.take(tokens * weights.inputs() * usize::from(!bytes.is_empty())).collect();
        if x.len() != tokens * weights.inputs() {
            continue;
        }
        let mut out = vec![0.0; tokens * weights.outputs()];
        gemm_quant(&x, &weights, &mut out);
        let list: Vec<u32> = (0..tokens as u32).collect();
        let mut grouped = vec![0.0; out.len()];
        gemm_grouped(&x, std::slice::from_ref(&weights), &list, &[0, tokens], &mut grouped);
        let bits = |values: &[f32]| values.iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<_>>();
        assert_eq!(bits(&out), bits(&grouped));
        let mut row = vec![0.0; weights.inputs()];
        weights.row(weights.outputs() - 1, &mut row);
    }
});
