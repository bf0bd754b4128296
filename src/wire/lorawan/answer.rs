//! What is sent back after an uplink, and in which windows (LoRaWAN 1.0.3 §3.3).

use super::device::Heard;
use super::frame::DataUp;
use super::key::{Course, Direction};
use super::mac::{Commands, LinkAdr, OPTIONS_BYTES_MAX, Said};
use super::region::{Plan, snr_floor_db};
use super::state::Session;
use crate::domain::radio::Window;
use std::time::Duration;

/// From the end of a join request to the first window: `JOIN_ACCEPT_DELAY1` of RP002.
const JOIN_DELAY: Duration = Duration::from_secs(5);
/// From the first window to the second.
const SECOND_WINDOW: Duration = Duration::from_secs(1);
/// How often a device is asked for its data rate before it is left alone.
const ASKED_MAX: u8 = 8;
/// What a frame has beside options and payload: address, control, counter and port (RP002: M = N + 8).
const HEADER_BYTES: usize = 8;
/// A join accept without and with channels, less type and signature.
const ACCEPT_BYTES: [usize; 2] = [12, 28];
/// Ports of applications: LoRaWAN 1.0.3 §4.3.2.
const PORTS: std::ops::RangeInclusive<u8> = 1..=223;

/// What this gateway is to devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The channel plan.
    pub plan: Plan,
    /// `NetID`: 0 or 1 for private networks.
    pub net_id: u32,
    /// What devices that join are told: the time to the first window in seconds, 1 to 15.
    pub rx1_delay_s: u8,
    /// What devices that join are told: how much slower the first window is, in data rates.
    pub rx1_offset: u8,
    /// What devices that join are told: the data rate of the second window, if not the region's default.
    pub rx2_data_rate: Option<u8>,
    /// Channels beside the region's own, in Hz; the first five are told in join accepts, where the region has that.
    pub channels_hz: Vec<u32>,
    /// In AU915 and US915: which eight channels the gateway hears, 0 to 7; devices are told after their join.
    pub sub_band: Option<u8>,
}

impl Network {
    /// Returns a private network with the region's defaults.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self {
            plan,
            net_id: 0,
            rx1_delay_s: 1,
            rx1_offset: 0,
            rx2_data_rate: None,
            channels_hz: Vec::new(),
            sub_band: None,
        }
    }
}

/// Whether a confirmed frame is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledgement {
    /// It is.
    #[default]
    Given,
    /// It is not: what it said is not stored.
    Withheld,
}

/// What the caller has for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order<'a> {
    /// Port and bytes.
    pub payload: Option<(u8, &'a [u8])>,
    /// Whether the device shall acknowledge the payload.
    pub confirmed: bool,
    /// Whether more waits behind it.
    pub more: bool,
    /// What a confirmed frame gets.
    pub acknowledgement: Acknowledgement,
    /// Whether the device is to be asked for battery and margin.
    pub status_wanted: bool,
    /// Unix time at the end of the uplink in milliseconds, if the clock is believed; devices are not told another.
    pub unix_ms: Option<i64>,
}

/// Why an ordered payload was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Left {
    /// It can never be sent at the device's data rate.
    #[error("payload is longer than the {bytes_max} bytes that the device can be sent now")]
    TooLong {
        /// Most bytes.
        bytes_max: usize,
    },
    /// MAC commands took its place; the device is told that more waits.
    #[error("payload waits for MAC commands")]
    CommandsFirst,
    /// Its port is not an application's.
    #[error("payload has a reserved port")]
    Port,
    /// The session's downlink counter is used up.
    #[error("session has no downlink counter left")]
    CounterExhausted,
    /// The device has not joined yet.
    #[error("device has no session")]
    NoSession,
}

/// A frame to send in one of two windows; at least one is there. LoRa downlinks go out with inverted polarity, without
/// CRC, at 4/5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The `PHYPayload`.
    pub phy: Vec<u8>,
    /// The first window, unless the uplink's channel is unknown or the frame too long for it.
    pub rx1: Option<Window>,
    /// The second window, unless the frame is too long for it.
    pub rx2: Option<Window>,
}

/// Two windows, each with the room in it.
struct Windows([Option<(Window, usize)>; 2]);

