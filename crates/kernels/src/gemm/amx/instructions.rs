//! The tile instructions themselves, by inline assembly: Rust's intrinsics for them are not stable.
//!
//! Values stay in tile registers from one piece of assembly to the next. Nothing else touches them: no function of this program is
//! compiled for AMX, so that the compiler has no use for these registers, and the system keeps them across switches of threads.
//! Each piece that writes a register still declares all eight as overwritten.

use std::arch::asm;
use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::tile::{Shape, Tile, Tiles};
use crate::detect::CpuFeatures;

/// The tile registers of the thread that holds this value. They are released when it is dropped.
#[derive(Debug)]
pub(crate) struct Instructions {
    of_this_thread: PhantomData<*const ()>,
}

/// `asm!` that overwrites tile registers.
macro_rules! tile_asm {
    ($($arguments:tt)*) => {
        asm!(
            $($arguments)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
        )
    };
}

impl Tiles for Instructions {
    fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| CpuFeatures::detect().runs_amx())
    }

    fn start() -> Self {
        assert!(Self::available(), "gemm: no AMX");
        Self { of_this_thread: PhantomData }
    }

    #[inline]
    fn configure(&mut self, shapes: &[Shape; 8]) {
        let memory = ConfigurationMemory::new(shapes);
        // SAFETY: the 64 bytes are readable; the instruction changes tile registers alone. They exist, as `start` asserts.
        unsafe { tile_asm!("ldtilecfg [{0}]", in(reg) &raw const memory, options(nostack, preserves_flags, readonly),) }
    }

    #[inline(always)]
    fn zero<const T: u8>(&mut self) {
        // SAFETY: it changes a tile register alone.
        unsafe { tile_asm!("tilezero tmm{0}", const T, options(nostack, preserves_flags, nomem),) }
    }

    #[inline(always)]
    fn load<const T: u8>(&mut self, from: &Tile) {
        // SAFETY: a tile in memory holds the most rows and bytes that a register can have, 64 bytes apart.
        unsafe {
            tile_asm!(
                "tileloadd tmm{0}, [{1} + 1*{2}]",
                const T,
                in(reg) from,
                in(reg) Tile::STRIDE,
                options(nostack, preserves_flags, readonly),
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const T: u8>(&self, to: *mut u8, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!("tilestored [{0} + 1*{1}], tmm{2}", in(reg) to, in(reg) stride, const T, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn dot_bf16<const C: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: it changes a tile register alone.
        unsafe {
            tile_asm!("tdpbf16ps tmm{0}, tmm{1}, tmm{2}", const C, const A, const B, options(nostack, preserves_flags, nomem),);
        }
    }

    #[inline(always)]
    fn dot_i8<const C: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: it changes a tile register alone.
        unsafe {
            tile_asm!("tdpbssd tmm{0}, tmm{1}, tmm{2}", const C, const A, const B, options(nostack, preserves_flags, nomem),);
        }
    }

    #[inline(always)]
    fn prefetch(line: *const Tile) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
    }
}

impl Drop for Instructions {
    /// Without tiles in use a switch of threads has less to save, and the core may sleep deeper.
    fn drop(&mut self) {
        // SAFETY: it changes tile registers alone.
        unsafe { tile_asm!("tilerelease", options(nostack, preserves_flags, nomem),) }
    }
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct ConfigurationMemory {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Of sixteen registers, of which palette 1 has eight.
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl ConfigurationMemory {
    fn new(shapes: &[Shape; 8]) -> Self {
        let mut memory = Self { palette: 1, start_row: 0, reserved: [0; 14], bytes_per_row: [0; 16], rows: [0; 16] };
        for (i, shape) in shapes.iter().enumerate() {
            memory.bytes_per_row[i] = u16::from(shape.bytes);
            memory.rows[i] = shape.rows;
        }
        memory
    }
}

const _: () = assert!(size_of::<ConfigurationMemory>() == 64);
