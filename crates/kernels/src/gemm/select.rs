//! Which matrix product runs: by the CPU, or by `LLDM_KERNEL`.

use std::fmt;
use std::sync::OnceLock;

use crate::detect::CpuFeatures;

/// A family of matrix product kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// `tdpbf16ps`: products of tile registers (Intel AMX).
    Amx,
    /// `vdpbf16ps` where the CPU has it, two bf16 products per lane and instruction; `vpdpbusd` on 512 bits for int8.
    Avx512,
    /// f32 fused multiply-adds on bf16-rounded inputs, the same bits as [`Self::Portable`]; int8 products on 256 bits.
    Avx2,
    /// f32 fused multiply-adds on bf16-rounded inputs, with whatever vectors the CPU has; the same bits on every CPU.
    Portable,
    /// The kernel of [`Self::Amx`] on tile registers in plain Rust. It has no name and is never chosen.
    #[cfg(test)]
    AmxEmulation,
}

/// The instructions of the bf16 product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16Path {
    /// `tdpbf16ps` (Intel AMX).
    Amx,
    /// `vdpbf16ps` on 512 bits (AVX512-BF16).
    Avx512,
    /// f32 fused multiply-adds with whatever vectors the CPU has.
    Portable,
    /// Tile registers in plain Rust.
    #[cfg(test)]
    AmxEmulation,
}

/// `LLDM_KERNEL` names a kernel that does not exist or that cannot run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    found: String,
    /// What is missing here for a kernel that exists.
    missing: Option<&'static str>,
}

/// The kernel of this process: `LLDM_KERNEL` (`amx`, `avx512`, `avx2` or `portable`) if set, else by the CPU. Read once.
///
/// # Errors
/// If the variable names no kernel, or one that cannot run here. Products panic then: ask here first.
pub fn selected_kernel() -> Result<Kernel, KernelError> {
    static SELECTED: OnceLock<Result<Kernel, KernelError>> = OnceLock::new();
    SELECTED.get_or_init(|| choose(std::env::var("LLDM_KERNEL").ok().as_deref(), &CpuFeatures::detect())).clone()
}

impl Kernel {
    /// All that can be named.
    pub(crate) const ALL: [Self; 4] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Portable];

    /// What multiplies bf16 in this kernel on this CPU.
    pub(crate) fn bf16(self, cpu: &CpuFeatures) -> Bf16Path {
        match self {
            Self::Amx => Bf16Path::Amx,
            Self::Avx512 if cpu.avx512_bf16 => Bf16Path::Avx512,
            Self::Avx512 | Self::Avx2 | Self::Portable => Bf16Path::Portable,
            #[cfg(test)]
            Self::AmxEmulation => Bf16Path::AmxEmulation,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
            #[cfg(test)]
            Self::AmxEmulation => "emulation of amx",
        }
    }

    /// What this kernel lacks to run here, if anything.
    pub(crate) fn missing(self, cpu: &CpuFeatures) -> Option<&'static str> {
        match self {
            Self::Amx if cpu.runs_amx() => None,
            Self::Amx if cpu.amx_tile && cpu.amx_bf16 && cpu.amx_int8 => {
                Some("the system does not let this process use AMX")
            }
            Self::Amx => Some("this CPU has no AMX with bf16 and int8"),
            Self::Avx512 if cpu.avx512f && cpu.avx512bw && (cpu.avx512_bf16 || cpu.avx512vnni) => None,
            Self::Avx512 => Some("this CPU has neither AVX512-BF16 nor AVX512-VNNI"),
            Self::Avx2 if cpu.avx2 && cpu.fma => None,
            Self::Avx2 => Some("this CPU has no AVX2 with FMA"),
            Self::Portable => None,
            #[cfg(test)]
            Self::AmxEmulation => None,
        }
    }
}

