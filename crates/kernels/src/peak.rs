//! What this CPU can reach: products in registers alone, without any memory, and reads without any product.
//!
//! Each loop keeps as many sums in registers as there is room for, 24 of 512 bits, twelve of 256 or six tiles, and gives them back,
//! so that nothing can be left out. A rate counts 2 operations per product. The instructions have the names of the paths that use
//! them ([`Bf16Path::name`], [`Int8Path::name`], [`f32_instruction`]).

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use rayon::prelude::*;

use crate::detect::CpuFeatures;
#[cfg(target_arch = "x86_64")]
use crate::gemm::Bf16Path;
#[cfg(target_arch = "x86_64")]
use crate::quant::Int8Path;
pub use crate::simd::f32_instruction;

/// A measured peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The instruction, such as `vdpbf16ps zmm`.
    pub instruction: &'static str,
    /// The type of the inputs: `f32`, `bf16` or `int8`.
    pub dtype: &'static str,
    /// 1e9 operations per second, over all threads.
    pub gops: f64,
}

/// A loop of products in registers.
struct Loop {
    instruction: &'static str,
    dtype: &'static str,
    /// Operations of a run.
    per_run: f64,
    run: Box<dyn Fn() + Sync>,
}

/// The peaks of the instructions that this CPU has, on `threads` threads at once; each thread's is the best of its runs, which
/// fill `seconds`.
pub fn peaks(threads: usize, seconds: f64) -> Vec<Peak> {
    let peak = |Loop { instruction, dtype, per_run, run }| {
        let gops = at_once(threads, || per_run / best(seconds, &mut || run()) * 1e-9);
        Peak { instruction, dtype, gops }
    };
    loops().into_iter().map(peak).collect()
}

/// Runs an instruction's loop `runs` times on each of `threads` threads, to be timed beside a kernel, and gives the operations that
/// this was: none if the CPU lacks the instruction. Over a time that a kernel takes a core may hold less than its best.
pub fn run_loop(instruction: &str, threads: usize, runs: usize) -> f64 {
    let Some(Loop { per_run, run, .. }) = loops().into_iter().find(|found| found.instruction == instruction) else {
        return 0.0;
    };
    let all = || {
        (0..runs).for_each(|_| run());
        per_run * runs as f64
    };
    // On the pool, whose threads are awake as they are for a kernel; threads of their own would begin late.
    if threads <= 1 { all() } else { (0..threads).into_par_iter().with_max_len(1).map(|_| all()).sum() }
}

