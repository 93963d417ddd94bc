//! What cannot be converted or used is refused in one line, and nothing is left behind.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use lldm_kernels::{QuantFormat, bf16_path};
use lldm_models::convert::{ConvertConfig, Target, convert};
use lldm_models::load::{CONFIG, TOKENIZER, WEIGHTS};
use tempfile::TempDir;

use crate::support::{config, logits_of, make, names, open, parameters, path, place, weights};

const Q8: Option<Target> = Some(Target::Quant(QuantFormat::Q8_0));

fn assert_line(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(!message.contains('\n'), "more than a line: {message}");
}

fn assert_not_loaded(place: &TempDir, name: &str, parts: &[&str]) {
    assert_line(&open(place, name).err().expect("a broken model").to_string(), parts);
}

fn assert_not_converted(place: &TempDir, from: &str, parts: &[&str]) {
    let error = make(place, [from, "never"], Q8, true).expect_err("a mistake");
    assert_line(&error.to_string(), parts);
    assert!(!names(place.path()).iter().any(|name| name.starts_with("never")), "{:?}", names(place.path()));
}

/// Changes the header of a file; the data stay, a multiple of 64 bytes behind its start but for `shift`.
fn edit_header(place: &TempDir, name: &str, shift: usize, edit: impl Fn(String) -> String) {
    let file = weights(place, name);
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let json = edit(String::from_utf8(file[8..8 + length].to_vec()).unwrap());
    let mut header = json.trim_end().as_bytes().to_vec();
    header.resize((8 + header.len()).next_multiple_of(64) - 8 + shift, b' ');
    let new = [&(header.len() as u64).to_le_bytes()[..], &header, &file[8 + length..]].concat();
    fs::write(path(place, name).join(WEIGHTS), new).unwrap();
}

