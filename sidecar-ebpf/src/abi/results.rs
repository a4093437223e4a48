//! What became of connections to an endpoint whose address was written at `connect()`, and who gets one although it is ejected.

/// It was established.
pub const RESULT_ESTABLISHED: u32 = 0;
/// It never was: refused, unreachable, or not answered. Not where the application closed it before a second SYN was sent.
pub const RESULT_FAILED: u32 = 1;
/// It ended without either side's FIN, and the application had not closed it.
pub const RESULT_RESET: u32 = 2;
/// It ended in any other way.
pub const RESULT_ENDED: u32 = 3;
/// How many results there are.
pub const RESULTS: u32 = 4;

/// Where `RESULTS` counts a target's connections by what became of them.
#[must_use]
#[inline(always)]
pub const fn result(target: u32, result: u32) -> u32 {
    target.wrapping_mul(RESULTS).wrapping_add(result % RESULTS)
}

/// Where `TRIALS` has the number, plus 1, of the target that the next connection of a service goes to, whatever its table says.
/// Whoever takes it leaves 0. User space sets it.
#[must_use]
#[inline(always)]
pub const fn trial(service: u32, is_v6: bool) -> u32 {
    service.wrapping_mul(2).wrapping_add(is_v6 as u32)
}
