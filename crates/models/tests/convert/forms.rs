//! What a conversion leaves as it was, bit by bit, and what it changes by how much.

use std::fs;

use candle_core::DType;
use lldm_diffusion::{Condition, State, StepInput};
use lldm_kernels::{Layout, PackedQuant, QuantFormat, pack_bf16, selected_kernel};
use lldm_models::convert::Target;
use lldm_models::load::{GENERATION_CONFIG, TOKENIZER};
use lldm_models::nn::{Loaded, Precision, StorageKind};
use lldm_models::{FusedLogits, StorageUse, Trunk, TrunkConfig};
use safetensors::SafeTensors;

use crate::support::{
    VOCABULARY, WIDTH, blocks, config, logits, logits_of, make, open, parameters, path, place, weights,
};

#[test]
fn packed_bf16_gives_the_bits_of_the_source() {
    // Whatever the source's type: the bits of the parameters read as f32 and packed as a whole.
    for dtype in [DType::BF16, DType::F16, DType::F32, DType::F64] {
        let place = place(&config(), dtype);
        let stored = parameters(&config()).into_iter().map(|(name, t)| (name, t.to_dtype(dtype).unwrap())).collect();
        let mut source = Loaded::new("memory", stored, Precision::FrozenBf16);
        let expected = logits(&Trunk::new(&config(), &mut source).unwrap());
        source.finish().unwrap();
        assert!(expected.iter().flatten().all(|logit| logit.is_finite() && *logit != 0.0));
        assert_eq!(logits_of(&place, "source"), expected, "{dtype:?}");
        make(&place, ["source", "packed"], None, true).unwrap();
        assert_eq!(logits_of(&place, "packed"), expected, "{dtype:?}, packed");
        make(&place, ["source", "bf16"], Some(Target::Bf16), false).unwrap();
        assert_eq!(logits_of(&place, "bf16"), expected, "{dtype:?}, as bf16");
        make(&place, ["packed", "again"], Some(Target::Bf16), false).unwrap();
        // Norms keep the type of the source.
        assert_eq!(weights(&place, "again"), weights(&place, "bf16"), "{dtype:?}, and back");
    }
}

#[test]
fn a_packed_file_holds_what_is_packed_in_memory() {
    let place = place(&config(), DType::F32);
    let all = parameters(&config());
    let names = ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"];
    make(&place, ["source", "bf16"], None, true).unwrap();
    let file = weights(&place, "bf16");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for name in names {
        let [rows, columns] = all[name].dims()[..] else { panic!("a matrix") };
        let values: Vec<f32> = all[name].flatten_all().unwrap().to_vec1().unwrap();
        let packed = pack_bf16(&values, Layout::row_major(rows, columns).transposed());
        assert!(tensors.tensor(name).unwrap().data() == packed.bytes(), "{name}");
    }
    for format in QuantFormat::ALL {
        let (plain, packed) = (format!("{format}"), format!("{format}-packed"));
        make(&place, ["source", &plain], Some(Target::Quant(format)), false).unwrap();
        make(&place, ["source", &packed], Some(Target::Quant(format)), true).unwrap();
        let (plain_file, packed_file) = (weights(&place, &plain), weights(&place, &packed));
        let tensors = [&plain_file, &packed_file].map(|file| SafeTensors::deserialize(file).unwrap());
        for name in names {
            let [rows, columns] = all[name].dims()[..] else { panic!("a matrix") };
            let blocks = blocks(format, &all[name]);
            assert!(tensors[0].tensor(name).unwrap().data() == blocks, "{format}: {name}");
            let packed = PackedQuant::pack(format, [rows, columns], &blocks).unwrap();
            assert!(tensors[1].tensor(name).unwrap().data() == packed.bytes(), "{format}: {name}");
        }
        assert_eq!(logits_of(&place, &plain), logits_of(&place, &packed), "{format}");
        // Packing what is quantised already loses nothing, and packing what is packed changes nothing.
        make(&place, [&plain, &format!("{format}-later")], None, true).unwrap();
        assert_eq!(weights(&place, &format!("{format}-later")), packed_file, "{format}");
        make(&place, [&packed, &format!("{format}-twice")], None, true).unwrap();
        assert_eq!(weights(&place, &format!("{format}-twice")), packed_file, "{format}");
    }
}

