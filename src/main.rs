//! The command line. Exit codes: 0 done, 1 it could not be done, 2 the configuration or the command is wrong.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
