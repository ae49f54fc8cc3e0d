//! Two instructions for which the standard library has no safe and stable function.
#![expect(
    unsafe_code,
    reason = "crates with a safe `rdtsc` do not inline it, which costs a call for each clock read"
)]

/// Reads the time-stamp counter.
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
#[inline]
pub(crate) fn read_time_stamp_counter() -> u64 {
    // SAFETY: `rdtsc` touches no memory. An operating system may forbid it to its processes, and
    // then the process ends with a signal: no undefined behaviour.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Prefetches the cache line at an address, which may be any: nothing is read, and nothing waits.
/// `core::hint::prefetch_read`, once that is stable.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of an address that is not mapped does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the instruction changes no register and no flag.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}
