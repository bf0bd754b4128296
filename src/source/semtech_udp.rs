//! Frames from other people's LoRa gateways, by the protocol of Semtech's packet forwarder, and answers back to them.
//!
//! The protocol knows no authentication: whoever can send datagrams can claim to be a gateway. Only gateways that the
//! configuration names are listened to, and what they bring is believed no more than its own signature warrants.
//! `PUSH_ACK` says that the datagram arrived, no more: forwarders do not repeat what they pushed. What a node sent is
//! acknowledged to the node, after the commit.

use crate::domain::frame::{Acknowledge, Envelope, Frame, Origin, Outcome, Receipt};
use crate::domain::radio::{self, Downlink, Hearing, SyncWord, Urgency, Window};
use crate::domain::time::Timestamp;
use crate::supervise::Stop;
use crate::telemetry::{Clock, Counter};
use crate::wire::lorawan::Eui;
use crate::wire::semtech_udp::{
    self, Added, Copies, Crc, Datagram, Gathered, Push, Status, Transmit, TxOutcome, When, later,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Name of this source in origins.
pub const LINK: &str = "semtech_udp";
/// How long copies of a frame by other gateways are waited for: the first receive window opens after a second.
const GATHER: Duration = Duration::from_millis(200);
/// How long a copy is known again; a node repeats a frame after two seconds at the earliest.
const MEMORY: Duration = Duration::from_millis(1500);
/// Frames whose copies are waited for, or known.
const COPIES_MAX: usize = 1024;
/// A downlink reaches the forwarder at least so long before its window opens.
const LEAD: Duration = Duration::from_millis(60);
/// Downlinks whose fate is not known yet.
const PENDING_MAX: usize = 64;
/// Longest datagram: a forwarder's own buffer is smaller.
const DATAGRAM_MAX: usize = 65_536;
/// Share of the airtime that is kept for frames that warn of danger.
const KEPT_FOR_DANGER: f64 = 0.25;
/// The time over which airtime is counted.
const HOUR: Duration = Duration::from_hours(1);

/// What the source is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where forwarders send to.
    pub listen: SocketAddr,
    /// Gateways that are listened to.
    pub gateways: BTreeSet<Eui>,
    /// Power of downlinks, dBm.
    pub power_dbm: i8,
    /// Most airtime of downlinks of one gateway in an hour.
    pub airtime_per_hour: Duration,
}

/// How a gateway is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewayState {
    /// When it was heard last; `None`: never since the start.
    pub heard: Option<Timestamp>,
    /// Whether it has said where downlinks are to be sent.
    pub reachable: bool,
    /// What it said of itself last.
    pub status: Option<Status>,
}

/// What the source counts, and how its gateways are.
#[derive(Debug, Default)]
pub struct Counters {
    gateways: Mutex<BTreeMap<Eui, GatewayState>>,
    /// Frames handed on, copies by other gateways apart.
    pub frames: Counter,
    /// Copies by other gateways.
    pub copies: Counter,
    /// Frames with a damaged checksum.
    pub damaged: Counter,
    /// Datagrams of gateways that are not named, or that are none.
    pub refused: Counter,
    /// Frames that found no room.
    pub dropped: Counter,
    /// Downlinks handed to a gateway.
    pub downlinks: Counter,
    /// Downlinks that came too late for their windows, or whose gateway cannot be reached.
    pub downlinks_late: Counter,
    /// Downlinks that would have taken more airtime than is allowed.
    pub downlinks_held: Counter,
    /// Downlinks that a gateway refused.
    pub downlinks_refused: Counter,
}

impl Counters {
    /// Returns how each gateway is that is listened to.
    #[must_use]
    pub fn gateways(&self) -> BTreeMap<Eui, GatewayState> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, gateway: Eui, change: impl FnOnce(&mut GatewayState)) {
        let mut gateways = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        change(gateways.entry(gateway).or_default());
    }
}

/// Why the source cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen for packet forwarders on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The receiving end of packet forwarders.
pub struct Forwarders {
    socket: UdpSocket,
    settings: Settings,
    clock: Clock,
    frames: mpsc::Sender<Envelope>,
    counters: Arc<Counters>,
    link: Arc<str>,
    copies: Copies,
    /// Where each gateway wants its downlinks sent: to where its last `PULL_DATA` came from.
    reached_at: BTreeMap<Eui, SocketAddr>,
    airtime: BTreeMap<Eui, Airtime>,
    /// Downlinks by token, oldest first, that may have to go out in the second window yet.
    pending: VecDeque<(u16, Downlink)>,
    token: u16,
}