#[test]
fn packed_tensors_begin_at_multiples_of_64() {
    let place = place(&config(), DType::BF16);
    for (name, target) in [("bf16", None), ("q8_0", Some(Target::Quant(QuantFormat::Q8_0)))] {
        make(&place, ["source", name], target, true).unwrap();
        let file = weights(&place, name);
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let at = |data: &[u8]| data.as_ptr().addr() - file.as_ptr().addr();
        let packed: Vec<_> = tensors.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::U8).collect();
        assert_eq!(packed.len(), 15);
        assert!(packed.iter().all(|(_, view)| at(view.data()).is_multiple_of(64)), "{name}");
    }
}

/// How far a quantised model's answers are from those in f32: nats of KL divergence per cell, and no more than twice what was
/// measured. The model is random, so that its answers are far from certain.
#[test]
fn quantised_models_answer_nearly_as_f32_does() {
    let mut source = Loaded::new("memory", parameters(&config()), Precision::F32);
    let exact = logits(&Trunk::new(&config(), &mut source).unwrap());
    let place = place(&config(), DType::F32);
    let divergence = |name: &str| {
        let found = logits_of(&place, name);
        exact.iter().zip(&found).map(|(exact, found)| kullback_leibler(exact, found)).sum::<f64>() / exact.len() as f64
    };
    let bf16 = divergence("source");
    println!("bf16: {bf16:.2e}");
    assert!(bf16 < 1e-3, "bf16: {bf16}");
    for (format, most) in QuantFormat::ALL.into_iter().zip(MOST) {
        make(&place, ["source", format.name()], Some(Target::Quant(format)), true).unwrap();
        let found = divergence(format.name());
        println!("{format}: {found:.2e}");
        assert!(found < most && found > bf16, "{format}: {found}");
    }
}

/// Of q4_0, q4_1, q5_0, q8_0, q4_k, q5_k, q6_k.
const MOST: [f64; 7] = [0.55, 0.5, 0.13, 0.0065, 0.45, 0.13, 0.033];

fn kullback_leibler(p: &[f32], q: &[f32]) -> f64 {
    let logs = |logits: &[f32]| {
        let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        logits.iter().map(|logit| f64::from(*logit) - total.ln()).collect::<Vec<_>>()
    };
    logs(p).iter().zip(logs(q)).map(|(p, q)| p.exp() * (p - q)).sum()
}

