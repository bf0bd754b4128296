//! LoRaWAN frames as they were on the air: whose they are, whether they are true and new, and what is answered.
//!
//! What a device and the gateway must both remember changes in the transaction that stores the reading it admits, and an
//! answer leaves only after that.

use super::siren::{Given, Sirens, leaves};
use super::{Decoded, Leaves, Pipeline, Round};
use crate::domain::radio::{Downlink, Hearing, Urgency, When};
use crate::domain::reading::Measurement;
use crate::domain::rule::NodeIndex;
use crate::domain::time::{ClockQuality, Timestamp};
use crate::wire::lorawan::{
    self, Acknowledgement, Activation, DataUp, DevAddr, Device, Heard, JoinRequest, Network, Order,
    Payload, Profile, Refusal, Reply, State, Uplink,
};
use crate::wire::payload::{About, PayloadMap};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Addresses that are given to devices that join: those of `NwkID` 0, for private networks (LoRaWAN 1.0.3 §6.1.1).
const ADDRESSES: u32 = 1 << 25;

/// The LoRaWAN devices of a gateway that is their network server as well.
#[derive(Clone, Debug)]
pub struct Lorawan {
    /// What the gateway is to them.
    pub network: Network,
    /// The devices.
    pub devices: Vec<LorawanNode>,
}

/// A node that speaks LoRaWAN to this gateway.
#[derive(Clone, Debug)]
pub struct LorawanNode {
    /// Which node.
    pub node: NodeIndex,
    /// What the operator says of the device.
    pub profile: Profile,
    /// How its payloads are read.
    pub codec: PayloadMap,
}

/// Every device, as it stands.
#[derive(Debug, Default)]
pub(super) struct Radio {
    network: Option<Network>,
    devices: Vec<Registered>,
    /// What was refused, and how often.
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Registered {
    /// How it was heard last since the start.
    hearing: Option<Arc<Hearing>>,
    key: String,
    node: NodeIndex,
    device: Device,
    codec: PayloadMap,
}

/// What a frame came to.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is a node's. Every part of it may be missing.
    From {
        node: NodeIndex,
        /// Its counter, but for one that joins.
        counter: Option<u32>,
        payload: Option<Payload>,
        /// To be stored with the payload.
        state: (String, Vec<u8>),
        /// To be sent when that is stored.
        downlink: Option<(Downlink, Leaves)>,
    },
    /// Its node is not declared.
    Undeclared { name: String },
    /// It is not true, not new, or no frame.
    Refused,
}

/// What a frame meets here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// The time that devices may be told, if the clock is believed.
    pub(super) unix_ms: Option<i64>,
    /// What is said now can be stored.
    pub(super) disk_works: bool,
}

impl Radio {
    /// Takes up the devices, each as it was left.
    pub(super) fn new(lorawan: Option<&Lorawan>, states: &BTreeMap<String, Vec<u8>>) -> Self {
        let Some(lorawan) = lorawan else { return Self::default() };
        let register = |of: &LorawanNode| {
            let key = key_of(&of.profile.activation);
            let state = states.get(&key).map(|bytes| State::from_bytes(bytes));
            let state = match state {
                Some(Ok(state)) => state,
                None => State::default(),
                Some(Err(error)) => {
                    // An old frame may be believed; a device that joins is asked to do so again.
                    tracing::error!(device = key, error = %error, "the state of a radio node is damaged: it begins anew");
                    State::default()
                }
            };
            let device = Device::new(of.profile.clone(), state);
            Registered { hearing: None, key, node: of.node, device, codec: of.codec.clone() }
        };
        Self {
            network: Some(lorawan.network.clone()),
            devices: lorawan.devices.iter().map(register).collect(),
            refused: BTreeMap::new(),
        }
    }

    /// Returns the state of every device, to go on from under another configuration.
    pub(super) fn states(&self) -> BTreeMap<String, Vec<u8>> {
        self.devices.iter().map(|d| (d.key.clone(), d.device.state().to_bytes())).collect()
    }

    /// Returns what was refused: reason and count.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refused.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Returns how the payloads of a node are read.
    pub(super) fn codec(&self, node: NodeIndex) -> Option<&PayloadMap> {
        self.devices.iter().find(|device| device.node == node).map(|device| &device.codec)
    }

