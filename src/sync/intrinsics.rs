//! The instructions that the standard library offers no safe and stable function for.
//!
//! # Invariant
//! None: no function here reads or writes memory of the program, whatever its arguments. So all of them
//! are safe to call.
#![expect(
    unsafe_code,
    reason = "crates with a safe `rdtsc` do not inline it: a call for each clock read"
)]

/// Reads the time-stamp counter. It does not order other accesses.
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
#[inline]
pub(crate) fn read_time_stamp_counter() -> u64 {
    // SAFETY: every x86-64 processor has `rdtsc`, which accesses no memory. If the operating system
    // forbids the instruction, the process ends with a signal: no undefined behaviour.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Prefetches the cache line at an address, which may be invalid: nothing is read, and no later
/// instruction waits. To be replaced by `core::hint::prefetch_read` once that is stable.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has SSE, which the function needs. A prefetch is a hint: of an
        // unmapped address it has no effect, so it asserts nothing about the pointer.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: a prefetch is a hint: of an unmapped address it has no effect. It changes no register,
        // no flag, no memory and not the stack, as the options say.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}
