//! Field nodes of our own radio link: add, list, revoke, rekey, swap, and those that are heard but not known.

use super::ask::{ask, number, text};
use super::print::{self, Style};
use super::{Failure, battery};
use anyhow::Context;
use clap::{Args, Subcommand};
use kengele::app::control::{NodeCommand, Question};
use kengele::config::span_as_written;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
Examples:
  kengele node add mto-juu           give the node its key: a QR code, and the same in letters
  kengele node add --all --codes FILE  give keys to all that have none; the codes go to a file for the bench
  kengele node list                  every node, how it is heard, and what it has yet to be told
  kengele node heard                 nodes that are heard, and that nobody has declared or added
  kengele node rekey mto-juu         change its key over the air
  kengele node swap mto-juu          other hardware in its place; its history stays
  kengele node revoke mto-juu --yes  believe none of its frames any more: it was stolen";

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Which: each has a [node.NAME.wf1] in the configuration
    #[arg(required_unless_present = "all", value_name = "NAME")]
    names: Vec<String>,
    /// All that are declared and have no key yet
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Write the codes to this file, a line `NAME CODE` each, behind what it holds, instead of showing them
    #[arg(long, value_name = "FILE")]
    codes: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Give a declared node a number and a key, and show the code that its firmware takes
    Add(Add),
    /// List the nodes of our own radio link
    List,
    /// List what is heard and not declared
    Heard,
    /// Put other hardware in a node's place: the old hardware is not believed any more, the history stays
    Swap {
        /// Which
        name: String,
    },
    /// Give a node a new key over the air
    Rekey {
        /// Which
        name: String,
    },
    /// Let a node report at another pace
    Interval {
        /// Which
        name: String,
        /// How often, such as "10 min"
        every: String,
    },
    /// Believe none of a node's frames any more; `swap` puts other hardware in its place
    Revoke {
        /// Which
        name: String,
        /// Warnings may depend on it: without this it is not revoked
        #[arg(long)]
        yes: bool,
    },
    /// Reckon how long a node lives on its cell, and what uses it up
    #[command(after_help = battery::HELP)]
    Battery(battery::Battery),
}

pub(crate) fn run(config: &Path, command: Node, style: Style) -> Result<(), Failure> {
    let (name, command) = match command {
        Node::Battery(asked) => return battery::run(&asked, style),
        Node::List => return list(config, style),
        Node::Heard => return heard(config, style),
        Node::Add(wanted) => return add(config, &wanted, style),
        Node::Swap { name } => (name, NodeCommand::Swap),
        Node::Rekey { name } => (name, NodeCommand::Rekey),
        Node::Interval { name, every } => (name, NodeCommand::Interval(seconds(&every)?)),
        Node::Revoke { name, yes: true } => (name, NodeCommand::Revoke),
        Node::Revoke { name, yes: false } => {
            return Err(Failure::Usage(format!(
                "warnings may depend on node {name}: add --yes to revoke it; who did is written to the log"
            )));
        }
    };
    let answer = ask(config, Question::Node { name: name.clone(), command })?;
    if style.json {
        print::json(&answer);
        return Ok(());
    }
    match command {
        NodeCommand::Add | NodeCommand::Swap => code(&answer, style)?,
        NodeCommand::Revoke => {
            print::line(&format!("node {name} is revoked: none of its frames counts any more"));
        }
        NodeCommand::Rekey => waits(&name, "its new key"),
        NodeCommand::Interval(_) => waits(&name, "its new interval"),
    }
    Ok(())
}

/// Gives keys to nodes. Each code is shown, or in its file, before the next key is made.
fn add(config: &Path, wanted: &Add, style: Style) -> Result<(), Failure> {
    let mut file = wanted.codes.as_deref().map(open_codes).transpose()?;
    let names = if wanted.all { without_key(config)? } else { wanted.names.clone() };
    let mut answers = Vec::new();
    for name in &names {
        let command = NodeCommand::Add;
        let answer = ask(config, Question::Node { name: name.clone(), command })?;
        match &mut file {
            Some((path, file)) => {
                let line = format!("{name} {}\n", text(&answer, "code"));
                file.write_all(line.as_bytes())
                    .and_then(|()| file.sync_data())
                    .with_context(|| format!("cannot write the code of {name} to {}: `kengele node swap {name}` makes another", path.display()))?;
                answers.push(json!({ "node": name }));
            }
            None if style.json => answers.push(answer),
            None => code(&answer, style)?,
        }
    }
    if style.json {
        // One node asked for by its name is one answer.
        match answers.as_slice() {
            [answer] if !wanted.all && wanted.names.len() == 1 => print::json(answer),
            _ => print::json(&Value::Array(answers)),
        }
    } else if let Some((path, _)) = file {
        print::line(&format!(
            "{} in {}. Give each to the firmware of its node, once, and keep them from others: they hold the keys. They are not shown again.",
            print::count(names.len(), "code"),
            path.display()
        ));
    } else if names.is_empty() {
        print::line("every node that the configuration in force declares has its key");
    }
    Ok(())
}

