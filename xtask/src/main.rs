//! Developer commands of the Lyceum workspace: `cargo xtask help`.

mod bench;
mod docs;
mod features;
mod gpu;
mod machine;
mod python;
mod reproduce;
mod sanitize;
mod shell;
mod test;
mod wheel;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Developer commands of Lyceum.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, lints, every test of Rust and Python, documentation
    Test,
    /// What the gate runs: `test`, then the quick start
    Ci,
    /// Measure against peers; prints a line `ratio WORK/PEER VALUE` for each comparison
    Bench {
        /// sam, conformal, active, kernels, predict, onnx, continual, epidemic, federated, masking or multitask
        name: String,
    },
    /// Repeat an experiment and write its table, figure and numbers to results/NAME
    Reproduce {
        /// sam, raps, active, contact-tracing, feddyn, gpm, gradient-vaccine or pmi-masking
        name: String,
        /// Keep what results/NAME has and run only what it lacks; with nothing to run, draw tables and figures anew
        #[arg(long)]
        missing: bool,
        /// Run the first so many of the seeds (contact-tracing, feddyn, pmi-masking)
        #[arg(long)]
        seeds: Option<usize>,
        /// Begin no run after so many minutes; what was not run is marked (feddyn, pmi-masking)
        #[arg(long)]
        minutes: Option<f64>,
    },
    /// Build the Python wheel into target/wheels
    Wheel {
        /// For systems with glibc 2.28 and newer (manylinux_2_28), linked by zig, which is installed; compiles everything anew
        #[arg(long)]
        portable: bool,
    },
    /// The tests of the unsafe code under valgrind and the address sanitizer
    Sanitize,
    /// Compare training through WebGPU with the CPU, on a Vulkan of software where there is no other; compiles everything anew
    Gpu,
    /// Check that the binary, the wheel and the tests compile each dependency once
    Features,
    /// Build the book and the API documentation
    Docs,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Test => test::all(),
        Command::Ci => test::all().and_then(|()| test::quick_start()),
        Command::Bench { name } => bench::run(&name),
        Command::Reproduce { name, missing, seeds, minutes } => reproduce::run_named(&name, reproduce::Extent { missing, seeds, minutes }),
        Command::Wheel { portable } => wheel::build(portable).map(|path| println!("{}", path.display())),
        Command::Sanitize => sanitize::all(),
        Command::Gpu => gpu::compare(),
        Command::Features => features::agree(),
        Command::Docs => docs::all(),
    }
}
