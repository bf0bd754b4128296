//! What can be asked of `kengele` on the command line.

mod ask;
mod backup;
mod battery;
mod daemon;
mod decode;
mod demo;
mod enrol;
mod field;
mod heard;
mod hub;
mod node;
mod people;
mod print;
mod readings;
mod replay;
mod simulate;
mod siren;
mod survey;
mod typed;

use clap::{CommandFactory, Parser, Subcommand};
use kengele::config::Diagnostic;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  kengele demo                           watch a flood, with nothing installed
  kengele check -c deploy/kengele.toml   find every fault of a configuration
  kengele run -c /etc/kengele/kengele.toml
  kengele simulate                       the village alone, for a gateway of your own
  kengele status                         ask the running gateway how things stand
  kengele people import people.csv
  kengele send-test +255712345678 \"Jaribio la kengele\"
  kengele why 7                          why warning #7 was given, and who was told
  kengele replay --readings gauge.csv    what today's rules would have said to history";

/// Where the configuration of a gateway is, unless `--config` says otherwise.
const CONFIG: &str = "/etc/kengele/kengele.toml";

/// Kengele, a warning gateway: hears field sensors, judges their readings, tells people by text message.
#[derive(Debug, Parser)]
#[command(name = "kengele", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = CONFIG
    )]
    config: PathBuf,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a simulated village live through a hazard: no hardware, broker, account or internet needed
    #[command(after_help = demo::HELP)]
    Demo(demo::Demo),
    /// Run the village's nodes, modem and SMS provider alone, against a running gateway or any broker
    #[command(after_help = simulate::HELP)]
    Simulate(simulate::Simulate),
    /// Run the gateway
    Run {
        /// Let its clock run so many times faster: only beside `simulate --speed`
        #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
        speed: f64,
    },
    /// Check the configuration and print every fault
    Check {
        /// Reckon with so many recipients a role, such as --people household=240
        #[arg(long, value_name = "ROLE=COUNT")]
        people: Vec<String>,
    },
    /// Ask the running gateway how things stand
    Status,
    /// List warnings, newest first
    Warnings,
    /// Show why a warning was given: readings, rule, alerts, who was told
    Why {
        /// Number of the warning
        warning: i64,
    },
    /// Print stored readings as CSV
    #[command(after_help = readings::HELP)]
    Readings(readings::Readings),
    /// Put changed rules in force without a restart, all or nothing
    Reload,
    /// Field nodes with our own radio link: add, list, change keys, and how long one lives on its cell
    #[command(subcommand, after_help = node::HELP)]
    Node(node::Node),
    /// Find out how far a radio node reaches: walk with it, then look at the table and the picture
    #[command(subcommand, after_help = survey::HELP)]
    Survey(survey::Survey),
    /// List, add, remove, import and export recipients
    #[command(subcommand)]
    People(people::People),
    /// Send a test text by the running gateway
    SendTest {
        /// Telephone number with country code
        to: String,
        /// What is said
        #[arg(default_value = "TEST: Kengele works.")]
        text: String,
        /// By this channel only
        #[arg(long)]
        channel: Option<String>,
    },
    /// List deliveries and what became of them
    Deliveries {
        /// Of this warning only
        #[arg(long)]
        warning: Option<i64>,
    },
    /// Ask every modem's SIM and every provider's account for its balance
    Balance,
    /// Copy the database to a file while the gateway goes on, and read the copy back
    #[command(after_help = backup::HELP)]
    Backup {
        /// Such as /media/usb/kengele-2026-11-28.db
        file: PathBuf,
        /// Replace an older backup of that name
        #[arg(long)]
        force: bool,
    },
    /// Put a backup into the place of the database; the gateway must not run
    #[command(after_help = backup::RESTORE_HELP)]
    Restore {
        /// Made by `kengele backup`
        file: PathBuf,
    },
    /// List, test, sound and silence sirens
    #[command(subcommand)]
    Siren(siren::Siren),
    /// Run history through today's rules and print what would have been sent
    #[command(after_help = replay::HELP)]
    Replay(replay::Replay),
    /// Read a payload as the gateway would
    #[command(after_help = decode::HELP)]
    Decode(decode::Decode),
    /// Make this gateway known to a hub
    #[command(after_help = enrol::HELP)]
    Enrol(enrol::Enrol),
    /// The server that collects what many gateways tell: run it, let gateways in, ask it
    #[command(subcommand, after_help = hub::HELP)]
    Hub(hub::Hub),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// How a command ended, as an exit code.
enum Failure {
    /// It could not be done.
    Failed(anyhow::Error),
    /// The configuration or the command is wrong.
    Wrong(Vec<Diagnostic>),
    /// The command is wrong, in words.
    Usage(String),
    /// It could not all be done, and what was printed says so.
    Told,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs a command.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let style = print::Style::of_terminal(cli.json);
    let result = match cli.command {
        Command::Demo(demo) => demo::run(&demo, style),
        Command::Simulate(simulate) => simulate::run(&simulate, style),
        Command::Run { speed } => daemon::run(&cli.config, speed),
        Command::Check { people } => daemon::check(&cli.config, &people, style),
        Command::Status => ask::status(&cli.config, style),
        Command::Warnings => ask::warnings(&cli.config, style),
        Command::Why { warning } => ask::why(&cli.config, warning, style),
        Command::Readings(wanted) => readings::run(&cli.config, &wanted, style),
        Command::Reload => ask::reload(&cli.config, style),
        Command::Node(command) => node::run(&cli.config, command, style),
        Command::Survey(command) => survey::run(&cli.config, command, style),
        Command::People(command) => people::run(&cli.config, command, style),
        Command::SendTest { to, text, channel } => {
            ask::send_test(&cli.config, to, text, channel, style)
        }
        Command::Deliveries { warning } => ask::deliveries(&cli.config, warning, style),
        Command::Balance => ask::balance(&cli.config, style),
        Command::Backup { file, force } => backup::backup(&cli.config, &file, force, style),
        Command::Restore { file } => backup::restore(&cli.config, &file, style),
        Command::Siren(command) => siren::run(&cli.config, command, style),
        Command::Replay(replay) => replay::run(&cli.config, &replay, style),
        Command::Decode(decode) => decode::run(&cli.config, &decode, style),
        Command::Enrol(enrol) => enrol::run(&enrol, style),
        Command::Hub(command) => hub::run(&cli.config, command, style),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kengele", &mut script);
            print::Output.write_all(&script).map_err(Failure::from)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            print::error(&format!("{error:#}"), style);
            ExitCode::from(1)
        }
        Err(Failure::Wrong(faults)) => {
            print::diagnostics(&faults, style);
            ExitCode::from(2)
        }
        Err(Failure::Usage(words)) => {
            print::error(&words, style);
            ExitCode::from(2)
        }
        Err(Failure::Told) => ExitCode::from(1),
    }
}

/// Runs asynchronous work to its end.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(work))
}
