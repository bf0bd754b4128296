//! `[storage]`.

use super::{Key, Kind, Table, default};

/// `[storage]`.
pub(super) static STORAGE: Table = Table {
    header: "[storage]",
    doc: "What is kept on the card, and for how long. What explains a warning is kept for ever: its alerts, its texts, and \
          the readings of the week before each alert and of the day after it.",
    keys: STORAGE_KEYS,
    also: None,
};

const STORAGE_KEYS: &[Key] = &[
    default(
        "seal_every",
        Kind::Span,
        "\"1 h\"",
        "Readings are sealed into a block after so long, or after a day where there are fewer than 128 of them.",
    ),
    default("readings_kept", Kind::Span, "\"3650 d\"", "How long readings are kept."),
    default(
        "days_kept",
        Kind::Span,
        "\"18250 d\"",
        "How long the lowest, mean and highest value of each day are kept.",
    ),
    default(
        "records_kept",
        Kind::Span,
        "\"730 d\"",
        "How long texts that told of no warning, notices, and payloads that could not be read are kept.",
    ),
    default("size_max", Kind::Size, "\"2 GB\"", "What the database may take on the card."),
    default(
        "drop_first",
        Kind::List(&Kind::OneOf(&["records", "readings", "days"])),
        "[\"records\", \"readings\", \"days\"]",
        "What is removed first when it takes more, the oldest of each.",
    ),
];
