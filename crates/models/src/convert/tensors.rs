//! The tensors on their way from file to file, some rows at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use half::bf16;
use lldm_kernels::{Layout, PackedQuant, pack_bf16};
use safetensors::tensor::Dtype;

use super::plan::{Plan, Step};
use super::quantise::quantise;
use super::report::{Part, Report, kind};
use crate::error::{Error, Result};
use crate::load::converted::Coding;
use crate::load::weights_file::{Form, StoredTensor, WeightsFile, slabs};

/// Sums of squares over a kind of tensors.
#[derive(Clone, Copy, Default)]
struct Squares {
    error: f64,
    value: f64,
}

/// Writes the file that is planned.
pub(super) fn write(file: &WeightsFile, plan: &Plan, path: &Path) -> Result<Report> {
    let fail = |source| Error::Write { path: path.to_path_buf(), source };
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(fail)?);
    out.write_all(&plan.header).map_err(fail)?;
    let mut parts = BTreeMap::<(String, String, bool), (Part, Squares)>::new();
    let mut kernel = None;
    let mut size_bytes = plan.header.len();
    for step in &plan.steps {
        let tensor = &file.tensors[&step.name];
        let mut written = 0;
        let mut put = |bytes: &[u8]| {
            written += bytes.len();
            out.write_all(bytes).map_err(fail)
        };
        let squares = Conversion { file, step, tensor }.run(&mut put)?;
        if written != step.size_bytes {
            let message = format!("takes {written} bytes, not {} as planned: please report it", step.size_bytes);
            return Err(file.mistake(&step.name, message));
        }
        file.source.release(tensor.range.clone());
        size_bytes += written;
        let (format, packed) = match step.form {
            Form::Plain(dtype) => (dtype.to_string().to_lowercase(), false),
            Form::Converted(Coding::Blocks(format)) => (format.to_string(), false),
            Form::Converted(Coding::QuantPanels(format)) => (format.to_string(), true),
            Form::Converted(Coding::Bf16Panels(own)) => {
                kernel = Some(own.layout().to_string());
                ("bf16".to_string(), true)
            }
        };
        let kind = kind(&step.name);
        let (part, sums) = parts.entry((kind.clone(), format.clone(), packed)).or_insert_with(|| {
            let part = Part { kind, format, packed, tensors: 0, parameters: 0, size_bytes: 0, relative_rms_error: 0.0 };
            (part, Squares::default())
        });
        part.tensors += 1;
        part.parameters += tensor.count();
        part.size_bytes += step.size_bytes;
        sums.error += squares.error;
        sums.value += squares.value;
    }
    out.into_inner().map_err(|error| fail(error.into_error()))?;
    let parts = parts.into_values().map(|(part, Squares { error, value })| Part {
        relative_rms_error: if error > 0.0 { (error / value).sqrt() } else { 0.0 },
        ..part
    });
    Ok(Report {
        kernel,
        source_bytes: file.source.len(),
        size_bytes,
        parts: parts.collect(),
        fallbacks: plan.fallbacks.clone(),
    })
}

/// One tensor.
struct Conversion<'a> {
    file: &'a WeightsFile,
    step: &'a Step,
    tensor: &'a StoredTensor,
}

impl Conversion<'_> {
    fn run(&self, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Squares> {
        let [rows, columns] = self.tensor.matrix();
        let from = self.tensor.form;
        if from == self.step.form {
            return self.copy(put);
        }
        let read = self.file.rows(&self.step.name, self.tensor)?;
        let mut squares = Squares::default();
        let mut values = Vec::new();
        for slab in slabs(rows, columns) {
            if let (Form::Converted(Coding::Blocks(format)), Form::Converted(Coding::QuantPanels(to))) =
                (from, self.step.form)
                && format == to
            {
                let part = self.tensor.part(&slab);
                put(self.quant_panels(&slab, &self.file.source[part])?.bytes())?;
            } else {
                values.resize(slab.len() * columns, 0.0);
                read.read(slab.clone(), columns, &mut values);
                let source = values.clone();
                self.slab(&slab, &mut values, put)?;
                let (error, value) = sums(&values, &source);
                if !value.is_finite() {
                    return Err(self.file.mistake(&self.step.name, "holds values that are no numbers"));
                }
                squares.error += error;
                squares.value += value;
            }
            if !matches!(from, Form::Converted(Coding::QuantPanels(_) | Coding::Bf16Panels(_))) {
                self.file.source.release(self.tensor.part(&slab));
            }
        }
        Ok(squares)
    }

    /// Writes some rows; `values` become what was written.
    fn slab(&self, rows: &Range<usize>, values: &mut [f32], put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let [_, columns] = self.tensor.matrix();
        match self.step.form {
            Form::Plain(Dtype::BF16) => {
                let mut bytes = Vec::with_capacity(2 * values.len());
                for value in &mut *values {
                    let rounded = bf16::from_f32(*value);
                    *value = rounded.to_f32();
                    bytes.extend(rounded.to_le_bytes());
                }
                put(&bytes)
            }
            // A tensor that is no layer's weight and was stored in blocks.
            Form::Plain(_) => put(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()),
            Form::Converted(Coding::Blocks(format)) => put(&quantise(format, columns, values)?),
            Form::Converted(Coding::QuantPanels(format)) => {
                put(self.quant_panels(rows, &quantise(format, columns, values)?)?.bytes())
            }
            Form::Converted(Coding::Bf16Panels(_)) => {
                // Panels of some rows, one behind the other, are the panels of all.
                let packed = pack_bf16(values, Layout::row_major(rows.len(), columns).transposed());
                for (row, values) in values.chunks_exact_mut(columns.max(1)).enumerate() {
                    packed.column(row, values);
                }
                put(packed.bytes())
            }
        }
    }

    fn quant_panels(&self, rows: &Range<usize>, blocks: &[u8]) -> Result<PackedQuant> {
        let (Form::Converted(Coding::QuantPanels(format)), [_, columns]) = (self.step.form, self.tensor.matrix())
        else {
            return Err(self.file.mistake(&self.step.name, "is not packed"));
        };
        PackedQuant::pack(format, [rows.len(), columns], blocks)
            .map_err(|error| self.file.mistake(&self.step.name, error))
    }

    /// Bytes that stay as they are.
    fn copy(&self, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Squares> {
        const PIECE: usize = 1 << 22;
        let range = self.tensor.range.clone();
        for start in range.clone().step_by(PIECE) {
            let piece = start..range.end.min(start + PIECE);
            put(&self.file.source[piece.clone()])?;
            self.file.source.release(piece);
        }
        Ok(Squares::default())
    }
}

/// The sum of the squared differences, and that of the squares of the source.
fn sums(found: &[f32], source: &[f32]) -> (f64, f64) {
    found.iter().zip(source).fold((0.0, 0.0), |(error, value), (found, source)| {
        let (found, source) = (f64::from(*found), f64::from(*source));
        ((found - source).mul_add(found - source, error), source.mul_add(source, value))
    })
}