impl Bf16Path {
    /// The name of its order of packed factors in files.
    pub fn layout(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Portable => "portable",
            #[cfg(test)]
            Self::AmxEmulation => "emulation of amx",
        }
    }

    /// The path of that layout.
    pub fn of_layout(layout: &str) -> Option<Self> {
        [Self::Amx, Self::Avx512, Self::Portable].into_iter().find(|path| path.layout() == layout)
    }

    /// The instruction, as `lldm doctor` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "tdpbf16ps tmm",
            Self::Avx512 => "vdpbf16ps zmm",
            Self::Portable => "f32 fma",
            #[cfg(test)]
            Self::AmxEmulation => "emulation of tdpbf16ps",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LLDM_KERNEL is {:?}", self.found)?;
        match self.missing {
            Some(missing) => write!(f, ", but {missing}; use portable, or leave it unset"),
            None => {
                let [others @ .., last] = Kernel::ALL.map(Kernel::name);
                write!(f, "; expected {} or {last}, or leave it unset", others.join(", "))
            }
        }
    }
}

impl std::error::Error for KernelError {}

/// Without an override `vdpbf16ps` runs on CPUs that have it and no AMX: on Sapphire Rapids it was measured at half the
/// rate of f32 multiply-adds, on Zen 4 at twice.
fn choose(wish: Option<&str>, cpu: &CpuFeatures) -> Result<Kernel, KernelError> {
    let runs = |kernel: Kernel| kernel.missing(cpu).is_none();
    let Some(wish) = wish.filter(|wish| !wish.is_empty()) else {
        return Ok(match () {
            () if runs(Kernel::Amx) => Kernel::Amx,
            () if runs(Kernel::Avx512) && !cpu.amx_bf16 => Kernel::Avx512,
            () if runs(Kernel::Avx2) => Kernel::Avx2,
            () => Kernel::Portable,
        });
    };
    let named = Kernel::ALL.into_iter().find(|kernel| kernel.name() == wish);
    match named.map(|kernel| (kernel, kernel.missing(cpu))) {
        Some((kernel, None)) => Ok(kernel),
        Some((_, missing)) => Err(KernelError { found: wish.to_owned(), missing }),
        None => Err(KernelError { found: wish.to_owned(), missing: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_by_cpu_and_by_name() {
        let plain = CpuFeatures::default();
        let zen4 =
            CpuFeatures { avx2: true, fma: true, avx512f: true, avx512bw: true, avx512_bf16: true, ..plain.clone() };
        let ice_lake = CpuFeatures { avx512_bf16: false, avx512vnni: true, ..zen4.clone() };
        let forbidden = CpuFeatures { amx_tile: true, amx_bf16: true, amx_int8: true, ..zen4.clone() };
        let rapids = CpuFeatures { amx_permitted: true, ..forbidden.clone() };
        let haswell = CpuFeatures { avx2: true, fma: true, ..plain.clone() };
        assert_eq!(choose(None, &plain), Ok(Kernel::Portable));
        assert_eq!(choose(None, &haswell), Ok(Kernel::Avx2));
        assert_eq!(
            ["amx", "avx512", "portable", "fast"].map(Bf16Path::of_layout),
            [Some(Bf16Path::Amx), Some(Bf16Path::Avx512), Some(Bf16Path::Portable), None]
        );
        assert_eq!(choose(Some(""), &zen4), Ok(Kernel::Avx512));
        assert_eq!(choose(None, &ice_lake), Ok(Kernel::Avx512));
        assert_eq!(choose(None, &forbidden), Ok(Kernel::Avx2));
        assert_eq!(choose(None, &rapids), Ok(Kernel::Amx));
        for kernel in Kernel::ALL {
            assert_eq!(choose(Some(&kernel.to_string()), &rapids), Ok(kernel));
        }
        assert_eq!(choose(Some("portable"), &zen4), Ok(Kernel::Portable));
        let message = |wish, cpu| choose(Some(wish), cpu).expect_err("this kernel cannot run").to_string();
        assert!(message("avx512", &plain).contains("neither AVX512-BF16 nor"));
        assert!(message("amx", &zen4).contains("no AMX"));
        assert!(message("amx", &forbidden).contains("does not let this process"));
        assert!(message("fast", &zen4).contains("expected amx, avx512, avx2 or portable"));
        assert!(message(&Kernel::AmxEmulation.to_string(), &rapids).contains("expected amx"));
    }
}
