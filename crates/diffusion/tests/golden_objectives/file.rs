//! The files of `golden/objectives`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lldm_diffusion::Token;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::LeftOut;

/// All tensors of `golden.safetensors` and what `golden.json` says about one repository's runs.
pub(crate) struct Golden {
    tensors: BTreeMap<String, Tensor>,
    run: Value,
    name: &'static str,
}

/// A tensor, row-major.
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    values: Vec<f64>,
}

impl Golden {
    /// The runs of one repository.
    pub(crate) fn read(name: &'static str) -> Self {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden");
        let root = std::env::var_os("LLDM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
        let read = |file: &str| {
            let path = root.join("objectives").join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let bytes = read("golden.safetensors");
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = tensors.tensors().into_iter().map(|(name, view)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => numbers(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
                Dtype::F64 => numbers(data, f64::from_le_bytes),
                Dtype::I64 => numbers(data, |bytes| i64::from_le_bytes(bytes) as f64),
                other => panic!("{name} has the type {other:?}"),
            };
            (name, Tensor { shape: view.shape().to_vec(), values })
        });
        let json: Value = serde_json::from_slice(&read("golden.json")).expect("a JSON file");
        let run = json["runs"][name].clone();
        assert!(run.is_object(), "no runs of {name}");
        Self { tensors: tensors.collect(), run, name }
    }

    /// An input of this repository.
    pub(crate) fn input(&self, name: &str) -> &Tensor {
        self.tensor(&format!("in.{}.{name}", self.name))
    }

    /// An output of a case.
    pub(crate) fn output(&self, case: &str, name: &str) -> &Tensor {
        self.tensor(&format!("out.{}.{case}.{name}", self.name))
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("there is no tensor {name}"))
    }

    /// A size of this repository's runs.
    pub(crate) fn size(&self, name: &str) -> usize {
        self.run["params"][name].as_u64().unwrap_or_else(|| panic!("no size {name}")) as usize
    }

    /// The cases whose output is a sampler's, by name.
    pub(crate) fn samplers(&self) -> Vec<(&str, &Value)> {
        let cases = self.run["cases"].as_object().expect("cases");
        let sampled = |case: &str, what: &str| self.tensors.contains_key(&format!("out.{}.{case}.{what}", self.name));
        cases
            .iter()
            .map(|(name, case)| (name.as_str(), case))
            .filter(|(name, _)| sampled(name, "x") || sampled(name, "z"))
            .collect()
    }

    /// Fails where the cases that are left out are not those listed.
    pub(crate) fn compare_left_out(
        &self,
        found: &BTreeSet<(&str, LeftOut)>,
        listed: &[(&str, LeftOut)],
        tested: usize,
    ) {
        let sampled = self.tensors.keys().filter(|name| {
            name.starts_with(&format!("out.{}.", self.name)) && (name.ends_with(".x") || name.ends_with(".z"))
        });
        assert_eq!(sampled.count(), tested + found.len(), "{} has outputs of samplers that no case names", self.name);
        assert!(tested > 0);
        if std::env::var_os("LLDM_GOLDEN").is_none() {
            assert_eq!(found, &listed.iter().copied().collect(), "{}", self.name);
        }
    }
}

impl Tensor {
    /// The part at the leading indices.
    pub(crate) fn at(&self, index: &[usize]) -> &[f64] {
        let mut part = 0..self.values.len();
        for (at, size) in index.iter().zip(&self.shape) {
            assert!(at < size, "{index:?} of {:?}", self.shape);
            let length = part.len() / size;
            part = part.start + at * length..part.start + (at + 1) * length;
        }
        &self.values[part]
    }

    /// The token ids at the leading indices.
    pub(crate) fn tokens(&self, index: &[usize]) -> Vec<Token> {
        self.at(index).iter().map(|id| *id as Token).collect()
    }
}

fn numbers<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|bytes| read(bytes.try_into().expect("N bytes"))).collect()
}
