//! The binary `lyceum`.

use std::process::ExitCode;

// Tensors come and go with every step: this allocator keeps their pages instead of giving them back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(lyceum_cli::main(std::env::args_os().collect()))
}
