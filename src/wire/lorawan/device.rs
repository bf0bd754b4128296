//! One device: which of its frames are new, and what they say.

use super::answer::{self, Left, Network, Order, Reply};
use super::frame::DataUp;
use super::key::Key;
use super::mac::{self, MacAnswer};
use super::state::{Last, Session, State};
use super::{DevAddr, Eui};
use crate::domain::radio::{Modulation, Window};

/// Largest step of a counter in 1.0.2 and 1.0.3: `MAX_FCNT_GAP` of the regional parameters.
pub(super) const GAP_MAX: u16 = 16_384;
/// A device that began its counter again is believed below this counter only: it leaves an attacker few old frames.
const RESET_BELOW: u16 = 64;
/// How often the acknowledgement of one uplink is sent again: one frame is sent at most 15 times (`NbTrans`, LoRaWAN
/// 1.0.3 §5.2), of which the first is no repetition.
const REPEATS_MAX: u8 = 14;

/// Which specification a device follows, where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// 1.0.2: random `DevNonce`s, counter gap at most 16,384.
    V1_0_2,
    /// 1.0.3: as 1.0.2.
    V1_0_3,
    /// 1.0.4: rising `DevNonce`s, no limit of the counter gap.
    V1_0_4,
}

/// How a device gets its session keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The operator gives them.
    Abp {
        /// The address.
        dev_addr: DevAddr,
        /// `NwkSKey`.
        nwk_s_key: Key,
        /// `AppSKey`.
        app_s_key: Key,
    },
    /// It joins.
    Otaa {
        /// `JoinEUI`, or `AppEUI`.
        join_eui: Eui,
        /// `DevEUI`.
        dev_eui: Eui,
        /// `AppKey`.
        app_key: Key,
    },
}

/// Whether a device without a join may begin its counter again, as cheap ones do when their battery is changed.
///
/// To allow it is to believe old frames with low counters, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CounterReset {
    /// Never.
    #[default]
    Never,
    /// Once, until the operator says so again ([`Device::allow_reset_again`]).
    Once,
    /// Whenever it does.
    Always,
}

/// What the operator says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The specification that it follows.
    pub version: Version,
    /// How it gets its keys.
    pub activation: Activation,
    /// Whether its counter may begin again.
    pub counter_reset: CounterReset,
    /// The data rate that it is asked to keep, if it lets the network choose.
    pub data_rate: Option<u8>,
}

/// How a frame was heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// On which frequency, in Hz.
    pub frequency_hz: u32,
    /// As what.
    pub modulation: Modulation,
    /// The best signal to noise ratio, in dB.
    pub snr_db: Option<f32>,
    /// By how many gateways.
    pub gateways: u8,
}

/// Why a frame changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It has another address than this device.
    #[error("frame has another device's address")]
    ForeignDevAddr,
    /// Its signature is not this device's, as far as its counter can be known.
    #[error("frame has a wrong signature")]
    Mic,
    /// It is this device's, and older than what was heard.
    #[error("frame is older than one that was heard")]
    Replay,
    /// It is a copy of the last one, and nothing has to be sent again.
    #[error("frame is a copy of the last one")]
    Repeated,
    /// Its counter is further ahead than the device's specification allows.
    #[error("frame has a counter too far ahead")]
    Gap,
    /// The request is for another join server.
    #[error("join request has another join server's identifier")]
    ForeignJoinEui,
    /// The request is another device's.
    #[error("join request has another device's identifier")]
    ForeignDevEui,
    /// This device does not join.
    #[error("device does not join: its keys are the operator's")]
    NeverJoins,
    /// The `DevNonce` was used before, or is not above the last.
    #[error("join request has a nonce that was used")]
    DevNonceUsed,
    /// All 2^24 `JoinNonce`s were given.
    #[error("device has joined too often for its key")]
    JoinNoncesExhausted,
}

/// The application's bytes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// 1 to 255; 224 and above are reserved.
    pub port: u8,
    /// In the clear.
    pub bytes: Vec<u8>,
}

/// A frame that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The device's state from now on: to be committed with the payload, before the reply is sent.
    pub state: State,
    /// The whole counter.
    pub counter: u32,
    /// Whether it is a copy of the last one, whose acknowledgement is to be sent again. Such a one has no payload.
    pub repeated: bool,
    /// Whether the device began its counter again.
    pub counter_reset: bool,
    /// What the device measured, if it says something.
    pub payload: Option<Payload>,
    /// What it answered to commands.
    pub answers: Vec<MacAnswer>,
    /// A command that is not known; what followed it was not read.
    pub unknown_command: Option<u8>,
    /// After a confirmed downlink: whether the device has acknowledged it.
    pub acknowledged: Option<bool>,
    /// What is to be sent.
    pub reply: Option<Reply>,
    /// Why the ordered payload is not in the reply.
    pub left: Option<Left>,
}

