//! Who is told by what: roles, text messages, modems, providers.

use super::{Key, Kind, Table, default, derived, optional, required};

/// `[role.NAME]`.
pub(super) static ROLE: Table = Table {
    header: "[role.NAME]",
    doc: "A role of recipients; the people themselves are in the database (`kengele people`).",
    keys: ROLE_KEYS,
    also: None,
};

const ROLE_KEYS: &[Key] = &[required(
    "channels",
    Kind::List(&Kind::Name),
    "Names of modems and providers in the order in which they are tried; `modem` means every modem, \
             whichever is free, and `http` every provider, one after the other.",
)];

/// `[sms]`.
pub(super) static SMS: Table = Table {
    header: "[sms]",
    doc: "What holds for every text message.",
    keys: SMS_KEYS,
    also: None,
};

const SMS_KEYS: &[Key] = &[
    default(
        "budget_per_day",
        Kind::Whole(1, 1_000_000),
        "300",
        "Segments a day. Danger may overdraw it, advice may not.",
    ),
    default(
        "segments_max",
        Kind::Whole(1, 10),
        "3",
        "Most segments of one text, in its worst case.",
    ),
    optional(
        "price_per_segment",
        Kind::Price,
        "What one segment costs, for `status` and for summaries.",
    ),
];

/// `[modem.NAME]`.
pub(super) static MODEM: Table = Table {
    header: "[modem.NAME]",
    doc: "A GSM or LTE modem on a serial port.",
    keys: MODEM_KEYS,
    also: None,
};

const MODEM_KEYS: &[Key] = &[
    required("port", Kind::Path, "Serial port; a name under `/dev/serial/by-id/` stays the same."),
    default(
        "bauds",
        Kind::List(&Kind::Whole(300, 4_000_000)),
        "[115200, 9600]",
        "Bits a second, in the order in which they are tried.",
    ),
    optional("pin_file", Kind::Path, "File that holds the PIN of the SIM."),
    optional("model", Kind::Text, "Name of its quirks, when it does not say itself what it is."),
    optional(
        "service_centre",
        Kind::Text,
        "Number of the service centre, when the SIM knows none.",
    ),
    optional("own_number", Kind::Text, "Number of its SIM; the loop-back check needs it."),
    default("rate", Kind::Rate, "\"10 per min\"", "Most segments that it hands to the network."),
    optional("balance", Kind::Table(&BALANCE), "How to ask for the balance."),
    optional(
        "loopback_every",
        Kind::Span,
        "How often it texts itself to see that texts leave and arrive; costs a segment each.",
    ),
    default(
        "power_cycle",
        Kind::List(&Kind::Text),
        "[]",
        "Command and arguments that cut and restore its power, when nothing else helps.",
    ),
];

static BALANCE: Table = Table {
    header: "[modem.NAME.balance]",
    doc: "How to ask for the balance, and where it stands in the answer.",
    keys: BALANCE_KEYS,
    also: None,
};

const BALANCE_KEYS: &[Key] = &[
    required("code", Kind::Text, "What to dial, such as `*102#`."),
    derived(
        "before",
        Kind::Text,
        "the first number is the amount",
        "What stands before the amount, such as `TSh`.",
    ),
    derived("after", Kind::Text, "anything", "What stands after the amount."),
];

/// `[sms_provider.NAME]`.
pub(super) static PROVIDER: Table = Table {
    header: "[sms_provider.NAME]",
    doc: "A provider of text messages over HTTP.",
    keys: PROVIDER_KEYS,
    also: None,
};

const PROVIDER_KEYS: &[Key] = &[
    required(
        "preset",
        Kind::Text,
        "Which provider, such as `africastalking`; `custom` with a `preset_file`.",
    ),
    optional("preset_file", Kind::Path, "File with a preset of your own."),
    optional("url", Kind::Text, "Address, when it is not the preset's."),
    optional(
        "from",
        Kind::Text,
        "Sender's name, number or short code, as agreed with the provider.",
    ),
    optional(
        "country_code",
        Kind::Text,
        "Country calling code in digits, for providers that want national numbers.",
    ),
    optional(
        "settings",
        Kind::Settings,
        "What else the preset asks for and is no secret, such as `username`.",
    ),
    optional(
        "secret_files",
        Kind::Paths,
        "Files that hold what the preset asks for and is secret, such as `api_key`.",
    ),
    default("rate", Kind::Rate, "\"5 per s\"", "Most messages that are handed over."),
    default("timeout", Kind::Span, "\"30 s\"", "Longest wait for an answer."),
    optional(
        "ca_file",
        Kind::Path,
        "Certificate authority in PEM that signed the provider's certificate; without it the public \
             ones are trusted.",
    ),
    default(
        "poll_every",
        Kind::Duration,
        "\"1 min\"",
        "How often delivery reports are asked for where the provider offers it; `\"0 s\"`: never.",
    ),
    optional("webhook", Kind::Table(&WEBHOOK), "Where delivery reports come in."),
];

static WEBHOOK: Table = Table {
    header: "[sms_provider.NAME.webhook]",
    doc: "Where delivery reports come in; only for a gateway that the provider can reach.",
    keys: WEBHOOK_KEYS,
    also: None,
};

const WEBHOOK_KEYS: &[Key] = &[
    required("listen", Kind::Address, "Address to listen on."),
    required("public_url", Kind::Text, "Address at which the provider reaches it."),
    required(
        "path_secret_file",
        Kind::Path,
        "File with the path of the requests: whoever knows it can report deliveries.",
    ),
];