    /// Judges a frame. A siren is told with the answer what it has yet to be told.
    pub(super) fn open(
        &mut self,
        phy: &[u8],
        hearing: &Arc<Hearing>,
        moment: Moment,
        sirens: &mut Sirens,
    ) -> Opened {
        let Some(network) = self.network.clone() else { return self.refuse("no LoRaWAN here") };
        #[expect(clippy::cast_possible_truncation, reason = "a ratio of two digits")]
        let heard = Heard {
            frequency_hz: hearing.frequency_hz,
            modulation: hearing.modulation,
            snr_db: hearing.snr_db.map(|snr| snr as f32),
            gateways: hearing.gateways,
        };
        match lorawan::parse(phy) {
            Ok(Uplink::Join(request)) => self.join(&request, &heard, &network, hearing),
            Ok(Uplink::Data(frame)) => {
                let moment = (moment, sirens);
                self.data(&frame, &heard, &network, hearing, moment)
            }
            Err(_) => self.refuse("not a frame of LoRaWAN 1.0"),
        }
    }

    fn join(
        &mut self,
        request: &JoinRequest<'_>,
        heard: &Heard,
        network: &Network,
        hearing: &Arc<Hearing>,
    ) -> Opened {
        let key = format!("otaa {}", request.dev_eui);
        let Some(place) = self.devices.iter().position(|device| device.key == key) else {
            return Opened::Undeclared { name: request.dev_eui.to_string() };
        };
        let address = self.free_address(request);
        let Some(known) = self.devices.get_mut(place) else { return self.refuse("no device") };
        match known.device.join(request, heard, network, address) {
            Ok(joined) => {
                tracing::info!(device = known.key, address = %address, "a device joins");
                known.device.commit(joined.state);
                known.hearing = Some(Arc::clone(hearing));
                known.answer(None, None, Some(joined.reply), hearing, None)
            }
            Err(refusal) => self.refuse(reason(refusal)),
        }
    }

    /// Returns an address that no device has: by the device's identifier, so that it mostly keeps its own.
    fn free_address(&self, request: &JoinRequest<'_>) -> DevAddr {
        let begin = (request.dev_eui.0 ^ request.dev_eui.0 >> 25) % u64::from(ADDRESSES);
        let begin = u32::try_from(begin).unwrap_or(0);
        let taken =
            |address| self.devices.iter().any(|d| d.device.addresses().any(|a| a == address));
        let tried = (0..ADDRESSES).map(|step| DevAddr((begin + step) % ADDRESSES));
        tried.into_iter().find(|address| !taken(*address)).unwrap_or(DevAddr(begin))
    }

    fn data(
        &mut self,
        frame: &DataUp<'_>,
        heard: &Heard,
        network: &Network,
        hearing: &Arc<Hearing>,
        (moment, sirens): (Moment, &mut Sirens),
    ) -> Opened {
        let with_address =
            |known: &&mut Registered| known.device.addresses().any(|a| a == frame.dev_addr);
        let mut any = false;
        let found = self.devices.iter_mut().filter(with_address).find(|known| {
            any = true;
            known.device.recognises(frame)
        });
        let Some(known) = found else {
            return if any {
                self.refuse(reason(Refusal::Mic))
            } else {
                Opened::Undeclared { name: frame.dev_addr.to_string() }
            };
        };
        let acknowledgement =
            if moment.disk_works { Acknowledgement::Given } else { Acknowledgement::Withheld };
        let order = Order { unix_ms: moment.unix_ms, acknowledgement, ..Order::default() };
        let mut accepted = match known.device.hear(frame, heard, network, &order) {
            Ok(accepted) => accepted,
            Err(refusal) => return self.refuse(reason(refusal)),
        };
        let given = sirens.heard(known.node, accepted.acknowledged, moment.now);
        let mut carried = None;
        if let Some(given) = &given {
            let payload = Some((given.port, given.bytes.as_slice()));
            let order = Order { payload, confirmed: given.confirmed, ..order };
            // It was accepted without the order: it is with it.
            if let Ok(with_order) = known.device.hear(frame, heard, network, &order) {
                accepted = with_order;
            }
            match (&accepted.left, &accepted.reply) {
                (None, Some(_)) => {
                    sirens.told(known.node, &given.owed, moment.now);
                    carried = Some(given.owed.urgency);
                }
                (left, _) => {
                    let why = left.map_or_else(String::new, |left| left.to_string());
                    tracing::warn!(
                        device = known.key,
                        why,
                        "an order waits for the device's next frame"
                    );
                }
            }
        }
        let acknowledges = frame.confirmed && moment.disk_works;
        let carried = carried.map(|urgency| {
            (urgency, if acknowledges { Leaves::AfterTheCommit } else { leaves(urgency) })
        });
        known.hearing = Some(Arc::clone(hearing));
        known.device.commit(accepted.state);
        let counter = Some(accepted.counter);
        known.answer(counter, accepted.payload, accepted.reply, hearing, carried)
    }

