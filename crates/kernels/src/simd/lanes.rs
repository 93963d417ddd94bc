//! Sixteen f32 lanes: the trait behind the fused kernels and the portable product. The products of AVX-512, of AMX and of quantised
//! weights are written in instructions of their own.

/// The number of f32 lanes of every [`Simd::V`].
pub(crate) const LANES: usize = 16;

/// Arithmetic on sixteen f32 lanes. A value of an implementing type proves that the CPU has its instructions.
pub(crate) trait Simd: Copy {
    /// Sixteen lanes.
    type V: Copy;
    /// Whether 24 accumulators of sixteen lanes fit the registers (else six do).
    const WIDE: bool;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// Sixteen f32 must be readable at `p`.
    unsafe fn load_ptr(self, p: *const f32) -> Self::V;
    /// # Safety
    /// Sixteen f32 must be writable at `p`.
    unsafe fn store_ptr(self, v: Self::V, p: *mut f32);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }` per lane (so a NaN in `b` stays).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }` per lane (so a NaN in `b` stays).
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `y * 2^n` for integral `n` in -126..=128 and y near 1.
    fn scale_by_power(self, y: Self::V, n: Self::V) -> Self::V;
    /// `if x < limit { 0 } else { y }` per lane.
    fn zero_where_less(self, x: Self::V, limit: Self::V, y: Self::V) -> Self::V;

    /// Value i of line j becomes value j of line i.
    #[inline(always)]
    fn transpose(self, square: [Self::V; LANES]) -> [Self::V; LANES] {
        let lines = square.map(|line| self.to_array(line));
        std::array::from_fn(|i| self.load(&std::array::from_fn::<_, LANES, _>(|j| lines[j][i])))
    }

    /// The first sixteen values of `x`.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        assert!(x.len() >= LANES);
        // SAFETY: the slice holds sixteen values.
        unsafe { self.load_ptr(x.as_ptr()) }
    }

    /// Writes the first sixteen values of `out`.
    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32]) {
        assert!(out.len() >= LANES);
        // SAFETY: the slice holds sixteen values.
        unsafe { self.store_ptr(v, out.as_mut_ptr()) }
    }

    /// Up to sixteen values of `x`, the missing lanes set to `fill`.
    #[inline(always)]
    fn load_partial(self, x: &[f32], fill: f32) -> Self::V {
        if x.len() >= LANES {
            return self.load(x);
        }
        let mut lanes = [fill; LANES];
        lanes[..x.len()].copy_from_slice(x);
        self.load(&lanes)
    }

    /// Writes as many lanes as `out` holds, at most sixteen.
    #[inline(always)]
    fn store_partial(self, v: Self::V, out: &mut [f32]) {
        if out.len() >= LANES {
            return self.store(v, out);
        }
        let lanes = self.to_array(v);
        let count = out.len();
        out.copy_from_slice(&lanes[..count]);
    }

    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        lanes
    }

    /// The sum of the lanes, always as the same tree: halves are added, three more times.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut lanes = self.to_array(v);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// The largest lane.
    #[inline(always)]
    fn max_lane(self, v: Self::V) -> f32 {
        let mut lanes = self.to_array(v);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = if lanes[i] > lanes[i + width] { lanes[i] } else { lanes[i + width] };
            }
            width /= 2;
        }
        lanes[0]
    }
}
