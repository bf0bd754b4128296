//! Joining: LoRaWAN 1.0.3 §6.2.

use super::DevAddr;
use super::answer::{self, Network, Reply};
use super::device::{Activation, Device, Heard, Refusal, Version};
use super::frame::JoinRequest;
use super::key::{Key, block};
use super::state::{Session, State};

/// Most `DevNonce`s of a device that are remembered. A device draws one that was used in one of 256 joins; an attacker
/// who replays one that was forgotten gets a join accept that it cannot read, and cuts nobody off.
pub const NONCES_MAX: usize = 256;
/// `JoinNonce` has 24 bits.
pub(super) const JOIN_NONCE_MAX: u32 = 0x00FF_FFFF;
/// Most channels that a join accept tells: RP002-1.0.4 §2.4 (`CFList` type 0).
const CHANNELS_MAX: usize = 5;

/// Message type and major version of a join accept: LoRaWAN 1.0.3 §4.2.
const JOIN_ACCEPT: u8 = 0x20;

/// A request that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The device's state from now on: to be committed before the reply is sent.
    pub state: State,
    /// The join accept.
    pub reply: Reply,
}

impl Device {
    /// Judges a join request, and offers a session with the address that the caller has chosen. The device's old
    /// session counts until a frame of the new one comes.
    ///
    /// # Errors
    ///
    /// Says why the request changes nothing.
    pub fn join(
        &self,
        request: &JoinRequest<'_>,
        heard: &Heard,
        network: &Network,
        dev_addr: DevAddr,
    ) -> Result<Joined, Refusal> {
        let Activation::Otaa { join_eui, dev_eui, app_key } = &self.profile.activation else {
            return Err(Refusal::NeverJoins);
        };
        if request.dev_eui != *dev_eui {
            return Err(Refusal::ForeignDevEui);
        }
        if request.join_eui != *join_eui {
            return Err(Refusal::ForeignJoinEui);
        }
        if !request.is_signed_by(app_key) {
            return Err(Refusal::Mic);
        }
        if self.has_used(request.dev_nonce) {
            return Err(Refusal::DevNonceUsed);
        }
        let mut state = self.state.clone();
        if state.join_nonce >= JOIN_NONCE_MAX {
            return Err(Refusal::JoinNoncesExhausted);
        }
        state.join_nonce += 1;
        if state.dev_nonces.len() >= NONCES_MAX {
            state.dev_nonces.remove(0);
        }
        state.dev_nonces.push(request.dev_nonce);
        let session = session(app_key, state.join_nonce, request.dev_nonce, network, dev_addr);
        let reply = answer::join_reply(heard, network, |with_channels| {
            accept(app_key, state.join_nonce, network, &session, with_channels)
        });
        state.offered = Some(session);
        Ok(Joined { state, reply })
    }

    fn has_used(&self, nonce: u16) -> bool {
        let used = &self.state.dev_nonces;
        match self.profile.version {
            Version::V1_0_2 | Version::V1_0_3 => used.contains(&nonce),
            Version::V1_0_4 => used.last().is_some_and(|last| nonce <= *last),
        }
    }
}

/// Derives the session's keys: LoRaWAN 1.0.3 §6.2.5.
fn session(
    app_key: &Key,
    join_nonce: u32,
    dev_nonce: u16,
    network: &Network,
    dev_addr: DevAddr,
) -> Session {
    let (join_nonce, net_id) = (three(join_nonce), three(network.net_id));
    let derive = |kind| {
        let seed = block(&[&[kind], &join_nonce, &net_id, &dev_nonce.to_le_bytes()]);
        Key::new(app_key.encrypt(seed))
    };
    Session {
        joined: true,
        rx1_delay_s: network.rx1_delay_s.clamp(1, 15),
        rx1_offset: network.rx1_offset.min(network.plan.region.rx1_offset_max()),
        rx2_data_rate: network.rx2_data_rate,
        ..Session::begin(dev_addr, derive(1), derive(2))
    }
}

/// Builds a join accept. It is encrypted with AES *decrypt*, so that a device needs only encryption.
fn accept(
    app_key: &Key,
    join_nonce: u32,
    network: &Network,
    session: &Session,
    with_channels: bool,
) -> Vec<u8> {
    let mut phy = vec![JOIN_ACCEPT];
    phy.extend(three(join_nonce));
    phy.extend(three(network.net_id));
    phy.extend(session.dev_addr.0.to_le_bytes());
    let rx2 = session.rx2_data_rate.unwrap_or(network.plan.region.rx2_data_rate());
    phy.extend([session.rx1_offset << 4 | (rx2 & 0x0F), session.rx1_delay_s]);
    if with_channels {
        phy.extend(channels(network));
    }
    phy.extend(app_key.join_mic(&phy));
    if let Some((_, body)) = phy.split_first_mut() {
        app_key.decrypt_blocks(body);
    }
    phy
}

/// Returns the `CFList` of further channels, in units of 100 Hz; those that are not used are 0.
fn channels(network: &Network) -> [u8; 16] {
    let mut list = [0; 16];
    let (places, _) = list.as_chunks_mut::<3>();
    for (place, frequency_hz) in places.iter_mut().zip(&network.channels_hz).take(CHANNELS_MAX) {
        *place = three(frequency_hz / 100);
    }
    list
}

/// Returns the lower three bytes, as they stand on the air.
const fn three(number: u32) -> [u8; 3] {
    let [low, middle, high, _] = number.to_le_bytes();
    [low, middle, high]
}
