//! `[storage]`: what is kept on the card, and for how long.

use super::document::Faults;
use super::section::{Bytes, Section};
use std::time::Duration;

/// A database smaller than this has no room for what it must keep.
const SIZE_MIN: u64 = 16_000_000;

/// `[storage]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Readings are sealed into a block after so long, if they are enough for one.
    pub seal_every: Duration,
    /// How long readings are kept.
    pub readings_kept: Duration,
    /// How long the sums of days are kept.
    pub days_kept: Duration,
    /// How long texts that told of no warning, notices, and payloads that could not be read are kept.
    pub records_kept: Duration,
    /// What the database may take, bytes.
    pub size_max: u64,
    /// What goes first when it takes more.
    pub drop_first: Vec<Removable>,
}

/// What may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Removable {
    /// Texts that told of no warning, notices, and payloads that could not be read.
    Records,
    /// Readings in their blocks.
    Readings,
    /// The sums of days.
    Days,
}

impl Removable {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Records, Self::Readings, Self::Days];

    /// Returns the word used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Readings => "readings",
            Self::Days => "days",
        }
    }
}

/// Reads `[storage]`.
pub(super) fn storage(root: &Section<'_>, faults: &Faults<'_>) -> Storage {
    let section = root.child_or_empty("storage");
    let size: Bytes = section.get("size_max");
    if section.opt::<Bytes>("size_max").is_some_and(|size| size.0 < SIZE_MIN) {
        let help = "write \"16 MB\" or more; \"1 GB\" holds years of a hundred sensors";
        faults.error(section.place_of("size_max"), "the database has no room", help);
    }
    Storage {
        seal_every: section.get("seal_every"),
        readings_kept: section.get("readings_kept"),
        days_kept: section.get("days_kept"),
        records_kept: section.get("records_kept"),
        size_max: size.0,
        drop_first: drop_first(&section, faults),
    }
}

fn drop_first(section: &Section<'_>, faults: &Faults<'_>) -> Vec<Removable> {
    if section.written("drop_first").is_none() {
        return Removable::ALL.to_vec();
    }
    let mut order = Vec::new();
    for (word, place) in section.list::<String>("drop_first") {
        let found = Removable::ALL.into_iter().find(|kind| kind.as_str() == word);
        // Another word is a fault already.
        let Some(kind) = found else { continue };
        if order.contains(&kind) {
            faults.error(place, format!("\"{word}\" stands here twice"), "remove one of them");
        } else {
            order.push(kind);
        }
    }
    if order.is_empty() {
        let help = "name at least `readings`: they take the most";
        faults.error(section.place_of("drop_first"), "nothing may be removed", help);
    }
    order
}