/// One device's profile and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub(super) profile: Profile,
    pub(super) state: State,
}

enum Verdict {
    New(u32),
    Copy(u32),
    Reset(u32),
}

impl Device {
    /// Returns the device as it was left, or begins. A session of other keys than the profile's is not taken over.
    #[must_use]
    pub fn new(profile: Profile, mut state: State) -> Self {
        match &profile.activation {
            Activation::Abp { dev_addr, nwk_s_key, app_s_key } => {
                let same = state.session.as_ref().is_some_and(|session| {
                    session.dev_addr == *dev_addr
                        && session.nwk_s_key == *nwk_s_key
                        && session.app_s_key == *app_s_key
                });
                if !same {
                    let (nwk_s_key, app_s_key) = (nwk_s_key.clone(), app_s_key.clone());
                    state.session = Some(Session::begin(*dev_addr, nwk_s_key, app_s_key));
                }
                state.offered = None;
            }
            Activation::Otaa { .. } => state.session = state.session.filter(|s| s.joined),
        }
        Self { profile, state }
    }

    /// Returns what is to be stored.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Takes over a state that was committed.
    pub fn commit(&mut self, state: State) {
        self.state = state;
    }

    /// Returns the state in which the counter may begin again once more.
    #[must_use]
    pub fn allow_reset_again(&self) -> State {
        State { reset_used: false, ..self.state.clone() }
    }

    /// Returns the addresses that this device's frames may have: none before its first join, two while it joins.
    pub fn addresses(&self) -> impl Iterator<Item = DevAddr> {
        [&self.state.session, &self.state.offered].into_iter().flatten().map(|s| s.dev_addr)
    }

    /// Returns whether a frame is this device's, by its signature. A few CMACs at most; of several devices with one
    /// address, at most one says yes.
    #[must_use]
    pub fn recognises(&self, frame: &DataUp<'_>) -> bool {
        !matches!(self.admit(frame), Err(Refusal::Mic | Refusal::ForeignDevAddr))
    }

    /// Judges a data frame, and says what follows from it. Nothing of the device changes until the caller commits.
    ///
    /// # Errors
    ///
    /// Says why the frame changes nothing.
    pub fn hear(
        &self,
        frame: &DataUp<'_>,
        heard: &Heard,
        network: &Network,
        order: &Order<'_>,
    ) -> Result<Accepted, Refusal> {
        let (mut state, mut session, verdict) = self.admit(frame)?;
        let (counter, repeated, counter_reset) = match verdict {
            Verdict::New(counter) => (counter, false, false),
            Verdict::Copy(counter) => (counter, true, false),
            Verdict::Reset(counter) => (counter, false, true),
        };
        if counter_reset {
            state.reset_used = true;
            session.begin_again(self.profile.version);
        }
        let repeats = match session.last.filter(|_| repeated) {
            Some(last) if !frame.confirmed || last.repeats >= REPEATS_MAX => {
                return Err(Refusal::Repeated);
            }
            Some(last) => last.repeats + 1,
            None => 0,
        };
        session.last = Some(Last { counter, mic: frame.mic, repeats });
        let (payload, mut said) = open(&session, frame, counter);
        let acknowledged = (session.awaiting_ack && !repeated).then_some(frame.ack);
        session.awaiting_ack &= repeated;
        if said.answers.iter().any(|answer| matches!(answer, MacAnswer::LinkAdr { .. })) {
            session.settled = true;
        }
        let (reply, left) = answer::answer(
            &mut session,
            self.profile.data_rate,
            frame,
            &said,
            heard,
            network,
            order,
        );
        if repeated {
            said.answers.clear();
        }
        state.session = Some(session);
        Ok(Accepted {
            state,
            counter,
            repeated,
            counter_reset,
            payload: payload.filter(|_| !repeated),
            answers: said.answers,
            unknown_command: said.unknown,
            acknowledged,
            reply,
            left,
        })
    }