impl Windows {
    fn new(plan: Plan, heard: &Heard, offset: u8, rx2: Option<u8>, delay: Duration) -> Self {
        let region = plan.region;
        let window = |delay, frequency_hz: Option<u32>, data_rate: Option<u8>| {
            let (frequency_hz, data_rate) = (frequency_hz?, data_rate?);
            let modulation = region.modulation(data_rate)?;
            let window = Window { delay, frequency_hz, modulation };
            Some((window, plan.downlink_bytes_max(data_rate)))
        };
        let uplink = region.uplink_data_rate(heard.modulation);
        let first = uplink.and_then(|uplink| plan.rx1_data_rate(uplink, offset));
        let second = Some(rx2.unwrap_or(region.rx2_data_rate()));
        Self([
            window(delay, plan.rx1_frequency_hz(heard.frequency_hz), first),
            window(delay + SECOND_WINDOW, Some(region.rx2_frequency_hz()), second),
        ])
    }

    fn room(&self) -> usize {
        self.0.iter().flatten().map(|(_, room)| *room).max().unwrap_or(0)
    }

    fn reply(&self, phy: Vec<u8>, bytes: usize) -> Reply {
        let fits = |window: Option<(Window, usize)>| {
            window.filter(|(_, room)| bytes <= *room).map(|(window, _)| window)
        };
        let [rx1, rx2] = self.0.map(fits);
        Reply { phy, rx1, rx2 }
    }
}

/// Places a join accept: with the network's channels if that fits a window.
pub(super) fn join_reply(
    heard: &Heard,
    network: &Network,
    accept: impl Fn(bool) -> Vec<u8>,
) -> Reply {
    let windows = Windows::new(network.plan, heard, 0, None, JOIN_DELAY);
    let [bare, full] = ACCEPT_BYTES.map(|bytes| bytes - HEADER_BYTES);
    let with_channels = network.plan.region.takes_channels()
        && !network.channels_hz.is_empty()
        && full <= windows.room();
    windows.reply(accept(with_channels), if with_channels { full } else { bare })
}

/// Builds the reply to a data frame, if there is something to say.
pub(super) fn answer(
    session: &mut Session,
    data_rate: Option<u8>,
    frame: &DataUp<'_>,
    said: &Said,
    heard: &Heard,
    network: &Network,
    order: &Order<'_>,
) -> (Option<Reply>, Option<Left>) {
    let delay = Duration::from_secs(u64::from(session.rx1_delay_s));
    let (offset, rx2) = (session.rx1_offset, session.rx2_data_rate);
    let windows = Windows::new(network.plan, heard, offset, rx2, delay);
    if session.down_next == u32::MAX {
        return (None, order.payload.map(|_| Left::CounterExhausted));
    }
    let mut commands = Commands::within(windows.room().min(OPTIONS_BYTES_MAX));
    reply_to(said, heard, order, &mut commands);
    ask(session, data_rate, frame, heard, network, &mut commands);
    let taken = commands.bytes().len();
    let room = windows.room();
    let (payload, left) = match order.payload {
        Some((port, _)) if !PORTS.contains(&port) => (None, Some(Left::Port)),
        Some((_, bytes)) if bytes.len() > room => (None, Some(Left::TooLong { bytes_max: room })),
        Some((_, bytes)) if bytes.len() + taken > room => (None, Some(Left::CommandsFirst)),
        payload => (payload, None),
    };
    let acknowledge = frame.confirmed && order.acknowledgement == Acknowledgement::Given;
    let wanted = acknowledge
        || frame.adr_ack_req
        || taken > 0
        || payload.is_some()
        || said.answers.iter().any(|answer| answer.wants_downlink());
    if !wanted {
        return (None, left);
    }
    let down = Down {
        acknowledge,
        adr: data_rate.is_some(),
        pending: order.more || left == Some(Left::CommandsFirst),
        confirmed: order.confirmed && payload.is_some(),
        options: commands.bytes(),
        payload,
    };
    let bytes = taken + payload.map_or(0, |(_, bytes)| bytes.len());
    let phy = down.encode(session);
    (Some(windows.reply(phy, bytes)), left)
}

