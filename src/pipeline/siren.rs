//! Sirens: alerts and operators say what each should be doing; what its node has yet to be told goes the way that the
//! node has.
//!
//! The state of a siren changes in the transaction that stores the alert, and an order leaves after it. When the disk
//! fails, orders that warn of danger leave all the same.

use super::{Leaves, Pipeline, Round};
use crate::domain::frame::Publication;
use crate::domain::radio::Urgency;
use crate::domain::rule::NodeIndex;
use crate::domain::siren::{Command, Confirms, Desired, Owed, Settings, Siren, Standing};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use crate::domain::warning::Alert;
use crate::wire::network_server::Fate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// After so many orders to sound that were not confirmed, somebody should look.
const ATTEMPTS_UNTIL_ALARM: u32 = 3;

/// A siren and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SirenNode {
    /// Its name.
    pub name: String,
    /// The node that has it.
    pub node: NodeIndex,
    /// When it sounds.
    pub settings: Settings,
    /// How its node is reached.
    pub way: Way,
    /// What its node is told.
    pub payloads: Payloads,
}

/// What the node of a siren is told; nothing for one of our own link, whose orders are not bytes of the operator's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payloads {
    /// Port of the application (LoRaWAN `FPort`).
    pub port: u8,
    /// To sound.
    pub on: Vec<u8>,
    /// To be silent.
    pub off: Vec<u8>,
    /// To sound for a moment.
    pub test: Vec<u8>,
}

/// How a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is a LoRaWAN device of this gateway that listens after each frame of its own (class A).
    Asks,
    /// It is a LoRaWAN device of this gateway that always listens (class C).
    Listens,
    /// It is a node of our own link, whose queue gives every order until it is answered.
    Link,
    /// ChirpStack has it.
    ChirpStack {
        /// Name of the broker.
        broker: String,
        /// Topic of commands.
        topic: String,
        /// `DevEUI`, in small letters.
        dev_eui: String,
    },
}

/// The way to a broker that others run.
#[derive(Debug)]
pub struct Publisher {
    /// Takes what is to be said there.
    pub queue: mpsc::Sender<Publication>,
    /// Whether the broker is heard.
    pub heard: watch::Receiver<bool>,
}

/// How a siren is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SirenStatus {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// What it should be doing.
    pub desired: Desired,
    /// Whether its node has confirmed that.
    pub confirmed: bool,
    /// How often the order was given.
    pub attempts: u32,
    /// Whether the node is not asked any more.
    pub given_up: bool,
    /// Whether the node says that it has no siren.
    pub refused: bool,
}

/// Every siren, as it stands.
#[derive(Debug, Default)]
pub(super) struct Sirens(Vec<Known>);

#[derive(Debug)]
struct Known {
    of: SirenNode,
    siren: Siren,
    /// As it was put into a turn last.
    kept: Vec<u8>,
    /// The state whose order its node has refused, if it did since the start.
    refused: Option<u32>,
}

/// An order as its node takes it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) owed: Owed,
    pub(super) port: u8,
    pub(super) bytes: Vec<u8>,
    pub(super) confirmed: bool,
}

/// Something that goes out on a broker.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) broker: String,
    pub(super) publication: Publication,
    pub(super) leaves: Leaves,
}

fn key(name: &str) -> String {
    format!("siren {name}")
}

impl Known {
    fn given(&self, owed: Owed) -> Given {
        let payloads = &self.of.payloads;
        let bytes = match owed.order {
            Desired::On => &payloads.on,
            Desired::Off => &payloads.off,
            Desired::Test => &payloads.test,
        };
        let confirmed = match self.of.settings.confirms {
            Confirms::Yes => true,
            Confirms::No => false,
        };
        Given { owed, port: payloads.port, bytes: bytes.clone(), confirmed }
    }

    fn is_refused(&self) -> bool {
        self.refused == Some(self.siren.version())
    }

    /// Puts an order off that cannot be given now. That alone is not worth a transaction.
    fn put_off(&mut self, now: Timestamp) {
        let is_kept = self.siren.to_bytes() == self.kept;
        self.siren.put_off(now);
        if is_kept {
            self.kept = self.siren.to_bytes();
        }
    }

