//! From a frame to a node and what it said.

use crate::domain::frame::{Frame, Origin};
use crate::domain::node::Node;
use crate::domain::quantity::Quantity;
use crate::domain::reading::{Measurement, Stamp};
use crate::domain::rule::{NodeIndex, RuleBook};
use crate::wire::network_server::{Event, Fate, Server};
use crate::wire::payload::{About, DecodeError, Format, PayloadMap};
use crate::wire::text::{self, Encoding};
use crate::wire::topic::Template;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Topics whose meaning is remembered; beyond that all are looked up anew.
const TOPICS_KNOWN_MAX: usize = 65_536;
/// Nodes heard but not declared that are listed; more are only counted.
const HEARD_MAX: usize = 256;
/// Bytes of a payload that are listed with them.
const SAMPLE_BYTES_MAX: usize = 256;

/// How publications on some topics become readings.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which topics.
    pub template: Template,
    /// Names of the brokers that it holds for; empty is all.
    pub from: Vec<String>,
    /// How the bytes of a payload are written.
    pub encoding: Encoding,
    /// Who wraps payloads in events of its own.
    pub server: Option<Server>,
    /// How payloads are read; of a server's events, the values that it has decoded itself.
    pub map: PayloadMap,
    /// How the bytes in a server's events are read, where it has not decoded them.
    pub codec: Option<PayloadMap>,
}

/// Finds the node that a frame speaks of, and reads what it says.
#[derive(Debug, Default)]
pub struct Decoder {
    routes: Vec<Route>,
    nodes: HashMap<String, NodeIndex>,
    with_battery: HashSet<NodeIndex>,
    known: HashMap<(Arc<str>, Arc<str>), Option<Meaning>>,
    heard: BTreeMap<String, Heard>,
}

/// What a topic says.
#[derive(Clone, Debug)]
struct Meaning {
    route: usize,
    /// The node's name as it stands there.
    name: String,
    /// The node, if it is declared.
    node: Option<NodeIndex>,
    quantity: Option<String>,
}

/// A node that is heard but not declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name, as the topic gives it.
    pub node: String,
    /// The topic.
    pub topic: String,
    /// The last payload, its beginning, as text.
    pub sample: String,
    /// How often.
    pub count: u64,
    /// What it measures, as far as its frames could be read.
    pub quantities: BTreeSet<Quantity>,
}

/// What a frame came to.
#[derive(Debug)]
pub enum Decoded {
    /// A declared node said this; the measurements are in the buffer.
    Heard {
        /// Which.
        node: NodeIndex,
        /// What is wrong with the values that could not be read beside those that could.
        troubles: Vec<String>,
    },
    /// An event without a reading, such as that a node joined.
    Nothing,
    /// What became of a downlink to a declared node.
    Downlink {
        /// Which.
        node: NodeIndex,
        /// The identifier that the downlink was given.
        id: String,
        /// What became of it.
        fate: Fate,
    },
    /// No template describes its topic.
    NoTemplate,
    /// Its node is not declared.
    Undeclared,
    /// It cannot be read.
    Unreadable(DecodeError),
}

/// What a payload says.
enum Said {
    /// Something, with the measurements in the buffer.
    Told(Told),
    Downlink(String, Fate),
    Nothing,
}

/// What a payload says, besides the measurements.
struct Told {
    /// Who says it, where the topic does not.
    node: Option<String>,
    troubles: Vec<String>,
    battery_level: Option<f64>,
}

impl Route {
    fn has_script(&self) -> bool {
        let runs = |map: &PayloadMap| matches!(map.format, Format::JavaScript(_));
        runs(&self.map) || self.codec.as_ref().is_some_and(runs)
    }

    /// Reads a payload into `measurements`; it came at a Unix time, if that is known.
    fn read(
        &self,
        payload: &[u8],
        quantity: Option<&str>,
        unix_ms: Option<i64>,
        measurements: &mut Vec<Measurement>,
    ) -> Result<Said, DecodeError> {
        let Some(server) = self.server else {
            let about = About { quantity, port: None, unix_ms };
            let bytes = text::decode(self.encoding, payload)?;
            let troubles = self.map.decode(&bytes, about, measurements)?;
            return Ok(Said::Told(Told { node: None, troubles, battery_level: None }));
        };
        let uplink = match server.read(payload)? {
            Event::Uplink(uplink) => uplink,
            Event::Status { battery_level: None } | Event::Other => return Ok(Said::Nothing),
            Event::Status { battery_level } => {
                return Ok(Said::Told(Told { node: None, troubles: Vec::new(), battery_level }));
            }
            Event::Downlink { id, fate } => return Ok(Said::Downlink(id, fate)),
        };
        let heard_ms = match uplink.stamp {
            Some(Stamp::Unix(ms)) => Some(ms),
            Some(Stamp::Age(_)) | None => unix_ms,
        };
        let about = About { quantity, port: Some(uplink.port), unix_ms: heard_ms };
        let troubles = match (&uplink.object, &self.codec) {
            (Some(object), _) => self.map.decode(object.get().as_bytes(), about, measurements)?,
            (None, Some(codec)) => codec.decode(&uplink.payload, about, measurements)?,
            // Nothing but frame counters and the like.
            (None, None) if uplink.payload.is_empty() => Vec::new(),
            (None, None) => return Err(DecodeError::NotDecoded { length: uplink.payload.len() }),
        };
        for measurement in measurements.iter_mut() {
            measurement.stamp = measurement.stamp.or(uplink.stamp);
        }
        Ok(Said::Told(Told { node: uplink.node, troubles, battery_level: uplink.battery_level }))
    }
}

