//! Sirens: list, test, sound, silence.

use super::Failure;
use super::ask::{ask, number, text};
use super::print::{self, Style};
use clap::Subcommand;
use kengele::app::control::{Question, SirenCommand};
use serde_json::Value;
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(crate) enum Siren {
    /// List every siren, what it should be doing, and whether its node has confirmed that
    List,
    /// Let a siren sound for a moment
    Test {
        /// Which
        name: String,
    },
    /// Let a siren sound as for an alert
    Sound {
        /// Which
        name: String,
    },
    /// End what a siren sounds; the next alert makes it sound again
    Silence {
        /// Which
        name: String,
        /// People who rely on it know: without this it is not silenced
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) fn run(config: &Path, command: Siren, style: Style) -> Result<(), Failure> {
    let (name, command) = match command {
        Siren::List => return list(config, style),
        Siren::Test { name } => (name, SirenCommand::Test),
        Siren::Sound { name } => (name, SirenCommand::Sound),
        Siren::Silence { name, yes: true } => (name, SirenCommand::Silence),
        Siren::Silence { name, yes: false } => {
            return Err(Failure::Usage(format!(
                "people may rely on siren {name}: add --yes to silence it; who did is written to the log"
            )));
        }
    };
    let answer = ask(config, Question::Siren { name, command })?;
    if style.json {
        print::json(&answer);
    } else {
        print::line(&format!(
            "siren {} should be {}: {}",
            text(&answer, "siren"),
            text(&answer, "desired"),
            state(&answer)
        ));
    }
    Ok(())
}

fn list(config: &Path, style: Style) -> Result<(), Failure> {
    let sirens = ask(config, Question::Sirens)?;
    if style.json {
        print::json(&sirens);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = sirens
        .as_array()
        .into_iter()
        .flatten()
        .map(|siren| {
            let colour = if confirmed(siren) { "32" } else { "33" };
            vec![
                text(siren, "siren").to_owned(),
                text(siren, "node").to_owned(),
                text(siren, "desired").to_owned(),
                style.paint(colour, &state(siren)),
            ]
        })
        .collect();
    print::table(&["siren", "node", "should be", "its node"], &rows);
    Ok(())
}

fn confirmed(siren: &Value) -> bool {
    siren.get("confirmed") == Some(&Value::Bool(true))
}

/// Says what the node of a siren is known to know.
fn state(siren: &Value) -> String {
    if confirmed(siren) {
        return "has confirmed".to_owned();
    }
    if siren.get("refused") == Some(&Value::Bool(true)) {
        return "says that it has no siren".to_owned();
    }
    match number(siren, "attempts") {
        0 => "has yet to be told".to_owned(),
        times if siren.get("given_up") == Some(&Value::Bool(true)) => {
            format!("was told {times} times and never confirmed: it is not asked any more")
        }
        times => format!("was told {} and has not confirmed", print::count(times, "time")),
    }
}
