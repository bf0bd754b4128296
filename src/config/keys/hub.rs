//! The file of a hub.

use super::{Key, Kind, Table, channels, default, derived, optional, required};

/// The top of `hub.toml`.
pub(in crate::config) static HUB: Table = Table {
    header: "",
    doc: "",
    keys: &[
        required("database", Kind::Table(&DATABASE), "Where everything is kept."),
        optional("https", Kind::Table(&HTTPS), "Gateways that come over HTTPS."),
        optional("mqtt", Kind::Table(&MQTT), "Gateways that come over an MQTT broker."),
        optional("watch", Kind::Table(&WATCH), "Gateways that are missed."),
        optional(
            "sms_provider",
            Kind::Named(&channels::PROVIDER),
            "Providers of text messages over HTTP, as in a gateway's configuration.",
        ),
    ],
    also: None,
};

static DATABASE: Table = Table {
    header: "[database]",
    doc: "Where everything is kept: `file` for one process, `url` for as many as you like.",
    keys: DATABASE_KEYS,
    also: None,
};

const DATABASE_KEYS: &[Key] = &[
    optional("file", Kind::Path, "File of SQLite. It is made if it is not there."),
    optional(
        "url",
        Kind::Text,
        "A PostgreSQL database, `postgres://USER@HOST[:PORT]/DATABASE`, without the password.",
    ),
    optional("password_file", Kind::Path, "File that holds the password of `url`."),
    optional(
        "ca_file",
        Kind::Path,
        "Certificate authority in PEM that signed the server's certificate: with it TLS is spoken, and the \
             server's name is checked.",
    ),
    default(
        "connections_max",
        Kind::Whole(1, 1_000),
        "8",
        "Most connections of one process to PostgreSQL.",
    ),
];

static HTTPS: Table = Table {
    header: "[https]",
    doc: "Gateways that come over HTTPS. Without this table nothing listens.",
    keys: HTTPS_KEYS,
    also: None,
};

const HTTPS_KEYS: &[Key] = &[
    required("listen", Kind::List(&Kind::Address), "Addresses."),
    optional("tls_cert_file", Kind::Path, "Certificate chain in PEM."),
    optional("tls_key_file", Kind::Path, "Private key in PEM."),
    optional(
        "client_ca_file",
        Kind::Path,
        "Certificate authority in PEM: with it, who has no certificate by it does not get in.",
    ),
    default(
        "behind_proxy",
        Kind::Bool,
        "false",
        "Speak HTTP without TLS on any address, because a proxy before it does TLS.",
    ),
    default(
        "connections_max",
        Kind::Whole(1, 100_000),
        "4000",
        "Most connections at a time; the next one waits.",
    ),
    default(
        "requests_max",
        Kind::Whole(1, 10_000),
        "64",
        "Most packets at a time; who comes then is told to come again.",
    ),
    default(
        "timeout",
        Kind::Span,
        "\"30 s\"",
        "Longest that a request may take, its body included.",
    ),
];

static MQTT: Table = Table {
    header: "[mqtt]",
    doc: "Gateways that come over an MQTT 5 broker with shared subscriptions: processes with the same \
         `share` share the work.",
    keys: MQTT_KEYS,
    also: None,
};

const MQTT_KEYS: &[Key] = &[
    required(
        "url",
        Kind::Text,
        "`mqtt://HOST[:PORT]`, or `mqtts://HOST[:PORT]` with TLS. Ports: 1883 and 8883.",
    ),
    derived(
        "client_id",
        Kind::Text,
        "`kengele-hub-` and random letters",
        "Client identifier: another one for each process.",
    ),
    default("share", Kind::Name, "\"kengele-hub\"", "Name of the shared subscription."),
    optional("user", Kind::Text, "User name."),
    optional("password_file", Kind::Path, "File that holds the password."),
    optional(
        "ca_file",
        Kind::Path,
        "Certificate authority in PEM that signed the broker's certificate; without it the public ones \
             are trusted.",
    ),
    default("keep_alive", Kind::Span, "\"30 s\"", "Longest silence on the connection."),
    default(
        "inflight_max",
        Kind::Whole(1, 1_000),
        "64",
        "Most packets that are being stored; the broker keeps the others, or gives them to another process.",
    ),
];

static WATCH: Table =
    Table { header: "[watch]", doc: "Gateways that are missed.", keys: WATCH_KEYS, also: None };

const WATCH_KEYS: &[Key] = &[
    default(
        "silent_after",
        Kind::Span,
        "\"3 h\"",
        "A gateway of which nothing came for so long is missed.",
    ),
    default(
        "tell",
        Kind::List(&Kind::Text),
        "[]",
        "Telephone numbers that are told by text message, by the first [sms_provider.NAME] that takes it.",
    ),
];