#[test]
fn packed_files_for_another_kernel_version_or_place_are_refused() {
    let own = bf16_path().layout().to_string();
    let other = if own == "portable" { "avx512" } else { "portable" };
    let kernel = |name: &str| format!(r#"\"kernel\":\"{name}\""#);
    let place = place(&config(), DType::BF16);
    let mut count = 0;
    let mut broken = |target: Option<Target>, shift: usize, from: &str, to: &str, parts: &[&str]| {
        count += 1;
        let name = format!("packed{count}");
        make(&place, ["source", &name], target, true).unwrap();
        let before = logits_of(&place, &name);
        edit_header(&place, &name, 0, |json| json);
        assert_eq!(logits_of(&place, &name), before, "editing alone breaks nothing");
        edit_header(&place, &name, shift, |json| {
            assert!(json.contains(from), "{from} is not in {}", &json[..400]);
            json.replace(from, to)
        });
        assert_not_loaded(&place, &name, parts);
    };
    let unknown = ["packed for the kernel `gpu`", "does not know", "convert the model again"];
    broken(None, 0, &kernel(&own), &kernel("gpu"), &unknown);
    // Portable panels of an even number of k are as large as those of avx512: only the name tells.
    let foreign = format!("packed for the kernel `{other}`, but `{own}` runs here");
    broken(None, 0, &kernel(&own), &kernel(other), &[WEIGHTS, &foreign, "lldm convert FOLDER NEW_FOLDER --pack"]);
    broken(None, 0, r#"\"version\":1"#, r#"\"version\":2"#, &[WEIGHTS, "version 2", "convert the model again"]);
    broken(Q8, 0, r#"\"version\":1,"#, "", &["no version", "convert the model again"]);
    broken(Q8, 0, "q8_0", "q9_0", &["the format `q9_0`", "unknown"]);
    broken(Q8, 0, "q8_0", "q4_0", &["is broken", "in q4_0 takes", "convert the model again"]);
    broken(Q8, 8, "q8_0", "q8_0", &["multiple of 64 bytes", "convert the model again"]);
    broken(None, 8, "bf16", "bf16", &["multiple of 64 bytes", "convert the model again"]);
    broken(Q8, 0, r#"\"packed\":true"#, r#"\"packed\":true,\"by\":1"#, &["metadata `lldm` are broken"]);
    broken(Q8, 0, r#"{\"model.embed_tokens.weight\""#, r#"{\"x.weight\""#, &["has the type U8"]);
    broken(
        Q8,
        0,
        r#"\"shape\":[300,256]"#,
        r#"\"shape\":[301,256]"#,
        &["expected shape [300, 256]", "found [301, 256]"],
    );
}

#[test]
fn broken_sources_are_refused() {
    let place = place(&config(), DType::F32);
    make(&place, ["source", "packed"], Q8, true).unwrap();
    let source = path(&place, "source");
    let good = weights(&place, "source");
    for (from, share) in [("source", 2), ("packed", 2), ("source", 0)] {
        let whole = weights(&place, from);
        fs::write(path(&place, from).join(WEIGHTS), &whole[..whole.len() * share / 3]).unwrap();
        assert_not_converted(&place, from, &[WEIGHTS, "not a whole safetensors file", "get it again"]);
        assert_not_loaded(&place, from, &[WEIGHTS, "not a whole safetensors file", "get it again"]);
        fs::write(path(&place, from).join(WEIGHTS), whole).unwrap();
    }
    let store =
        |tensors: &HashMap<String, Tensor>| candle_core::safetensors::save(tensors, source.join(WEIGHTS)).unwrap();
    let name = "model.layers.0.mlp.up_proj.weight";
    let mut tensors = parameters(&config());
    let up = tensors.remove(name).unwrap();
    store(&tensors);
    assert_not_converted(&place, "source", &[name, "expected shape [512, 256]", "found nothing"]);
    tensors.insert(name.to_string(), up.affine(f64::INFINITY, 0.0).unwrap());
    store(&tensors);
    assert_not_converted(&place, "source", &[name, "values that are no numbers"]);
    tensors.insert(name.to_string(), up.to_dtype(DType::U32).unwrap());
    store(&tensors);
    assert_not_converted(&place, "source", &[name, "has the type U32"]);
    tensors.insert(name.to_string(), up);
    tensors.insert("lm_head.weight".to_string(), Tensor::zeros((300, 256), DType::F32, &Device::Cpu).unwrap());
    store(&tensors);
    assert_not_converted(&place, "source", &["1 tensors have no place", "lm_head.weight"]);
    fs::write(source.join(WEIGHTS), good).unwrap();
    for (file, said) in [(CONFIG, "config.json"), (TOKENIZER, "not a tokenizer.json")] {
        let whole = fs::read(source.join(file)).unwrap();
        fs::write(source.join(file), &whole[..whole.len() / 2]).unwrap();
        assert_not_converted(&place, "source", &[file, said]);
        fs::remove_file(source.join(file)).unwrap();
        assert_not_converted(&place, "source", &[file, "is missing"]);
        fs::write(source.join(file), whole).unwrap();
    }
    assert_not_converted(&place, "nothing", &["there is no model"]);
    let toy = convert("toy", &path(&place, "never"), ConvertConfig::default()).expect_err("a table");
    assert_line(&toy.to_string(), &["no model `toy`", "a table without weights"]);
    make(&place, ["source", "good"], Q8, true).unwrap();
}

#[test]
fn nothing_is_overwritten_unless_it_is_a_model_to_be_replaced() {
    let place = place(&config(), DType::BF16);
    let source = path(&place, "source");
    let to = |name: &str, replace: bool| {
        let config = ConvertConfig { target: Q8, pack: false, replace };
        convert(source.to_str().unwrap(), &path(&place, name), config)
    };
    let refused = |name: &str, replace: bool, parts: &[&str]| {
        assert_line(&to(name, replace).expect_err("a mistake").to_string(), parts);
    };
    to("new", false).unwrap();
    let first = weights(&place, "new");
    refused("new", false, &["new", "is there already", "--force"]);
    refused("new/", false, &["is there already"]);
    fs::write(path(&place, "new").join(WEIGHTS), "old").unwrap();
    to("new", true).unwrap();
    assert_eq!(weights(&place, "new"), first);
    fs::create_dir(path(&place, "photographs")).unwrap();
    fs::write(path(&place, "photographs").join("a.jpg"), "a").unwrap();
    refused("photographs", true, &["is no model folder", "not replaced"]);
    refused("photographs/a.jpg", true, &["is no model folder"]);
    refused("source", true, &["is the model that is to be converted"]);
    refused("photographs/../source", true, &["is the model that is to be converted"]);
    refused("no/folder/new", false, &["cannot write", "no/folder/new"]);
    assert_eq!(names(place.path()), ["new", "photographs", "source"]);
    assert_eq!(names(&path(&place, "new")), [CONFIG, WEIGHTS, TOKENIZER]);
}
