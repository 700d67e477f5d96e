//! How hard a test tries: `cargo xtask test` shows each guarantee once, `cargo xtask soak` repeats it for longer.

/// The first value in a test, the second in a soak.
pub fn effort<T>(in_test: T, in_soak: T) -> T {
    if std::env::var_os("MILLRACE_SOAK").is_some() { in_soak } else { in_test }
}
