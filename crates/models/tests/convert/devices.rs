//! Models whose layers are candle's: every form of their weights that can go to a device, and the word about those that cannot.

use candle_core::DType;
use lldm_diffusion::{Condition, State, StepInput};
use lldm_kernels::QuantFormat;
use lldm_models::convert::Target;
use lldm_models::nn::StorageKind;
use lldm_models::{Attention, Device, FusedLogits, LoadedModel, RandomWeights, Trunk, TrunkConfig, load_on};

use crate::support::{config, logits, make, open, path, place};

fn on_candle(place: &tempfile::TempDir, name: &str) -> lldm_models::Result<LoadedModel> {
    load_on(path(place, name).to_str().unwrap(), Device::CandleCpu)
}

/// The largest difference as a share of the largest value.
fn distance(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, |max, x| max.max(x.abs()));
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    largest(&mut pairs.map(|(a, b)| a - b)) / largest(&mut expected.iter().flatten().copied())
}

#[test]
fn a_model_answers_the_same_by_candles_operations() {
    let place = place(&config(), DType::F32);
    make(&place, ["source", "q8"], Some(Target::Quant(QuantFormat::Q8_0)), false).unwrap();
    make(&place, ["source", "q4"], Some(Target::Quant(QuantFormat::Q4K)), false).unwrap();
    for (name, kind) in [
        ("source", StorageKind::CandleBf16),
        ("q8", StorageKind::CandleQuant(QuantFormat::Q8_0)),
        ("q4", StorageKind::CandleQuant(QuantFormat::Q4K)),
    ] {
        let (theirs, ours) = (on_candle(&place, name).unwrap(), open(&place, name).unwrap());
        assert_eq!(theirs.storage[0].kind, kind);
        // Ours fill up the last panel of columns.
        let sizes = [&theirs, &ours].map(|model| model.storage[0].size_bytes);
        assert!(
            theirs.parameters == ours.parameters && sizes[0] <= sizes[1] && sizes[1] < sizes[0] * 11 / 10,
            "{sizes:?}"
        );
        let both = [&theirs, &ours].map(|model| logits(model.trunk.as_ref().unwrap()));
        let distance = distance(&both[0], &both[1]);
        assert!(distance > 0.0 && distance < 0.02, "{name}: {distance}");
    }
}

/// Caches, times and the contract: what a pass behind a prefix answers.
#[test]
fn a_denoiser_answers_the_same_behind_a_prefix() {
    let config = config();
    for (attention, block_length, canvas) in
        [(Attention::Full, None, 3), (Attention::BlockCausal, Some(4), 3), (Attention::Causal, None, 1)]
    {
        let config =
            TrunkConfig { attention, block_length, time_input: attention == Attention::Full, ..config.clone() };
        let place = place(&config, DType::F32);
        let ask = |model: &LoadedModel| {
            let canvas = vec![0; canvas];
            let state = State::Tokens(&canvas);
            let input = StepInput { state, time: 0.3, temperature: 1.0, previous: None, condition: Condition::Given };
            let mut context = model.denoiser.prefill(&[7, 8, 9, 10, 11]).unwrap();
            let mut answers = Vec::new();
            for round in 0..2 {
                let answer = model.denoiser.denoise(&input, &mut context).unwrap();
                let logits = answer.as_any().downcast_ref::<FusedLogits>().unwrap();
                answers.extend((0..canvas.len()).map(|row| logits.row(row).to_vec()));
                model.denoiser.extend(&mut context, &[20 + round; 3]).unwrap();
            }
            answers
        };
        let both = [on_candle(&place, "source").unwrap(), open(&place, "source").unwrap()].map(|model| ask(&model));
        let distance = distance(&both[0], &both[1]);
        assert!(distance > 0.0 && distance < 0.02, "{attention:?}: {distance}");
    }
}

#[test]
fn packed_weights_stay_on_the_cpu() {
    let place = place(&config(), DType::F32);
    for (name, target) in [("bf16", None), ("q8", Some(Target::Quant(QuantFormat::Q8_0)))] {
        make(&place, ["source", name], target, true).unwrap();
        let message = on_candle(&place, name).err().expect("a refusal").to_string();
        assert!(message.contains("is packed for the kernels of the CPU"), "{message}");
        assert!(message.ends_with("for other devices convert the model without --pack"), "{message}");
    }
}

#[test]
fn random_weights_are_the_same_under_both() {
    for (quant, bound) in [(None, 0.02), (Some(QuantFormat::Q4K), 0.04)] {
        let trunk = |device: Device| {
            let mut weights = RandomWeights::new(3, quant).on(device.open().unwrap());
            logits(&Trunk::new(&config(), &mut weights).unwrap())
        };
        let distance = distance(&trunk(Device::CandleCpu), &trunk(Device::Cpu));
        assert!(distance > 0.0 && distance < bound, "{quant:?}: {distance}");
    }
}
