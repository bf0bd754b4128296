//! From a frame to a node and what it said.

use crate::domain::frame::{Frame, Origin};
use crate::domain::reading::Measurement;
use crate::domain::rule::{NodeIndex, RuleBook};
use crate::wire::payload::{DecodeError, PayloadMap};
use crate::wire::topic::Template;
use std::collections::{BTreeMap, HashMap};
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
    /// How their payloads are read.
    pub map: PayloadMap,
    /// Names of the brokers that it holds for; empty is all.
    pub from: Vec<String>,
}

/// Finds the node that a frame speaks of, and reads what it says.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    routes: Vec<Route>,
    nodes: HashMap<String, NodeIndex>,
    known: HashMap<(Arc<str>, Arc<str>), Meaning>,
    heard: BTreeMap<String, Heard>,
}

#[derive(Clone, Debug)]
enum Meaning {
    Nothing,
    Undeclared { node: String },
    Node { node: NodeIndex, route: usize, quantity: Option<String> },
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
}

/// What a frame came to.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A declared node said this; the measurements are in the buffer.
    Heard { node: NodeIndex, troubles: Vec<String> },
    /// No template describes its topic.
    NoTemplate,
    /// Its node is not declared.
    Undeclared,
    /// It cannot be read.
    Unreadable(DecodeError),
}

impl Decoder {
    pub(super) fn new(routes: Vec<Route>, book: &RuleBook) -> Self {
        let names = book.nodes.iter().map(|node| node.name.0.to_string());
        let nodes = names.zip((0..).map(NodeIndex)).collect();
        Self { routes, nodes, known: HashMap::new(), heard: BTreeMap::new() }
    }

    pub(super) fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.heard.values()
    }

    /// Reads a frame into `measurements`, which it empties first.
    pub(super) fn decode(&mut self, frame: &Frame, measurements: &mut Vec<Measurement>) -> Decoded {
        measurements.clear();
        let Origin::Mqtt { link, topic, .. } = &frame.origin;
        let key = (Arc::clone(link), Arc::clone(topic));
        if !self.known.contains_key(&key) {
            if self.known.len() >= TOPICS_KNOWN_MAX {
                self.known.clear();
            }
            let meaning = self.meaning(link, topic);
            self.known.insert(key.clone(), meaning);
        }
        match self.known.get(&key) {
            None | Some(Meaning::Nothing) => Decoded::NoTemplate,
            Some(Meaning::Undeclared { node }) => {
                let node = node.clone();
                self.note(node, topic, &frame.payload);
                Decoded::Undeclared
            }
            Some(Meaning::Node { node, route, quantity }) => {
                let Some(route) = self.routes.get(*route) else { return Decoded::NoTemplate };
                match route.map.decode(&frame.payload, quantity.as_deref(), measurements) {
                    Ok(troubles) => Decoded::Heard { node: *node, troubles },
                    Err(error) => Decoded::Unreadable(error),
                }
            }
        }
    }

    fn meaning(&self, link: &str, topic: &str) -> Meaning {
        let mut undeclared = None;
        for (place, route) in self.routes.iter().enumerate() {
            if !route.from.is_empty() && route.from.iter().all(|from| from != link) {
                continue;
            }
            let Some(found) = route.template.matches(topic) else { continue };
            match self.nodes.get(found.node) {
                Some(node) => {
                    let quantity = found.quantity.map(str::to_owned);
                    return Meaning::Node { node: *node, route: place, quantity };
                }
                None => undeclared = undeclared.or(Some(found.node.to_owned())),
            }
        }
        undeclared.map_or(Meaning::Nothing, |node| Meaning::Undeclared { node })
    }

    fn note(&mut self, node: String, topic: &str, payload: &[u8]) {
        if self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&node) {
            return;
        }
        let sample = payload.get(..SAMPLE_BYTES_MAX).unwrap_or(payload);
        let entry = self.heard.entry(node.clone()).or_insert_with(|| Heard {
            node,
            topic: String::new(),
            sample: String::new(),
            count: 0,
        });
        topic.clone_into(&mut entry.topic);
        entry.sample = String::from_utf8_lossy(sample).into_owned();
        entry.count += 1;
    }
}
