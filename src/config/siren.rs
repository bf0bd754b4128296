//! `[siren.NAME]`.

use super::document::Faults;
use super::link::{LinkListens, LinkNode};
use super::people::{checked_name, unknown};
use super::section::Section;
use super::settings::{Area, Broker, Format, LorawanNode, Topic};
use crate::domain::node::Node;
use crate::domain::warning::Level;
use std::time::Duration;

/// Longest order: what the slowest data rate takes at which a region lets anything through (RP002-1.0.4 §2.10.6: AS923 with
/// limited dwell time, DR2, `N` = 11).
const ORDER_BYTES_MAX: usize = 11;

/// What a siren is told, where that is bytes.
const PAYLOAD_KEYS: [&str; 4] = ["port", "on", "off", "test"];

/// `[siren.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siren {
    /// Its name.
    pub name: String,
    /// Place of its node in the rule book.
    pub place: usize,
    /// Areas whose warnings it tells.
    pub areas: Vec<String>,
    /// Hazards that it tells; empty: every one.
    pub hazards: Vec<String>,
    /// From which level on.
    pub level: Level,
    /// How long it sounds for an alert.
    pub max_on: Duration,
    /// Whether it sounds in exercises.
    pub in_exercises: bool,
    /// What its node is told, where that is bytes of the operator's.
    pub payloads: Option<SirenPayloads>,
    /// Whether its node confirms.
    pub confirmed: bool,
    /// How its node is reached.
    pub way: SirenWay,
}

/// What the node of a siren is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SirenPayloads {
    /// Port of its orders.
    pub port: u8,
    /// To sound.
    pub on: Vec<u8>,
    /// To be silent.
    pub off: Vec<u8>,
    /// To sound for a moment.
    pub test: Vec<u8>,
}

/// How the node of a siren is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SirenWay {
    /// It is a node of our own radio link.
    Link,
    /// It is a LoRaWAN device of this gateway.
    Lorawan,
    /// ChirpStack has it.
    ChirpStack {
        /// Name of the broker.
        broker: String,
        /// Identifier of the application.
        application: String,
        /// `DevEUI`, in small letters.
        dev_eui: String,
    },
}

/// What a siren may name.
pub(super) struct Named<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) lorawan: &'a [LorawanNode],
    pub(super) link: &'a [LinkNode],
    pub(super) areas: &'a [Area],
    pub(super) brokers: &'a [Broker],
    pub(super) topics: &'a [Topic],
}

/// Reads `[siren.NAME]`.
pub(super) fn sirens(root: &Section<'_>, named: &Named<'_>, faults: &Faults<'_>) -> Vec<Siren> {
    let mut sirens: Vec<Siren> = Vec::new();
    for section in root.named("siren") {
        let Some(siren) = siren(&section, named, faults) else { continue };
        if let Some(other) = sirens.iter().find(|other| other.place == siren.place) {
            let message = format!("siren \"{}\" is on this node already", other.name);
            faults.error(section.place_of("node"), message, "a node has one siren: join the two");
        }
        sirens.push(siren);
    }
    sirens
}

fn siren(section: &Section<'_>, named: &Named<'_>, faults: &Faults<'_>) -> Option<Siren> {
    let name = checked_name(section, faults);
    let known: Vec<&str> = named.areas.iter().map(|area| area.name.as_str()).collect();
    let areas = section.list::<String>("areas");
    for (area, at) in areas.iter().filter(|(area, _)| !known.contains(&area.as_str())) {
        unknown(faults, *at, "area", area, &known);
    }
    if areas.is_empty() && section.written("areas").is_some() {
        let help = "name the areas from where it is heard";
        faults.error(section.place_of("areas"), "the siren never sounds", help);
    }
    let node: String = section.opt("node")?;
    let Some(place) = named.nodes.iter().position(|known| *known.name.0 == *node) else {
        let known: Vec<&str> = named.nodes.iter().map(|node| &*node.name.0).collect();
        unknown(faults, section.place_of("node"), "node", &node, &known);
        return None;
    };
    let of_link = named.link.iter().any(|node| node.place == place);
    let payloads = if of_link { no_payloads(section, faults) } else { payloads(section, faults) };
    let way = way(section, place, named, faults)?;
    (of_link || payloads.is_some()).then_some(Siren {
        name,
        place,
        areas: areas.into_iter().map(|(area, _)| area).collect(),
        hazards: section.list("hazards").into_iter().map(|(hazard, _)| hazard).collect(),
        level: Level::from_word(&section.get::<String>("level")).unwrap_or(Level::Danger),
        max_on: section.get("max_on"),
        in_exercises: section.get("in_exercises"),
        payloads,
        confirmed: section.get("confirmed"),
        way,
    })
}

/// Reports payloads of a siren whose orders are not bytes of the operator's.
fn no_payloads(section: &Section<'_>, faults: &Faults<'_>) -> Option<SirenPayloads> {
    for key in PAYLOAD_KEYS.iter().filter(|key| section.written(key).is_some()) {
        let help = "remove it";
        faults.error(section.place_of(key), "a node of our own link knows its orders", help);
    }
    None
}

