//! How the loop stands, for whoever asks.

use super::{Heard, Pipeline, SirenStatus};
use crate::domain::warning::{Level, WarningId};
use std::time::Duration;

/// How things stand.
#[derive(Clone, Debug)]
pub struct Status {
    /// Version of the rule book in force.
    pub rule_book: String,
    /// Each node: name, place, time since it was heard, if ever, silent.
    pub nodes: Vec<(String, String, Option<Duration>, bool)>,
    /// Open warnings: number, hazard, area, level, time until the last alert runs out.
    pub warnings: Vec<(WarningId, String, String, Level, Duration)>,
    /// Nodes heard but not declared.
    pub heard: Vec<Heard>,
    /// What radio frames were refused for, and how often.
    pub radio_refused: Vec<(&'static str, u64)>,
    /// What frames could not be read for, and how often since the start.
    pub undecoded: Vec<(&'static str, u64)>,
    /// How the sirens are.
    pub sirens: Vec<SirenStatus>,
    /// The disk works.
    pub disk_works: bool,
    /// Turns that wait in memory for the disk.
    pub unsaved_turns: usize,
}

impl Pipeline {
    pub(super) fn status(&self) -> Status {
        let now = self.telemetry.clock.now();
        Status {
            rule_book: self.rules.book.version.clone(),
            nodes: self
                .engine
                .nodes()
                .map(|(node, heard, silent)| {
                    let ago = heard.map(|at| now.since(at));
                    (node.name.to_string(), node.place.clone(), ago, silent)
                })
                .collect(),
            warnings: self
                .engine
                .open_warnings()
                .map(|(id, hazard, area, level, expires)| {
                    (id, hazard.to_owned(), area.to_owned(), level, expires.since(now))
                })
                .collect(),
            heard: self.decoder.heard().cloned().collect(),
            radio_refused: self.radio.refused().chain(self.links.refused()).collect(),
            undecoded: self.undecoded.iter().map(|(reason, count)| (*reason, *count)).collect(),
            sirens: self.siren_status(),
            disk_works: self.retry_disk_at.is_none(),
            unsaved_turns: self.unsaved.len(),
        }
    }
}
