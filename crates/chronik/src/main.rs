//! Chronik: a Kafka-compatible broker and its tools in one binary.

use std::process::ExitCode;

/// glibc's allocator gives large buffers back to the kernel at every turn, which costs inflating batches a factor of ten.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(chronik::cli::run(std::env::args_os()))
}