    /// Takes note that an order is on its way.
    fn told(&mut self, owed: &Owed, now: Timestamp) {
        self.siren.told(owed.version, &self.of.settings, now);
        let (attempts, order) = (self.siren.attempts(), owed.order.as_str());
        tracing::info!(siren = self.of.name, order, attempts, "a siren is ordered");
        if owed.order == Desired::On
            && attempts == ATTEMPTS_UNTIL_ALARM
            && self.siren.owed(now).is_some()
        {
            tracing::error!(siren = self.of.name, "a siren does not confirm that it sounds");
        }
        if self.siren.is_given_up() {
            tracing::error!(
                siren = self.of.name,
                order,
                "a siren does not confirm: it is not asked any more"
            );
        }
    }

    /// The identifier of an order: a UUID of version 8 (RFC 9562 §5.8) that is the same for every copy, so that
    /// ChirpStack's queue holds one of them at the most.
    fn id(&self, version: u32, dev_eui: &str, sender: &str) -> String {
        let seed = format!("{sender}\n{}\n{dev_eui}\n{version}", self.of.name);
        let digest = Sha256::digest(seed.as_bytes());
        let mut number = 0_u128;
        for byte in digest.iter().take(16) {
            number = number << 8 | u128::from(*byte);
        }
        let number = number & !(0xF << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62;
        let hex = format!("{number:032x}");
        let mut id = String::with_capacity(36);
        for (place, digit) in hex.chars().enumerate() {
            if matches!(place, 8 | 12 | 16 | 20) {
                id.push('-');
            }
            id.push(digit);
        }
        id
    }
}

impl Sirens {
    /// Takes up the sirens, each as it was left.
    pub(super) fn new(sirens: &[SirenNode], states: &BTreeMap<String, Vec<u8>>) -> Self {
        let known = |of: &SirenNode| {
            let kept = states.get(&key(&of.name)).cloned().unwrap_or_default();
            let siren = match Siren::from_bytes(&kept) {
                Ok(siren) => siren,
                Err(_) if kept.is_empty() => Siren::default(),
                Err(error) => {
                    tracing::error!(siren = of.name, error = %error, "the state of a siren is damaged: it begins anew");
                    Siren::default()
                }
            };
            Known { of: of.clone(), siren, kept, refused: None }
        };
        Self(sirens.iter().map(known).collect())
    }

    /// Returns the state of every siren, to go on from under another configuration.
    pub(super) fn states(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.iter().map(|known| (key(&known.of.name), known.siren.to_bytes())).collect()
    }

    /// Returns the states that have changed since they were asked for last.
    fn changed(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut changed = Vec::new();
        for known in &mut self.0 {
            let state = known.siren.to_bytes();
            if state != known.kept {
                known.kept.clone_from(&state);
                changed.push((key(&known.of.name), state));
            }
        }
        changed
    }

    fn alerted(&mut self, alert: &Alert, standing: Standing, now: Timestamp) {
        for known in &mut self.0 {
            known.siren.alerted(alert, standing, &known.of.settings, now);
        }
    }

    fn with_node(&mut self, node: NodeIndex) -> Option<&mut Known> {
        self.0.iter_mut().find(|known| known.of.node == node)
    }

    /// Hears from a node whether its last order reached it, if it says so; returns what it has yet to be told.
    pub(super) fn heard(
        &mut self,
        node: NodeIndex,
        acknowledged: Option<bool>,
        now: Timestamp,
    ) -> Option<Given> {
        let known = self.with_node(node)?;
        match acknowledged {
            Some(true) => {
                let version = known.siren.told_version();
                known.siren.confirmed(version, &known.of.settings, now);
            }
            Some(false) => known.siren.missed(now),
            None => {}
        }
        known.siren.advance(now);
        let owed = known.siren.owed(now)?;
        Some(known.given(owed))
    }