/// Returns the names of the declared nodes that have no key.
fn without_key(config: &Path) -> Result<Vec<String>, Failure> {
    let nodes = ask(config, Question::Nodes)?;
    let nodes = nodes.as_array().into_iter().flatten();
    let without = nodes.filter(|node| node.get("number").is_none_or(Value::is_null));
    Ok(without.map(|node| text(node, "node").to_owned()).collect())
}

/// Opens a file for codes that only its owner may read.
fn open_codes(path: &Path) -> Result<(&Path, File), Failure> {
    let cannot = || format!("cannot open {} for the codes", path.display());
    let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let file = file.with_context(cannot)?;
    if file.metadata().with_context(cannot)?.permissions().mode() & 0o077 != 0 {
        return Err(Failure::Usage(format!(
            "others may read {0}, and codes hold keys: chmod 600 {0}",
            path.display()
        )));
    }
    Ok((path, file))
}

fn waits(name: &str, what: &str) {
    print::line(&format!(
        "{what} waits for node {name} to listen: kengele node list shows when it has it"
    ));
}

fn seconds(every: &str) -> Result<u16, Failure> {
    let usage = |words: String| Failure::Usage(words);
    let span = span_as_written(every).map_err(usage)?;
    // What the node itself takes: any other it refuses.
    let [shortest, longest] = kengele_field_node::app::INTERVAL_S;
    let seconds = u16::try_from(span.as_secs()).ok().filter(|s| (shortest..=longest).contains(s));
    seconds.ok_or_else(|| {
        usage(format!("\"{every}\" is no interval that a node takes: write 10 s to 12 h"))
    })
}

/// Shows a provisioning code for a telephone's camera, and in letters.
fn code(answer: &Value, style: Style) -> Result<(), Failure> {
    let code = text(answer, "code");
    let qr = QrCode::with_error_correction_level(code, EcLevel::M)?;
    // Dark modules are drawn as blanks of a light page, so that it reads on dark terminals as well.
    let mut page = qr.render::<Dense1x2>();
    page.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    for line in page.build().lines() {
        // White on black, whatever colours the terminal has: a page the other way round is not read by every telephone.
        print::line(&style.paint("97;40", line));
    }
    print::line("");
    print::line(&format!("  {}", grouped(code)));
    print::line("");
    print::line(&format!(
        "Give it to the firmware of node {}, once, and keep it from others: it holds the key. It is not shown again.",
        text(answer, "node")
    ));
    Ok(())
}

/// Returns a code in groups of four, as people read it out. Readers take blanks.
fn grouped(code: &str) -> String {
    let letters: Vec<char> = code.chars().collect();
    let groups = letters.chunks(4).map(|group| group.iter().collect::<String>());
    groups.collect::<Vec<_>>().join(" ")
}

fn list(config: &Path, style: Style) -> Result<(), Failure> {
    let nodes = ask(config, Question::Nodes)?;
    if style.json {
        print::json(&nodes);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = nodes.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        print::line("the configuration in force has no [node.NAME.wf1]");
        return Ok(());
    }
    print::table(&["node", "number", "state", "heard", "signal", "battery", "to be told"], &rows);
    Ok(())
}

fn row(node: &Value) -> Vec<String> {
    let said = |key: &str, show: &dyn Fn(f64) -> String| {
        node.get(key).and_then(Value::as_f64).map_or_else(|| "-".to_owned(), show)
    };
    let orders = node.get("orders").and_then(Value::as_array);
    let orders: Vec<&str> = orders.into_iter().flatten().filter_map(Value::as_str).collect();
    let signal = format!(
        "{}, {}",
        said("rssi_dbm", &|dbm| format!("{dbm:.0} dBm")),
        said("snr_db", &|db| format!("SNR {db:.1} dB"))
    );
    vec![
        text(node, "node").to_owned(),
        said("number", &|number| format!("{number:.0}")),
        text(node, "state").to_owned(),
        said("heard_s_ago", &|_| {
            format!("{} ago", print::span(number(node, "heard_s_ago").unsigned_abs()))
        }),
        if node.get("rssi_dbm").is_some_and(Value::is_number) { signal } else { "-".to_owned() },
        said("battery_mv", &|mv| format!("{:.2} V", mv / 1000.0)),
        orders.join(", "),
    ]
}

fn heard(config: &Path, style: Style) -> Result<(), Failure> {
    let status = ask(config, Question::Status)?;
    let heard = status.get("heard_but_not_declared").cloned().unwrap_or_default();
    if style.json {
        print::json(&heard);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = heard
        .as_array()
        .into_iter()
        .flatten()
        .map(|heard| {
            let count = print::count(number(heard, "count"), "time");
            vec![text(heard, "node").to_owned(), text(heard, "topic").to_owned(), count]
        })
        .collect();
    if rows.is_empty() {
        print::line("nothing is heard that is not declared");
        return Ok(());
    }
    print::table(&["node", "by", "heard"], &rows);
    Ok(())
}
