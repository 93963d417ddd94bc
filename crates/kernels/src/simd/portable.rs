//! Sixteen lanes in plain Rust: every CPU, and NEON through the compiler's own vectoriser.
//!
//! On an x86-64 CPU without FMA `f32::mul_add` is a library call: right to the last bit, and slow. So `dispatch` compiles these
//! lanes for CPUs with it as well; the bits are the same.

use super::lanes::{LANES, Simd};

/// Plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Sixteen lanes, aligned as one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Array([f32; LANES]);

#[inline(always)]
fn zip(a: Array, b: Array, op: impl Fn(f32, f32) -> f32) -> Array {
    let mut out = a;
    for i in 0..LANES {
        out.0[i] = op(a.0[i], b.0[i]);
    }
    out
}

impl Simd for Portable {
    type V = Array;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Array {
        Array([x; LANES])
    }

    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> Array {
        // SAFETY: the caller lets us read sixteen f32.
        Array(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Array, p: *mut f32) {
        // SAFETY: the caller lets us write sixteen f32.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(v.0) }
    }

    #[inline(always)]
    fn add(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: Array, b: Array, c: Array) -> Array {
        let mut out = c;
        for i in 0..LANES {
            out.0[i] = a.0[i].mul_add(b.0[i], c.0[i]);
        }
        out
    }

    #[inline(always)]
    fn max(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn scale_by_power(self, y: Array, n: Array) -> Array {
        zip(y, n, crate::exp::scale_by_power)
    }

    #[inline(always)]
    fn zero_where_less(self, x: Array, limit: Array, y: Array) -> Array {
        let mut out = y;
        for i in 0..LANES {
            out.0[i] = if x.0[i] < limit.0[i] { 0.0 } else { y.0[i] };
        }
        out
    }
}
