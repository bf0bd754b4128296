//! Nodes of our own radio link (WF1): whose a frame is, what it says, what its node is told, and the life of a node.
//!
//! Which nodes there are, the configuration says; their numbers and keys are drawn when a node is added, and live in the
//! store, with all that both ends must remember. A state is put into the turn that stores what its frame says, and the
//! answer leaves after that.

mod life;
mod member;

pub use life::{Chance, LinkAnswer, LinkCommand, LinkError, LinkStatus};

use super::siren::{Sirens, leaves};
use super::{Decoded, Leaves, Pipeline, Round};
use crate::domain::planted::{self, Bug};
use crate::domain::radio::{Downlink, Hearing, Urgency, When, Window};
use crate::domain::reading::{Measurement, Stamp};
use crate::domain::rule::NodeIndex;
use crate::domain::siren::Desired;
use crate::domain::time::{ClockQuality, Timestamp};
use crate::wire::payload::DecodeError;
use crate::wire::sealed::{
    self, Accepted, Content, End, Endings, Listens, Now, Order, Peer, Readings, Refusal, Reply,
    Schema, UNSTORED_MAX, Value,
};
use crate::wire::sealed_quantity;
use member::{KEY, Member, key};
pub(super) use member::{KEY as NETWORK_KEY, Network, network_of, split_row};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A node listens so long after the end of its own frame, on the frame's own channel (`docs/formats/wf1.md`).
const WINDOWS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// A node of our own link, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNode {
    /// Which node.
    pub node: NodeIndex,
    /// Its name.
    pub name: String,
    /// When it can be told something.
    pub listens: Listens,
    /// What its reports hold.
    pub schema: Schema,
    /// Whether it is declared to measure the voltage of its battery, which it tells by itself.
    pub has_battery: bool,
}

/// The nodes of our own link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Name of the source that has the radio.
    pub source: Arc<str>,
    /// The nodes.
    pub nodes: Vec<LinkNode>,
}

/// Every node of our link, as it stands.
#[derive(Debug, Default)]
pub(super) struct Links {
    network: Network,
    source: Arc<str>,
    members: Vec<Member>,
    /// Rows of nodes that the configuration does not have now: their counters must not be forgotten.
    absent: BTreeMap<String, Vec<u8>>,
    refused: BTreeMap<&'static str, u64>,
}

/// What a frame came to.
enum Opened {
    From { node: NodeIndex, accepted: Box<Accepted> },
    Undeclared { number: u16 },
    Refused,
}

impl Links {
    /// Takes up the nodes, each as it was left.
    pub(super) fn new(link: &Link, rows: &BTreeMap<String, Vec<u8>>) -> Self {
        let network = Network::from_row(rows.get(KEY));
        let member = |of: &LinkNode| Member::new(of.clone(), network, rows.get(&key(&of.name)));
        let members: Vec<Member> = link.nodes.iter().map(member).collect();
        let prefix = key("");
        let declared = |row: &str| link.nodes.iter().any(|node| key(&node.name) == row);
        let absent = rows.iter().filter(|(row, _)| row.starts_with(&prefix) && !declared(row));
        let absent = absent.map(|(row, state)| (row.clone(), state.clone())).collect();
        Self {
            network,
            source: Arc::clone(&link.source),
            members,
            absent,
            refused: BTreeMap::new(),
        }
    }

    /// Goes on after the gateway ended, nobody knows how; where nobody knows for how long either, no frame is known to be
    /// fresh until its node proves it.
    pub(super) fn restarted(&mut self, time_in_doubt: bool) {
        for peer in self.members.iter_mut().filter_map(|member| member.peer.as_mut()) {
            let state = peer.state().after_restart();
            peer.commit(if time_in_doubt { state.with_time_in_doubt() } else { state });
        }
    }

    /// Returns every row, to go on from under another configuration.
    pub(super) fn rows(&self) -> BTreeMap<String, Vec<u8>> {
        let members = self.members.iter().filter_map(Member::row);
        self.absent.clone().into_iter().chain(members).chain(self.network.row()).collect()
    }

    /// Goes on under another configuration, with what is known only since the start.
    pub(super) fn reloaded(&mut self, link: &Link) -> Self {
        let mut links = Self::new(link, &self.rows());
        links.refused = std::mem::take(&mut self.refused);
        for member in &mut links.members {
            let before = self.members.iter_mut().find(|before| before.of.name == member.of.name);
            if let Some(before) = before {
                (member.hearing, member.health) = (before.hearing.take(), before.health);
                member.unstored = before.unstored;
            }
        }
        links
    }