    /// Takes note that a node is given an order.
    pub(super) fn told(&mut self, node: NodeIndex, owed: &Owed, now: Timestamp) {
        if let Some(known) = self.with_node(node) {
            known.told(owed, now);
        }
    }

    /// Hears from a node of our own link that it has no siren. It is asked again, in case somebody mends it, but not with
    /// every frame: airtime is for others, too.
    pub(super) fn refused_by_link(&mut self, node: NodeIndex, order: Desired) {
        let Some(known) = self.with_node(node) else { return };
        if known.siren.desired() == order {
            known.refused = Some(known.siren.version());
            tracing::error!(
                siren = known.of.name,
                order = order.as_str(),
                "the node of a siren says that it has none"
            );
        }
    }

    /// Returns what nodes of our own link have yet to be told: node, order, and how long it sounds at the most.
    pub(super) fn owed_by_link(&self, now: Timestamp) -> Vec<(NodeIndex, Owed, Duration)> {
        let of_link = self.0.iter().filter(|known| known.of.way == Way::Link);
        let owed = |known: &Known| {
            let owed = known.siren.owed(now)?;
            let is_soon = known.is_refused() && now < owed.due;
            (!is_soon).then_some((known.of.node, owed, known.of.settings.max_on))
        };
        of_link.filter_map(owed).collect()
    }

    /// Takes note that a node of our own link is given an order, if it is what it has yet to be told.
    pub(super) fn told_by_link(&mut self, node: NodeIndex, order: Desired, now: Timestamp) {
        let Some(known) = self.with_node(node) else { return };
        if let Some(owed) = known.siren.owed(now).filter(|owed| owed.order == order) {
            known.told(&owed, now);
        }
    }

    /// Hears from a node of our own link that it did what it was told.
    pub(super) fn confirmed_by_link(&mut self, node: NodeIndex, order: Desired, now: Timestamp) {
        let Some(known) = self.with_node(node) else { return };
        if known.siren.desired() == order {
            let version = known.siren.told_version();
            known.siren.confirmed(version, &known.of.settings, now);
        }
    }

    /// Hears from a network server what became of an order.
    fn fate(&mut self, node: NodeIndex, id: &str, fate: Fate, sender: &str, now: Timestamp) {
        let Some(known) = self.with_node(node) else { return };
        let Way::ChirpStack { dev_eui, .. } = &known.of.way else { return };
        let version = known.siren.told_version();
        if known.id(version, dev_eui, sender) != id {
            return;
        }
        let settings = &known.of.settings;
        match (fate, settings.confirms) {
            (Fate::Acknowledged, _) | (Fate::Sent, Confirms::No) => {
                known.siren.confirmed(version, settings, now);
            }
            (Fate::Missed, _) => known.siren.missed(now),
            (Fate::Sent, Confirms::Yes) => {}
        }
    }

    /// Returns when a siren has to be looked at again.
    pub(super) fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let due = |known: &Known| match known.of.way {
            Way::Link if known.is_refused() => known.siren.owed(now).map(|owed| owed.due),
            Way::Asks | Way::Link => None,
            Way::Listens | Way::ChirpStack { .. } => known.siren.owed(now).map(|owed| owed.due),
        };
        self.0.iter().flat_map(|known| [known.siren.next_change(), due(known)]).flatten().min()
    }
}

impl Pipeline {
    /// Lets the alerts of a round move the sirens, and gives the orders that are due: danger first.
    pub(super) fn sound(&mut self, round: &mut Round) {
        let now = round.turn.at;
        let exercise = self.rules.wording.exercise.is_some();
        let standing = if exercise { Standing::Exercise } else { Standing::Actual };
        for alert in &round.turn.alerts {
            self.sirens.alerted(alert, standing, now);
        }
        let mut due: Vec<(usize, Given)> = Vec::new();
        for (place, known) in self.sirens.0.iter_mut().enumerate() {
            known.siren.advance(now);
            let pushed = match known.of.way {
                Way::Asks | Way::Link => false,
                Way::Listens | Way::ChirpStack { .. } => true,
            };
            if let Some(owed) = known.siren.owed(now).filter(|owed| pushed && owed.due <= now) {
                due.push((place, known.given(owed)));
            }
        }
        due.sort_by_key(|(_, given)| std::cmp::Reverse(given.owed.urgency));
        for (place, given) in due {
            self.give(place, &given, round);
        }
        let changed = self.sirens.changed();
        round.changed |= !changed.is_empty();
        round.turn.radio.extend(changed);
    }

