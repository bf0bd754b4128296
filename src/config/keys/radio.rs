//! LoRa: gateways that others run, and LoRaWAN devices that have no other network server.

use super::{Key, Kind, Table, default, optional, required};

/// Words of `region`, in the order of RP002.
pub(in crate::config) const REGIONS: &[&str] = &[
    "EU868", "EU433", "IN865", "AS923-1", "AS923-2", "AS923-3", "AS923-4", "AU915", "US915",
    "KR920",
];

/// Words of `version`.
pub(in crate::config) const VERSIONS: &[&str] = &["1.0.2", "1.0.3", "1.0.4"];

/// `[semtech_udp]`.
pub(super) static SEMTECH_UDP: Table = Table {
    header: "[semtech_udp]",
    doc: "LoRa gateways that run Semtech's packet forwarder. The protocol knows no authentication: listen only where \
         nobody else can send.",
    keys: &[
        required(
            "listen",
            Kind::Address,
            "Address that forwarders send to; the usual port is 1700.",
        ),
        required(
            "gateways",
            Kind::List(&Kind::Text),
            "EUIs of the gateways that are listened to, 16 hexadecimal digits each.",
        ),
        default(
            "power_dbm",
            Kind::Whole(0, 30),
            "14",
            "Power of what they send, dBm; less where the plan of the region allows less.",
        ),
        optional(
            "airtime_per_hour",
            Kind::Duration,
            "Most that one gateway sends in an hour, in all bands together; no more than the plan of the region allows in any case.",
        ),
    ],
    also: None,
};

/// `[lorawan]`.
pub(super) static LORAWAN: Table = Table {
    header: "[lorawan]",
    doc: "What this gateway is to LoRaWAN devices, when it is their network server.",
    keys: &[
        required(
            "region",
            Kind::OneOf(REGIONS),
            "The channel plan that the country allows: ask the regulator. Nothing is sent before it is named.",
        ),
        default("net_id", Kind::Whole(0, 1), "0", "Network identifier of a private network."),
        default(
            "rx1_delay",
            Kind::Whole(1, 15),
            "1",
            "Seconds from a frame to its answer, as devices that join are told; more where the way to the gateway is slow.",
        ),
        optional(
            "sub_band",
            Kind::Whole(0, 7),
            "In AU915 and US915: which eight channels are heard.",
        ),
    ],
    also: None,
};

/// `[node.NAME.lorawan]`.
pub(super) static NODE: Table = Table {
    header: "[node.NAME.lorawan]",
    doc: "A LoRaWAN device that speaks to this gateway itself. It joins (`dev_eui`, `join_eui`, `app_key_file`), or \
         has fixed keys (`dev_addr`, `nwk_s_key_file`, `app_s_key_file`). A key file holds 32 hexadecimal digits.",
    keys: NODE_KEYS,
    also: None,
};

const NODE_KEYS: &[Key] = &[
    required("codec", Kind::Name, "The `[codec.NAME]` that reads its payloads."),
    default(
        "class",
        Kind::OneOf(&["A", "C"]),
        "\"A\"",
        "When it listens: after each frame of its own (A), or always (C).",
    ),
    default("version", Kind::OneOf(VERSIONS), "\"1.0.3\"", "The specification that it follows."),
    optional("dev_eui", Kind::Text, "Its DevEUI, 16 hexadecimal digits."),
    optional("join_eui", Kind::Text, "Its JoinEUI or AppEUI, 16 hexadecimal digits."),
    optional("app_key_file", Kind::Path, "File that holds its AppKey."),
    optional("dev_addr", Kind::Text, "Its DevAddr, 8 hexadecimal digits."),
    optional("nwk_s_key_file", Kind::Path, "File that holds its NwkSKey."),
    optional("app_s_key_file", Kind::Path, "File that holds its AppSKey."),
    default(
        "counter_reset",
        Kind::OneOf(&["never", "once", "always"]),
        "\"never\"",
        "Whether a device with fixed keys may begin its counter again, as after a change of battery. Then an old frame that \
             somebody recorded is believed, too.",
    ),
    optional(
        "data_rate",
        Kind::Whole(0, 5),
        "The data rate that it is asked to keep, if it lets the network choose (ADR): 0 is the slowest, 5 is SF7 (in US915 \
             3). Without it nothing is asked. A device is asked until it has answered once since it joined; one that is \
             not heard so falls back to a slower one by itself and is left there.",
    ),
];
