//! model.safetensors: what its tensors are, and their values row by row.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use lldm_kernels::{PackedBf16, PackedQuant};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use super::converted::{Coding, Converted, KEY};
use super::model_files::Source;
use crate::error::{Error, Result};

/// A file whose header has been read.
pub(crate) struct WeightsFile {
    /// As errors name it.
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
    /// The metadata that are not ours.
    pub(crate) metadata: HashMap<String, String>,
}

/// Where a tensor lies and what it is.
#[derive(Clone, Debug)]
pub(crate) struct StoredTensor {
    pub(crate) form: Form,
    /// The shape of its values.
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
}

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// F64, F32, F16 or BF16, row by row.
    Plain(Dtype),
    /// As `lldm convert` has written them.
    Converted(Coding),
}

/// A tensor whose rows can be read.
pub(crate) enum Rows<'a> {
    Plain(Dtype, &'a [u8]),
    Blocks(lldm_kernels::QuantFormat, &'a [u8]),
    Quant(PackedQuant),
    Bf16(PackedBf16),
}

/// Values of a slab, at most.
const SLAB: usize = 1 << 20;

/// Ranges of rows that are worked on together, each a multiple of 32 but the last: small enough to be in memory twice.
pub(crate) fn slabs(rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (SLAB / columns.max(1) / 32).max(1) * 32;
    (0..rows).step_by(step).map(move |start| start..rows.min(start + step))
}

impl WeightsFile {
    /// Reads the header; `name` is the file in errors.
    pub(crate) fn read(source: Source, name: String) -> Result<Self> {
        let (header, metadata) = SafeTensors::read_metadata(&source)
            .map_err(|error| Error::format(&name, format!("not a whole safetensors file ({error}); get it again")))?;
        let mut others = metadata.metadata().clone().unwrap_or_default();
        let converted = others.remove(KEY).map(|text| Converted::parse(&text)).transpose();
        let converted = converted.map_err(|message| Error::format(&name, message))?.unwrap_or_default();
        let tensors = tensors(&metadata, &converted, size_of::<u64>() + header)
            .map_err(|(tensor, message)| Error::format(&name, format!("tensor `{tensor}` {message}")))?;
        Ok(Self { name, source, tensors, metadata: others })
    }

    /// An error about one of its tensors.
    pub(crate) fn mistake(&self, tensor: &str, message: impl std::fmt::Display) -> Error {
        Error::format(&self.name, format!("tensor `{tensor}` {message}"))
    }

    /// The tensor of that name, if it has that shape.
    pub(crate) fn find(&self, name: &str, shape: &[usize]) -> Result<&StoredTensor> {
        match self.tensors.get(name) {
            Some(tensor) if tensor.shape == shape => Ok(tensor),
            found => Err(Error::Tensor {
                name: name.to_string(),
                expected: shape.to_vec(),
                found: found.map_or("nothing".to_string(), |tensor| format!("{:?}", tensor.shape)),
            }),
        }
    }

    /// The bytes of a tensor.
    pub(crate) fn bytes(&self, tensor: &StoredTensor) -> &[u8] {
        &self.source[tensor.range.clone()]
    }

    /// A tensor's rows; a vector is one row.
    pub(crate) fn rows(&self, name: &str, tensor: &StoredTensor) -> Result<Rows<'_>> {
        Ok(match tensor.form {
            Form::Plain(dtype) => Rows::Plain(dtype, self.bytes(tensor)),
            Form::Converted(Coding::Blocks(format)) => Rows::Blocks(format, self.bytes(tensor)),
            Form::Converted(Coding::QuantPanels(_)) => Rows::Quant(self.quant_panels(name, tensor)?),
            Form::Converted(Coding::Bf16Panels(_)) => Rows::Bf16(self.bf16_panels(name, tensor)?),
        })
    }

    /// Quantised panels where they lie.
    pub(crate) fn quant_panels(&self, name: &str, tensor: &StoredTensor) -> Result<PackedQuant> {
        let Form::Converted(Coding::QuantPanels(format)) = tensor.form else {
            return Err(self.mistake(name, "is not packed"));
        };
        PackedQuant::from_packed(format, tensor.matrix(), self.source.shared(), tensor.range.clone())
            .map_err(|error| self.mistake(name, format!("is broken ({error}): convert the model again")))
    }

    /// Panels of bf16 where they lie, as the factor [columns, rows].
    pub(crate) fn bf16_panels(&self, name: &str, tensor: &StoredTensor) -> Result<PackedBf16> {
        let Form::Converted(Coding::Bf16Panels(kernel)) = tensor.form else {
            return Err(self.mistake(name, "is not packed"));
        };
        let [rows, columns] = tensor.matrix();
        PackedBf16::from_packed(kernel, [columns, rows], self.source.shared(), tensor.range.clone())
            .map_err(|error| self.mistake(name, format!("is broken ({error}): convert the model again")))
    }

    /// All values of a tensor in f32.
    pub(crate) fn values(&self, name: &str, tensor: &StoredTensor) -> Result<Vec<f32>> {
        let read = self.rows(name, tensor)?;
        let [rows, columns] = tensor.matrix();
        let mut values = vec![0.0; rows * columns];
        read.read(0..rows, columns, &mut values);
        Ok(values)
    }
}

