//! One node of our link, as it stands here, and its row in the store.

use super::life::{LinkError, LinkStatus};
use super::{LinkNode, seconds};
use crate::domain::quantity::Quantity;
use crate::domain::radio::Hearing;
use crate::domain::reading::Measurement;
use crate::domain::siren::{Desired, Owed};
use crate::domain::time::Timestamp;
use crate::wire::sealed::{
    Address, Boot, Endings, Epoch, Health, Order, Peer, Profile, Reply, Root, State, Step,
};
use std::sync::Arc;
use std::time::Duration;

/// How long a siren that is told to test sounds, s.
const TEST_S: u16 = 5;
/// An order to be silent waits so long for its node; then it is given again.
const SILENCE_VALID: Duration = Duration::from_hours(6);
/// A new key, or another interval, waits so long for its node.
pub(super) const SETTING_VALID: Duration = Duration::from_hours(24 * 7);
/// Where the network's own row stands in the store; those of nodes have their name behind it.
pub(in crate::pipeline) const KEY: &str = "wf1";
/// The first byte of a node's row.
const FORMAT: u8 = 1;
/// Bytes of a node's row before its state: format, number, epoch, root.
const HEAD_BYTES: usize = 1 + 2 + 2 + 16;

/// What the nodes of one gateway share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Network {
    /// Drawn with the first node.
    pub(in crate::pipeline) net: Option<u32>,
    /// The highest number that was given away; none is ever given twice.
    pub(in crate::pipeline) numbers: u16,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) of: LinkNode,
    /// Its end here, once it was added.
    pub(super) peer: Option<Peer>,
    pub(super) hearing: Option<Arc<Hearing>>,
    pub(super) health: Option<Health>,
    /// The state of its siren that waits in its queue.
    pub(super) siren: Option<u32>,
    /// Frames that left without their state being stored.
    pub(super) unstored: u32,
}

impl Network {
    pub(super) fn from_row(row: Option<&Vec<u8>>) -> Self {
        let Some((net, numbers)) = row.and_then(|row| row.split_first_chunk::<4>()) else {
            return Self::default();
        };
        let numbers = numbers.try_into().map_or(u16::MAX, u16::from_be_bytes);
        Self { net: Some(u32::from_be_bytes(*net)), numbers }
    }

    pub(in crate::pipeline) fn row(self) -> Option<(String, Vec<u8>)> {
        let mut row = self.net?.to_be_bytes().to_vec();
        row.extend(self.numbers.to_be_bytes());
        Some((KEY.to_owned(), row))
    }
}

/// Returns what a network's row says, if it is whole.
pub(in crate::pipeline) fn network_of(row: &[u8]) -> Option<Network> {
    let (net, numbers) = row.split_first_chunk::<4>()?;
    let numbers = u16::from_be_bytes(numbers.try_into().ok()?);
    Some(Network { net: Some(u32::from_be_bytes(*net)), numbers })
}

/// Returns what stands before the state in a node's row, and the state.
pub(in crate::pipeline) fn split_row(row: &[u8]) -> Option<(&[u8], State)> {
    let (head, state) = row.split_at_checked(HEAD_BYTES)?;
    let state = State::from_bytes(state).ok()?;
    (head.first() == Some(&FORMAT)).then_some((head, state))
}

pub(super) fn key(name: &str) -> String {
    format!("{KEY} {name}")
}

impl Member {
    pub(super) fn new(of: LinkNode, network: Network, row: Option<&Vec<u8>>) -> Self {
        let read = |row: &Vec<u8>| {
            let (format, rest) = row.split_first()?;
            let (number, rest) = rest.split_first_chunk::<2>()?;
            let (epoch, rest) = rest.split_first_chunk::<2>()?;
            let (root, state) = rest.split_first_chunk::<16>()?;
            let state = State::from_bytes(state).ok().filter(|_| *format == FORMAT)?;
            let address = Address { net: network.net?, node: u16::from_be_bytes(*number) };
            let epoch = Epoch { number: u16::from_be_bytes(*epoch), root: Root::new(*root) };
            let profile = Profile { address, epoch, listens: of.listens, schema: of.schema };
            Some(Peer::new(profile, Some(state)))
        };
        let peer = row.and_then(read);
        if row.is_some() && peer.is_none() {
            // With its counters gone, old frames would count again: only a new key is safe.
            tracing::error!(
                node = of.name,
                "the state of a radio node is damaged: give it a new key with kengele node swap"
            );
        }
        Self { of, peer, hearing: None, health: None, siren: None, unstored: 0 }
    }

