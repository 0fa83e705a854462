//! The only place that draws random numbers.

/// Fresh bytes from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be signed or named safely then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "without randomness there is nothing safe to do")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
