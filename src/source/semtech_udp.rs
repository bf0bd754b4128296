//! Frames from other people's LoRa gateways, by the protocol of Semtech's packet forwarder, and answers back to them.
//!
//! The protocol knows no authentication: whoever can send datagrams can claim to be a gateway. Only gateways that the
//! configuration names are listened to, and what they bring is believed no more than its own signature warrants.
//! `PUSH_ACK` says that the datagram arrived, no more: forwarders do not repeat what they pushed. What a node sent is
//! acknowledged to the node, after the commit.

use super::account::Account;
use crate::domain::airtime::{Airtime, Plan, Verdict};
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
use std::path::PathBuf;
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
/// Gain of the gateways' antennas over an isotropic one, dBi: that of a dipole. A forwarder takes off what its own has
/// beyond that.
const ANTENNA_DBI: f64 = 2.15;

/// What the source is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where forwarders send to.
    pub listen: SocketAddr,
    /// Gateways that are listened to.
    pub gateways: BTreeSet<Eui>,
    /// Power of downlinks, dBm; less where the plan allows less.
    pub power_dbm: i8,
    /// What the country allows. Without it nothing is sent.
    pub plan: Option<&'static Plan>,
    /// Most airtime of downlinks of one gateway in an hour, where it is to be less than the plan allows.
    pub airtime_per_hour: Option<Duration>,
    /// Folder for what each gateway has sent, so that a restart makes no airtime.
    pub records: Option<PathBuf>,
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
    /// What each gateway has sent.
    accounts: BTreeMap<Eui, Account>,
    /// Downlinks by token, oldest first, that may have to go out in the second window yet.
    pending: VecDeque<(u16, Downlink)>,
    token: u16,
}

/// A way for a downlink to its node.
struct Way {
    gateway: Eui,
    window: Window,
    when: When,
    /// When it goes out.
    at: Timestamp,
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
        let now = clock.now();
        let account = |gateway: &Eui| {
            let airtime = Airtime::new(settings.plan?, ANTENNA_DBI);
            let airtime = airtime.at_most(settings.airtime_per_hour);
            let record = settings.records.as_ref().map(|to| to.join(format!("airtime-{gateway}")));
            Some((*gateway, Account::open(airtime, record, now)))
        };
        let accounts = settings.gateways.iter().filter_map(account).collect();
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
            accounts,
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

    /// Sends a frame in the first window that it can still reach and that has airtime, or at once where the node always
    /// listens.
    async fn send(&mut self, mut downlink: Downlink) {
        let ways = ways(&downlink.when, self.clock.now());
        let reached = ways.iter().flatten().any(|way| self.reached_at.contains_key(&way.gateway));
        let chosen = ways.into_iter().enumerate().find_map(|(place, way)| {
            let way = way?;
            let to = *self.reached_at.get(&way.gateway)?;
            let power_dbm = self.power_dbm(&way, downlink.phy.len(), downlink.urgency)?;
            Some((place, way, to, power_dbm))
        });
        let Some((place, Way { gateway, window, when, at }, to, power_dbm)) = chosen else {
            if reached {
                self.counters.downlinks_held.add(1);
                tracing::warn!(
                    "a frame for a radio node would be or take more than the plan allows"
                );
            } else {
                self.counters.downlinks_late.add(1);
            }
            return;
        };
        if let radio::When::Answer { windows, .. } = &mut downlink.when {
            // What is refused has the windows behind this one left.
            windows.iter_mut().take(place + 1).for_each(|window| *window = None);
        }
        let transmit = Transmit {
            when,
            frequency_hz: window.frequency_hz,
            rf_chain: 0,
            power_dbm,
            modulation: window.modulation,
            phy: downlink.phy.clone(),
        };
        self.token = self.token.wrapping_add(1);
        let token = self.token;
        self.counters.downlinks.add(1);
        self.answer(&Datagram::PullResp { token, transmit }, to).await;
        if let Some(account) = self.accounts.get_mut(&gateway) {
            account.book(window.frequency_hz, window.modulation, downlink.phy.len(), at);
        }
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back((token, downlink));
    }