/// What one gateway has sent within the last hour.
#[derive(Debug, Default)]
struct Airtime {
    sent: VecDeque<(Timestamp, Duration)>,
    sum: Duration,
}

impl Airtime {
    /// Books a transmission, unless the hour would have more of them than `most`.
    fn book(&mut self, air: Duration, most: Duration, now: Timestamp) -> bool {
        while self.sent.front().is_some_and(|(at, _)| now.since(*at) >= HOUR) {
            if let Some((_, old)) = self.sent.pop_front() {
                self.sum = self.sum.saturating_sub(old);
            }
        }
        if self.sum + air > most {
            return false;
        }
        self.sent.push_back((now, air));
        self.sum += air;
        true
    }
}

/// Nobody waits for the outcome at the forwarder; that there is a receipt makes the turn go at once.
struct Heedless;

impl Acknowledge for Heedless {
    fn settle(&self, _: u64, _: Outcome) {}
}

impl Forwarders {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`].
    pub async fn bind(
        settings: Settings,
        clock: Clock,
        frames: mpsc::Sender<Envelope>,
    ) -> Result<Self, Error> {
        let address = settings.listen;
        let socket = UdpSocket::bind(address).await;
        let gateways = settings.gateways.iter().map(|eui| (*eui, GatewayState::default()));
        let gateways = Mutex::new(gateways.collect());
        Ok(Self {
            socket: socket.map_err(|source| Error::Bind { address, source })?,
            settings,
            clock,
            frames,
            counters: Arc::new(Counters { gateways, ..Counters::default() }),
            link: LINK.into(),
            copies: Copies::new(GATHER, MEMORY, COPIES_MAX),
            reached_at: BTreeMap::new(),
            airtime: BTreeMap::new(),
            pending: VecDeque::new(),
            token: 0,
        })
    }

    /// Returns what it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Runs until it is told to stop, or nobody takes frames any more.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(
        mut self,
        mut downlinks: mpsc::Receiver<Downlink>,
        mut stop: Stop,
    ) -> Result<(), Infallible> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        let clock = self.clock.clone();
        loop {
            let due = self.copies.next_deadline();
            tokio::select! {
                () = stop.wait() => return Ok(()),
                received = self.socket.recv_from(&mut buffer) => if let Ok((length, from)) = received {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.take(datagram, from).await;
                },
                Some(downlink) = downlinks.recv() => self.send(downlink).await,
                () = clock.sleep_until(due) => {}
            }
            for gathered in self.copies.due(clock.now()) {
                if !self.hand_on(gathered) {
                    return Ok(());
                }
            }
        }
    }

    async fn take(&mut self, bytes: &[u8], from: SocketAddr) {
        let allowed = |gateway: &Eui| self.settings.gateways.contains(gateway);
        match semtech_udp::parse(bytes) {
            Ok(Datagram::PushData { token, gateway, push }) if allowed(&gateway) => {
                self.answer(&Datagram::PushAck { token }, from).await;
                self.heard(gateway, push);
            }
            Ok(Datagram::PullData { token, gateway }) if allowed(&gateway) => {
                let now = self.clock.now();
                self.counters.note(gateway, |state| {
                    (state.heard, state.reachable) = (Some(now), true);
                });
                if self.reached_at.insert(gateway, from) != Some(from) {
                    tracing::info!(gateway = %gateway, "a packet forwarder can be reached");
                }
                self.answer(&Datagram::PullAck { token }, from).await;
            }
            Ok(Datagram::TxAck { token, gateway, outcome }) if allowed(&gateway) => {
                self.sent(token, &outcome).await;
            }
            Ok(
                Datagram::PushData { .. }
                | Datagram::PullData { .. }
                | Datagram::TxAck { .. }
                | Datagram::PushAck { .. }
                | Datagram::PullAck { .. }
                | Datagram::PullResp { .. },
            )
            | Err(_) => self.counters.refused.add(1),
        }
    }

    async fn answer(&self, datagram: &Datagram, to: SocketAddr) {
        if let Err(error) = self.socket.send_to(&datagram.encode(), to).await {
            tracing::debug!(error = %error, "a datagram cannot be sent");
        }
    }

    fn heard(&mut self, gateway: Eui, push: Push) {
        self.counters.refused.add(push.faults.len() as u64);
        let now = self.clock.now();
        self.counters.note(gateway, |state| {
            state.heard = Some(now);
            state.status = push.status.or(state.status.take());
        });
        for received in push.received {
            if received.crc == Crc::Bad {
                self.counters.damaged.add(1);
                continue;
            }
            match self.copies.add(gateway, received, now) {
                Added::First => self.counters.frames.add(1),
                Added::Copy => self.counters.copies.add(1),
                Added::Full => self.counters.dropped.add(1),
            }
        }
    }

    /// Gives a frame to the pipeline. Returns whether that still takes any.
    fn hand_on(&self, Gathered { best, gateways }: Gathered) -> bool {
        let hearing = Hearing {
            link: Arc::clone(&self.link),
            sync_word: SyncWord::Public,
            gateway: best.gateway.0,
            tmst: best.received.tmst,
            at: self.clock.now() - GATHER,
            frequency_hz: best.received.frequency_hz,
            modulation: best.received.modulation,
            snr_db: best.received.snr_db,
            rssi_dbm: best.received.rssi_dbm,
            gateways,
        };
        let frame = Frame {
            origin: Origin::Radio(Arc::new(hearing)),
            payload: Bytes::from(best.received.phy),
            redelivered: false,
        };
        let receipt = Some(Receipt::new(Arc::new(Heedless), 0));
        match self.frames.try_send(Envelope { frame, receipt }) {
            Ok(()) => true,
            // A node that waits for its acknowledgement says it again.
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.dropped.add(1);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Sends a frame in the first window that it can still reach, or at once where the node always listens.
    async fn send(&mut self, mut downlink: Downlink) {
        let now = self.clock.now();
        let planned = match &mut downlink.when {
            radio::When::Answer { hearing, windows } => {
                let passed = now.since(hearing.at) + LEAD;
                let open =
                    |window: &mut Option<Window>| window.take_if(|window| window.delay >= passed);
                let [first, second] = windows;
                let window = open(first).or_else(|| open(second));
                window.map(|window| {
                    let when = When::At { tmst: later(hearing.tmst, window.delay) };
                    (Eui(hearing.gateway), window, when)
                })
            }
            radio::When::Now { hearing, window } => {
                Some((Eui(hearing.gateway), *window, When::Immediately))
            }
            // Which of the gateways would reach the node is not known.
            radio::When::Always => None,
        };
        let planned =
            planned.and_then(|planned| Some((planned, *self.reached_at.get(&planned.0)?)));
        let Some(((gateway, window, when), to)) = planned else {
            self.counters.downlinks_late.add(1);
            return;
        };
        let most = match downlink.urgency {
            Urgency::Danger => self.settings.airtime_per_hour,
            Urgency::Ordinary => self.settings.airtime_per_hour.mul_f64(1.0 - KEPT_FOR_DANGER),
        };
        let air = window.modulation.time_on_air(downlink.phy.len(), false);
        let booked = self.airtime.entry(gateway).or_default();
        if !booked.book(air, most, now) {
            self.counters.downlinks_held.add(1);
            tracing::warn!(gateway = %gateway, "a frame for a radio node would take more airtime than is allowed");
            return;
        }
        let transmit = Transmit {
            when,
            frequency_hz: window.frequency_hz,
            rf_chain: 0,
            power_dbm: self.settings.power_dbm,
            modulation: window.modulation,
            phy: downlink.phy.clone(),
        };
        self.token = self.token.wrapping_add(1);
        let token = self.token;
        self.counters.downlinks.add(1);
        self.answer(&Datagram::PullResp { token, transmit }, to).await;
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back((token, downlink));
    }

    /// Hears what became of a downlink; one that missed its first window may reach the second.
    async fn sent(&mut self, token: u16, outcome: &TxOutcome) {
        let place = self.pending.iter().position(|(of, _)| *of == token);
        let Some((_, downlink)) = place.and_then(|place| self.pending.remove(place)) else {
            return;
        };
        if let TxOutcome::Refused(error) = outcome {
            tracing::warn!(error = ?error, "a gateway does not send a downlink");
            self.counters.downlinks_refused.add(1);
            // What can be sent at any time is sent again by whoever ordered it.
            let is_answer = matches!(downlink.when, radio::When::Answer { .. });
            if is_answer && downlink.when.is_possible() {
                self.send(downlink).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hour_has_more_airtime_than_is_allowed() {
        let mut airtime = Airtime::default();
        let at = |minutes: u64| Timestamp::default() + Duration::from_mins(minutes);
        let (second, most) = (Duration::from_secs(1), Duration::from_secs(3));
        let booked: Vec<bool> =
            [0, 10, 20, 30, 59, 60, 61, 70].map(|m| airtime.book(second, most, at(m))).into();
        assert_eq!(booked, [true, true, true, false, false, true, false, true]);
        assert!(!airtime.book(Duration::from_secs(4), most, at(500)));
    }
}
