//! Whether this process may use tile registers: the processor's own answer, then the system's.
//!
//! Their state is 8 KiB a thread, so Linux gives it only to processes that ask (`Documentation/arch/x86/xstate.rst` of the
//! kernel): `arch_prctl(ARCH_REQ_XCOMP_PERM, 18)`, for all threads of the process at once. It refuses where a thread has an
//! alternate signal stack that is too small for the state. Other systems are not asked: there the answer is no.

use std::arch::x86_64::{__cpuid, _xgetbv};
use std::sync::OnceLock;

/// Bit of the tile configuration in the state components of XSAVE.
const CONFIGURATION: u64 = 17;
/// Bit of the tile data.
const DATA: u64 = 18;

/// Asks once per process, and remembers.
pub(crate) fn tiles_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| enabled_by_system() && granted())
}

/// Whether the system saves both parts of the tile state when it switches threads.
fn enabled_by_system() -> bool {
    let system_uses_xsave = __cpuid(1).ecx >> 27 & 1 == 1;
    let tiles = 1 << CONFIGURATION | 1 << DATA;
    // SAFETY: the bit that was just read says so.
    system_uses_xsave && unsafe { state_components() } & tiles == tiles
}

/// # Safety
/// The CPU must have XSAVE, enabled by the system.
#[target_feature(enable = "xsave")]
unsafe fn state_components() -> u64 {
    // SAFETY: the caller's promise.
    unsafe { _xgetbv(0) }
}

/// The request itself.
#[cfg(target_os = "linux")]
fn granted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    let answer: u64;
    // SAFETY: the system call touches no memory of ours; `rcx` and `r11` are what it overwrites.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}