impl StoredTensor {
    /// Rows and columns; all dimensions but the last are rows.
    pub(crate) fn matrix(&self) -> [usize; 2] {
        let (columns, rows) = self.shape.split_last().map_or((1, 1), |(last, rest)| (*last, rest.iter().product()));
        [rows, columns]
    }

    /// How many values it holds.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The bytes of some of its rows, for forms that go row by row.
    pub(crate) fn part(&self, rows: &Range<usize>) -> Range<usize> {
        let [all, _] = self.matrix();
        let per_row = self.range.len().checked_div(all).unwrap_or(0);
        self.range.start + rows.start * per_row..self.range.start + rows.end * per_row
    }
}

impl Rows<'_> {
    /// Reads some rows of `columns` values in f32, in parallel.
    pub(crate) fn read(&self, rows: Range<usize>, columns: usize, out: &mut [f32]) {
        out.par_chunks_mut(columns.max(1)).zip(rows).for_each(|(out, row)| match self {
            Self::Plain(dtype, bytes) => widen(*dtype, part(bytes, row, columns * dtype.bitsize() / 8), out),
            Self::Blocks(format, bytes) => {
                let per_row = columns / format.block_len() * format.block_bytes();
                // The lengths were compared when the header was read.
                let _ = format.dequantize(part(bytes, row, per_row), out);
            }
            Self::Quant(packed) => packed.row(row, out),
            Self::Bf16(packed) => packed.column(row, out),
        });
    }
}

fn part(bytes: &[u8], row: usize, per_row: usize) -> &[u8] {
    &bytes[row * per_row..(row + 1) * per_row]
}

/// Plain values in f32.
fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().zip(out).for_each(|(x, out)| *out = f64::from_le_bytes(*x) as f32),
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().zip(out).for_each(|(x, out)| *out = bf16::from_le_bytes(*x).to_f32());
        }
        Dtype::F16 => {
            let mut halves = [f16::ZERO; 64];
            for (bytes, out) in bytes.chunks(2 * halves.len()).zip(out.chunks_mut(halves.len())) {
                let halves = &mut halves[..out.len()];
                bytes.as_chunks().0.iter().zip(&mut *halves).for_each(|(x, half)| *half = f16::from_le_bytes(*x));
                halves.convert_to_f32_slice(out);
            }
        }
        _ => bytes.as_chunks().0.iter().zip(out).for_each(|(x, out)| *out = f32::from_le_bytes(*x)),
    }
}

/// The tensors of a file whose data begin at `start`; an error names the tensor.
fn tensors(
    metadata: &Metadata,
    converted: &Converted,
    start: usize,
) -> Result<BTreeMap<String, StoredTensor>, (String, String)> {
    let mut found = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        let tensor = match (converted.tensors.get(&name), info.dtype) {
            (Some(described), Dtype::U8) => {
                let coding = converted.coding(described).map_err(|message| (name.clone(), message))?;
                if let Coding::Blocks(format) = coding {
                    let [rows, columns] = described.shape;
                    let expected = format.matrix_bytes(rows, columns);
                    if expected != Some(range.len()) {
                        let message = format!("has {} bytes, which are no {rows} x {columns} in {format}", range.len());
                        return Err((name, message));
                    }
                }
                StoredTensor { form: Form::Converted(coding), shape: described.shape.to_vec(), range }
            }
            (None, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) => {
                StoredTensor { form: Form::Plain(info.dtype), shape: info.shape.clone(), range }
            }
            (_, dtype) => {
                return Err((
                    name,
                    format!("has the type {dtype}, but weights are F32, F16 or BF16, or converted here"),
                ));
            }
        };
        found.insert(name, tensor);
    }
    match converted.tensors.keys().find(|name| !found.contains_key(*name)) {
        Some(name) => {
            Err((name.clone(), "is described in the metadata, but not there: convert the model again".to_string()))
        }
        None => Ok(found),
    }
}
