//! Rows times a chunk of a panel: the heart of the quantised product, on each instruction set.
//!
//! Per group of 16 or 32 k the products of u and q are summed in int32, exactly; `f = fma(sum, s, f)` and, where there are minima,
//! `f = fma(-Σq, c, f)`, group after group; then `C = fma(f, row scale, C)`. Every path does this for each value in this order, so
//! all give the same bits.

use super::activation::RowChunk;
use super::chunk::Chunk;
use crate::detect::CpuFeatures;
use crate::gemm::Kernel;
#[cfg(test)]
use crate::gemm::amx::Emulation;
#[cfg(target_arch = "x86_64")]
use crate::gemm::amx::Instructions;
use crate::tile_product::PANEL;

/// The instructions of the int8 product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Path {
    /// `tdpbssd` on tile registers (Intel AMX); `vpdpbusd` on 512 bits for few rows, with the same bits.
    Amx,
    /// `vpdpbusd` on 512 bits (AVX512-VNNI).
    Avx512Vnni,
    /// `vpdpbusd` on 256 bits (AVX-VNNI).
    AvxVnni,
    /// `vpmaddubsw` and `vpmaddwd`; `vpmaddwd` alone where u has eight bits, since the former saturates.
    Avx2,
    /// Plain Rust.
    Portable,
    /// [`Self::Amx`] on tile registers in plain Rust.
    #[cfg(test)]
    AmxEmulation,
}

impl Int8Path {
    /// The path that belongs to a kernel on this CPU.
    pub(crate) fn of(kernel: Kernel, cpu: &CpuFeatures) -> Self {
        let avx2 = cpu.avx2 && cpu.fma;
        let avx512 = cpu.avx512f && cpu.avx512bw && cpu.avx512vnni;
        match kernel {
            Kernel::Portable => Self::Portable,
            Kernel::Amx if avx512 && cpu.runs_amx() => Self::Amx,
            Kernel::Amx | Kernel::Avx512 if avx512 => Self::Avx512Vnni,
            _ if avx2 && cpu.avxvnni => Self::AvxVnni,
            _ if avx2 => Self::Avx2,
            _ => Self::Portable,
        }
    }

    /// Whether weights of int8 are packed as tiles.
    pub(crate) fn in_tiles(self) -> bool {
        match self {
            Self::Amx => true,
            #[cfg(test)]
            Self::AmxEmulation => true,
            Self::Avx512Vnni | Self::AvxVnni | Self::Avx2 | Self::Portable => false,
        }
    }

    /// Whether the instruction takes one factor without signs.
    pub(crate) fn adds_128(self) -> bool {
        matches!(self, Self::Avx512Vnni | Self::AvxVnni)
    }

    /// The instruction, as `lldm doctor` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "tdpbssd tmm",
            Self::Avx512Vnni => "vpdpbusd zmm",
            Self::AvxVnni => "vpdpbusd ymm",
            Self::Avx2 => "vpmaddubsw ymm",
            Self::Portable => "portable",
            #[cfg(test)]
            Self::AmxEmulation => "emulation of tdpbssd",
        }
    }
}

/// What a chunk is computed with.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) path: Int8Path,
    /// k under one scale, 16 or 32.
    pub(super) group: usize,
    /// Whether u may be above 127.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(super) eight_bits: bool,
    pub(super) minima: bool,
    /// z, below which w is negative; 0 where there are minima.
    #[cfg_attr(not(any(test, target_arch = "x86_64")), allow(dead_code))]
    pub(super) offset: u8,
}

impl Block {
    /// Whether so many rows read the planes of a chunk as they lie: to unpack them first costs more than it saves.
    pub(super) fn reads_planes(&self, rows: usize) -> bool {
        rows <= match self.path {
            _ if cfg!(not(target_arch = "x86_64")) => 0,
            // By arithmetic: tiles were never measured.
            Int8Path::Amx => 6,
            Int8Path::Avx512Vnni => 24,
            Int8Path::AvxVnni | Int8Path::Avx2 => 4,
            Int8Path::Portable => 0,
            #[cfg(test)]
            Int8Path::AmxEmulation => 0,
        }
    }

    /// Adds the products of the listed rows with a chunk of weights to `c`, `[rows, 32]`. The path must be one that this CPU has.
    pub(super) fn add(&self, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
        let (all, groups) = (x.scales.len(), x.len / self.group);
        assert!(c.len() == rows.len() * PANEL && rows.iter().all(|row| (*row as usize) < all));
        assert!(x.len == weights.len && groups * self.group == x.len && groups * PANEL == weights.scales.len());
        assert!(weights.planes.fit(x.len) && (!self.minima || weights.minima.len() == x.len / 32 * PANEL));
        assert!(weights.planes.are_bytes() || self.reads_planes(rows.len()), "quant: {:?} reads bytes", self.path);
        assert!(x.values.len() == all * x.len && x.starts.len() == all * groups && (!self.minima || self.group == 32));
        match self.path {
            #[cfg(target_arch = "x86_64")]
            Int8Path::Amx if self.reads_planes(rows.len()) => super::avx512::add(self, rows, x, weights, c),
            #[cfg(target_arch = "x86_64")]
            Int8Path::Amx => super::tiles::add::<Instructions>(self, rows, x, weights, c),
            #[cfg(test)]
            Int8Path::AmxEmulation => super::tiles::add::<Emulation>(self, rows, x, weights, c),
            #[cfg(target_arch = "x86_64")]
            Int8Path::Avx512Vnni => super::avx512::add(self, rows, x, weights, c),
            #[cfg(target_arch = "x86_64")]
            Int8Path::AvxVnni | Int8Path::Avx2 => super::avx2::add(self, rows, x, weights, c),
            #[cfg(not(target_arch = "x86_64"))]
            Int8Path::Amx | Int8Path::Avx512Vnni | Int8Path::AvxVnni | Int8Path::Avx2 => {
                super::portable::add(self, rows, x, weights, c)
            }
            Int8Path::Portable => super::portable::add(self, rows, x, weights, c),
        }
    }
}
