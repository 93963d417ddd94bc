//! A layer in every kind of storage.

use candle_core::{Device, Tensor};
use lldm_kernels::{PackedQuant, QuantFormat};
use lldm_models::nn::{Linear, Precision, StorageKind};

use crate::support::{blocks, random};

const OUTPUT: usize = 70;
const INPUT: usize = 512;

/// The same weight in every kind whose products are ours, with the values that it then has.
fn layers() -> Vec<(Linear, Vec<Vec<f32>>)> {
    let weight = random(5, &[OUTPUT, INPUT]);
    let rounded = weight.to_dtype(candle_core::DType::BF16).unwrap().to_dtype(candle_core::DType::F32).unwrap();
    let rounded: Vec<Vec<f32>> = rounded.to_vec2().unwrap();
    let plain = Linear::from_weight(weight.clone(), Precision::Bf16).unwrap();
    let packed = Linear::from_weight(weight.clone(), Precision::FrozenBf16).unwrap();
    let mut layers = vec![(plain, weight.to_vec2().unwrap()), (packed, rounded)];
    for format in QuantFormat::ALL {
        let blocks = blocks(format, &weight);
        let mut values = vec![0.0; OUTPUT * INPUT];
        format.dequantize(&blocks, &mut values).unwrap();
        let layer = Linear::from(PackedQuant::pack(format, [OUTPUT, INPUT], &blocks).unwrap());
        layers.push((layer, values.chunks_exact(INPUT).map(<[f32]>::to_vec).collect()));
    }
    layers
}

#[test]
fn a_row_has_the_same_bits_whatever_the_number_of_rows() {
    let x = random(6, &[17, INPUT]);
    for (layer, _) in layers() {
        let product = |x: &Tensor| layer.forward(x).unwrap().to_vec2::<f32>().unwrap();
        let all = product(&x);
        assert!(all.iter().flatten().all(|value| value.is_finite() && *value != 0.0));
        for rows in [1, 3, 17] {
            for start in (0..=17 - rows).step_by(rows) {
                let some = product(&x.narrow(0, start, rows).unwrap());
                assert_eq!(some, all[start..start + rows], "{} with {rows} rows", layer.kind());
            }
        }
    }
}

#[test]
fn rows_are_those_of_the_weight() {
    let kinds: Vec<_> = layers().iter().map(|(layer, _)| layer.kind()).collect();
    assert_eq!(kinds[..3], [StorageKind::Bf16, StorageKind::PackedBf16, StorageKind::Quant(QuantFormat::Q4_0)]);
    for (layer, values) in layers() {
        let wanted = [69, 0, 33, 0];
        let found: Vec<Vec<f32>> = layer.rows(&wanted).unwrap().to_vec2().unwrap();
        let expected: Vec<_> = wanted.iter().map(|row| values[*row as usize].clone()).collect();
        assert_eq!(found, expected, "{}", layer.kind());
        assert_eq!(layer.rows(&[]).unwrap().dims(), [0, INPUT]);
        assert!(layer.rows(&[3, 70]).is_err(), "{} has no row 70", layer.kind());
        // Only what can be trained keeps its weight in f32.
        assert_eq!(layer.weight().is_some(), layer.kind() == StorageKind::Bf16);
    }
}

/// The product of a layer is that of its rows, as exact as its activations are: bf16 has 8 bits, int8 has 7 and a sign.
#[test]
fn products_are_those_of_the_rows() {
    let x = random(7, &[5, INPUT]);
    for (layer, values) in layers() {
        let weight = Tensor::new(values, &Device::Cpu).unwrap();
        let exact = x.matmul(&weight.t().unwrap()).unwrap();
        let error = (layer.forward(&x).unwrap() - &exact).unwrap().sqr().unwrap().mean_all().unwrap();
        let share = (error / exact.sqr().unwrap().mean_all().unwrap()).unwrap().to_scalar::<f32>().unwrap().sqrt();
        assert!(share < 0.01, "{}: {share}", layer.kind());
    }
}