    /// Returns what was refused: reason and count.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refused.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Returns when a node has to be told something, or an order runs out.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let peers = self.members.iter().filter_map(|member| member.peer.as_ref());
        peers.filter_map(Peer::next_deadline_s).min().map(moment)
    }

    #[cfg(test)]
    pub(super) fn peer(&mut self, node: NodeIndex) -> Option<Peer> {
        self.member(node)?.peer.clone()
    }

    fn member(&mut self, node: NodeIndex) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.of.node == node)
    }

    fn open(&mut self, phy: &[u8], hearing: &Arc<Hearing>, now: Now) -> Opened {
        let number = match sealed::parse(phy) {
            Ok(parts) => parts.node,
            Err(error) => return self.refuse(Refusal::from(error).name()),
        };
        let is_its = |peer: &Peer| peer.profile().address.node == number;
        let known = self.members.iter_mut().find(|m| m.peer.as_ref().is_some_and(is_its));
        let Some((member, peer)) = known.and_then(|m| m.peer.clone().map(|peer| (m, peer))) else {
            return Opened::Undeclared { number };
        };
        match peer.hear(phy, now) {
            Ok(accepted) => {
                member.hearing = Some(Arc::clone(hearing));
                Opened::From { node: member.of.node, accepted: Box::new(accepted) }
            }
            Err(refusal) => self.refuse(refusal.name()),
        }
    }

    fn refuse(&mut self, reason: &'static str) -> Opened {
        *self.refused.entry(reason).or_default() += 1;
        Opened::Refused
    }
}

impl Pipeline {
    /// Opens a frame of our own link, and reads it into `measurements`.
    pub(super) fn open_link(
        &mut self,
        phy: &[u8],
        hearing: &Arc<Hearing>,
        measurements: &mut Vec<Measurement>,
        round: &mut Round,
    ) -> Decoded {
        let now = self.link_now(round.turn.at);
        let (node, accepted) = match self.links.open(phy, hearing, now) {
            Opened::From { node, accepted } => (node, accepted),
            Opened::Undeclared { number } => {
                self.decoder.note(format!("wf1-{number}"), "WF1", phy);
                return Decoded::Undeclared;
            }
            Opened::Refused => {
                self.telemetry.counters.radio_refused.add(1);
                return Decoded::Nothing;
            }
        };
        let Some(member) = self.links.member(node) else { return Decoded::Nothing };
        if let Some(peer) = &mut member.peer {
            peer.commit(accepted.state);
        }
        round.turn.radio.extend(member.row());
        round.changed = true;
        self.hearings.note(node, accepted.counter, hearing);
        if accepted.rekeyed {
            tracing::info!(
                node = member.of.name,
                epoch = accepted.epoch,
                "a radio node has its new key"
            );
        }
        ended(&mut self.sirens, node, &accepted.ended, round.turn.at);
        if let Some(reply) = accepted.reply {
            let window = |delay| {
                let Hearing { frequency_hz, modulation, .. } = **hearing;
                Some(Window { delay, frequency_hz, modulation })
            };
            let when = match member.of.listens {
                Listens::Always => When::Always,
                Listens::AfterItsFrames | Listens::Never => {
                    let hearing = Arc::clone(hearing);
                    When::Answer { hearing, windows: WINDOWS.map(window) }
                }
            };
            self.send(node, &reply, when, round);
        }
        let Some(member) = self.links.member(node) else { return Decoded::Nothing };
        match accepted.content {
            Content::Readings(readings) => {
                read(&member.of.schema, &readings, &accepted, measurements);
                Decoded::Heard { node, troubles: Vec::new() }
            }
            Content::Health(health) => {
                member.healthy(health, measurements);
                Decoded::Heard { node, troubles: Vec::new() }
            }
            Content::Order(..) => Decoded::Heard { node, troubles: Vec::new() },
            Content::Unreadable(error) => {
                Decoded::Unreadable(DecodeError::Report { words: error.to_string() })
            }
            Content::Unknown => {
                let words = "nothing that this version understands".to_owned();
                Decoded::Unreadable(DecodeError::Report { words })
            }
        }
    }

    fn link_now(&self, at: Timestamp) -> Now {
        let clock = &self.telemetry.clock;
        let wall = clock.wall();
        let unix_s = wall.unix_ms(clock.now()) / 1000;
        let believed = wall.quality == ClockQuality::Synchronised;
        Now {
            s: seconds(at),
            unix_s: u32::try_from(unix_s).ok().filter(|_| believed),
            stores: self.retry_disk_at.is_none(),
        }
    }