    /// Gives an order to a device that always listens (class C), by the gateway that heard it last. Returns the device's
    /// state from then on, to be stored before the frame leaves; `None` when it was not heard since the start, or cannot
    /// be told.
    pub(super) fn order(
        &mut self,
        node: NodeIndex,
        given: &Given,
    ) -> Option<((String, Vec<u8>), Downlink)> {
        let network = self.network.as_ref()?;
        let known = self.devices.iter_mut().find(|device| device.node == node)?;
        let hearing = Arc::clone(known.hearing.as_ref()?);
        let payload = Some((given.port, given.bytes.as_slice()));
        let order = Order { payload, confirmed: given.confirmed, ..Order::default() };
        match known.device.send(network, &order) {
            Ok((state, phy, window)) => {
                known.device.commit(state);
                let state = (known.key.clone(), known.device.state().to_bytes());
                let link = Arc::clone(&hearing.link);
                let when = When::Now { hearing, window };
                Some((state, Downlink { link, phy, when, urgency: given.owed.urgency }))
            }
            Err(left) => {
                tracing::error!(device = known.key, error = %left, "a siren cannot be told");
                None
            }
        }
    }

    fn refuse(&mut self, reason: &'static str) -> Opened {
        *self.refused.entry(reason).or_default() += 1;
        Opened::Refused
    }
}

impl Pipeline {
    /// Opens a LoRaWAN frame as it was on the air, and reads it into `measurements`.
    pub(super) fn open_lorawan(
        &mut self,
        phy: &[u8],
        hearing: &Arc<Hearing>,
        measurements: &mut Vec<Measurement>,
        round: &mut Round,
    ) -> Decoded {
        let clock = &self.telemetry.clock;
        let wall = clock.wall();
        let unix_ms =
            (wall.quality == ClockQuality::Synchronised).then(|| wall.unix_ms(clock.now()));
        let (now, disk_works) = (round.turn.at, self.retry_disk_at.is_none());
        let moment = Moment { now, unix_ms, disk_works };
        match self.radio.open(phy, hearing, moment, &mut self.sirens) {
            Opened::From { node, counter, payload, state, downlink } => {
                if let Some(counter) = counter {
                    self.hearings.note(node, counter, hearing);
                }
                round.turn.radio.push(state);
                round.changed = true;
                round.downlinks.extend(downlink);
                let Some(Payload { port, bytes }) = payload else { return Decoded::Nothing };
                let Some(codec) = self.radio.codec(node) else { return Decoded::Nothing };
                let unix_ms = self.telemetry.clock.calendar_ms(hearing.at);
                let about = About { quantity: None, port: Some(port), unix_ms };
                match codec.decode(&bytes, about, measurements) {
                    Ok(troubles) => Decoded::Heard { node, troubles },
                    Err(error) => Decoded::Unreadable(error),
                }
            }
            Opened::Undeclared { name } => {
                self.decoder.note(name, "LoRaWAN", phy);
                Decoded::Undeclared
            }
            Opened::Refused => {
                self.telemetry.counters.radio_refused.add(1);
                Decoded::Nothing
            }
        }
    }
}

impl Registered {
    fn answer(
        &self,
        counter: Option<u32>,
        payload: Option<Payload>,
        reply: Option<Reply>,
        hearing: &Arc<Hearing>,
        carried: Option<(Urgency, Leaves)>,
    ) -> Opened {
        let (urgency, leaves) = carried.unwrap_or((Urgency::Ordinary, Leaves::AfterTheCommit));
        let downlink = reply.map(|reply| {
            let windows = [reply.rx1, reply.rx2];
            let when = When::Answer { hearing: Arc::clone(hearing), windows };
            let link = Arc::clone(&hearing.link);
            (Downlink { link, phy: reply.phy, when, urgency }, leaves)
        });
        let state = (self.key.clone(), self.device.state().to_bytes());
        Opened::From { node: self.node, counter, payload, state, downlink }
    }
}

pub(super) fn key_of(activation: &Activation) -> String {
    match activation {
        Activation::Abp { dev_addr, .. } => format!("abp {dev_addr}"),
        Activation::Otaa { dev_eui, .. } => format!("otaa {dev_eui}"),
    }
}

/// Returns a refusal in the words by which it is counted.
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::ForeignDevAddr | Refusal::ForeignDevEui | Refusal::ForeignJoinEui => "foreign",
        Refusal::Mic => "wrong signature",
        Refusal::Replay => "replayed",
        Refusal::Repeated => "repeated too often",
        Refusal::Gap => "counter too far ahead",
        Refusal::NeverJoins => "join of a device with fixed keys",
        Refusal::DevNonceUsed => "join with a nonce that was used",
        Refusal::JoinNoncesExhausted => "joined too often",
    }
}
