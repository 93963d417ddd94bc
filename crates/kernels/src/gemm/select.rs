//! Which matrix product runs: by the CPU, or by `LLDM_KERNEL`.

use std::fmt;
use std::sync::OnceLock;

use crate::detect::CpuFeatures;

/// A family of matrix product kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// `vdpbf16ps`: two bf16 products per lane and instruction.
    Avx512,
    /// f32 fused multiply-adds on bf16-rounded inputs, with whatever vectors the CPU has; the same bits on every CPU.
    Portable,
}

/// `LLDM_KERNEL` names a kernel that does not exist or that this CPU cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    found: String,
    unknown: bool,
}

/// The kernel of this process: `LLDM_KERNEL` (`avx512` or `portable`) if set, else by the CPU. Read once.
///
/// # Errors
/// If the variable names no kernel, or one that this CPU cannot run. Products panic then: ask here first.
pub fn selected_kernel() -> Result<Kernel, KernelError> {
    static SELECTED: OnceLock<Result<Kernel, KernelError>> = OnceLock::new();
    SELECTED.get_or_init(|| choose(std::env::var("LLDM_KERNEL").ok().as_deref(), &CpuFeatures::detect())).clone()
}

impl Kernel {
    /// The kernel of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Avx512, Self::Portable].into_iter().find(|kernel| kernel.to_string() == name)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Portable => "portable",
        })
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        if self.unknown {
            write!(f, "LLDM_KERNEL is {found:?}; expected avx512 or portable, or leave it unset")
        } else {
            write!(f, "LLDM_KERNEL is {found:?}, but this CPU has no AVX512-BF16; use portable, or leave it unset")
        }
    }
}

impl std::error::Error for KernelError {}

/// Without an override `vdpbf16ps` runs on CPUs that have it and no AMX: on Sapphire Rapids it was measured at half the
/// rate of f32 multiply-adds, on Zen 4 at twice.
fn choose(wish: Option<&str>, cpu: &CpuFeatures) -> Result<Kernel, KernelError> {
    let able = cpu.avx512f && cpu.avx512bw && cpu.avx512_bf16;
    match wish {
        None | Some("") if able && !cpu.amx_bf16 => Ok(Kernel::Avx512),
        None | Some("" | "portable") => Ok(Kernel::Portable),
        Some("avx512") if able => Ok(Kernel::Avx512),
        Some(other) => Err(KernelError { found: other.to_owned(), unknown: other != "avx512" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_by_cpu_and_by_name() {
        let plain = CpuFeatures::default();
        let zen4 = CpuFeatures { avx512f: true, avx512bw: true, avx512_bf16: true, ..plain.clone() };
        let rapids = CpuFeatures { amx_bf16: true, ..zen4.clone() };
        assert_eq!(choose(None, &plain), Ok(Kernel::Portable));
        assert_eq!(
            ["avx512", "portable", "fast"].map(Kernel::named),
            [Some(Kernel::Avx512), Some(Kernel::Portable), None]
        );
        assert_eq!(choose(None, &zen4), Ok(Kernel::Avx512));
        assert_eq!(choose(None, &rapids), Ok(Kernel::Portable));
        assert_eq!(choose(Some("avx512"), &rapids), Ok(Kernel::Avx512));
        assert_eq!(choose(Some("portable"), &zen4), Ok(Kernel::Portable));
        assert!(choose(Some("avx512"), &plain).is_err_and(|e| e.to_string().contains("no AVX512-BF16")));
        assert!(choose(Some("fast"), &zen4).is_err_and(|e| e.to_string().contains("expected avx512 or portable")));
    }
}
