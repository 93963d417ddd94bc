//! This machine, as a measurement names it.

use std::time::SystemTime;

use anyhow::Result;
use lldm_kernels::{CpuFeatures, selected_kernel};
use serde::Serialize;

/// What a speed depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// The CPU's name.
    pub(crate) cpu: String,
    /// Threads that the program uses.
    pub(crate) threads: usize,
    /// The path of the products.
    pub(crate) kernel: String,
}

impl Machine {
    /// Asks the system and the environment.
    pub(crate) fn detect() -> Result<Self> {
        let cpu = CpuFeatures::detect();
        Ok(Self {
            threads: threads(&cpu),
            cpu: cpu.brand.unwrap_or_else(|| "unknown CPU".to_string()),
            kernel: selected_kernel()?.to_string(),
        })
    }
}

/// The threads that the program uses: `RAYON_NUM_THREADS`, else what the CPU has.
pub(crate) fn threads(cpu: &CpuFeatures) -> usize {
    let set = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    set.unwrap_or(cpu.logical_cores)
}

/// The most memory that this process had at any time, in bytes, pages of mapped files among it; `None` where the system does not tell.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Today in UTC, as 2026-01-31.
pub(crate) fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs() / 86_400)
}

/// The date so many days behind 1970-01-01.
fn date(days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told() {
        let before = peak_memory_bytes().expect("Linux tells");
        let taken = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = peak_memory_bytes().expect("Linux tells");
        assert!(before > 1 << 20 && after > taken.len() as u64 && after >= before, "{before} {after}");
    }

    #[test]
    fn days_become_dates() {
        // date -u -d @$((86400 * days)) +%F
        let known = [(0, "1970-01-01"), (58, "1970-02-28"), (364, "1970-12-31"), (19_782, "2024-02-29")];
        let known = known.into_iter().chain([(11_016, "2000-02-29"), (20_088, "2024-12-31"), (20_089, "2025-01-01")]);
        assert!(known.clone().all(|(days, text)| date(days) == text), "{:?}", known.map(|(days, _)| date(days)));
    }
}