    /// Gives an order to a node that can be reached at any time.
    fn give(&mut self, place: usize, given: &Given, round: &mut Round) {
        let now = round.turn.at;
        let leaves = leaves(given.owed.urgency);
        let Some(known) = self.sirens.0.get_mut(place) else { return };
        match &known.of.way {
            Way::Asks | Way::Link => {}
            Way::Listens => match self.radio.order(known.of.node, given) {
                Some((state, downlink)) => {
                    round.turn.radio.push(state);
                    round.downlinks.push((downlink, leaves));
                    known.told(&given.owed, now);
                }
                // It was not heard since the start, or has not joined.
                None => known.put_off(now),
            },
            Way::ChirpStack { broker, topic, dev_eui } => {
                let publisher = self.outlets.publishers.get(broker);
                if !publisher.is_some_and(|publisher| *publisher.heard.borrow()) {
                    known.put_off(now);
                    return;
                }
                let id = known.id(given.owed.version, dev_eui, &self.rules.wording.sender);
                let wall = self.telemetry.clock.wall();
                let payload = command(given, &id, dev_eui, wall);
                let publication = Publication { topic: topic.clone(), payload };
                let broker = broker.clone();
                round.publications.push(Outgoing { broker, publication, leaves });
                known.told(&given.owed, now);
            }
        }
    }

    /// Hears what became of an order that a network server was given.
    pub(super) fn downlink_fate(&mut self, node: NodeIndex, id: &str, fate: Fate, at: Timestamp) {
        self.sirens.fate(node, id, fate, &self.rules.wording.sender, at);
    }

    /// Does what an operator wants of a siren.
    ///
    /// # Errors
    ///
    /// Why not, in words.
    pub(super) async fn command_siren(
        &mut self,
        name: &str,
        command: Command,
    ) -> Result<(), String> {
        let round = self.round();
        let known = self.sirens.0.iter_mut().find(|known| known.of.name == name);
        let Some(known) = known else { return Err(format!("there is no siren {name}")) };
        known.siren.command(command, round.turn.at).map_err(|error| error.to_string())?;
        self.finish(round).await;
        Ok(())
    }

    /// Returns how every siren is.
    pub(super) fn siren_status(&self) -> Vec<SirenStatus> {
        let nodes = &self.rules.book.nodes;
        let status = |known: &Known| SirenStatus {
            name: known.of.name.clone(),
            node: nodes.get(known.of.node.0 as usize).map_or(String::new(), |n| n.name.to_string()),
            desired: known.siren.desired(),
            confirmed: known.siren.is_confirmed(),
            attempts: known.siren.attempts(),
            given_up: known.siren.is_given_up(),
            refused: known.is_refused(),
        };
        self.sirens.0.iter().map(status).collect()
    }

    /// Lets go what a round has for the air and for brokers; where it is not stored, only what warns of danger.
    pub(super) fn let_go(&self, round: Round, stored: bool) {
        let counters = &self.telemetry.counters;
        let may = |leaves: Leaves| stored || leaves == Leaves::Anyhow;
        for (downlink, _) in round.downlinks.into_iter().filter(|(_, leaves)| may(*leaves)) {
            if self.outlets.downlinks.try_send(downlink).is_err() {
                counters.downlinks_dropped.add(1);
            }
        }
        for outgoing in round.publications.into_iter().filter(|outgoing| may(outgoing.leaves)) {
            let publisher = self.outlets.publishers.get(&outgoing.broker);
            let taken = publisher.is_some_and(|p| p.queue.try_send(outgoing.publication).is_ok());
            if !taken {
                counters.publications_dropped.add(1);
            }
        }
    }
}

