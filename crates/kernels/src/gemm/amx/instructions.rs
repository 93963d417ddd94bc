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
    unsafe fn load_rows<const T: u8>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            tile_asm!(
                "tileloadd tmm{0}, [{1} + 1*{2}]",
                const T,
                in(reg) from,
                in(reg) stride,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::noise;
    use crate::gemm::amx::tests::{bytes, layouts, random, run, size, whole_product};
    use crate::gemm::amx::{Bf16, Emulation, Int8};

    /// Runs `f`, or says that it did not.
    fn on_units(name: &str, f: impl FnOnce()) {
        if Instructions::available() {
            f();
        } else {
            println!("{name}: skipped, AMX cannot be used here");
        }
    }

    fn tile(mut value: impl FnMut() -> u32) -> Tile {
        Tile(std::array::from_fn(|_| std::array::from_fn(|_| value())))
    }

    /// What an instruction does to registers of these shapes, for all that tests can see.
    fn registers<T: Tiles>(shapes: &[Shape; 8], sums: [Tile; 4], left: [Tile; 2], right: [Tile; 2]) -> Vec<Tile> {
        let mut tiles = T::start();
        tiles.configure(shapes);
        tiles.load::<0>(&sums[0]);
        tiles.load::<1>(&sums[1]);
        tiles.load::<2>(&sums[2]);
        tiles.load::<3>(&sums[3]);
        tiles.load::<4>(&left[0]);
        tiles.load::<5>(&left[1]);
        tiles.load::<6>(&right[0]);
        tiles.load::<7>(&right[1]);
        let mut found = Vec::new();
        let mut see = |tiles: &T| {
            let stores = [T::store::<0>, T::store::<1>, T::store::<2>, T::store::<3>, T::store::<4>, T::store::<7>];
            for store in stores {
                let mut seen = Tile([[0xdead_beef; 16]; 16]);
                // SAFETY: a tile in memory holds the most rows that a register can have.
                unsafe { store(tiles, seen.bytes(), Tile::STRIDE) };
                found.push(seen);
            }
        };
        see(&tiles);
        tiles.dot_bf16::<0, 4, 6>();
        tiles.dot_bf16::<1, 5, 7>();
        tiles.dot_i8::<2, 4, 6>();
        tiles.dot_i8::<3, 5, 7>();
        see(&tiles);
        tiles.zero::<1>();
        tiles.dot_bf16::<1, 4, 6>();
        see(&tiles);
        tiles.configure(shapes);
        see(&tiles);
        found
    }

    /// The shapes of three kinds of tile for m rows, k groups and n columns.
    fn shapes([m, k, n]: [u8; 3]) -> [Shape; 8] {
        let (sums, left, right) =
            (Shape { rows: m, bytes: 4 * n }, Shape { rows: m, bytes: 4 * k }, Shape { rows: k, bytes: 4 * n });
        [sums, sums, sums, sums, left, left, right, right]
    }

    /// The bits, all NaN alike.
    fn comparable(found: &[Tile]) -> Vec<u32> {
        let nan = |bits: u32| if f32::from_bits(bits).is_nan() { 0x7fc0_0000 } else { bits };
        found.iter().flat_map(|tile| tile.0.as_flattened()).map(|bits| nan(*bits)).collect()
    }

    /// Every kind of bits: any at all, and values near one another, near the smallest normal number and among small integers.
    #[test]
    fn instructions_do_what_the_emulation_does() {
        on_units("instructions_do_what_the_emulation_does", || {
            let mut next = random(5);
            for case in 0..3000u64 {
                let sizes = if case % 3 == 0 { [16; 3] } else { std::array::from_fn(|_| 1 + (next() % 16) as u8) };
                let exponents = [0, 1, 62, 127][(case / 8 % 4) as usize];
                let mut word = || match case % 8 {
                    0 => next() as u32,
                    1 => (next() % 7) as u32 * 0x0100_0001,
                    _ => {
                        let half = |bits: u64| (bits & 0x807f) as u32 | ((exponents + (bits >> 20) as u32 % 3) << 7);
                        half(next()) | half(next()) << 16
                    }
                };
                let (left, right) = ([tile(&mut word), tile(&mut word)], [tile(&mut word), tile(&mut word)]);
                let sums = [tile(&mut word), tile(&mut word), tile(&mut word), tile(&mut word)];
                let shapes = shapes(sizes);
                let emulated = registers::<Emulation>(&shapes, sums, left, right);
                let found = registers::<Instructions>(&shapes, sums, left, right);
                assert_eq!(comparable(&found), comparable(&emulated), "case {case}, shapes {shapes:?}");
            }
        });
    }

    #[test]
    fn products_by_instructions_are_those_of_the_emulation() {
        on_units("products_by_instructions_are_those_of_the_emulation", || {
            for [m, n, k] in [[1, 1, 1], [17, 33, 40], [100, 100, 100], [50, 40, 900], [270, 33, 3300], [256, 512, 256]]
            {
                for (la, lb) in layouts(m, k).into_iter().zip(layouts(k, n).into_iter().rev()) {
                    let (a, b) = (noise(1, size(&la)).f32, noise(2, size(&lb)).f32);
                    let found = run::<Bf16, Instructions>(&a, la, &b, lb, f32::NAN);
                    assert!(found == run::<Bf16, Emulation>(&a, la, &b, lb, f32::NAN), "{la:?} {lb:?}");
                    let (a, b) = (bytes(1, size(&la)), bytes(2, size(&lb)));
                    assert!(
                        run::<Int8, Instructions>(&a, la, &b, lb, 0) == whole_product(&a, la, &b, lb),
                        "{la:?} {lb:?}"
                    );
                }
            }
        });
    }
}
