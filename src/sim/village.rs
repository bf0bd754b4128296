//! The village's own files: configuration, rules, recipients and secrets, as a technician would write them.

pub mod farms;

use self::farms::Farms;
use super::air::Position;
use super::field::FieldNode;
use super::scenario::Scenario;
use super::world::World;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where things are in one run.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Folder of everything.
    pub folder: &'a Path,
    /// Address of the MQTT listener.
    pub mqtt: SocketAddr,
    /// Serial port of the modem.
    pub modem: &'a Path,
    /// Address of the SMS provider, such as `http://127.0.0.1:8080`.
    pub provider: &'a str,
    /// The emulated radio, if the gateway has one.
    pub radio: Option<Radio<'a>>,
}

/// The gateway's emulated radio, and how fast time goes for it.
#[derive(Clone, Copy, Debug)]
pub struct Radio<'a> {
    /// Socket of the chip.
    pub socket: &'a Path,
    /// Whether nodes wait for acknowledgements. In a hurry a computer misses their windows.
    pub confirms: bool,
    /// What stands on the farms.
    pub farms: Farms,
}

/// Times faster than real up to which the windows of nodes are not missed.
pub const CONFIRMS_UP_TO: f64 = 20.0;
/// Names of the nodes that the radio hears.
pub const FIELD_NODES: [&str; 2] = ["mto-chini", "paa-shule"];
/// Channel of the radio of a village without farms, Hz: that of the plan; and its spreading factor.
const RADIO_HZ: u32 = 867_900_000;
const SPREADING_FACTOR: u8 = 9;

/// User name of the nodes at the listener.
pub const NODES_USER: &str = "vituo";
/// Their password: it protects nothing but a simulation.
pub const NODES_PASSWORD: &str = "simulated-only";
/// Number of the SIM in the modem.
pub const OWN_NUMBER: &str = "+255700000000";

/// The rules that the gateway is shipped with, and one for drought that needs no month of history.
const RULES: [(&str, &str); 3] = [
    ("flood.toml", include_str!("../../deploy/rules.d/flood.toml")),
    ("frost.toml", include_str!("../../deploy/rules.d/frost.toml")),
    ("dry.toml", include_str!("village/dry.toml")),
];

/// Returns the files of the village: name below the folder, and content.
#[must_use]
pub fn files(places: &Places<'_>) -> Vec<(String, String)> {
    let mut files = vec![
        ("kengele.toml".to_owned(), kengele_toml(places)),
        ("people.csv".to_owned(), people_csv()),
        ("secrets/vituo".to_owned(), NODES_PASSWORD.to_owned()),
        ("secrets/provider".to_owned(), "simulated-only".to_owned()),
    ];
    files.extend(RULES.map(|(name, text)| (format!("rules.d/{name}"), text.to_owned())));
    files
}

fn kengele_toml(places: &Places<'_>) -> String {
    let folder = places.folder.display();
    let radio = places.radio.as_ref().map(radio_toml);
    (include_str!("village/kengele.toml").to_owned() + &radio.unwrap_or_default())
        .replace("@FOLDER@", &folder.to_string())
        .replace("@MQTT@", &places.mqtt.to_string())
        .replace("@MODEM@", &places.modem.display().to_string())
        .replace("@PROVIDER@", places.provider)
        .replace("@USER@", NODES_USER)
        .replace("@NUMBER@", OWN_NUMBER)
}

/// Returns what a configuration says of the radio, and of the nodes that it hears.
#[must_use]
pub fn radio_toml(radio: &Radio<'_>) -> String {
    let listens = if radio.confirms { "after_its_frames" } else { "never" };
    let (frequency_hz, spreading_factor) = channel(radio.farms);
    let channel = format!(
        "frequency_mhz = {}\nspreading_factor = {spreading_factor}",
        f64::from(frequency_hz) / 1e6
    );
    include_str!("village/radio.toml")
        .replace("@RADIO@", &radio.socket.display().to_string())
        .replace("@CHANNEL@", &channel)
        .replace("@LISTENS@", listens)
        + &radio.farms.toml(listens)
}

/// Returns frequency and spreading factor of a village's radio, Hz.
#[must_use]
pub const fn channel(farms: Farms) -> (u32, u8) {
    if farms.count == 0 {
        (RADIO_HZ, SPREADING_FACTOR)
    } else {
        (farms::RADIO_HZ, farms::SPREADING_FACTOR)
    }
}

/// Returns a node that the radio hears, if the village has one of that name: a gauge on the lower bridge, and a siren on the
/// school's roof, and what stands on the farms.
#[must_use]
pub fn field_node(
    name: &str,
    code: &str,
    seed: u64,
    scenario: Scenario,
    confirms: bool,
    farms: Farms,
) -> Option<FieldNode> {
    let (frequency_hz, spreading_factor) = channel(farms);
    let Some(place) = FIELD_NODES.iter().position(|known| *known == name) else {
        return farms.node(name, code, seed, confirms);
    };
    let is_gauge = place == 0;
    // Numbers of the quantities as docs/formats/wf1.md has them: water level, battery voltage.
    let level = is_gauge.then_some((1, 0, 10, 10));
    let world = World::seeded(seed, scenario);
    Some(FieldNode {
        name: name.to_owned(),
        code: code.to_owned(),
        position: if is_gauge {
            Position::new(1_900.0, -700.0)
        } else {
            Position::new(-400.0, 250.0)
        },
        report: level.into_iter().chain([(21, 2_000, 20, 7)]).collect(),
        sensors: Arc::new(move |field, at| {
            let is_level = is_gauge && field == 0;
            Some(if is_level { world.lower_level(at) } else { 3.78 })
        }),
        interval: if is_gauge { Duration::from_mins(5) } else { Duration::from_mins(15) },
        confirms: confirms || !is_gauge,
        always_listens: !is_gauge,
        has_siren: !is_gauge,
        frequency_hz,
        spreading_factor,
        seed: seed ^ if is_gauge { 1 } else { 2 },
        switched_on_after: Duration::ZERO,
    })
}

/// The people of the village. The numbers belong to nobody: no operator of the country has the prefix 70 00.
#[must_use]
pub fn people_csv() -> String {
    let people = [
        ("Amina Juma", "warden", "sw", "*", "yes"),
        ("Baraka Mushi", "warden", "sw", "*", "yes"),
        ("Chausiku Said", "warden", "sw", "*", "yes"),
        ("Daudi Mrema", "household", "sw", "bonde kijiji", "yes"),
        ("Esther Kimaro", "household", "sw", "bonde kijiji", "yes"),
        ("Farida Omari", "household", "sw", "bonde kijiji", "yes"),
        ("Grace Lema", "household", "en", "bonde kijiji", "yes"),
        ("Hamisi Ally", "household", "sw", "kijiji", "yes"),
        ("Imani Swai", "farmer", "sw", "bonde kijiji", "yes"),
        ("Joseph Massawe", "farmer", "en", "kijiji", "yes"),
        ("Khadija Musa", "farmer", "sw", "kijiji", "yes"),
        ("Lulu Mbise", "household", "sw", "bonde", "no"),
        ("Musa Nnko", "technician", "en", "*", "yes"),
    ];
    let mut csv = String::from("name,number,role,language,areas,consent\n");
    for (number, (name, role, language, areas, consent)) in (1..).zip(people) {
        writeln!(csv, "{name},+2557000000{number:02},{role},{language},{areas},{consent}")
            .expect("a String takes all that is written");
    }
    csv
}
