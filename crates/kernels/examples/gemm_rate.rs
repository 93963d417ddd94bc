//! Prints the rate of `gemm_bf16` beside the `gemm` crate's f32, in the same run:
//! `cargo run --release -p lldm-kernels --example gemm_rate`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use gemm::Parallelism;
use lldm_kernels::{Layout, gemm_bf16, gemm_bf16_packed, pack_bf16, selected_kernel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("kernel {}, {} threads; GFLOP/s, best of runs", selected_kernel()?, rayon::current_num_threads());
    println!("M x K x N, product            bf16    packed    gemm f32");
    for (m, k, n) in [(4096, 256, 1024), (4096, 1024, 256), (4096, 256, 4096), (256, 4096, 1024), (16, 256, 1024)] {
        for (name, a_transposed, b_transposed) in
            [("x W^T", false, true), ("g W", false, false), ("g^T x", true, false)]
        {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let layout = |rows, cols, transposed| match transposed {
                true => Layout::row_major(cols, rows).transposed(),
                false => Layout::row_major(rows, cols),
            };
            let (la, lb) = (layout(m, k, a_transposed), layout(k, n, b_transposed));
            let mut out = vec![0.0f32; m * n];
            let packed = pack_bf16(&b, lb);
            let work = 2e-9 * (m * k * n) as f64;
            let own = rate(work, || gemm_bf16(&a, la, &b, lb, &mut out));
            let ours = rate(work, || gemm_bf16_packed(&a, la, &packed, &mut out));
            let peer = rate(work, || peer_product(&a, la, &b, lb, &mut out));
            println!("{:<24} {own:>9.0} {ours:>9.0} {peer:>11.0}", format!("{m} x {k} x {n} {name}"));
        }
    }
    Ok(())
}

/// The best rate of runs that fill half a second.
fn rate(work: f64, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 0.5 {
        let run = Instant::now();
        f();
        best = best.min(run.elapsed().as_secs_f64());
    }
    work / best
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0).collect()
}

fn peer_product(a: &[f32], la: Layout, b: &[f32], lb: Layout, out: &mut [f32]) {
    let stride = |x: usize| x as isize;
    // SAFETY: the three slices hold matrices of these sizes and strides, and `out` is borrowed by us alone.
    unsafe {
        gemm::gemm(
            la.rows,
            lb.cols,
            la.cols,
            out.as_mut_ptr(),
            1,
            stride(lb.cols),
            false,
            a.as_ptr(),
            stride(la.col_stride),
            stride(la.row_stride),
            b.as_ptr(),
            stride(lb.col_stride),
            stride(lb.row_stride),
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}
