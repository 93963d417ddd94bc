//! Which clone of a kernel runs: decided once per process from the CPU's own answer and `LLDM_KERNEL`.

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;
#[cfg(test)]
use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(target_arch = "x86_64")]
use crate::gemm::{Kernel, kernel};
use crate::peak::F32_COMPILED;
#[cfg(target_arch = "x86_64")]
use crate::peak::{F32_YMM, F32_ZMM};

/// An instruction set that the kernels are compiled for.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Portable,
    /// The lanes of [`Self::Portable`] compiled for 256 bits, where a fused multiply-add is an instruction and no call.
    Compiled,
    Avx2,
    Avx512,
}

/// Runs `body::<S>(s, arguments)` compiled for the best instruction set of this CPU.
///
/// `dispatch!(body(x: &[f32], y: &mut [f32]) -> f32)` names the variables in scope and their types.
macro_rules! dispatch {
    ($body:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
            #[allow(clippy::too_many_arguments)]
            fn on_avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: this function is compiled for AVX-512 and called only where the CPU has it.
                let s = unsafe { $crate::simd::Avx512::new() };
                $body(s, $($arg),*)
            }
            #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
            #[allow(clippy::too_many_arguments)]
            fn on_avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: this function is compiled for AVX2 and FMA and called only where the CPU has them.
                let s = unsafe { $crate::simd::Avx2::new() };
                $body(s, $($arg),*)
            }
            #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
            #[allow(clippy::too_many_arguments)]
            fn compiled($($arg: $ty),*) $(-> $ret)? {
                $body($crate::simd::Portable, $($arg),*)
            }
            match $crate::simd::level() {
                // SAFETY: `level` found every feature in the list above.
                $crate::simd::Level::Avx512 => unsafe { on_avx512($($arg),*) },
                // SAFETY: `level` found every feature in the list above.
                $crate::simd::Level::Avx2 => unsafe { on_avx2($($arg),*) },
                // SAFETY: `level` found every feature in the list above.
                $crate::simd::Level::Compiled => unsafe { compiled($($arg),*) },
                $crate::simd::Level::Portable => $body($crate::simd::Portable, $($arg),*),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            $body($crate::simd::Portable, $($arg),*)
        }
    }};
}
pub(crate) use dispatch;

/// The instruction set of this process.
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    let found = *LEVEL.get_or_init(|| {
        let named = std::env::var("LLDM_KERNEL").is_ok_and(|wish| !wish.is_empty());
        choose(named.then(kernel), detect())
    });
    #[cfg(test)]
    let found = match CEILING.load(Ordering::Relaxed) {
        0 => Level::Portable,
        1 => found.min(Level::Compiled),
        2 => found.min(Level::Avx2),
        _ => found,
    };
    found
}

/// The instruction set of this process's fused kernels (attention, the pass over the vocabulary, norms, activations and what
/// is beside them), as `lldm doctor` names it.
pub fn simd_level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return match level() {
        Level::Portable | Level::Compiled => "portable",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    };
    #[cfg(not(target_arch = "x86_64"))]
    "portable"
}

/// The multiply-add of the level of this process, as [`crate::peak`] names it.
pub fn f32_instruction() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return match level() {
        Level::Portable => F32_COMPILED,
        Level::Compiled | Level::Avx2 => F32_YMM,
        Level::Avx512 => F32_ZMM,
    };
    #[cfg(not(target_arch = "x86_64"))]
    F32_COMPILED
}

/// Whoever names a kernel wants no wider vectors beside it; whoever does not, the best there are.
#[cfg(target_arch = "x86_64")]
fn choose(named: Option<Kernel>, found: Level) -> Level {
    match named {
        Some(Kernel::Portable) => found.min(Level::Compiled),
        Some(Kernel::Avx2) => found.min(Level::Avx2),
        _ => found,
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Portable,
    }
}

/// The highest level that tests allow; other tests do not notice, as all levels give the same bits.
#[cfg(test)]
static CEILING: AtomicU8 = AtomicU8::new(u8::MAX);

/// Runs `f` at every level and checks that it answers the same each time.
#[cfg(test)]
pub(crate) fn at_each_level<T: PartialEq + std::fmt::Debug>(f: impl Fn() -> T) -> T {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let best = f();
    for ceiling in [0, 1, 2] {
        CEILING.store(ceiling, Ordering::Relaxed);
        let other = f();
        CEILING.store(u8::MAX, Ordering::Relaxed);
        assert!(best == other, "level {ceiling} gives other bits");
    }
    best
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_the_kernel_that_is_named() {
        use Level::{Avx2, Avx512, Compiled, Portable};
        let all = [Portable, Avx2, Avx512];
        assert_eq!(all.map(|found| choose(None, found)), all);
        assert_eq!(all.map(|found| choose(Some(Kernel::Portable), found)), [Portable, Compiled, Compiled]);
        assert_eq!(all.map(|found| choose(Some(Kernel::Avx2), found)), [Portable, Avx2, Avx2]);
        for kernel in [Kernel::Avx512, Kernel::Amx] {
            assert_eq!(all.map(|found| choose(Some(kernel), found)), all);
        }
    }
}
