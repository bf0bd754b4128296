//! `[radio]`: the gateway's own radio, the boards that carry one, and what the country allows.

use super::amount::nearest;
use super::document::{Faults, Place};
use super::section::Section;
use crate::domain::airtime::{self, Airtime, Country, Never, Plan, Verdict};
use crate::domain::radio::{Modulation, Urgency};
use crate::domain::time::Timestamp;
use serde::Deserialize;
use std::path::PathBuf;

/// Boards by name, as their files have them.
pub const BOARDS: [(&str, &str); 7] = [
    ("adafruit-rfm9x", include_str!("../../hardware/boards/adafruit-rfm9x.toml")),
    ("dragino-lora-gps", include_str!("../../hardware/boards/dragino-lora-gps.toml")),
    ("loraspi", include_str!("../../hardware/boards/loraspi.toml")),
    ("meshadv-mini", include_str!("../../hardware/boards/meshadv-mini.toml")),
    ("meshadv-pi", include_str!("../../hardware/boards/meshadv-pi.toml")),
    ("rak6421-slot1", include_str!("../../hardware/boards/rak6421-slot1.toml")),
    ("waveshare-sx1262", include_str!("../../hardware/boards/waveshare-sx1262.toml")),
];
/// What names say that a radio hides behind a microcontroller with a serial port: it decides by itself when it sends, and
/// tells neither strength nor the moment of a frame.
const SERIAL_MODULES: [&str; 8] =
    ["uart", "e22-900t", "e22-400t", "e32", "e220", "rn2483", "wio-e5", "ra-08"];
/// The longest frame that a siren is told by, bytes.
const ORDER_BYTES: usize = 21;
/// Channel before a plan is known, Hz: that of EU868.
const CHANNEL_HZ: u32 = 867_900_000;

/// `[radio]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Radio {
    /// How the chip is reached.
    pub bus: RadioBus,
    /// What may be sent; none: nothing.
    pub plan: Option<&'static Plan>,
    /// Channel, Hz.
    pub frequency_hz: u32,
    /// Spreading factor and bandwidth.
    pub modulation: Modulation,
    /// Most power, dBm, as the operator wants it.
    pub power_dbm: Option<u8>,
    /// Gain of the antenna, dBi.
    pub antenna_dbi: f64,
}

/// How a radio chip is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadioBus {
    /// By this machine's own bus and lines.
    Wired(Wiring),
    /// It is emulated behind a socket.
    Socket {
        /// The socket.
        path: PathBuf,
        /// Which chip.
        chip: Chip,
    },
}

/// Which chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chip {
    /// To 15 dBm.
    Sx1261,
    /// To 22 dBm.
    Sx1262,
    /// As the SX1262, for 410 to 810 MHz.
    Sx1268,
    /// To 17 dBm here.
    Sx1276,
    /// As the SX1276.
    Sx1277,
    /// As the SX1276, below 525 MHz.
    Sx1278,
}

/// How a radio is wired.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wiring {
    /// Which chip.
    pub chip: Chip,
    /// Bus and chip select.
    pub spi: PathBuf,
    /// Chip of the lines.
    #[serde(default = "gpio")]
    pub gpio: PathBuf,
    /// NRESET.
    pub reset: u32,
    /// BUSY of an SX126x.
    pub busy: Option<u32>,
    /// DIO1 of an SX126x, DIO0 of an SX127x.
    pub irq: u32,
    /// DIO1 of an SX127x.
    pub dio1: Option<u32>,
    /// Turns the antenna to the receiver.
    pub rf_rx: Option<u32>,
    /// Turns the antenna to the transmitter.
    pub rf_tx: Option<u32>,
    /// Held high.
    #[serde(default)]
    pub enable: Vec<u32>,
    /// DIO2 of an SX126x turns the antenna.
    #[serde(default = "yes")]
    pub dio2_switch: bool,
    /// Voltage of a TCXO on DIO3, mV.
    pub tcxo_mv: Option<u16>,
    /// Most that the chip may be told, dBm.
    pub power_max: u8,
    /// What an amplifier behind the chip adds, dB.
    #[serde(default)]
    pub amplifier_db: u8,
}

fn gpio() -> PathBuf {
    "/dev/gpiochip0".into()
}

const fn yes() -> bool {
    true
}

impl RadioBus {
    const fn chip(&self) -> Chip {
        match self {
            Self::Wired(wiring) => wiring.chip,
            Self::Socket { chip, .. } => *chip,
        }
    }
}

impl Chip {
    /// Returns the lowest and the highest frequency, MHz: data sheets of Semtech, DS.SX1261-2 §3.3, DS.SX1268 §3.3,
    /// SX1276/77/78/79 table 1.
    const fn range_mhz(self) -> (u32, u32) {
        match self {
            Self::Sx1261 | Self::Sx1262 => (150, 960),
            Self::Sx1268 => (410, 810),
            Self::Sx1276 | Self::Sx1277 => (137, 1020),
            Self::Sx1278 => (137, 525),
        }
    }

