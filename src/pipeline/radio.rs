//! Frames as they were on the air: whose they are, whether they are true and new, and what is answered.
//!
//! What a device and the gateway must both remember changes in the transaction that stores the reading it admits, and an
//! answer leaves only after that.

use crate::domain::radio::{Downlink, Hearing, Urgency, When};
use crate::domain::rule::NodeIndex;
use crate::wire::lorawan::{
    self, Activation, DataUp, DevAddr, Device, Heard, JoinRequest, Network, Order, Payload,
    Profile, Refusal, Reply, State, Uplink,
};
use crate::wire::payload::PayloadMap;
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
        payload: Option<Payload>,
        /// To be stored with the payload.
        state: (String, Vec<u8>),
        /// To be sent when that is stored.
        downlink: Option<Downlink>,
    },
    /// Its node is not declared.
    Undeclared { name: String },
    /// It is not true, not new, or no frame.
    Refused,
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
            Registered { key, node: of.node, device, codec: of.codec.clone() }
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

    /// Judges a frame. `unix_ms` is the time that devices may be told, if the clock is believed.
    pub(super) fn open(
        &mut self,
        phy: &[u8],
        hearing: &Arc<Hearing>,
        unix_ms: Option<i64>,
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
            Ok(Uplink::Data(frame)) => self.data(&frame, &heard, &network, hearing, unix_ms),
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
                known.answer(None, Some(joined.reply), hearing)
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
        unix_ms: Option<i64>,
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
        let order = Order { unix_ms, ..Order::default() };
        match known.device.hear(frame, heard, network, &order) {
            Ok(accepted) => {
                known.device.commit(accepted.state);
                known.answer(accepted.payload, accepted.reply, hearing)
            }
            Err(refusal) => self.refuse(reason(refusal)),
        }
    }

    fn refuse(&mut self, reason: &'static str) -> Opened {
        *self.refused.entry(reason).or_default() += 1;
        Opened::Refused
    }
}

impl Registered {
    fn answer(
        &self,
        payload: Option<Payload>,
        reply: Option<Reply>,
        hearing: &Arc<Hearing>,
    ) -> Opened {
        let downlink = reply.map(|reply| Downlink {
            link: Arc::clone(&hearing.link),
            phy: reply.phy,
            when: When::Answer { hearing: Arc::clone(hearing), windows: [reply.rx1, reply.rx2] },
            urgency: Urgency::Ordinary,
        });
        let state = (self.key.clone(), self.device.state().to_bytes());
        Opened::From { node: self.node, payload, state, downlink }
    }
}

fn key_of(activation: &Activation) -> String {
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