    /// Builds a frame that the device has not asked for: for one of class C, in the session of which it was heard last.
    /// Returns its state from then on, the frame, and the channel. Nothing of the device changes until the caller commits.
    ///
    /// # Errors
    ///
    /// Says why nothing can be sent.
    pub fn send(
        &self,
        network: &Network,
        order: &Order<'_>,
    ) -> Result<(State, Vec<u8>, Window), Left> {
        let mut session = self.state.session.clone().ok_or(Left::NoSession)?;
        let (phy, window) = answer::unasked(&mut session, network, order)?;
        Ok((State { session: Some(session), ..self.state.clone() }, phy, window))
    }

    /// Finds the session that a frame belongs to, and its place in it.
    fn admit(&self, frame: &DataUp<'_>) -> Result<(State, Session, Verdict), Refusal> {
        let mut refusal = Refusal::ForeignDevAddr;
        let State { session, offered, .. } = &self.state;
        for (candidate, is_offered) in [(session, false), (offered, true)] {
            let Some(candidate) = candidate.as_ref().filter(|s| s.dev_addr == frame.dev_addr)
            else {
                continue;
            };
            match self.judge(candidate, frame) {
                Ok(verdict) => {
                    let mut state = self.state.clone();
                    if is_offered {
                        state.offered = None;
                    }
                    return Ok((state, candidate.clone(), verdict));
                }
                // What is known of the frame by one session's keys stands, whatever the other's say.
                Err(_) if !matches!(refusal, Refusal::ForeignDevAddr | Refusal::Mic) => {}
                Err(found) => refusal = found,
            }
        }
        Err(refusal)
    }

    /// Finds a frame's whole counter by its signature: LoRaWAN 1.0.3 §4.3.1.5, 1.0.4 §4.3.1.5.
    fn judge(&self, session: &Session, frame: &DataUp<'_>) -> Result<Verdict, Refusal> {
        let signed = |counter| frame.is_signed_by(&session.nwk_s_key, counter);
        let low = u32::from(frame.counter);
        let Some(last) = session.last else {
            return if signed(low) { Ok(Verdict::New(low)) } else { Err(Refusal::Mic) };
        };
        let gap = low.wrapping_sub(last.counter) & 0xFFFF;
        let ahead = last.counter.checked_add(gap).filter(|ahead| signed(*ahead));
        let limited = match self.profile.version {
            Version::V1_0_2 | Version::V1_0_3 => gap >= u32::from(GAP_MAX),
            Version::V1_0_4 => false,
        };
        match ahead {
            Some(counter) if gap == 0 && frame.mic == last.mic => {
                return Ok(Verdict::Copy(counter));
            }
            Some(counter) if gap != 0 && !limited => return Ok(Verdict::New(counter)),
            Some(_) | None => {}
        }
        if self.may_begin_again() && frame.counter < RESET_BELOW && signed(low) {
            return Ok(Verdict::Reset(low));
        }
        let behind = last.counter.checked_sub(0x1_0000 - gap);
        match ahead {
            Some(_) if gap != 0 => Err(Refusal::Gap),
            Some(_) => Err(Refusal::Replay),
            None if behind.is_some_and(signed) => Err(Refusal::Replay),
            None => Err(Refusal::Mic),
        }
    }

    fn may_begin_again(&self) -> bool {
        match (&self.profile.activation, self.profile.counter_reset) {
            (Activation::Otaa { .. }, _) | (_, CounterReset::Never) => false,
            (_, CounterReset::Once) => !self.state.reset_used,
            (_, CounterReset::Always) => true,
        }
    }
}

impl Session {
    /// Goes on with downlinks after the device began again. It takes any counter above 0, so that ours need not begin
    /// again, and no key stream is used twice, as long as the device can follow.
    fn begin_again(&mut self, version: Version) {
        let followed = match version {
            Version::V1_0_2 | Version::V1_0_3 => u32::from(GAP_MAX),
            Version::V1_0_4 => 0x1_0000,
        };
        if self.down_next >= followed {
            self.down_next = 0;
        }
        self.last = None;
        self.asked = 0;
        self.settled = false;
    }
}

/// Decrypts a frame: the payload for the application, and the commands from where they are.
fn open(session: &Session, frame: &DataUp<'_>, counter: u32) -> (Option<Payload>, mac::Said) {
    match frame.port {
        Some(0) => (None, mac::read(&frame.decrypted(&session.nwk_s_key, counter))),
        Some(port) => {
            let bytes = frame.decrypted(&session.app_s_key, counter);
            (Some(Payload { port, bytes }), mac::read(frame.options))
        }
        None => (None, mac::read(frame.options)),
    }
}