/// Returns whether an order of that urgency waits for a disk that fails.
pub(super) const fn leaves(urgency: Urgency) -> Leaves {
    match urgency {
        Urgency::Danger => Leaves::Anyhow,
        Urgency::Ordinary => Leaves::AfterTheCommit,
    }
}

/// Returns an order as ChirpStack 4 takes it: `DownlinkCommand` of its `integration.proto`, in JSON. What is over by then
/// leaves its queue unsent, from its version 4.11 on.
fn command(given: &Given, id: &str, dev_eui: &str, wall: WallClock) -> Bytes {
    let mut command = serde_json::json!({
        "id": id,
        "devEui": dev_eui,
        "confirmed": given.confirmed,
        "fPort": given.port,
        "data": STANDARD.encode(&given.bytes),
    });
    let until = given.owed.until.filter(|_| wall.quality == ClockQuality::Synchronised);
    let until = until.and_then(|at| jiff::Timestamp::from_millisecond(wall.unix_ms(at)).ok());
    if let (Some(until), Some(object)) = (until, command.as_object_mut()) {
        object.insert("expiresAt".to_owned(), until.to_string().into());
    }
    Bytes::from(command.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::siren::Exercises;
    use crate::domain::warning::Level;

    fn known() -> Known {
        let settings = Settings {
            areas: vec!["bonde".to_owned()],
            hazards: Vec::new(),
            level: Level::Danger,
            max_on: std::time::Duration::from_mins(3),
            exercises: Exercises::Silent,
            confirms: Confirms::Yes,
        };
        let way = Way::ChirpStack {
            broker: "cs".to_owned(),
            topic: "application/7/device/0004a30b001c0530/command/down".to_owned(),
            dev_eui: "0004a30b001c0530".to_owned(),
        };
        let payloads = Payloads { port: 10, on: vec![1, 180], off: vec![0], test: vec![2] };
        let of =
            SirenNode { name: "shule".to_owned(), node: NodeIndex(0), settings, way, payloads };
        Known { of, siren: Siren::default(), kept: Vec::new(), refused: None }
    }

    #[test]
    fn an_order_has_the_same_identifier_in_every_copy_and_another_in_every_state() {
        let known = known();
        let id = known.id(7, "0004a30b001c0530", "Kamati");
        assert_eq!(id, known.id(7, "0004a30b001c0530", "Kamati"));
        let others = [
            known.id(8, "0004a30b001c0530", "Kamati"),
            known.id(7, "0004a30b001c0531", "Kamati"),
            known.id(7, "0004a30b001c0530", "Jirani"),
        ];
        assert!(!others.contains(&id), "{others:?}");
        // RFC 9562 §4: version 8, variant 10.
        let marks: String = [14, 19].iter().filter_map(|place| id.chars().nth(*place)).collect();
        assert!(id.len() == 36 && marks.starts_with('8'), "{id}");
        assert!(marks.ends_with(['8', '9', 'a', 'b']), "{id}");
    }

    #[test]
    fn an_order_is_what_chirpstack_takes_and_runs_out_where_the_calendar_is_known() {
        let known = known();
        let owed = Owed {
            version: 1,
            order: Desired::On,
            urgency: Urgency::Danger,
            due: Timestamp::default(),
            until: Some(Timestamp::from_millis(60_000)),
        };
        let given = known.given(owed);
        for (quality, expires) in [
            (ClockQuality::Synchronised, serde_json::json!("2026-11-01T09:01:00Z")),
            (ClockQuality::Estimated, serde_json::Value::Null),
        ] {
            let wall = WallClock { offset_ms: 1_793_523_600_000, quality };
            let said = command(&given, "id", "0004a30b001c0530", wall);
            let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
            assert_eq!(said["expiresAt"], expires);
            let expected = serde_json::json!(["0004a30b001c0530", true, 10, "AbQ="]);
            assert_eq!(
                serde_json::json!([said["devEui"], said["confirmed"], said["fPort"], said["data"]]),
                expected
            );
        }
    }
}
