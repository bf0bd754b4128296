//! The gateway's own radio.

use super::{Key, Kind, Table, default, derived, optional, required};

/// Words of `chip`.
pub(in crate::config) const CHIPS: &[&str] =
    &["sx1261", "sx1262", "sx1268", "sx1276", "sx1277", "sx1278"];

/// `[radio]`.
pub(super) static RADIO: Table = Table {
    header: "[radio]",
    doc: "The gateway's own LoRa radio, on its SPI bus: it hears the nodes that have a `[node.NAME.wf1]`. It sends nothing before \
         `country` or `plan` says what is allowed.",
    keys: RADIO_KEYS,
    also: None,
};

const RADIO_KEYS: &[Key] = &[
    required(
        "board",
        Kind::Text,
        "The board that carries the radio: one of `hardware/boards/`, `own` with a `[radio.wiring]`, or `socket` for an emulated chip.",
    ),
    optional("country", Kind::Text, "The country's two letters by ISO 3166, such as `KE`."),
    optional(
        "plan",
        Kind::OneOf(super::radio::REGIONS),
        "The channel plan, where the country has several or the sources disagree: ask the regulator.",
    ),
    derived(
        "frequency_mhz",
        Kind::Number,
        "the plan's; 867.9 without one",
        "The channel of the nodes, MHz: all of them have the same.",
    ),
    default(
        "spreading_factor",
        Kind::Whole(7, 12),
        "9",
        "Their spreading factor: 12 reaches furthest.",
    ),
    optional(
        "power",
        Kind::Whole(0, 30),
        "Most power, dBm, where less than the plan and the board allow is wanted.",
    ),
    default(
        "antenna_gain",
        Kind::Number,
        "2.15",
        "Gain of the antenna less the loss of its cable, dBi.",
    ),
    optional("socket", Kind::Path, "Socket of an emulated chip, for `board = \"socket\"`."),
    optional("chip", Kind::OneOf(CHIPS), "Which chip is emulated, for `board = \"socket\"`."),
    optional("wiring", Kind::Table(&WIRING), "How the radio is wired, for `board = \"own\"`."),
];

/// `[radio.wiring]`.
static WIRING: Table = Table {
    header: "[radio.wiring]",
    doc: "How a radio is wired that is on none of the known boards. Lines are numbers on the GPIO chip.",
    keys: WIRING_KEYS,
    also: None,
};

const LINE: Kind = Kind::Whole(0, 1023);

const WIRING_KEYS: &[Key] = &[
    required("chip", Kind::OneOf(CHIPS), "Which chip."),
    default("spi", Kind::Path, "\"/dev/spidev0.0\"", "Its bus and chip select."),
    default("gpio", Kind::Path, "\"/dev/gpiochip0\"", "Chip of the lines below."),
    required("reset", LINE, "NRESET."),
    optional("busy", LINE, "BUSY of an SX126x."),
    required("irq", LINE, "DIO1 of an SX126x, DIO0 of an SX127x."),
    optional("dio1", LINE, "DIO1 of an SX127x, if it is connected."),
    optional("rf_rx", LINE, "Line that turns the antenna to the receiver."),
    optional("rf_tx", LINE, "Line that turns the antenna to the transmitter."),
    default("enable", Kind::List(&LINE), "[]", "Lines that are held high."),
    default("dio2_switch", Kind::Bool, "true", "Whether DIO2 of an SX126x turns the antenna."),
    optional(
        "tcxo_mv",
        Kind::Whole(1600, 3300),
        "Voltage of a TCXO on DIO3 of an SX126x, mV; without one the chip has a crystal.",
    ),
    default("power_max", Kind::Whole(0, 22), "14", "Most that the chip may be told, dBm."),
    default(
        "amplifier",
        Kind::Whole(0, 30),
        "0",
        "What an amplifier behind the chip adds, dB; the chip is told so much less than the plan allows.",
    ),
];
