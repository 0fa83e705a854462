//! Parse, run, exit code.

use std::process::ExitCode;

/// Bodies of megabytes come and go with every request; the system's allocator gives their pages back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tallystick::cli::main()
}