    /// Returns with which power a gateway may send a frame of so many bytes, dBm, if it may.
    fn power_dbm(&self, way: &Way, bytes: usize, urgency: Urgency) -> Option<i8> {
        let airtime = self.accounts.get(&way.gateway)?.airtime();
        let Window { frequency_hz, modulation, .. } = way.window;
        match airtime.ask(frequency_hz, modulation, bytes, urgency, way.at) {
            Verdict::Now { power_dbm } => {
                #[expect(clippy::cast_possible_truncation, reason = "tens of dBm")]
                let most = power_dbm.floor() as i8;
                Some(self.settings.power_dbm.min(most))
            }
            Verdict::Wait(_) | Verdict::Never(_) => None,
        }
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

/// Returns the ways that a downlink still has, in their order.
fn ways(when: &radio::When, now: Timestamp) -> [Option<Way>; 2] {
    match when {
        radio::When::Answer { hearing, windows } => {
            let passed = now.since(hearing.at) + LEAD;
            windows.map(|window| {
                let window = window.filter(|window| window.delay >= passed)?;
                Some(Way {
                    gateway: Eui(hearing.gateway),
                    window,
                    when: When::At { tmst: later(hearing.tmst, window.delay) },
                    at: hearing.at + window.delay,
                })
            })
        }
        radio::When::Now { hearing, window } => {
            let gateway = Eui(hearing.gateway);
            [Some(Way { gateway, window: *window, when: When::Immediately, at: now }), None]
        }
        // Which of the gateways would reach the node is not known.
        radio::When::Always => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::airtime::HOUR;
    use crate::domain::radio::Modulation;
    use crate::domain::time::WallClock;
    use tempfile::TempDir;

    const GATEWAY: Eui = Eui(7);
    const SF12: Modulation = Modulation::Lora { spreading_factor: 12, bandwidth_hz: 125_000 };
    /// The windows of EU868: in a band of 1 % and in one of 10 %.
    const WINDOWS: [(u64, u32); 2] = [(1, 868_100_000), (2, 869_525_000)];
    const BYTES: usize = 51;

    fn settings(records: &TempDir) -> Settings {
        Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            gateways: [GATEWAY].into(),
            power_dbm: 20,
            plan: Plan::named("EU868"),
            airtime_per_hour: None,
            records: Some(records.path().to_path_buf()),
        }
    }

    /// The source, and a gateway that it knows the way to.
    async fn source(settings: Settings) -> (Forwarders, UdpSocket) {
        let (frames, _) = mpsc::channel(1);
        let clock = Clock::new(Timestamp::default(), WallClock::default(), 1.0);
        let mut source = Forwarders::bind(settings, clock, frames).await.unwrap();
        let gateway = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        source.reached_at.insert(GATEWAY, gateway.local_addr().unwrap());
        (source, gateway)
    }

    /// Sends an answer to a frame that was heard just now; returns channel and power of what the gateway is to send.
    async fn answer(
        (source, gateway): &mut (Forwarders, UdpSocket),
        urgency: Urgency,
    ) -> Option<(u32, i8)> {
        let hearing = Arc::new(Hearing {
            link: LINK.into(),
            sync_word: SyncWord::Public,
            gateway: GATEWAY.0,
            tmst: 0,
            at: source.clock.now(),
            frequency_hz: WINDOWS[0].1,
            modulation: SF12,
            snr_db: None,
            rssi_dbm: None,
            gateways: 1,
        });
        let windows = WINDOWS.map(|(delay_s, frequency_hz)| {
            let delay = Duration::from_secs(delay_s);
            Some(Window { delay, frequency_hz, modulation: SF12 })
        });
        let when = radio::When::Answer { hearing, windows };
        let sent = source.counters.downlinks.get();
        source.send(Downlink { link: LINK.into(), phy: vec![0; BYTES], when, urgency }).await;
        if source.counters.downlinks.get() == sent {
            return None;
        }
        let mut buffer = [0; 2048];
        let length = gateway.recv(&mut buffer).await.unwrap();
        match semtech_udp::parse(&buffer[..length]) {
            Ok(Datagram::PullResp { transmit, .. }) => {
                Some((transmit.frequency_hz, transmit.power_dbm))
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn each_band_has_its_own_airtime_and_an_answer_takes_the_window_that_has_some_left() {
        let records = TempDir::new().unwrap();
        let mut pair = source(settings(&records)).await;
        let mut sent: BTreeMap<(u32, i8), u32> = BTreeMap::new();
        while let Some(sending) = answer(&mut pair, Urgency::Ordinary).await {
            *sent.entry(sending).or_default() += 1;
        }
        assert_eq!(pair.0.counters.downlinks_held.get(), 1);
        // Three quarters of what the plan allows; where it allows 14 dBm, no more than that.
        let air = SF12.time_on_air(BYTES, true);
        let fits = |share: f64| HOUR.mul_f64(share * 0.75).div_duration_f64(air).floor();
        let [first, second] = [(WINDOWS[0].1, 14), (WINDOWS[1].1, 20)];
        assert_eq!(sent.keys().copied().collect::<Vec<_>>(), [first, second]);
        assert!((f64::from(sent[&first]) - fits(0.01)).abs() < 0.5, "{sent:?}");
        assert!((f64::from(sent[&second]) - fits(0.1)).abs() < 0.5, "{sent:?}");
        assert_eq!(answer(&mut pair, Urgency::Danger).await, Some(first));
        // After a restart the hour is the same.
        let mut again = source(settings(&records)).await;
        assert_eq!(answer(&mut again, Urgency::Ordinary).await, None);
    }

    #[tokio::test]
    async fn a_gateway_sends_no_more_than_its_operator_allows_and_without_a_plan_nothing() {
        let records = TempDir::new().unwrap();
        let most = Some(SF12.time_on_air(BYTES, true) * 2);
        let mut pair = source(Settings { airtime_per_hour: most, ..settings(&records) }).await;
        assert!(answer(&mut pair, Urgency::Danger).await.is_some());
        assert!(answer(&mut pair, Urgency::Danger).await.is_some());
        assert_eq!(answer(&mut pair, Urgency::Danger).await, None);
        let elsewhere = TempDir::new().unwrap();
        let mut pair = source(Settings { plan: None, ..settings(&elsewhere) }).await;
        assert_eq!(answer(&mut pair, Urgency::Danger).await, None);
        assert_eq!(pair.0.counters.downlinks_held.get(), 1);
    }
}
