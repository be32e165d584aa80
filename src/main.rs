//! Hands over to `cli`, which ends with 0, with 64 for what was asked wrongly, or with 1 for what failed.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    breakwater::cli::main(std::env::args_os())
}
