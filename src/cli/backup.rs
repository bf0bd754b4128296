//! `backup` and `restore`.

use super::ask::{number, text};
use super::print::{self, Style};
use super::{Failure, block_on};
use kengele::app::control::{self, Question};
use kengele::app::{backup, convert, restore};
use serde_json::Value;
use std::path::{Path, absolute};

pub(crate) const HELP: &str = "\
Example:
  kengele backup /media/usb/kengele-2026-11-28.db

The gateway goes on meanwhile. What it says has been read back from the disk and is whole. See docs/backup.md.";

pub(crate) const RESTORE_HELP: &str = "\
Example:
  systemctl stop kengele
  sudo -u kengele kengele restore /media/usb/kengele-2026-11-28.db
  systemctl start kengele

The database that is there now is put aside, whole. Read docs/backup.md before: radio nodes remember more than a backup.";

/// Copies the database: by the running gateway, else here.
pub(crate) fn backup(config: &Path, file: &Path, force: bool, style: Style) -> Result<(), Failure> {
    let places = convert::places(config)?;
    let file = absolute(file)?;
    let made = block_on(async {
        if std::os::unix::net::UnixStream::connect(&places.socket).is_ok() {
            let question = Question::Backup { file: file.clone(), force };
            return control::ask(&places.socket, &question).await;
        }
        backup::without_gateway(&places, &file, force).await
    })??;
    if style.json {
        print::json(&made);
        return Ok(());
    }
    print::line(&format!(
        "{}: {}, {}, {}, {}, {}; read back, and whole",
        text(&made, "file"),
        print::bytes(made.get("bytes").and_then(Value::as_u64).unwrap_or(0)),
        print::count(number(&made, "readings"), "reading"),
        print::count(number(&made, "warnings"), "warning"),
        print::count(number(&made, "recipients"), "recipient"),
        print::count(number(&made, "radio_states"), "radio state"),
    ));
    notes(&made, style);
    Ok(())
}

/// Puts a backup into the place of the database.
pub(crate) fn restore(config: &Path, file: &Path, style: Style) -> Result<(), Failure> {
    let places = convert::places(config)?;
    let said = block_on(restore::restore(config, &places, file))??;
    if style.json {
        print::json(&said);
        return Ok(());
    }
    let until = said.get("until_unix_ms").and_then(Value::as_i64);
    print::line(&format!(
        "restored as it stood {}: {}, {}, {}, {}",
        until.map_or("before its first run".to_owned(), |ms| format!("at {}", print::clock(ms))),
        print::count(number(&said, "readings"), "reading"),
        print::count(number(&said, "warnings"), "warning"),
        print::count(number(&said, "recipients"), "recipient"),
        print::count(number(&said, "radio_states"), "radio state"),
    ));
    if let Some(replaced) = said.get("replaced").and_then(Value::as_str) {
        print::line(&format!("the database that was there is now {replaced}"));
    }
    print::line(&format!("the next warning is #{}", number(&said, "next_warning")));
    let rekeyed: Vec<&str> = said
        .get("rekeyed")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !rekeyed.is_empty() {
        print::line(&format!("given a new key with their next frames: {}", rekeyed.join(", ")));
    }
    notes(&said, style);
    Ok(())
}

fn notes(said: &Value, style: Style) {
    for note in said.get("notes").and_then(Value::as_array).into_iter().flatten() {
        let note = note.as_str().unwrap_or("");
        print::line(&format!("{} {note}", style.paint("33", "note:")));
    }
}
