//! A chunk of a panel as the units read it: its scales in f32, its integers unpacked to bytes or as they lie in the record.

use super::file_block::f16_to_f32;
use super::format::{QuantFormat, Shape};
use super::panel::{CHUNK, STEP, record_bytes};
use crate::simd::dispatch;
use crate::tile_product::PANEL;

/// A chunk as the units read it.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    /// k of the chunk.
    pub(super) len: usize,
    /// u.
    pub(super) planes: Planes<'a>,
    /// s, `[k / group][32]`.
    pub(super) scales: &'a [f32],
    /// c of formats with minima, `[k / 32][32]`.
    pub(super) minima: &'a [f32],
    /// What is read after this, to be asked for meanwhile.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(super) ahead: &'a [u8],
}

/// Asks for the part of `bytes` that belongs to one of some groups.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn fetch_part(bytes: &[u8], group: usize, groups: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let part = bytes.len() / groups;
    for byte in (group * part..(group + 1) * part).step_by(64) {
        // SAFETY: a prefetch reads nothing; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(byte).cast()) };
    }
}

/// u in its planes, whose order `panel.rs` defines. Unpacked it is a low plane of eight bits, `[k / 4][32][4]`.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    pub(super) low: &'a [u8],
    pub(super) low_bits: usize,
    pub(super) high: &'a [u8],
    pub(super) high_bits: usize,
}

impl Planes<'_> {
    /// Whether u is one byte each.
    pub(super) fn are_bytes(&self) -> bool {
        self.low_bits == 8 && self.high_bits == 0
    }

    /// Whether the planes are those of `len` k.
    pub(super) fn fit(&self, len: usize) -> bool {
        self.low.len() == self.low_bits * len * PANEL / 8 && self.high.len() == self.high_bits * len * PANEL / 8
    }
}

/// Where chunks are unpacked.
pub(super) struct Unpacked(Box<Buffers>);

/// Each begins at a cache line.
#[repr(C, align(64))]
struct Buffers {
    integers: [u8; CHUNK * PANEL],
    scales: [f32; CHUNK / 16 * PANEL],
    minima: [f32; CHUNK / 32 * PANEL],
}

impl Unpacked {
    pub(super) fn new() -> Self {
        Self(Box::new(Buffers {
            integers: [0; CHUNK * PANEL],
            scales: [0.0; CHUNK / 16 * PANEL],
            minima: [0.0; CHUNK / 32 * PANEL],
        }))
    }

    /// Reads the first of `records`, that of a chunk of `len` k: its scales, and if wanted its integers, to bytes. What has eight bits
    /// stays where it is.
    #[inline(always)]
    pub(super) fn read<'a>(
        &'a mut self,
        format: QuantFormat,
        len: usize,
        [record, ahead]: [&'a [u8]; 2],
        to_bytes: bool,
    ) -> Chunk<'a> {
        assert_eq!(record.len(), record_bytes(format, len), "quant: not the record of {len} k in {format}");
        let Shape { group, low_bits, high_bits, .. } = format.shape();
        let (low, rest) = record.split_at(low_bits * len * PANEL / 8);
        let (high, halves) = rest.split_at(high_bits * len * PANEL / 8);
        let Buffers { integers, scales, minima } = &mut *self.0;
        unpack_scales(format, len, halves, scales, minima);
        let mut planes = Planes { low, low_bits, high, high_bits };
        if to_bytes && !planes.are_bytes() {
            let integers = &mut integers[..len * PANEL];
            unpack_integers(planes, integers);
            planes = Planes { low: integers, low_bits: 8, high: &[], high_bits: 0 };
        }
        let (scales, minima) = (&scales[..len / group * PANEL], &minima[..len / 32 * PANEL]);
        Chunk { len, planes, scales, minima, ahead }
    }
}

fn unpack_integers(planes: Planes<'_>, integers: &mut [u8]) {
    dispatch!(unpack_integers_body(planes: Planes<'_>, integers: &mut [u8]))
}

/// Plain loops over whole steps, which the compiler turns into vectors of each level.
#[inline(always)]
fn unpack_integers_body<S>(_: S, planes: Planes<'_>, integers: &mut [u8]) {
    let Planes { low, high, high_bits, .. } = planes;
    for (low, pair) in low.chunks_exact(STEP).zip(integers.chunks_exact_mut(2 * STEP)) {
        let (first, second) = pair.split_at_mut(STEP);
        for ((low, first), second) in low.iter().zip(first).zip(second) {
            *first = *low & 15;
            *second = *low >> 4;
        }
    }
    if let Some(per_plane) = 8usize.checked_div(high_bits) {
        let mask = if high_bits == 1 { 1u8 } else { 3 };
        for (high, steps) in high.chunks_exact(STEP).zip(integers.chunks_exact_mut(per_plane * STEP)) {
            for (s, step) in steps.chunks_exact_mut(STEP).enumerate() {
                let shift = (high_bits * s) as u32;
                for (u, high) in step.iter_mut().zip(high) {
                    *u |= (*high >> shift & mask) << 4;
                }
            }
        }
    }
}

fn unpack_scales(format: QuantFormat, len: usize, halves: &[u8], scales: &mut [f32], minima: &mut [f32]) {
    dispatch!(unpack_scales_body(
        format: QuantFormat,
        len: usize,
        halves: &[u8],
        scales: &mut [f32],
        minima: &mut [f32],
    ))
}

#[inline(always)]
fn unpack_scales_body<S>(_: S, format: QuantFormat, len: usize, halves: &[u8], scales: &mut [f32], minima: &mut [f32]) {
    let half = |bytes: &[u8], out: &mut [f32]| {
        for (bytes, out) in bytes.chunks_exact(2).zip(out) {
            *out = f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]));
        }
    };
    let count = len / 32 * PANEL;
    match format {
        QuantFormat::Q4_0 | QuantFormat::Q5_0 | QuantFormat::Q8_0 => half(halves, &mut scales[..count]),
        QuantFormat::Q4_1 => {
            half(&halves[..2 * count], &mut scales[..count]);
            half(&halves[2 * count..], &mut minima[..count]);
            minima[..count].iter_mut().for_each(|minimum| *minimum = -*minimum);
        }
        QuantFormat::Q4K | QuantFormat::Q5K => {
            let mut d = [0.0f32; 2 * PANEL];
            half(&halves[..4 * PANEL], &mut d);
            let (six, six_minima) = halves[4 * PANEL..].split_at(8 * PANEL);
            let (d, d_minimum) = d.split_at(PANEL);
            products(d, six, scales);
            products(d_minimum, six_minima, minima);
        }
        QuantFormat::Q6K => {
            let mut d = [0.0f32; PANEL];
            half(&halves[..2 * PANEL], &mut d);
            for (bytes, out) in halves[2 * PANEL..].chunks_exact(PANEL).zip(scales.chunks_exact_mut(PANEL)) {
                for ((byte, d), out) in bytes.iter().zip(&d).zip(out) {
                    *out = *d * f32::from(*byte as i8);
                }
            }
        }
    }
}

/// d times the bytes of each group.
#[inline(always)]
fn products(d: &[f32], bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks_exact(PANEL).zip(out.chunks_exact_mut(PANEL)) {
        for ((byte, d), out) in bytes.iter().zip(d).zip(out) {
            *out = *d * f32::from(*byte);
        }
    }
}
