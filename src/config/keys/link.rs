//! Nodes of our own radio link.

use super::{Key, Kind, Table, default, required};

/// `[report.NAME]`.
pub(super) static REPORT: Table = Table {
    header: "[report.NAME]",
    doc: "What nodes of our own radio link (WF1) put into a report, bit by bit. The firmware of the nodes has the same: a \
         report that follows another is refused, and kept by its node.",
    keys: &[required("field", Kind::Tables(&FIELD), "Its values, in order; 12 at the most.")],
    also: None,
};

static FIELD: Table = Table {
    header: "[[report.NAME.field]]",
    doc: "One value of a report. A value between two steps is rounded; one beyond the field is read as its end.",
    keys: &[
        required("quantity", Kind::Name, "What is measured."),
        required("min", Kind::Amount, "The lowest value."),
        required("step", Kind::Amount, "Between two values: what the instrument resolves."),
        required(
            "bits",
            Kind::Whole(3, 24),
            "So many bits hold 2^bits - 4 values; four codes say why there is none.",
        ),
    ],
    also: None,
};

/// `[node.NAME.wf1]`.
pub(super) static NODE: Table = Table {
    header: "[node.NAME.wf1]",
    doc: "A node of our own radio link (WF1), heard by this gateway's own radio. Its key is made by `kengele node add NAME`, and \
         lives in the database.",
    keys: NODE_KEYS,
    also: None,
};

const NODE_KEYS: &[Key] = &[
    required("report", Kind::Name, "The `[report.NAME]` that its reports follow."),
    default(
        "listens",
        Kind::OneOf(&["never", "after_its_frames", "always"]),
        "\"after_its_frames\"",
        "When it can be told something: never, behind each frame of its own, or always, as a siren with a large battery.",
    ),
];