/// The loops of the instructions that this CPU has.
fn loops() -> Vec<Loop> {
    let mut found = Vec::new();
    let mut add = |instruction, dtype, per_run: f64, run: Box<dyn Fn() + Sync>| {
        found.push(Loop { instruction, dtype, per_run, run });
    };
    let cpu = CpuFeatures::detect();
    #[cfg(target_arch = "x86_64")]
    {
        use tile::{TILE_SUMS, tile_products, tiles};
        use x86::{bf16_zmm, f32_ymm, f32_zmm, int8_ymm, int8_ymm_by_words, int8_zmm};

        use crate::gemm::amx::{Bf16, Instructions, Int8};
        let sums = (ROUNDS * SUMS) as f64;
        if cpu.avx2 && cpu.fma {
            // SAFETY: the CPU has AVX2 and FMA.
            add(F32_YMM, "f32", sums * 8.0 * 2.0, Box::new(|| unsafe { f32_ymm(black_box(0.5)) }));
            // SAFETY: as above.
            let run = || unsafe { int8_ymm_by_words(black_box(3)) };
            add(Int8Path::Avx2.name(), "int8", sums * 32.0 * 2.0, Box::new(run));
        } else {
            add(F32_COMPILED, "f32", sums * 8.0 * 2.0, Box::new(|| plain(black_box(0.5))));
        }
        if cpu.avx2 && cpu.avxvnni {
            // SAFETY: the CPU has AVX-VNNI.
            add(Int8Path::AvxVnni.name(), "int8", sums * 32.0 * 2.0, Box::new(|| unsafe { int8_ymm(black_box(3)) }));
        }
        if cpu.avx512f {
            // SAFETY: the CPU has AVX-512.
            add(F32_ZMM, "f32", sums * 16.0 * 2.0, Box::new(|| unsafe { f32_zmm(black_box(0.5)) }));
        }
        if cpu.avx512f && cpu.avx512_bf16 {
            // SAFETY: the CPU has AVX512-BF16.
            add(Bf16Path::Avx512.name(), "bf16", sums * 32.0 * 2.0, Box::new(|| unsafe { bf16_zmm(black_box(0.5)) }));
        }
        if cpu.avx512f && cpu.avx512vnni {
            // SAFETY: the CPU has AVX512-VNNI.
            add(Int8Path::Avx512Vnni.name(), "int8", sums * 64.0 * 2.0, Box::new(|| unsafe { int8_zmm(black_box(3)) }));
        }
        if cpu.runs_amx() {
            let sums = (ROUNDS * TILE_SUMS) as f64;
            add(
                Bf16Path::Amx.name(),
                "bf16",
                sums * tile_products::<Bf16>() * 2.0,
                Box::new(tiles::<Bf16, Instructions>),
            );
            add("tdpbssd tmm", "int8", sums * tile_products::<Int8>() * 2.0, Box::new(tiles::<Int8, Instructions>));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = cpu;
        let sums = (ROUNDS * SUMS) as f64;
        add(F32_COMPILED, "f32", sums * 8.0 * 2.0, Box::new(|| plain(black_box(0.5))));
    }
    found
}

/// Reads per second from buffers of `bytes`, one for each of `threads` threads: 1e9 bytes, the best of runs that fill `seconds`.
pub fn read_rate(bytes: usize, threads: usize, seconds: f64) -> f64 {
    at_once(threads, || read_rate_of_one(bytes, seconds))
}

/// The sum of what `threads` threads measure at the same time.
fn at_once(threads: usize, measure: impl Fn() -> f64 + Sync) -> f64 {
    let start = Barrier::new(threads.max(1));
    std::thread::scope(|scope| {
        let work = || {
            start.wait();
            measure()
        };
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

fn read_rate_of_one(bytes: usize, seconds: f64) -> f64 {
    let buffer: Vec<u64> = (0..bytes as u64 / 8).collect();
    let length = (buffer.len() * 8) as f64;
    // Eight sums, so that additions do not wait for one another.
    let read = || {
        let mut sums = [0u64; 8];
        for line in buffer.chunks_exact(8) {
            sums.iter_mut().zip(line).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
        }
        black_box(sums);
    };
    length / best(seconds, &mut || read()) * 1e-9
}

/// Fused multiply-adds on 512 bits.
#[cfg(target_arch = "x86_64")]
pub(crate) const F32_ZMM: &str = "vfmadd231ps zmm";
/// On 256 bits.
#[cfg(target_arch = "x86_64")]
pub(crate) const F32_YMM: &str = "vfmadd231ps ymm";
/// Whatever the compiler makes of `f32::mul_add`.
pub(crate) const F32_COMPILED: &str = "compiled f32";
/// Rounds of a run.
const ROUNDS: usize = 20_000;
/// Sums in registers.
const SUMS: usize = 24;

/// The seconds of the fastest run, of as many as fill `seconds`, one at least.
fn best(seconds: f64, run: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    loop {
        let before = Instant::now();
        run();
        best = best.min(before.elapsed().as_secs_f64());
        if start.elapsed().as_secs_f64() >= seconds {
            return best.max(1e-9);
        }
    }
}

/// What the compiler makes of 24 independent sums of eight floats.
fn plain(factor: f32) {
    let mut sums = [[0.0f32; 8]; SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            sum.iter_mut().for_each(|value| *value = value.mul_add(factor, factor));
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod tile {
    use std::hint::black_box;

    use super::ROUNDS;
    use crate::gemm::amx::{Numbers, Shape, Tile, Tiles};

    /// Tiles of sums in registers: a product takes as long as three others begin.
    pub(super) const TILE_SUMS: usize = 6;

    /// Products of one instruction on whole tiles.
    pub(super) fn tile_products<N: Numbers>() -> f64 {
        (16 * 16 * N::STEP) as f64
    }

    pub(super) fn tiles<N: Numbers, T: Tiles>() {
        // Both halves of each word are 1.5 in bf16, and its bytes are small in int8.
        let factor = black_box(Tile([[0x3fc0_3fc0; 16]; 16]));
        let mut tiles = T::start();
        tiles.configure(&[Shape::of(16); 8]);
        tiles.load::<6>(&factor);
        tiles.load::<7>(&factor);
        for _ in 0..ROUNDS {
            N::dot::<T, 0, 6, 7>(&mut tiles);
            N::dot::<T, 1, 6, 7>(&mut tiles);
            N::dot::<T, 2, 6, 7>(&mut tiles);
            N::dot::<T, 3, 6, 7>(&mut tiles);
            N::dot::<T, 4, 6, 7>(&mut tiles);
            N::dot::<T, 5, 6, 7>(&mut tiles);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{ROUNDS, SUMS};

    /// # Safety
    /// The CPU must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn f32_ymm(factor: f32) {
        // 16 registers: twelve sums, twice.
        let factor = _mm256_set1_ps(factor);
        let mut sums = [factor; SUMS / 2];
        for _ in 0..2 * ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(factor, factor, *sum);
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The CPU must have AVX-512.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn f32_zmm(factor: f32) {
        let factor = _mm512_set1_ps(factor);
        let mut sums = [factor; SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(factor, factor, *sum);
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The CPU must have AVX512-BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn bf16_zmm(factor: f32) {
        let wide = _mm512_set1_ps(factor);
        let pairs = _mm512_cvtne2ps_pbh(wide, wide);
        let mut sums = [wide; SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, pairs, pairs);
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The CPU must have AVX2 and AVX-VNNI.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) unsafe fn int8_ymm(factor: i8) {
        let factor = _mm256_set1_epi32(i32::from_ne_bytes([factor as u8; 4]));
        let mut sums = [_mm256_setzero_si256(); SUMS / 2];
        for _ in 0..2 * ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    /// Three instructions a product: `vpmaddubsw`, `vpmaddwd` and an addition, of each sum's own bytes, so that none can be left out.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn int8_ymm_by_words(factor: i8) {
        let factor = _mm256_set1_epi32(i32::from_ne_bytes([factor as u8; 4]));
        let mut sums = [factor; SUMS / 2];
        for _ in 0..2 * ROUNDS {
            for sum in &mut sums {
                let words = _mm256_maddubs_epi16(*sum, factor);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The CPU must have AVX512-VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn int8_zmm(factor: i8) {
        let factor = _mm512_set1_epi32(i32::from_ne_bytes([factor as u8; 4]));
        let mut sums = [_mm512_setzero_si512(); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, factor, factor);
            }
        }
        black_box(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_those_of_the_cpu() {
        let found = peaks(2, 0.0);
        let cpu = CpuFeatures::detect();
        let names: Vec<_> = found.iter().map(|peak| peak.instruction).collect();
        // Not by the level of the process: other tests change it.
        let own = if cpu.avx512f {
            F32_ZMM
        } else if cpu.avx2 && cpu.fma {
            F32_YMM
        } else {
            F32_COMPILED
        };
        assert!(names.contains(&own), "{own} {names:?}");
        for kernel in crate::gemm::Kernel::ALL.into_iter().filter(|kernel| kernel.missing(&cpu).is_none()) {
            let (bf16, int8) = (kernel.bf16(&cpu), crate::quant::Int8Path::of(kernel, &cpu));
            assert!(bf16 == crate::Bf16Path::Portable || names.contains(&bf16.name()), "{bf16:?} {names:?}");
            assert!(int8 == crate::Int8Path::Portable || names.contains(&int8.name()), "{int8:?} {names:?}");
        }
        assert_eq!(
            found.iter().filter(|peak| peak.instruction.ends_with("tmm")).count(),
            if cpu.runs_amx() { 2 } else { 0 }
        );
        assert!(found.iter().all(|peak| peak.gops > 0.0 && peak.gops.is_finite()));
        assert!(read_rate(1 << 16, 2, 0.0) > 0.0);
        for peak in &found {
            let one = run_loop(peak.instruction, 1, 1);
            assert!(one > 0.0 && run_loop(peak.instruction, 2, 3) == 6.0 * one);
        }
        assert_eq!(run_loop("none", 2, 1), 0.0);
    }
}
