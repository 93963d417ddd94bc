//! What this CPU can do, as `lldm doctor` prints it.

use std::fmt;

/// The features of this CPU that kernels can use, its name and its cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuFeatures {
    /// The brand string, such as "AMD EPYC 9R14"; `None` where the CPU or the system does not tell.
    pub brand: Option<String>,
    /// Threads that this process may run at once (the container's limit counts).
    pub logical_cores: usize,
    /// Cores without hyper-threads; `None` where the system does not tell.
    pub physical_cores: Option<usize>,
    /// 256-bit integers and floats.
    pub avx2: bool,
    /// Fused multiply-add.
    pub fma: bool,
    /// 512-bit foundation.
    pub avx512f: bool,
    /// 512-bit bytes and words.
    pub avx512bw: bool,
    /// 512-bit int8 products.
    pub avx512vnni: bool,
    /// 512-bit bf16 products.
    pub avx512_bf16: bool,
    /// 256-bit int8 products.
    pub avxvnni: bool,
    /// Tile registers (Intel AMX).
    pub amx_tile: bool,
    /// bf16 products of tiles.
    pub amx_bf16: bool,
    /// int8 products of tiles.
    pub amx_int8: bool,
    /// The system saves tile registers and lets this process use them.
    pub amx_permitted: bool,
    /// 128-bit vectors of aarch64.
    pub neon: bool,
}

impl CpuFeatures {
    /// Asks the CPU and the system; where there are tile registers, requests them for this process.
    pub fn detect() -> Self {
        let mut found = Self {
            brand: brand(),
            logical_cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            physical_cores: physical_cores(),
            ..Self::default()
        };
        found.detect_instructions();
        found
    }

    /// As [`CpuFeatures::detect`], asked once per process.
    pub fn detect_once() -> &'static Self {
        static FOUND: std::sync::OnceLock<CpuFeatures> = std::sync::OnceLock::new();
        FOUND.get_or_init(Self::detect)
    }

    /// Whether products of tiles can run here: the instructions are there and the system permits them.
    pub fn runs_amx(&self) -> bool {
        self.amx_tile && self.amx_bf16 && self.amx_int8 && self.amx_permitted
    }

    /// The name and presence of each feature, in a fixed order.
    pub fn list(&self) -> [(&'static str, bool); 12] {
        [
            ("avx2", self.avx2),
            ("fma", self.fma),
            ("avx512f", self.avx512f),
            ("avx512bw", self.avx512bw),
            ("avx512vnni", self.avx512vnni),
            ("avx512_bf16", self.avx512_bf16),
            ("avxvnni", self.avxvnni),
            ("amx_tile", self.amx_tile),
            ("amx_bf16", self.amx_bf16),
            ("amx_int8", self.amx_int8),
            ("amx_permitted", self.amx_permitted),
            ("neon", self.neon),
        ]
    }

    #[cfg(target_arch = "x86_64")]
    fn detect_instructions(&mut self) {
        self.avx2 = is_x86_feature_detected!("avx2");
        self.fma = is_x86_feature_detected!("fma");
        self.avx512f = is_x86_feature_detected!("avx512f");
        self.avx512bw = is_x86_feature_detected!("avx512bw");
        self.avx512vnni = is_x86_feature_detected!("avx512vnni");
        self.avx512_bf16 = is_x86_feature_detected!("avx512bf16");
        self.avxvnni = is_x86_feature_detected!("avxvnni");
        // The standard library's test of AMX is not stable yet: CPUID leaf 7, register edx.
        // Miri knows no CPUID.
        if !cfg!(miri) && std::arch::x86_64::__cpuid(0).eax >= 7 {
            let edx = std::arch::x86_64::__cpuid_count(7, 0).edx;
            self.amx_bf16 = edx >> 22 & 1 == 1;
            self.amx_tile = edx >> 24 & 1 == 1;
            self.amx_int8 = edx >> 25 & 1 == 1;
            self.amx_permitted = self.amx_tile && crate::tile_permission::tiles_permitted();
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn detect_instructions(&mut self) {
        self.neon = std::arch::is_aarch64_feature_detected!("neon");
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn detect_instructions(&mut self) {}
}

impl fmt::Display for CpuFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.brand.as_deref().unwrap_or("unknown CPU"))?;
        match self.physical_cores {
            Some(cores) => write!(f, "{cores} cores, {} threads:", self.logical_cores)?,
            None => write!(f, "{} threads:", self.logical_cores)?,
        }
        for (name, _) in self.list().iter().filter(|(_, present)| *present) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

/// CPUID leaves 0x80000002 to 0x80000004 spell the name.
#[cfg(target_arch = "x86_64")]
fn brand() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    if cfg!(miri) || __cpuid(0x8000_0000).eax < 0x8000_0004 {
        return None;
    }
    let mut bytes = Vec::with_capacity(48);
    for leaf in 0x8000_0002..=0x8000_0004 {
        let answer = __cpuid(leaf);
        for register in [answer.eax, answer.ebx, answer.ecx, answer.edx] {
            bytes.extend(register.to_le_bytes());
        }
    }
    let text = String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(not(target_arch = "x86_64"))]
fn brand() -> Option<String> {
    std::fs::read_to_string("/sys/firmware/devicetree/base/model").ok().map(|s| s.trim_matches('\0').to_owned())
}

/// The number of distinct sibling lists that Linux shows.
fn physical_cores() -> Option<usize> {
    let mut siblings = std::collections::BTreeSet::new();
    for cpu in std::fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        if let Ok(list) = std::fs::read_to_string(cpu.path().join("topology/thread_siblings_list")) {
            siblings.insert(list);
        }
    }
    (!siblings.is_empty()).then_some(siblings.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_consistent() {
        let found = CpuFeatures::detect();
        assert!(found.logical_cores >= 1);
        assert!(!found.avx512bw || found.avx512f);
        assert!(!found.amx_bf16 || found.amx_tile);
        assert!(!found.amx_permitted || found.amx_tile);
        for (name, present) in found.list() {
            assert_eq!(found.to_string().split(' ').any(|word| word == name), present);
        }
    }
}