#[test]
fn a_converted_model_is_described() {
    let place = place(&config(), DType::BF16);
    fs::write(path(&place, "source").join(GENERATION_CONFIG), r#"{"sampler": "ancestral"}"#).unwrap();
    let report = make(&place, ["source", "new"], Some(Target::Quant(QuantFormat::Q6K)), true).unwrap();
    assert!(report.fallbacks.is_empty() && report.kernel.is_none());
    assert_eq!(report.size_bytes, weights(&place, "new").len());
    assert_eq!(report.source_bytes, weights(&place, "source").len());
    let part = |kind: &str| report.parts.iter().find(|part| part.kind == kind).unwrap();
    let down = part("model.layers.*.mlp.down_proj");
    assert_eq!((down.format.as_str(), down.packed, down.tensors, down.parameters), ("q6_k", true, 2, 2 * WIDTH * 512));
    assert!(down.relative_rms_error > 0.01 && down.relative_rms_error < 0.03, "{down:?}");
    let norm = part("model.layers.*.input_layernorm");
    assert_eq!((norm.format.as_str(), norm.packed, norm.relative_rms_error), ("bf16", false, 0.0));

    let model = open(&place, "new").unwrap();
    let source = open(&place, "source").unwrap();
    assert_eq!((model.parameters, &model.config), (source.parameters, &source.config));
    assert_eq!(model.defaults.sampler.as_deref(), Some("ancestral"));
    assert_eq!(
        fs::read(path(&place, "new").join(TOKENIZER)).unwrap(),
        fs::read(path(&place, "source").join(TOKENIZER)).unwrap()
    );
    let [quantised, norms] = model.storage.as_slice() else { panic!("two kinds of storage") };
    let layers: usize = report.parts.iter().filter(|part| part.packed).map(|part| part.size_bytes).sum();
    assert_eq!(
        *quantised,
        StorageUse {
            kind: StorageKind::Quant(QuantFormat::Q6K),
            mapped: true,
            tensors: 15,
            parameters: model.parameters - norms.parameters,
            size_bytes: layers,
        }
    );
    assert_eq!((norms.kind, norms.mapped, norms.size_bytes), (StorageKind::F32, false, 4 * norms.parameters));
    assert_eq!(source.storage[0].kind, StorageKind::PackedBf16);
    assert!(!source.storage[0].mapped);

    // Through the contract, too.
    let canvas = [0, 5];
    let ask = |model: &lldm_models::LoadedModel| {
        let input = StepInput {
            state: State::Tokens(&canvas),
            time: 0.5,
            temperature: 1.0,
            previous: None,
            condition: Condition::Given,
        };
        let answer = model.denoiser.denoise(&input, &mut model.denoiser.prefill(&[7]).unwrap()).unwrap();
        answer.as_any().downcast_ref::<FusedLogits>().unwrap().row(0).to_vec()
    };
    assert_eq!(ask(&model).len(), VOCABULARY);
    assert!(ask(&model) != ask(&source), "quantising does something");
    make(&place, ["source", "packed"], None, true).unwrap();
    let packed = open(&place, "packed").unwrap();
    assert_eq!(ask(&packed), ask(&source));
    let packed_report = make(&place, ["source", "packed2"], None, true).unwrap();
    assert_eq!(packed_report.kernel, Some(selected_kernel().unwrap().to_string()));
}

#[test]
fn rows_that_are_no_whole_blocks_fall_back() {
    // 96 is three blocks of 32 and none of 256; 200 is neither.
    let config = TrunkConfig { hidden_size: 96, intermediate_size: 200, num_attention_heads: 2, ..config() };
    let place = place(&config, DType::F32);
    let report = make(&place, ["source", "new"], Some(Target::Quant(QuantFormat::Q4K)), false).unwrap();
    let [down, others] = report.fallbacks.as_slice() else { panic!("{:?}", report.fallbacks) };
    assert_eq!((down.asked, down.became, down.tensors.len()), ("q4_k", "bf16", 2));
    assert_eq!(down.tensors[0], "model.layers.0.mlp.down_proj.weight");
    assert_eq!((others.asked, others.became, others.tensors.len()), ("q4_k", "q8_0", 13));
    let expected = logits_of(&place, "new");
    make(&place, ["source", "packed"], Some(Target::Quant(QuantFormat::Q4K)), true).unwrap();
    assert_eq!(logits_of(&place, "packed"), expected);
    // Through the blocks it is the same; what became bf16 stays so.
    make(&place, ["new", "later"], None, true).unwrap();
    assert_eq!(weights(&place, "later"), weights(&place, "packed"));
}

#[test]
fn the_model_in_the_binary_can_be_converted() {
    let place = tempfile::tempdir().unwrap();
    let to = path(&place, "default");
    let config = lldm_models::convert::ConvertConfig { pack: true, ..Default::default() };
    lldm_models::convert::convert("embedded", &to, config).unwrap();
    let trunk = |name: &str| lldm_models::load(name).unwrap().trunk.unwrap();
    assert_eq!(logits(&trunk(to.to_str().unwrap())), logits(&trunk("embedded")));
}
