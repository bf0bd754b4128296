//! `[uplink]`: the hub that this gateway tells what it knows.

use super::section::Section;
use std::path::PathBuf;
use std::time::Duration;

/// `[uplink]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// What `kengele enrol` wrote: where the hub is, this gateway's number there, and its key.
    pub key_file: PathBuf,
    /// Certificate authority that signed the hub's certificate; `None`: the public ones are trusted.
    pub ca_file: Option<PathBuf>,
    /// How often the hub is told how the gateway is, and what it has read.
    pub report_every: Duration,
    /// Which readings go first.
    pub history: History,
}

/// Which readings go first after a time without a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The oldest.
    OldestFirst,
    /// The newest.
    NewestFirst,
}

/// Reads `[uplink]`.
pub(super) fn uplink(root: &Section<'_>) -> Option<Uplink> {
    let section = root.child("uplink")?;
    let history: String = section.get("history");
    Some(Uplink {
        key_file: section.get("key_file"),
        ca_file: section.opt("ca_file"),
        report_every: section.get("report_every"),
        history: match history.as_str() {
            "newest_first" => History::NewestFirst,
            _ => History::OldestFirst,
        },
    })
}
