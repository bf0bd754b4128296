//! The file as a whole, the gateway itself, its store.

use super::{
    Key, Kind, Table, channels, default, link, lora, mqtt, optional, radio, required, rules, siren,
    storage, uplink,
};

/// The top of `kengele.toml`.
pub(in crate::config) static ROOT: Table = Table {
    header: "",
    doc: "",
    keys: &[
        required("gateway", Kind::Table(&GATEWAY), "The gateway itself."),
        optional(
            "storage",
            Kind::Table(&storage::STORAGE),
            "What is kept on the card, and for how long.",
        ),
        optional(
            "uplink",
            Kind::Table(&uplink::UPLINK),
            "The hub that this gateway tells what it knows.",
        ),
        optional("listener", Kind::Table(&mqtt::LISTENER), "The embedded MQTT listener."),
        optional("broker", Kind::Tables(&mqtt::BROKER), "MQTT brokers that others run."),
        optional("topic", Kind::Tables(&mqtt::TOPIC), "How publications become readings."),
        optional("semtech_udp", Kind::Table(&radio::SEMTECH_UDP), "LoRa gateways that others run."),
        optional(
            "lorawan",
            Kind::Table(&radio::LORAWAN),
            "LoRaWAN devices without another network server.",
        ),
        optional("radio", Kind::Table(&lora::RADIO), "The gateway's own LoRa radio."),
        optional(
            "report",
            Kind::Named(&link::REPORT),
            "What nodes of our own radio link put into a report.",
        ),
        optional("codec", Kind::Named(&mqtt::CODEC), "How the bytes of devices become values."),
        optional("node", Kind::Named(&rules::NODE), "Field units that report."),
        optional("area", Kind::Named(&rules::AREA), "Areas that can be warned."),
        optional("siren", Kind::Named(&siren::SIREN), "Sirens."),
        optional("role", Kind::Named(&channels::ROLE), "Roles of recipients."),
        optional("sms", Kind::Table(&channels::SMS), "What holds for every text message."),
        optional("modem", Kind::Named(&channels::MODEM), "Modems on serial ports."),
        optional(
            "sms_provider",
            Kind::Named(&channels::PROVIDER),
            "Providers of text messages over HTTP.",
        ),
        optional("rule", Kind::Named(&rules::RULE), "Conditions and the warnings that they raise."),
    ],
    also: None,
};

static GATEWAY: Table =
    Table { header: "[gateway]", doc: "The gateway itself.", keys: GATEWAY_KEYS, also: None };

const GATEWAY_KEYS: &[Key] = &[
    required("name", Kind::Name, "Its name: unique among the gateways of one hub."),
    required("sender", Kind::Text, "Who speaks: `{sender}` in texts."),
    required(
        "language",
        Kind::Language,
        "The language that every text must have; recipients without a text in theirs get this one.",
    ),
    default(
        "timezone",
        Kind::Text,
        "\"local\"",
        "Where clock times in texts are told: `local`, or a name such as `Africa/Dar_es_Salaam`.",
    ),
    default("data", Kind::Path, "\"/var/lib/kengele\"", "Folder of the database."),
    default(
        "socket",
        Kind::Path,
        "\"/run/kengele/kengele.sock\"",
        "Local socket on which the running gateway answers the command line.",
    ),
];
