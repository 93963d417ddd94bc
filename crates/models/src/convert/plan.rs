//! What each tensor becomes, and where it will lie.
//!
//! Packed tensors come first: their sizes are multiples of 64, so that each begins at one. Plain tensors follow, the wide types before
//! the narrow ones, and blocks come last: so all lie where their types want them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use lldm_kernels::{Bf16Path, PackedBf16, PackedQuant, QuantFormat, bf16_path, selected_kernel};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::model::{ConvertConfig, Target};
use super::report::Fallback;
use crate::error::{Error, Result};
use crate::load::converted::{ALIGNMENT, Coding, Converted, ConvertedTensor, KEY, VERSION};
use crate::load::weights_file::{Form, StoredTensor, WeightsFile};

/// The file to be written.
pub(super) struct Plan {
    /// Length, JSON and spaces: everything before the data.
    pub(super) header: Vec<u8>,
    /// In the order of the file.
    pub(super) steps: Vec<Step>,
    pub(super) fallbacks: Vec<Fallback>,
}

/// What becomes of one tensor.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) size_bytes: usize,
}

impl Plan {
    pub(super) fn new(file: &WeightsFile, layers: &BTreeSet<String>, config: ConvertConfig) -> Result<Self> {
        selected_kernel().map_err(|error| Error::format("LLDM_KERNEL", error))?;
        let kernel = bf16_path();
        let mut fallbacks = BTreeMap::<_, Vec<String>>::new();
        let mut steps = Vec::new();
        for (name, tensor) in &file.tensors {
            let form = if layers.contains(name) {
                let (form, fallback) = layer(tensor, config, kernel);
                if let Some(fallback) = fallback {
                    fallbacks.entry(fallback).or_default().push(name.clone());
                }
                form
            } else {
                match tensor.form {
                    plain @ Form::Plain(_) => plain,
                    Form::Converted(_) => Form::Plain(Dtype::F32),
                }
            };
            let size_bytes = size(form, tensor).ok_or_else(|| file.mistake(name, "is larger than any memory"))?;
            steps.push(Step { name: name.clone(), form, size_bytes });
        }
        steps.sort_by_key(|step| match step.form {
            Form::Converted(Coding::QuantPanels(_) | Coding::Bf16Panels(_)) => 0,
            Form::Plain(dtype) => 100 - dtype.bitsize(),
            Form::Converted(Coding::Blocks(_)) => 100,
        });
        let header = header(file, &steps)?;
        let fallbacks =
            fallbacks.into_iter().map(|((asked, became), tensors)| Fallback { asked, became, tensors }).collect();
        Ok(Self { header, steps, fallbacks })
    }
}

/// What a layer's weight becomes; where it cannot become what was asked for, what was and what it becomes.
fn layer(
    tensor: &StoredTensor,
    config: ConvertConfig,
    kernel: Bf16Path,
) -> (Form, Option<(&'static str, &'static str)>) {
    let [_, columns] = tensor.matrix();
    let fits = |format: QuantFormat| columns.is_multiple_of(format.block_len());
    let asked = match (config.target, tensor.form) {
        (Some(Target::Quant(format)), _) => Some(format),
        (None, Form::Converted(Coding::Blocks(format) | Coding::QuantPanels(format))) => Some(format),
        _ => None,
    };
    let format = asked.and_then(|asked| [asked, QuantFormat::Q8_0].into_iter().find(|format| fits(*format)));
    let form = match (format, config.pack) {
        (Some(format), true) => Form::Converted(Coding::QuantPanels(format)),
        (Some(format), false) => Form::Converted(Coding::Blocks(format)),
        (None, true) => Form::Converted(Coding::Bf16Panels(kernel)),
        (None, false) => Form::Plain(Dtype::BF16),
    };
    let became = format.map_or("bf16", QuantFormat::name);
    let fallback = asked.map(|asked| (asked.name(), became)).filter(|(asked, became)| asked != became);
    (form, fallback)
}

/// The bytes of a tensor in a form.
fn size(form: Form, tensor: &StoredTensor) -> Option<usize> {
    let [rows, columns] = tensor.matrix();
    match form {
        Form::Plain(dtype) => rows.checked_mul(columns)?.checked_mul(dtype.bitsize() / 8),
        Form::Converted(Coding::Blocks(format)) => format.matrix_bytes(rows, columns),
        Form::Converted(Coding::QuantPanels(format)) => PackedQuant::packed_bytes(format, [rows, columns]),
        Form::Converted(Coding::Bf16Panels(kernel)) => PackedBf16::packed_bytes(kernel, [columns, rows]),
    }
}

fn header(file: &WeightsFile, steps: &[Step]) -> Result<Vec<u8>> {
    let mut converted = Converted { version: VERSION, ..Converted::default() };
    let mut infos = Vec::new();
    let mut start = 0;
    for step in steps {
        let tensor = &file.tensors[&step.name];
        let range: Range<usize> = start..start + step.size_bytes;
        start = range.end;
        let (dtype, shape) = match step.form {
            Form::Plain(dtype) => (dtype, tensor.shape.clone()),
            Form::Converted(coding) => {
                let (format, packed) = match coding {
                    Coding::Blocks(format) => (format.name(), false),
                    Coding::QuantPanels(format) => (format.name(), true),
                    Coding::Bf16Panels(kernel) => {
                        converted.kernel = Some(kernel.layout().to_string());
                        ("bf16", true)
                    }
                };
                let described = ConvertedTensor { format: format.to_string(), shape: tensor.matrix(), packed };
                converted.tensors.insert(step.name.clone(), described);
                (Dtype::U8, vec![step.size_bytes])
            }
        };
        infos.push((step.name.clone(), TensorInfo { dtype, shape, data_offsets: (range.start, range.end) }));
    }
    let fail = |error: &dyn std::fmt::Display| Error::format(&file.name, format!("cannot be described ({error})"));
    let mut metadata: HashMap<_, _> = file.metadata.clone();
    if !converted.tensors.is_empty() {
        metadata.insert(KEY.to_string(), serde_json::to_string(&converted).map_err(|error| fail(&error))?);
    }
    let metadata = Metadata::new((!metadata.is_empty()).then_some(metadata), infos).map_err(|error| fail(&error))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| fail(&error))?;
    let length = size_of::<u64>();
    json.resize((length + json.len()).next_multiple_of(ALIGNMENT) - length, b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    Ok(header)
}