fn payloads(section: &Section<'_>, faults: &Faults<'_>) -> Option<SirenPayloads> {
    for key in PAYLOAD_KEYS.iter().filter(|key| section.written(key).is_none()) {
        let help = "write what its maker's manual says";
        faults.missing(section.place, format!("`{key}` is missing"), help);
    }
    let order = |key: &str| order(section, key, faults);
    let (on, off, test) = (order("on"), order("off"), order("test"));
    if on.is_some() && on == off {
        let help = "write what its maker's manual says";
        faults.error(section.place_of("off"), "the siren could not tell off from on", help);
    }
    section.written("port")?;
    Some(SirenPayloads { port: section.small("port"), on: on?, off: off?, test: test? })
}

fn order(section: &Section<'_>, key: &str, faults: &Faults<'_>) -> Option<Vec<u8>> {
    let digits: String = section.opt(key)?;
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let sound = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
        let pair = std::str::from_utf8(pair).ok().filter(|_| sound)?;
        u8::from_str_radix(pair, 16).ok()
    };
    let Some(bytes) = pairs.map(byte).collect::<Option<Vec<u8>>>() else {
        let message = format!("\"{digits}\" is no bytes in hexadecimal digits");
        let help = "write two digits for each byte, such as \"01b4\"";
        faults.error(section.place_of(key), message, help);
        return None;
    };
    if bytes.len() > ORDER_BYTES_MAX {
        let message = format!("{} bytes do not fit a frame at every data rate", bytes.len());
        let help = format!("write at most {ORDER_BYTES_MAX}");
        faults.error(section.place_of(key), message, help);
    }
    Some(bytes)
}

/// Finds how the siren's node is reached.
fn way(
    section: &Section<'_>,
    place: usize,
    named: &Named<'_>,
    faults: &Faults<'_>,
) -> Option<SirenWay> {
    let of_link = named.link.iter().find(|node| node.place == place);
    if of_link.is_some_and(|node| node.listens == LinkListens::Never) {
        let help = "let it listen: `listens = \"always\"` in its [node.NAME.wf1]";
        faults.error(section.place_of("node"), "the siren's node never listens", help);
    }
    let own = match of_link {
        Some(_) => Some(SirenWay::Link),
        None => named.lorawan.iter().any(|node| node.place == place).then_some(SirenWay::Lorawan),
    };
    let broker: Option<String> = section.opt("broker");
    let application: Option<String> = section.opt("application");
    let (broker, application) = match (own, broker, application) {
        (Some(own), None, None) => return Some(own),
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            let help = "remove `broker` and `application`, or what makes the node ours";
            let at = section.place;
            faults.error(at, "the siren's node is this gateway's own device", help);
            return None;
        }
        (None, Some(broker), Some(application)) => (broker, application),
        (None, None, None) => {
            let help = "give its node a [node.NAME.wf1] or a [node.NAME.lorawan], or name `broker` and `application` of ChirpStack";
            faults.missing(section.place_of("node"), "there is no way to this siren's node", help);
            return None;
        }
        (None, Some(_), None) | (None, None, Some(_)) => {
            let help = "add the other";
            faults.missing(section.place, "ChirpStack needs both `broker` and `application`", help);
            return None;
        }
    };
    let known: Vec<&str> = named.brokers.iter().map(|broker| broker.name.as_str()).collect();
    if !known.contains(&broker.as_str()) {
        unknown(faults, section.place_of("broker"), "broker", &broker, &known);
        return None;
    }
    if application.contains(['/', '+', '#']) {
        let message = format!("\"{application}\" is no application's identifier");
        let help = "copy it from ChirpStack: `application/IDENTIFIER/device/…`";
        faults.error(section.place_of("application"), message, help);
    }
    let heard = |topic: &Topic| {
        let from = topic.from.is_empty() || topic.from.contains(&broker);
        let events = topic.template.ends_with("/+") || topic.template.ends_with("/event/ack");
        topic.format == Format::ChirpStack && from && events
    };
    if !named.topics.iter().any(heard) {
        let help = "add a [[topic]] with `template = \"application/+/device/{node}/event/+\"` and `format = \"chirpstack\"`";
        faults.missing(section.place_of("broker"), "nothing hears what the siren confirms", help);
    }
    let node = named.nodes.get(place)?;
    let is_eui = |name: &str| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let mut heard_as =
        std::iter::once(&*node.name.0).chain(node.heard_as.iter().map(String::as_str));
    let Some(dev_eui) = heard_as.find(|name| is_eui(name)) else {
        let message = format!("the DevEUI of node \"{}\" is not known", node.name);
        let help = "add it to the node's `heard_as`, 16 hexadecimal digits";
        faults.missing(section.place_of("node"), message, help);
        return None;
    };
    Some(SirenWay::ChirpStack { broker, application, dev_eui: dev_eui.to_ascii_lowercase() })
}
