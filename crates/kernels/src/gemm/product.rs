//! The public products, whichever kernel computes them.

#[cfg(any(test, target_arch = "x86_64"))]
use super::amx;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::grid::Output;
use super::layout::Layout;
use super::packed::PackedBf16;
use super::portable;
use super::select::{Bf16Path, Kernel, selected_kernel};
use crate::detect::CpuFeatures;
#[cfg(any(test, target_arch = "x86_64"))]
use crate::vector;

/// `out = a · b` with both inputs rounded to bf16 and sums in f32: a is `[M, K]`, b `[K, N]`, out row major `[M, N]`.
/// Either factor may be transposed by its strides: with x `[B, I]`, W `[O, I]` and g `[B, O]` row major, the three
/// products of a linear layer are `x · Wᵀ`, `g · W` and `gᵀ · x`.
pub fn gemm_bf16(a: &[f32], a_layout: Layout, b: &[f32], b_layout: Layout, out: &mut [f32]) {
    product_with(kernel(), a, a_layout, b, b_layout, out, false);
}

/// `out += a · b`, as [`gemm_bf16`] otherwise. Each sum goes on from what `out` holds, so that a product in parts of K, an even number
/// each but for the last, gives the bits of the whole; on AMX tiles it is added when it is done.
pub fn gemm_bf16_add(a: &[f32], a_layout: Layout, b: &[f32], b_layout: Layout, out: &mut [f32]) {
    product_with(kernel(), a, a_layout, b, b_layout, out, true);
}

/// As [`gemm_bf16`], bit for bit, with the right factor packed before: a is `[M, K]`, out row major `[M, N]`. The CPU must have the
/// instructions that it is packed for.
pub fn gemm_bf16_packed(a: &[f32], a_layout: Layout, b: &PackedBf16, out: &mut [f32]) {
    let shape @ [rows, cols] = [b.rows(), b.cols()];
    check(a, a_layout, rows, cols, out);
    let output = Output::new(out, a_layout.rows, cols);
    match b.path() {
        #[cfg(target_arch = "x86_64")]
        Bf16Path::Amx => amx::product_packed::<amx::Bf16, amx::Instructions>(a, a_layout, shape, b.bytes(), out),
        #[cfg(test)]
        Bf16Path::AmxEmulation => amx::product_packed::<amx::Bf16, amx::Emulation>(a, a_layout, shape, b.bytes(), out),
        #[cfg(target_arch = "x86_64")]
        Bf16Path::Avx512 => avx512::product_packed(a, a_layout, shape, b.bytes(), output),
        #[cfg(not(target_arch = "x86_64"))]
        Bf16Path::Amx | Bf16Path::Avx512 => {
            assert_eq!(b.path(), Bf16Path::Portable, "gemm: this CPU cannot use what is packed for another")
        }
        Bf16Path::Portable => portable::product_packed(a, a_layout, shape, b.bytes(), output),
    }
}

pub(crate) fn product_with(
    kernel: Kernel,
    a: &[f32],
    a_layout: Layout,
    b: &[f32],
    b_layout: Layout,
    out: &mut [f32],
    add: bool,
) {
    b_layout.check(b.len(), "b");
    check(a, a_layout, b_layout.rows, b_layout.cols, out);
    #[cfg(any(test, target_arch = "x86_64"))]
    let on_tiles = |product: fn(&[f32], Layout, &[f32], Layout, &mut [f32]), out: &mut [f32]| {
        if add {
            let mut sums = vec![0.0; out.len()];
            product(a, a_layout, b, b_layout, &mut sums);
            vector::add(&sums, out);
        } else {
            product(a, a_layout, b, b_layout, out);
        }
    };
    let output = Output::new(out, a_layout.rows, b_layout.cols);
    match kernel.bf16(CpuFeatures::detect_once()) {
        #[cfg(target_arch = "x86_64")]
        Bf16Path::Amx => on_tiles(amx::product::<amx::Bf16, amx::Instructions>, out),
        #[cfg(test)]
        Bf16Path::AmxEmulation => on_tiles(amx::product::<amx::Bf16, amx::Emulation>, out),
        #[cfg(target_arch = "x86_64")]
        Bf16Path::Avx512 => avx512::product(a, a_layout, b, b_layout, output, add),
        #[cfg(not(target_arch = "x86_64"))]
        Bf16Path::Amx | Bf16Path::Avx512 => portable::product(a, a_layout, b, b_layout, output, add),
        Bf16Path::Portable => portable::product(a, a_layout, b, b_layout, output, add),
    }
}

/// The bf16 path of this process.
pub fn bf16_path() -> Bf16Path {
    kernel().bf16(CpuFeatures::detect_once())
}

/// The kernel of this process; [`selected_kernel`] says beforehand whether there is one.
pub(crate) fn kernel() -> Kernel {
    let selected = selected_kernel();
    if let Err(error) = &selected {
        assert!(selected.is_ok(), "{error}");
    }
    selected.unwrap_or(Kernel::Portable)
}

fn check(a: &[f32], a_layout: Layout, rows: usize, cols: usize, out: &[f32]) {
    a_layout.check(a.len(), "a");
    assert_eq!(a_layout.cols, rows, "gemm: a has {} columns, b has {rows} rows", a_layout.cols);
    assert_eq!(Some(out.len()), a_layout.rows.checked_mul(cols), "gemm: out is not [{}, {cols}]", a_layout.rows);
}