/// Builds a frame for a device of class C, which listens on the channel of its second window whenever it does not send.
pub(super) fn unasked(
    session: &mut Session,
    network: &Network,
    order: &Order<'_>,
) -> Result<(Vec<u8>, Window), Left> {
    let region = network.plan.region;
    let data_rate = session.rx2_data_rate.unwrap_or(region.rx2_data_rate());
    let bytes_max = network.plan.downlink_bytes_max(data_rate);
    let Some(modulation) = region.modulation(data_rate) else {
        return Err(Left::TooLong { bytes_max: 0 });
    };
    let payload = match order.payload {
        Some((port, _)) if !PORTS.contains(&port) => return Err(Left::Port),
        Some((_, bytes)) if bytes.len() > bytes_max => return Err(Left::TooLong { bytes_max }),
        payload => payload,
    };
    if session.down_next == u32::MAX {
        return Err(Left::CounterExhausted);
    }
    let down = Down {
        acknowledge: false,
        adr: false,
        pending: order.more,
        confirmed: order.confirmed && payload.is_some(),
        options: &[],
        payload,
    };
    let frequency_hz = region.rx2_frequency_hz();
    Ok((down.encode(session), Window { delay: Duration::ZERO, frequency_hz, modulation }))
}

/// Answers what the device asked.
fn reply_to(said: &Said, heard: &Heard, order: &Order<'_>, commands: &mut Commands) {
    if said.link_check {
        commands.link_check(margin_db(heard), heard.gateways.max(1));
    }
    if let Some(unix_ms) = order.unix_ms.filter(|_| said.device_time) {
        commands.device_time(unix_ms);
    }
    if order.status_wanted {
        commands.status();
    }
}

/// Returns how many whole dB a frame was above what could just be demodulated.
fn margin_db(heard: &Heard) -> u8 {
    let above = heard.snr_db.zip(snr_floor_db(heard.modulation)).map_or(0.0, |(s, f)| s - f);
    (0..=254).rev().find(|db| f32::from(*db) <= above).unwrap_or(0)
}

/// Asks for the profile's data rate and the network's channels, until the device has answered.
fn ask(
    session: &mut Session,
    data_rate: Option<u8>,
    frame: &DataUp<'_>,
    heard: &Heard,
    network: &Network,
    commands: &mut Commands,
) {
    let Some(uplink) = network.plan.region.uplink_data_rate(heard.modulation) else { return };
    let wanted = data_rate.filter(|wanted| frame.adr && *wanted != uplink);
    let sub_band =
        network.sub_band.filter(|band| *band < 8 && !network.plan.region.takes_channels());
    if session.settled || session.asked >= ASKED_MAX || (wanted.is_none() && sub_band.is_none()) {
        return;
    }
    let data_rate = wanted.unwrap_or(uplink).min(15);
    let asked = match sub_band {
        // All 125 kHz channels off and one of 500 kHz on, then the eight of the sub-band on: RP002-1.0.4 §2.5.5.
        Some(band) => commands.link_adr(&[
            LinkAdr { data_rate, mask: 1 << band, mask_control: 7 },
            LinkAdr { data_rate, mask: 0xFF << (band % 2 * 8), mask_control: band / 2 },
        ]),
        // All channels that the device has: RP002-1.0.4 §2.4.5.
        None => commands.link_adr(&[LinkAdr { data_rate, mask: 0xFFFF, mask_control: 6 }]),
    };
    session.asked += u8::from(asked);
}

/// A data frame to a device: LoRaWAN 1.0.3 §4.
#[allow(clippy::struct_excessive_bools, reason = "they are the bits of one octet on the air")]
struct Down<'a> {
    acknowledge: bool,
    adr: bool,
    pending: bool,
    confirmed: bool,
    options: &'a [u8],
    payload: Option<(u8, &'a [u8])>,
}

impl Down<'_> {
    /// Encrypts and signs it with the session's next counter, which is used up.
    fn encode(&self, session: &mut Session) -> Vec<u8> {
        let counter = session.down_next;
        session.down_next += 1;
        session.awaiting_ack |= self.confirmed;
        let course = Course { direction: Direction::Down, dev_addr: session.dev_addr, counter };
        let options_length = u8::try_from(self.options.len()).unwrap_or(0);
        let control = u8::from(self.adr) << 7
            | u8::from(self.acknowledge) << 5
            | u8::from(self.pending) << 4
            | options_length;
        let [low, high, ..] = counter.to_le_bytes();
        let mut phy = vec![if self.confirmed { 0xA0 } else { 0x60 }];
        phy.extend(session.dev_addr.0.to_le_bytes());
        phy.extend([control, low, high]);
        phy.extend(self.options);
        if let Some((port, bytes)) = self.payload {
            phy.push(port);
            let mut payload = bytes.to_vec();
            session.app_s_key.crypt(course, &mut payload);
            phy.extend(payload);
        }
        phy.extend(session.nwk_s_key.data_mic(course, &phy));
        phy
    }
}
