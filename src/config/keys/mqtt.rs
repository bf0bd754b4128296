//! MQTT: the embedded listener, other brokers, topics.

use super::{Key, Kind, Table, default, derived, optional, required};

/// `[listener]`.
pub(super) static LISTENER: Table = Table {
    header: "[listener]",
    doc: "The embedded MQTT listener (3.1.1 and 5). Without this table nothing listens.",
    keys: LISTENER_KEYS,
    also: None,
};

const LISTENER_KEYS: &[Key] = &[
    default(
        "listen",
        Kind::List(&Kind::Address),
        "[]",
        "Addresses without TLS. Keep them to loopback, or to a network that only nodes are on.",
    ),
    default("listen_tls", Kind::List(&Kind::Address), "[]", "Addresses with TLS."),
    optional("tls_cert_file", Kind::Path, "Certificate chain in PEM; `listen_tls` needs it."),
    optional("tls_key_file", Kind::Path, "Private key in PEM; `listen_tls` needs it."),
    default(
        "anonymous",
        Kind::Bool,
        "false",
        "Whether a client without a user name may publish for every node and subscribe.",
    ),
    default(
        "connections_max",
        Kind::Whole(1, 1_000_000),
        "12000",
        "Most connections at a time; the next is refused.",
    ),
    default(
        "packet_max",
        Kind::Size,
        "\"64 KiB\"",
        "Longest packet; a longer one ends the connection.",
    ),
    default(
        "inflight_max",
        Kind::Whole(1, 65_535),
        "256",
        "Most publications of one client that await their acknowledgement.",
    ),
    default(
        "rate_max",
        Kind::Rate,
        "\"20000 per s\"",
        "Most publications of one client; it is slowed down, not cut off.",
    ),
    default(
        "session_expiry_max",
        Kind::Duration,
        "\"7 d\"",
        "Longest time that a session outlives its connection.",
    ),
    default(
        "session_queue_max",
        Kind::Whole(1, 1_000_000),
        "1000",
        "Most messages kept for a subscriber that is away; the oldest go first.",
    ),
    optional("credential", Kind::Tables(&CREDENTIAL), "Who may connect."),
];

static CREDENTIAL: Table = Table {
    header: "[[listener.credential]]",
    doc: "A user of the listener, for one node or a group.",
    keys: CREDENTIAL_KEYS,
    also: None,
};

const CREDENTIAL_KEYS: &[Key] = &[
    required("user", Kind::Text, "User name."),
    required(
        "password_file",
        Kind::Path,
        "File that holds the password, or its Argon2 hash (`$argon2id$…`).",
    ),
    default(
        "nodes",
        Kind::List(&Kind::Text),
        "[]",
        "Nodes that it may publish for, on the topics that templates give them; `*` stands for any letters.",
    ),
    default(
        "publish",
        Kind::List(&Kind::Text),
        "[]",
        "Topic filters that it may publish to besides.",
    ),
    default(
        "subscribe",
        Kind::List(&Kind::Text),
        "[]",
        "Topic filters that it may subscribe to, such as `kengele/warnings/#`.",
    ),
];

/// `[[broker]]`.
pub(super) static BROKER: Table = Table {
    header: "[[broker]]",
    doc: "An MQTT broker that others run. The session is persistent, and a message is acknowledged once \
         its readings are on disk.",
    keys: BROKER_KEYS,
    also: None,
};

const BROKER_KEYS: &[Key] = &[
    required("name", Kind::Name, "Its name here; `listener` is taken."),
    required(
        "url",
        Kind::Text,
        "`mqtt://HOST[:PORT]`, or `mqtts://HOST[:PORT]` with TLS. Ports: 1883 and 8883.",
    ),
    default("protocol", Kind::OneOf(&["3.1.1", "5"]), "\"5\"", "Which MQTT it speaks."),
    derived(
        "client_id",
        Kind::Text,
        "`kengele-` and the gateway's name",
        "Client identifier; the broker keeps the session under it.",
    ),
    optional("user", Kind::Text, "User name."),
    optional("password_file", Kind::Path, "File that holds the password."),
    optional(
        "ca_file",
        Kind::Path,
        "Certificate authority in PEM that signed the broker's certificate; without it the public ones \
             are trusted.",
    ),
    default("keep_alive", Kind::Span, "\"60 s\"", "Longest silence on the connection."),
    default(
        "session_expiry",
        Kind::Duration,
        "\"7 d\"",
        "How long the broker keeps messages while the gateway is away (MQTT 5).",
    ),
];

/// Words of `format`, in the order of [`Format`](crate::config::Format).
pub(in crate::config) const FORMATS: &[&str] = &[
    "json",
    "json_array",
    "senml_json",
    "senml_cbor",
    "number",
    "state",
    "codec",
    "chirpstack",
    "the_things_stack",
    "helium",
    "meshtastic",
];

/// Words of `encoding`, in the order of [`Encoding`](crate::config::Encoding).
pub(in crate::config) const ENCODINGS: &[&str] = &["raw", "hex", "base64"];