    /// Puts what sirens have yet to be told into their nodes' queues, and tells those that always listen what is due.
    pub(super) fn step_links(&mut self, round: &mut Round) {
        let at = round.turn.at;
        for (node, owed, max_on) in self.sirens.owed_by_link(at) {
            let Some(member) = self.links.member(node) else { continue };
            if member.tell_siren(&owed, max_on, at) {
                round.turn.radio.extend(member.row());
                round.changed = true;
            }
        }
        let now = self.link_now(at);
        let nodes: Vec<NodeIndex> = self.links.members.iter().map(|m| m.of.node).collect();
        for node in nodes {
            let Some(member) = self.links.member(node) else { continue };
            let step = member.peer.as_ref().and_then(|peer| peer.step(now));
            let Some(step) = step else { continue };
            let (endings, reply) = member.take(&step);
            round.turn.radio.extend(member.row());
            round.changed = true;
            ended(&mut self.sirens, node, &endings, at);
            if let Some(reply) = reply {
                self.send(node, &reply, When::Always, round);
            }
        }
    }

    /// Lets a frame go behind the commit; one that warns of danger and acknowledges nothing also where that fails, as
    /// often as the counters allow.
    fn send(&mut self, node: NodeIndex, reply: &Reply, when: When, round: &mut Round) {
        if let Some(desired) = reply.order.and_then(|(_, order)| desired(order)) {
            self.sirens.told_by_link(node, desired, round.turn.at);
        }
        let stores = self.retry_disk_at.is_none();
        let Some(member) = self.links.member(node) else { return };
        let urgency = if reply.is_danger() { Urgency::Danger } else { Urgency::Ordinary };
        let mut leaves = if reply.ack { Leaves::AfterTheCommit } else { leaves(urgency) };
        if leaves == Leaves::Anyhow {
            member.unstored = if stores { 0 } else { member.unstored.saturating_add(1) };
            if member.unstored > UNSTORED_MAX {
                leaves = Leaves::AfterTheCommit;
            }
        }
        if reply.ack && planted::is(Bug::RadioAckBeforeCommit) {
            leaves = Leaves::Anyhow;
        }
        let hearing = member.hearing.clone();
        let link = hearing.as_ref().map_or(&self.links.source, |hearing| &hearing.link);
        let phy = reply.frame.to_vec();
        let downlink = Downlink { link: Arc::clone(link), phy, when, urgency };
        round.downlinks.push((downlink, leaves));
    }

    /// Does what an operator wants of a node of our link. What changes is on disk when this returns.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) async fn command_link(
        &mut self,
        command: LinkCommand,
    ) -> Result<LinkAnswer, LinkError> {
        let mut round = self.round();
        let changed = self.links.command(command, round.turn.at)?;
        if changed.rows.is_empty() {
            return Ok(changed.answer);
        }
        round.turn.radio.extend(changed.rows);
        round.changed = true;
        self.finish(round).await;
        if self.retry_disk_at.is_some() { Err(LinkError::NotStored) } else { Ok(changed.answer) }
    }
}

/// Reads what is new in a report. What a field cannot say any more is read as the last that it can: a river above its
/// scale is at least there.
fn read(
    schema: &Schema,
    readings: &Readings,
    accepted: &Accepted,
    measurements: &mut Vec<Measurement>,
) {
    for reading in readings.new_ones() {
        let stamp = Some(Stamp::Age(i64::from(accepted.age_s(reading)) * 1000));
        for (field, value) in schema.fields().iter().zip(reading.values) {
            let Some(quantity) = sealed_quantity::of(field.quantity) else { continue };
            let milli = |milli: i32| f64::from(milli) / 1000.0;
            let value = match value {
                Value::Milli(value) => milli(value),
                Value::Above => milli(field.max_milli().unwrap_or(i32::MAX)),
                Value::Below => milli(field.min_milli),
                Value::Faulty => f64::NAN,
                Value::Missing => continue,
            };
            measurements.push(Measurement { quantity, value, stamp });
        }
    }
}

/// Tells a node's siren what became of its orders.
fn ended(sirens: &mut Sirens, node: NodeIndex, ended: &Endings, now: Timestamp) {
    for ended in ended.iter() {
        let Some(desired) = desired(ended.order) else {
            if ended.end == End::Refused {
                tracing::error!(node = node.0, order = ?ended.order, "a node refuses an order");
            }
            continue;
        };
        match ended.end {
            End::Done => sirens.confirmed_by_link(node, desired, now),
            End::Refused => sirens.refused_by_link(node, desired),
            // It is given again for as long as it is owed.
            End::Expired | End::Replaced => {}
        }
    }
}

/// Returns what a siren should be doing that is given this order.
const fn desired(order: Order) -> Option<Desired> {
    match order {
        Order::SirenOn { .. } => Some(Desired::On),
        Order::SirenOff => Some(Desired::Off),
        Order::SirenTest { .. } => Some(Desired::Test),
        Order::Interval { .. } | Order::Time | Order::Rekey { .. } => None,
    }
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis() / 1000).unwrap_or(0)
}

fn moment(seconds: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(seconds).unwrap_or(i64::MAX / 1000).saturating_mul(1000))
}