    /// Returns the chip of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sx1261" => Self::Sx1261,
            "sx1262" => Self::Sx1262,
            "sx1268" => Self::Sx1268,
            "sx1276" => Self::Sx1276,
            "sx1277" => Self::Sx1277,
            "sx1278" => Self::Sx1278,
            _ => return None,
        })
    }

    /// Returns whether it takes commands and shows BUSY, as the SX126x do; else it has registers.
    #[must_use]
    pub const fn takes_commands(self) -> bool {
        match self {
            Self::Sx1261 | Self::Sx1262 | Self::Sx1268 => true,
            Self::Sx1276 | Self::Sx1277 | Self::Sx1278 => false,
        }
    }
}

/// Reads `[radio]`.
pub(super) fn radio(root: &Section<'_>, has_nodes: bool, faults: &Faults<'_>) -> Option<Radio> {
    let Some(section) = root.child("radio") else {
        if has_nodes {
            let at = root.place_of("node");
            let help = "add a [radio] with the board that carries one";
            faults.warn(at, "no radio hears the nodes of our own link", help);
        }
        return None;
    };
    let plan = plan(&section, faults);
    let bus = bus(&section, faults);
    let bandwidth_hz = plan.map_or(airtime::WF1_BANDWIDTH_HZ, |plan| plan.wf1_bandwidth_hz);
    let spreading_factor = section.small("spreading_factor");
    let frequency_hz = frequency(&section, plan, faults);
    if let Some(bus) = &bus {
        let (lowest, highest) = bus.chip().range_mhz();
        if !(lowest..=highest).contains(&(frequency_hz / 1_000_000)) {
            let message = format!("this chip hears {lowest} to {highest} MHz alone");
            let help = "choose a frequency or a plan within, or another board";
            faults.error(section.place_of("frequency_mhz"), message, help);
        }
    }
    let modulation = Modulation::Lora { spreading_factor, bandwidth_hz };
    if let Some(plan) = plan {
        let fresh = Airtime::new(plan, section.get("antenna_gain"));
        let start = Timestamp::from_millis(0);
        let verdict = fresh.ask(frequency_hz, modulation, ORDER_BYTES, Urgency::Danger, start);
        if verdict == Verdict::Never(Never::Dwell) {
            let message = format!(
                "no siren would ever be told: an order takes {} ms, longer than {} lets a frame be",
                modulation.time_on_air(ORDER_BYTES, true).as_millis(),
                plan.name
            );
            let help = "choose a smaller spreading factor: each step halves it";
            faults.error(section.place_of("spreading_factor"), message, help);
        }
    }
    Some(Radio {
        bus: bus?,
        plan,
        frequency_hz,
        modulation,
        power_dbm: section.written("power").map(|_| section.small("power")),
        antenna_dbi: section.get("antenna_gain"),
    })
}

fn plan(section: &Section<'_>, faults: &Faults<'_>) -> Option<&'static Plan> {
    let named: Option<String> = section.opt("plan");
    let chosen = named.as_deref().and_then(Plan::named);
    let Some(country) = section.opt::<String>("country") else {
        if section.written("plan").is_none() {
            let help =
                "add `country` or `plan`; until then acknowledgements and sirens stay silent";
            faults.warn(
                section.place,
                "the radio sends nothing: nobody said what is allowed",
                help,
            );
        }
        return chosen;
    };
    let at = section.place_of("country");
    let ask = "ask the regulator, and write `plan`";
    let code = country.to_ascii_uppercase();
    if let Some(chosen) = chosen {
        let known = airtime::plans_of(&code);
        if !known.contains(&chosen.name) {
            let message = match known.as_slice() {
                [] => format!("no source says what {country} allows"),
                _ => format!("no source says that {country} has {}", chosen.name),
            };
            let help = match known.as_slice() {
                [] => "make sure with the regulator".into(),
                _ => format!("they say {}: make sure with the regulator", known.join(" or ")),
            };
            faults.warn(section.place_of("plan"), message, help);
        }
        return Some(chosen);
    }
    match airtime::country(&code) {
        Country::Plan(plan) => Some(plan),
        Country::Disputed(alliance, network) => {
            let message = format!(
                "sources disagree on what {country} allows: {} by the LoRa Alliance, {} by The Things Network",
                alliance.join(" or "),
                network.join(" or ")
            );
            faults.error(at, message, ask);
            None
        }
        Country::OtherPlans(plans) => {
            let message =
                format!("{country} has {}, which this version does not know", plans.join(" or "));
            faults.error(at, message, ask);
            None
        }
        Country::Unknown => {
            let message = format!("no source says what \"{country}\" allows");
            faults.error(
                at,
                message,
                "write its two letters by ISO 3166, or ask the regulator, and write `plan`",
            );
            None
        }
    }
}