impl Decoder {
    /// Makes one that knows the nodes of `book`.
    #[must_use]
    pub fn new(routes: Vec<Route>, book: &RuleBook) -> Self {
        let indices = || book.nodes.iter().zip((0..).map(NodeIndex));
        let names = indices().flat_map(|(node, index)| {
            let names = std::iter::once(&*node.name.0).chain(node.heard_as.iter().map(|n| &**n));
            names.map(move |name| (name.to_owned(), index))
        });
        let measures_battery = |node: &Node| {
            node.sensors.iter().any(|sensor| sensor.quantity == Quantity::BatteryLevel)
        };
        let with_battery = indices().filter(|(node, _)| measures_battery(node));
        Self {
            routes,
            nodes: names.collect(),
            with_battery: with_battery.map(|(_, index)| index).collect(),
            known: HashMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Returns the nodes that were heard and are not declared.
    pub fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.heard.values()
    }

    /// Reads a frame into `measurements`, which it empties first. It came at a Unix time in milliseconds, if the calendar
    /// is set.
    pub fn decode(
        &mut self,
        frame: &Frame,
        unix_ms: Option<i64>,
        measurements: &mut Vec<Measurement>,
    ) -> Decoded {
        measurements.clear();
        let Origin::Mqtt { link, topic, .. } = &frame.origin else { return Decoded::NoTemplate };
        let key = (Arc::clone(link), Arc::clone(topic));
        if !self.known.contains_key(&key) {
            if self.known.len() >= TOPICS_KNOWN_MAX {
                self.known.clear();
            }
            let meaning = self.meaning(link, topic);
            self.known.insert(key.clone(), meaning);
        }
        let meaning = self.known.get(&key).and_then(Option::as_ref);
        let Some((meaning, route)) = meaning.and_then(|m| Some((m, self.routes.get(m.route)?)))
        else {
            return Decoded::NoTemplate;
        };
        // Of an undeclared node it is only worth knowing what it measures, unless its frame tells who it is. Strangers do not
        // set scripts to work.
        let is_stranger = meaning.node.is_none() && route.server != Some(Server::Meshtastic);
        if is_stranger && route.has_script() {
            let name = meaning.name.clone();
            return self.undeclared(name, topic, &frame.payload, measurements);
        }
        let quantity = meaning.quantity.as_deref();
        let read = route.read(&frame.payload, quantity, unix_ms, measurements);
        if is_stranger {
            let name = meaning.name.clone();
            return self.undeclared(name, topic, &frame.payload, measurements);
        }
        let told = match read {
            Ok(Said::Told(told)) => told,
            Ok(Said::Downlink(id, fate)) => {
                let downlink = |node| Decoded::Downlink { node, id, fate };
                return meaning.node.map_or(Decoded::Nothing, downlink);
            }
            Ok(Said::Nothing) => return Decoded::Nothing,
            Err(error) => return Decoded::Unreadable(error),
        };
        let node = match &told.node {
            None => meaning.node,
            Some(name) => self.nodes.get(name).copied(),
        };
        let Some(node) = node else {
            let name = told.node.unwrap_or_else(|| meaning.name.clone());
            return self.undeclared(name, topic, &frame.payload, measurements);
        };
        if let Some(value) = told.battery_level.filter(|_| self.with_battery.contains(&node)) {
            let quantity = Quantity::BatteryLevel;
            measurements.push(Measurement { quantity, value, stamp: None });
        }
        Decoded::Heard { node, troubles: told.troubles }
    }

    fn meaning(&self, link: &str, topic: &str) -> Option<Meaning> {
        let mut undeclared = None;
        for (place, route) in self.routes.iter().enumerate() {
            if !route.from.is_empty() && route.from.iter().all(|from| from != link) {
                continue;
            }
            let Some(found) = route.template.matches(topic) else { continue };
            let meaning = Meaning {
                route: place,
                name: found.node.to_owned(),
                node: self.nodes.get(found.node).copied(),
                quantity: found.quantity.map(str::to_owned),
            };
            if meaning.node.is_some() {
                return Some(meaning);
            }
            undeclared = undeclared.or(Some(meaning));
        }
        undeclared
    }

    fn undeclared(
        &mut self,
        node: String,
        topic: &str,
        payload: &[u8],
        measurements: &mut Vec<Measurement>,
    ) -> Decoded {
        if let Some(heard) = self.note(node, topic, payload) {
            heard.quantities.extend(measurements.iter().map(|measurement| measurement.quantity));
        }
        measurements.clear();
        Decoded::Undeclared
    }

    /// Lists a node that is heard and not declared; `None` when the list is full.
    pub(super) fn note(&mut self, node: String, topic: &str, payload: &[u8]) -> Option<&mut Heard> {
        if self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&node) {
            return None;
        }
        let sample = payload.get(..SAMPLE_BYTES_MAX).unwrap_or(payload);
        let entry = self.heard.entry(node.clone()).or_insert_with(|| Heard {
            node,
            topic: String::new(),
            sample: String::new(),
            count: 0,
            quantities: BTreeSet::new(),
        });
        topic.clone_into(&mut entry.topic);
        entry.sample = String::from_utf8_lossy(sample).into_owned();
        entry.count += 1;
        Some(entry)
    }
}