/// `[[topic]]`.
pub(super) static TOPIC: Table = Table {
    header: "[[topic]]",
    doc: "How the publications on some topics become readings.",
    keys: TOPIC_KEYS,
    also: None,
};

const TOPIC_KEYS: &[Key] = &[
    required(
        "template",
        Kind::Text,
        "Topic with `{node}` where the node's name stands, perhaps `{quantity}`, and `+` for a level \
             that does not matter.",
    ),
    required(
        "format",
        Kind::OneOf(FORMATS),
        "What a payload is: an object or an array of objects, a SenML pack, a number alone, the state of one \
             entity (Home Assistant, Tasmota, ESPHome), bytes that a `codec` reads, or an event of a network \
             server.",
    ),
    optional(
        "codec",
        Kind::Name,
        "The `[codec.NAME]` that reads the bytes: of format `codec`, and of events whose values the network \
             server has not decoded itself.",
    ),
    default(
        "encoding",
        Kind::OneOf(ENCODINGS),
        "\"raw\"",
        "How the bytes of format `codec` are written.",
    ),
    default(
        "from",
        Kind::List(&Kind::Name),
        "[]",
        "Names of the brokers that it holds for, and `listener`; empty means all.",
    ),
    optional(
        "quantity",
        Kind::Text,
        "What a `number` or `state` measures; not needed when the template has `{quantity}`.",
    ),
    derived("unit", Kind::Text, "the quantity's own unit", "Unit of a `number` or `state`."),
    optional("field", Kind::Named(&FIELD), "The values of a payload."),
    optional("time", Kind::Text, "JSON pointer to the node's own time; SenML carries its own."),
    default(
        "time_unit",
        Kind::OneOf(&["s", "ms", "rfc3339"]),
        "\"s\"",
        "How that time is written: seconds or milliseconds since 1970, or RFC 3339.",
    ),
];

/// `[codec.NAME]`.
pub(super) static CODEC: Table = Table {
    header: "[codec.NAME]",
    doc: "How the bytes of one kind of device become values.",
    keys: CODEC_KEYS,
    also: None,
};

const CODEC_KEYS: &[Key] = &[
    required(
        "kind",
        Kind::OneOf(&["cayenne_lpp", "binary", "javascript"]),
        "Cayenne LPP, numbers at places of their own, or what a script of the device's maker makes of them.",
    ),
    optional(
        "script",
        Kind::Path,
        "For kind `javascript`: file with `decodeUplink(input)`, as ChirpStack and The Things Stack take it; beside the configuration \
         if it is no whole path.",
    ),
    required("field", Kind::Named(&CODEC_FIELD), "The values."),
];

static CODEC_FIELD: Table = Table {
    header: "[codec.NAME.field]",
    doc: "One line a value. Of Cayenne LPP, NAME is the type and the channel, such as `temperature_3`, or \
         `\"/gps_1/altitude\"` for a part; of kind `javascript`, a key or a JSON pointer into `data`; the other keys are for kind `binary`, where NAME is any word and \
         value = number × `scale` + `add`.",
    keys: CODEC_FIELD_KEYS,
    also: Some(&FIELD),
};

const CODEC_FIELD_KEYS: &[Key] = &[
    optional("byte", Kind::Whole(0, 254), "Where the number begins; the first byte is 0."),
    default("bit", Kind::Whole(0, 7), "0", "The bit of that byte; the most significant is 0."),
    optional("bits", Kind::Whole(1, 64), "How long the number is."),
    default(
        "number",
        Kind::OneOf(&["unsigned", "signed", "float"]),
        "\"unsigned\"",
        "What it is; a float has 32 or 64 bits.",
    ),
    default(
        "order",
        Kind::OneOf(&["big", "little"]),
        "\"big\"",
        "Which byte comes first: the most significant (`big`) or the least.",
    ),
    default("scale", Kind::Number, "1.0", "What the number is multiplied by."),
    default("add", Kind::Number, "0.0", "What is added then."),
    optional(
        "missing",
        Kind::Whole(0, u32::MAX),
        "The number, taken as unsigned, that says that there is no value, such as 65535.",
    ),
    optional("port", Kind::Whole(1, 255), "The value is there only in payloads of this port."),
    optional(
        "when_byte",
        Kind::Whole(0, 254),
        "The value is there only when this byte is `when_is`.",
    ),
    optional("when_is", Kind::Whole(0, 255), "What the byte `when_byte` must be."),
];

static FIELD: Table = Table {
    header: "[topic.field]",
    doc: "One line a value: `NAME = { quantity = …, unit = … }`. NAME is a member of the object, a JSON \
         pointer such as `\"/data/level\"`, or the name of a SenML record. Where the template has \
         `{quantity}`, NAME is what stands there; a quantity's own name needs no line.",
    keys: FIELD_KEYS,
    also: None,
};

const FIELD_KEYS: &[Key] = &[
    required("quantity", Kind::Text, "What it measures."),
    derived(
        "unit",
        Kind::Text,
        "the quantity's own unit",
        "The unit it comes in; a SenML record carries its own.",
    ),
];