    pub(super) fn row(&self) -> Option<(String, Vec<u8>)> {
        let peer = self.peer.as_ref()?;
        let Profile { address, epoch, .. } = peer.profile();
        let mut row = vec![FORMAT];
        row.extend(address.node.to_be_bytes());
        row.extend(epoch.number.to_be_bytes());
        row.extend(epoch.root.secret_bytes());
        row.extend_from_slice(&peer.state().to_bytes());
        Some((key(&self.of.name), row))
    }

    /// Takes over a step that no frame caused. Returns the orders that ended.
    pub(super) fn take(&mut self, step: &Step) -> (Endings, Option<Reply>) {
        if let Some(peer) = &mut self.peer {
            peer.commit(step.state);
        }
        (step.ended, step.reply)
    }

    /// Puts an order into the node's queue.
    pub(super) fn order(&mut self, order: Order, expires: Timestamp) -> Result<Endings, LinkError> {
        let peer = self.peer.as_ref();
        let peer = peer.ok_or_else(|| LinkError::HasNoKey(self.of.name.clone()))?;
        let (_, step) = peer.order(order, seconds(expires))?;
        Ok(self.take(&step).0)
    }

    /// Puts what a siren's node has yet to be told into its queue, once. Returns whether the queue has changed.
    pub(super) fn tell_siren(&mut self, owed: &Owed, max_on: Duration, now: Timestamp) -> bool {
        let orders = |peer: &Peer| peer.state().orders().any(|waiting| waiting.order.is_siren());
        if self.siren == Some(owed.version) && self.peer.as_ref().is_some_and(orders) {
            return false;
        }
        let order = match owed.order {
            Desired::On => Order::SirenOn {
                seconds: u16::try_from(max_on.as_secs()).unwrap_or(u16::MAX).max(1),
            },
            Desired::Off => Order::SirenOff,
            Desired::Test => Order::SirenTest { seconds: TEST_S },
        };
        // Seconds are counted whole: an order that ends within this one is not worth its airtime.
        let expires = owed.until.unwrap_or(now + SILENCE_VALID);
        match self.order(order, expires) {
            Ok(_) => {
                self.siren = Some(owed.version);
                true
            }
            Err(error) => {
                if self.siren.replace(owed.version) != Some(owed.version) {
                    tracing::error!(node = self.of.name, error = %error, "a siren cannot be told");
                }
                false
            }
        }
    }

    pub(super) fn status(&self, now: Timestamp) -> LinkStatus {
        let state = self.peer.as_ref().map(Peer::state);
        #[expect(clippy::cast_possible_truncation, reason = "tenths of decibels")]
        let tenths = |value: f64| (value * 10.0).round() as i32;
        let signal = self.hearing.as_ref().and_then(|hearing| {
            Some((tenths(hearing.rssi_dbm?), tenths(hearing.snr_db.unwrap_or(0.0))))
        });
        let heard = state.and_then(State::heard_at_s);
        LinkStatus {
            name: self.of.name.clone(),
            number: self.peer.as_ref().map(|peer| peer.profile().address.node),
            epoch: state.map_or(0, State::epoch),
            listens: self.of.listens,
            revoked: state.is_some_and(State::is_revoked),
            rekeying: state.is_some_and(State::is_rekeying),
            heard_ago: heard.map(|s| Duration::from_secs(seconds(now).saturating_sub(s))),
            signal,
            health: self.health,
            orders: state
                .into_iter()
                .flat_map(State::orders)
                .map(|w| format!("{:?}", w.order))
                .collect(),
        }
    }
}

impl Member {
    /// Takes note of how the node says that it is.
    pub(super) fn healthy(&mut self, health: Health, measurements: &mut Vec<Measurement>) {
        let name = &self.of.name;
        if health.boot != Boot::Running {
            tracing::info!(node = name, boot = ?health.boot, boots = health.boots, "a radio node began again");
        }
        if health.schema != self.of.schema.digest() {
            tracing::error!(
                node = name,
                "a radio node's reports follow another [report.NAME]: they are refused"
            );
        }
        if self.of.has_battery && health.battery_mv > 0 {
            let value = f64::from(health.battery_mv) / 1000.0;
            let quantity = Quantity::BatteryVoltage;
            measurements.push(Measurement { quantity, value, stamp: None });
        }
        self.health = Some(health);
    }
}
