//! The weight of a linear layer on a device of candle's.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor};
use lldm_kernels::{QuantFormat, SharedBytes};

use super::ops::select_rows;
use crate::nn::StorageKind;

/// A weight [out, in].
#[derive(Clone, Debug)]
pub(in crate::nn) enum CandleWeight {
    /// In bf16; products are rounded to bf16, too.
    Bf16(Tensor),
    /// In blocks of a GGUF format.
    Quant(Arc<QuantWeight>),
}

/// Blocks of a GGUF format, row by row.
#[derive(Clone)]
pub struct Blocks {
    /// The format.
    pub format: QuantFormat,
    /// What they lie in.
    pub bytes: SharedBytes,
    /// Where.
    pub range: Range<usize>,
}

pub(in crate::nn) struct QuantWeight {
    pub(in crate::nn) shape: [usize; 2],
    product: QMatMul,
    device: Device,
    /// For single rows.
    blocks: Blocks,
}

/// candle's name of a format.
pub fn ggml_type(format: QuantFormat) -> GgmlDType {
    match format {
        QuantFormat::Q4_0 => GgmlDType::Q4_0,
        QuantFormat::Q4_1 => GgmlDType::Q4_1,
        QuantFormat::Q5_0 => GgmlDType::Q5_0,
        QuantFormat::Q8_0 => GgmlDType::Q8_0,
        QuantFormat::Q4K => GgmlDType::Q4K,
        QuantFormat::Q5K => GgmlDType::Q5K,
        QuantFormat::Q6K => GgmlDType::Q6K,
    }
}

/// candle's matrix of these blocks.
pub fn candle_matrix(format: QuantFormat, shape: [usize; 2], blocks: &[u8], device: &Device) -> Result<QMatMul> {
    // Copied, so that the blocks begin where candle needs them to.
    let storage = QStorage::from_data(Cow::Owned(blocks.to_vec()), device, ggml_type(format))?;
    QMatMul::from_qtensor(QTensor::new(storage, (shape[0], shape[1]))?)
}

impl CandleWeight {
    /// From values [out, in].
    pub(in crate::nn) fn new(weight: &Tensor, device: &Device) -> Result<Self> {
        Ok(Self::Bf16(weight.to_dtype(DType::BF16)?.to_device(device)?))
    }

    /// From blocks.
    pub(in crate::nn) fn quant(shape: [usize; 2], blocks: Blocks, device: &Device) -> Result<Self> {
        let product = candle_matrix(blocks.format, shape, &blocks.bytes()[blocks.range.clone()], device)?;
        Ok(Self::Quant(Arc::new(QuantWeight { shape, product, device: device.clone(), blocks })))
    }

    pub(in crate::nn) fn kind(&self) -> StorageKind {
        match self {
            Self::Bf16(_) => StorageKind::CandleBf16,
            Self::Quant(quant) => StorageKind::CandleQuant(quant.blocks.format),
        }
    }

    pub(in crate::nn) fn shape(&self) -> Result<[usize; 2]> {
        match self {
            Self::Bf16(weight) => Ok(weight.dims2()?.into()),
            Self::Quant(quant) => Ok(quant.shape),
        }
    }

    pub(in crate::nn) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Bf16(weight) => x.to_dtype(DType::BF16)?.matmul(&weight.t()?)?.to_dtype(DType::F32),
            Self::Quant(quant) => quant.product.forward(&x.contiguous()?),
        }
    }

    /// Rows of the weight in f32: [N, in].
    pub(in crate::nn) fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        match self {
            Self::Bf16(weight) => select_rows(weight, rows)?.to_dtype(DType::F32),
            Self::Quant(quant) => quant.rows(rows),
        }
    }
}

impl QuantWeight {
    fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        let [_, inputs] = self.shape;
        let Blocks { format, range, .. } = &self.blocks;
        let per_row = inputs / format.block_len() * format.block_bytes();
        let mut values = vec![0.0; rows.len() * inputs];
        for (row, values) in rows.iter().zip(values.chunks_exact_mut(inputs.max(1))) {
            let start = range.start + *row as usize * per_row;
            let read = format.dequantize(&self.blocks.bytes()[start..start + per_row], values);
            read.map_err(|error| candle_core::Error::Msg(error.to_string()).bt())?;
        }
        Tensor::from_vec(values, (rows.len(), inputs), &self.device)
    }
}

impl Blocks {
    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }
}

impl std::fmt::Debug for QuantWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuantWeight")
            .field("shape", &self.shape)
            .field("format", &self.blocks.format)
            .finish_non_exhaustive()
    }
}