fn frequency(section: &Section<'_>, plan: Option<&'static Plan>, faults: &Faults<'_>) -> u32 {
    let usual = plan.map_or(CHANNEL_HZ, |plan| plan.wf1_hz);
    let Some(mhz) = section.opt::<f64>("frequency_mhz") else { return usual };
    let at = section.place_of("frequency_mhz");
    if !(137.0..=1020.0).contains(&mhz) {
        let help = "write MHz, such as 867.9";
        faults.error(at, format!("no chip hears {mhz} MHz"), help);
        return usual;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "137 to 1020 MHz are whole hertz within 32 bits"
    )]
    let hz = (mhz * 1e6).round() as u32;
    if let Some(plan) = plan.filter(|plan| plan.band(hz, plan.wf1_bandwidth_hz).is_none()) {
        let message = format!("{} lets nothing be sent on {mhz} MHz", plan.name);
        let bands = plan.bands.iter().map(|band| {
            format!("{} to {} MHz", f64::from(band.from_hz) / 1e6, f64::from(band.to_hz) / 1e6)
        });
        let help = format!("choose within {}", bands.collect::<Vec<_>>().join(", "));
        faults.error(at, message, help);
    }
    hz
}

fn bus(section: &Section<'_>, faults: &Faults<'_>) -> Option<RadioBus> {
    let board: String = section.opt("board")?;
    let at = section.place_of("board");
    let own = section.child("wiring");
    if let Some(own) = own.as_ref().filter(|_| board != "own") {
        faults.error(
            own.place,
            "a wiring belongs to `board = \"own\"` alone",
            "remove one of them",
        );
    }
    match board.as_str() {
        "own" => {
            let Some(own) = own else {
                faults.missing(at, "an own board needs a wiring", "add a [radio.wiring]");
                return None;
            };
            wiring(&own, faults).map(RadioBus::Wired)
        }
        "socket" => {
            let (path, chip) = (section.opt("socket"), section.opt::<String>("chip"));
            if section.written("socket").is_none() || section.written("chip").is_none() {
                let help = "add `socket` and `chip`";
                faults.missing(at, "an emulated chip is behind a socket", help);
            }
            Some(RadioBus::Socket { path: path?, chip: Chip::named(&chip?)? })
        }
        name => known(name, at, faults).map(RadioBus::Wired),
    }
}

fn known(name: &str, at: Place, faults: &Faults<'_>) -> Option<Wiring> {
    let file = BOARDS.iter().find(|(board, _)| *board == name).map(|(_, file)| *file);
    if let Some(file) = file {
        return toml::from_str(file)
            .map_err(|error| {
                faults.error(at, format!("the board's file is damaged: {error}"), "choose another");
            })
            .ok();
    }
    let small = name.to_ascii_lowercase();
    if SERIAL_MODULES.iter().any(|module| small.contains(module)) {
        let help = "take a board whose chip is on SPI, or connect the module's gateway by [semtech_udp] or MQTT";
        let message = format!(
            "\"{name}\" is a radio behind a microcontroller: it tells neither when a frame came nor how strong, and sends when it likes"
        );
        faults.error(at, message, help);
        return None;
    }
    let names = || BOARDS.iter().map(|(board, _)| *board).chain(["own", "socket"]);
    let help = match nearest(name, names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known are {}", names().collect::<Vec<_>>().join(", ")),
    };
    faults.error(at, format!("unknown board \"{name}\""), help);
    None
}

fn wiring(section: &Section<'_>, faults: &Faults<'_>) -> Option<Wiring> {
    let line = |key: &str| section.opt::<u32>(key);
    let chip = Chip::named(&section.opt::<String>("chip")?)?;
    let busy = line("busy");
    if chip.takes_commands() && busy.is_none() && section.written("busy").is_none() {
        let help = "add `busy`: the chip may not be spoken to while it is high";
        faults.missing(section.place, "BUSY of an SX126x is not connected", help);
    }
    Some(Wiring {
        chip,
        spi: section.get("spi"),
        gpio: section.get("gpio"),
        reset: line("reset")?,
        busy,
        irq: line("irq")?,
        dio1: line("dio1"),
        rf_rx: line("rf_rx"),
        rf_tx: line("rf_tx"),
        enable: section.list("enable").into_iter().map(|(line, _)| line).collect(),
        dio2_switch: section.get("dio2_switch"),
        tcxo_mv: line("tcxo_mv").and_then(|mv| u16::try_from(mv).ok()),
        power_max: section.small("power_max"),
        amplifier_db: section.small("amplifier"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_can_be_read_and_has_what_its_chip_needs() {
        for (name, file) in BOARDS {
            let wiring: Wiring = toml::from_str(file).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(wiring.chip.takes_commands(), wiring.busy.is_some(), "{name}");
            assert!(file.starts_with("# "), "{name} does not say where its pins are from");
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/hardware/boards"));
        assert_eq!(files.unwrap().count(), BOARDS.len(), "a board's file is not in the table");
    }
}
