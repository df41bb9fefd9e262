//! The load generator. Its counts are exact by construction: see [`ledger`].

pub mod consume;
mod consumers;
pub mod engine;
pub mod latency;
pub mod ledger;
pub mod options;
pub mod payload;
mod producers;
mod progress;
pub mod report;

use clap::{Args, Subcommand};

use crate::cli::connect::block_on;
use crate::fault::Fault;
use crate::output::Format;

/// Generate load and measure it, with exact counts.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Write records; count what is acknowledged and compare it with what the log gained
    Produce(options::ProduceBench),
    /// Read what is in a topic; count every offset
    Consume(consume::ConsumeBench),
    /// Measure the time from a send to the record's arrival at a consumer
    EndToEnd(options::EndToEndBench),
    /// Write and read together through a group, and account for every record
    Verify(options::VerifyBench),
}

impl Bench {
    /// Runs the command.
    pub fn run(self, format: Format) -> Result<(), Fault> {
        block_on(async move {
            match self.command {
                BenchCommand::Produce(command) => engine::run(command.plan()?, format).await,
                BenchCommand::EndToEnd(command) => engine::run(command.plan()?, format).await,
                BenchCommand::Verify(command) => engine::run(command.plan()?, format).await,
                BenchCommand::Consume(command) => command.run(format).await,
            }
        })
    }
}
