//! Sirens.

use super::{Key, Kind, Table, default, optional, required};

/// Words of `level`.
const LEVELS: &[&str] = &["advisory", "warning", "danger"];

/// `[siren.NAME]`.
pub(super) static SIREN: Table = Table {
    header: "[siren.NAME]",
    doc: "A siren on a node. Its node is one of our own radio link (`[node.NAME.wf1]`), a LoRaWAN device of this gateway \
         (`[node.NAME.lorawan]`), or one that ChirpStack has (`broker` and `application`). See `docs/sirens.md`.",
    keys: SIREN_KEYS,
    also: None,
};

const SIREN_KEYS: &[Key] = &[
    required("node", Kind::Name, "The `[node.NAME]` that has it."),
    required("areas", Kind::List(&Kind::Text), "The areas whose warnings it tells."),
    default(
        "hazards",
        Kind::List(&Kind::Text),
        "[]",
        "The hazards that it tells; `[]`: every one.",
    ),
    default("level", Kind::OneOf(LEVELS), "\"danger\"", "From which level on it sounds."),
    default(
        "max_on",
        Kind::Span,
        "\"3 min\"",
        "How long it sounds for an alert; then it pauses until the alert is issued anew or a worse one comes.",
    ),
    default("in_exercises", Kind::Bool, "false", "Whether it sounds in exercises too."),
    optional(
        "port",
        Kind::Whole(1, 223),
        "Port (`FPort`) on which its node takes orders. A node of our own link has none of this and the next three.",
    ),
    optional("on", Kind::Text, "What tells the node to sound, in hexadecimal digits."),
    optional("off", Kind::Text, "What tells it to be silent."),
    optional("test", Kind::Text, "What tells it to sound for a moment, and to end by itself."),
    default(
        "confirmed",
        Kind::Bool,
        "true",
        "Whether the node confirms what it is told, so that it is told again until it has. Otherwise it is told three times.",
    ),
    optional("broker", Kind::Name, "The `[[broker]]` by which ChirpStack is reached."),
    optional("application", Kind::Text, "Identifier of the application in ChirpStack."),
];
