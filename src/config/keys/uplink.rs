//! `[uplink]`.

use super::{Key, Kind, Table, default, optional};

/// `[uplink]`.
pub(super) static UPLINK: Table = Table {
    header: "[uplink]",
    doc: "The hub that this gateway tells what it knows, over HTTPS: alerts at once, the rest in reports. Without this table it tells \
          nobody. See `docs/hub.md`.",
    keys: UPLINK_KEYS,
    also: None,
};

const UPLINK_KEYS: &[Key] = &[
    default(
        "key_file",
        Kind::Path,
        "\"/etc/kengele/secrets/uplink.key\"",
        "What `kengele enrol` wrote: where the hub is, this gateway's number there, and its key.",
    ),
    optional(
        "ca_file",
        Kind::Path,
        "Certificate authority in PEM that signed the hub's certificate; without it the public ones are trusted.",
    ),
    default(
        "report_every",
        Kind::Span,
        "\"15 min\"",
        "How often the hub is told how the gateway is, and what it has read; alerts do not wait for it.",
    ),
    default(
        "history",
        Kind::OneOf(&["oldest_first", "newest_first"]),
        "\"oldest_first\"",
        "Which readings go first after a time without a link.",
    ),
];
