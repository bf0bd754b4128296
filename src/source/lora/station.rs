//! The chip at work: listens, hands on, sends, and is begun anew when it does not answer.

use super::chip::{Bus, Chip, Circuit, Interruptible, Interruption, Pins};
use super::schedule::{Schedule, Waiting, symbol};
use super::shim::{Family, Seen, Shim};
use super::{Bus as Way, Fault, Radio, Settings, State, linked, wired};
use crate::domain::airtime::{Airtime, Verdict};
use crate::domain::frame::{Acknowledge, Envelope, Frame, Origin, Outcome, Receipt};
use crate::domain::radio::{Downlink, Hearing, Modulation, SyncWord};
use crate::domain::time::Timestamp;
use crate::source::account::Account;
use crate::supervise::Stop;
use crate::telemetry::Clock;
use bytes::Bytes;
use embedded_hal_async::delay::DelayNs;
use lora_phy::mod_params::{
    Bandwidth, CodingRate, ModulationParams, PacketParams, PacketStatus, RadioError,
    SpreadingFactor,
};
use lora_phy::mod_traits::RadioKind;
use lora_phy::sx126x::{self, DeviceSel, Sx126x, Sx126xVariant, TcxoCtrlVoltage};
use lora_phy::sx127x::{self, Sx127x, Sx1276};
use lora_phy::{LoRa, RxMode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Symbols of a preamble.
const PREAMBLE: u16 = 8;
/// A channel is felt for eight symbols; with that and the chip's own time a frame goes out so many symbols after the radio
/// has turned to it.
const FEELING_SYMBOLS: u32 = 10;
/// What the machine needs on top of that.
const MACHINE: Duration = Duration::from_millis(15);
/// How much longer than a frame's airtime the chip may take to say that it was sent, or to feel a channel.
const GRACE: Duration = Duration::from_secs(2);
/// A frame for which the channel was not free is tried again after so long, and its own airtime.
const AGAIN: Duration = Duration::from_millis(50);
/// A frame that comes in is let come to its end before anything is sent that can wait, but for so long at the most.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A chip that says nothing for so long has to show that it still works: one that lost its settings, as when its voltage
/// dips, is as silent as an empty air.
const SILENT_MAX: Duration = Duration::from_mins(10);
/// Pauses before a chip that does not answer is begun anew: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest frame.
const FRAME_MAX: usize = 255;

/// What outlives a reset of the chip.
pub(super) struct Desk {
    schedule: Schedule,
    account: Option<Account>,
    downlinks: mpsc::Receiver<Downlink>,
}

impl Desk {
    pub(super) fn new(
        settings: &Settings,
        downlinks: mpsc::Receiver<Downlink>,
        now: Timestamp,
    ) -> Self {
        let account = settings.plan.map(|plan| {
            let airtime = Airtime::new(plan, settings.antenna_dbi);
            Account::open(airtime, settings.record.clone(), now)
        });
        Self { schedule: Schedule::default(), account, downlinks }
    }
}

/// Nobody waits for the outcome at the radio; that there is a receipt makes the turn go at once.
struct Heedless;

impl Acknowledge for Heedless {
    fn settle(&self, _: u64, _: Outcome) {}
}

/// A pause on the gateway's clock.
struct Pause(Clock);

impl DelayNs for Pause {
    async fn delay_ns(&mut self, ns: u32) {
        tokio::time::sleep(self.0.real(Duration::from_nanos(u64::from(ns)))).await;
    }
}

/// An SX126x as its board has it.
struct Variant(Circuit);

impl Sx126xVariant for Variant {
    fn get_device_sel(&self) -> DeviceSel {
        match self.0.chip {
            Chip::Sx1261 => DeviceSel::LowPowerPA,
            Chip::Sx1262 | Chip::Sx1276 => DeviceSel::HighPowerPA,
        }
    }

    fn use_dio2_as_rfswitch(&self) -> bool {
        self.0.dio2_switch
    }
}

/// Works until it is told to stop.
pub(super) async fn run(radio: &Radio, desk: &mut Desk, mut stop: Stop) {
    let mut pause = PAUSE_MIN;
    loop {
        let frames = radio.counters.frames.get();
        let Err(fault) = begin(radio, desk, &mut stop).await else { return };
        let words = crate::supervise::chain(&fault);
        if !matches!(radio.counters.state(), State::Down(_)) {
            tracing::error!(
                radio = &*radio.settings.link,
                error = words,
                "the radio is begun anew"
            );
        }
        radio.counters.set_state(State::Down(words));
        radio.counters.resets.add(1);
        if radio.counters.frames.get() > frames {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Opens the chip and works with it.
async fn begin(radio: &Radio, desk: &mut Desk, stop: &mut Stop) -> Result<(), Fault> {
    match &radio.settings.bus {
        Way::Wired(wires) => {
            let (bus, pins) = wired::open(wires)?;
            drive(radio, desk, stop, Bus::Wired(bus), Pins::Wired(Box::new(pins))).await
        }
        Way::Linked(path) => {
            let (bus, pins, ear) = linked::connect(path).await?;
            tokio::select! {
                done = drive(radio, desk, stop, Bus::Linked(bus), Pins::Linked(pins)) => done,
                broken = ear.listen() => Err(Fault::Link(broken)),
            }
        }
    }
}

async fn drive(
    radio: &Radio,
    desk: &mut Desk,
    stop: &mut Stop,
    bus: Bus,
    pins: Pins,
) -> Result<(), Fault> {
    let circuit = radio.settings.circuit;
    let (seen, interruption) = (Arc::new(Seen::default()), Arc::new(Interruption::default()));
    let pins = Interruptible { pins, interruption: Arc::clone(&interruption) };
    let delay = Pause(radio.clock.clone());
    let tools = (seen.clone(), interruption);
    match circuit.chip {
        Chip::Sx1261 | Chip::Sx1262 => {
            let bus = Shim::new(bus, Family::Sx126x, seen);
            let tcxo_ctrl = circuit.tcxo_mv.map(tcxo);
            let config = sx126x::Config {
                chip: Variant(circuit),
                tcxo_ctrl,
                use_dcdc: true,
                rx_boost: true,
            };
            let lora = LoRa::new(Sx126x::new(bus, pins, config), false, delay).await;
            Station::new(lora.map_err(Fault::Driver)?, radio, tools)?.work(desk, stop).await
        }
        Chip::Sx1276 => {
            let slow_symbols = symbol(radio.settings.modulation) >= Duration::from_millis(16);
            let bus = Shim::new(bus, Family::Sx127x { slow_symbols }, seen);
            let config = sx127x::Config {
                chip: Sx1276,
                tcxo_used: circuit.tcxo_mv.is_some(),
                tx_boost: true,
                rx_boost: true,
            };
            let lora = LoRa::new(Sx127x::new(bus, pins, config), false, delay).await;
            Station::new(lora.map_err(Fault::Driver)?, radio, tools)?.work(desk, stop).await
        }
    }
}

/// Why listening ended.
enum Ended {
    Heard(usize, PacketStatus),
    Damaged,
    SomethingIsDue,
    LongSilent,
    Stopped,
}

/// A chip that answers, on its channel.
struct Station<'a, RK: RadioKind> {
    lora: LoRa<RK, Pause>,
    radio: &'a Radio,
    seen: Arc<Seen>,
    interruption: Arc<Interruption>,
    channel: ModulationParams,
    hears: PacketParams,
    buffer: [u8; FRAME_MAX],
}

impl<'a, RK: RadioKind> Station<'a, RK> {
    fn new(
        mut lora: LoRa<RK, Pause>,
        radio: &'a Radio,
        (seen, interruption): (Arc<Seen>, Arc<Interruption>),
    ) -> Result<Self, Fault> {
        let Settings { frequency_hz, modulation, .. } = radio.settings;
        let channel = tuned(&mut lora, frequency_hz, modulation)?;
        let hears = lora.create_rx_packet_params(PREAMBLE, false, 255, true, false, &channel);
        let hears = hears.map_err(Fault::Driver)?;
        let buffer = [0; FRAME_MAX];
        Ok(Self { lora, radio, seen, interruption, channel, hears, buffer })
    }

    async fn work(&mut self, desk: &mut Desk, stop: &mut Stop) -> Result<(), Fault> {
        let clock = &self.radio.clock;
        let mut in_doubt = false;
        loop {
            while let Some(waiting) = desk.schedule.take(self.lead(), clock.now()) {
                self.send(waiting, desk).await?;
            }
            if in_doubt {
                self.prove().await?;
            }
            self.lora
                .prepare_for_rx(RxMode::Continuous, &self.channel, &self.hears)
                .await
                .map_err(Fault::Driver)?;
            self.seen.expect_nothing();
            self.radio.counters.set_state(State::Listening);
            in_doubt = loop {
                let ended = self.listen(desk, stop).await?;
                self.radio.counters.damaged.add(self.seen.take_damaged());
                match ended {
                    Ended::Heard(length, status) => self.hand_on(length, status),
                    Ended::Damaged => self.radio.counters.damaged.add(1),
                    Ended::SomethingIsDue => break false,
                    Ended::LongSilent => break true,
                    Ended::Stopped => return Ok(()),
                }
            };
        }
    }

    /// How long before a frame goes out the radio turns to it.
    fn lead(&self) -> Duration {
        let factor = 1.0 / self.radio.clock.real(Duration::from_secs(1)).as_secs_f64();
        symbol(self.radio.settings.modulation) * FEELING_SYMBOLS + MACHINE.mul_f64(factor)
    }

    /// Listens until something is heard, something is due, or nothing was heard for long.
    async fn listen(&mut self, desk: &mut Desk, stop: &mut Stop) -> Result<Ended, Fault> {
        let lead = self.lead();
        let clock = &self.radio.clock;
        let silent_until = clock.now() + SILENT_MAX;
        let channel = (self.radio.settings.frequency_hz, self.radio.settings.modulation);
        self.interruption.set_listens(true);
        let rx = self.lora.rx(&self.hears, &mut self.buffer);
        tokio::pin!(rx);
        let (mut asked, mut stopping, mut not_before) = (false, false, None);
        let result = loop {
            let since = desk.schedule.next(lead).map_or(silent_until, |at| at.min(silent_until));
            let due = Some(since).max(not_before);
            tokio::select! {
                biased;
                result = &mut rx => break result,
                () = stop.wait(), if !stopping => {
                    stopping = true;
                    self.interruption.ask();
                }
                Some(downlink) = desk.downlinks.recv(), if !asked => {
                    if !desk.schedule.add(downlink, channel, lead, clock.now()) {
                        self.radio.counters.late.add(1);
                    }
                }
                () = clock.sleep_until(due), if !asked => {
                    if self.seen.is_receiving() && clock.now().since(since) < PATIENCE {
                        not_before = Some(clock.now() + LOOK_EVERY);
                    } else {
                        asked = true;
                        self.interruption.ask();
                    }
                }
            }
        };
        self.interruption.set_listens(false);
        match result {
            Ok((length, status)) => Ok(Ended::Heard(usize::from(length), status)),
            Err(RadioError::Irq) if stopping => Ok(Ended::Stopped),
            Err(RadioError::Irq) if clock.now() >= silent_until => Ok(Ended::LongSilent),
            Err(RadioError::Irq) => Ok(Ended::SomethingIsDue),
            Err(RadioError::OpError(_) | RadioError::PayloadSizeMismatch(..)) => Ok(Ended::Damaged),
            Err(error) => Err(Fault::Driver(error)),
        }
    }

    fn hand_on(&self, length: usize, status: PacketStatus) {
        let Radio { settings, clock, frames, counters } = self.radio;
        let at = clock.now();
        counters.set_heard(at);
        let hearing = Hearing {
            link: Arc::clone(&settings.link),
            sync_word: SyncWord::Private,
            gateway: 0,
            tmst: 0,
            at,
            frequency_hz: settings.frequency_hz,
            modulation: settings.modulation,
            snr_db: Some(f64::from(status.snr)),
            rssi_dbm: Some(f64::from(status.rssi)),
            gateways: 1,
        };
        let bytes = self.buffer.get(..length).unwrap_or_default();
        let frame = Frame {
            origin: Origin::Radio(Arc::new(hearing)),
            payload: Bytes::copy_from_slice(bytes),
            redelivered: false,
        };
        let receipt = Some(Receipt::new(Arc::new(Heedless), 0));
        match frames.try_send(Envelope { frame, receipt }) {
            Ok(()) => counters.frames.add(1),
            // A node that waits for its acknowledgement says it again.
            Err(_) => counters.dropped.add(1),
        }
    }

    /// Lets the chip show that it works: what feels a channel, and says so, is set for LoRa and has its interrupt.
    async fn prove(&mut self) -> Result<(), Fault> {
        let Settings { frequency_hz, modulation, .. } = self.radio.settings;
        let channel = tuned(&mut self.lora, frequency_hz, modulation)?;
        self.is_busy(&channel).await.map(drop)
    }

    /// Leaves an answer to its other window, or counts it as late.
    fn miss(&self, waiting: Waiting, desk: &mut Desk) {
        if !desk.schedule.put_back(waiting, self.radio.clock.now()) {
            self.radio.counters.late.add(1);
        }
    }

    /// Sends a frame, if the plan and the others on the air let it.
    async fn send(&mut self, waiting: Waiting, desk: &mut Desk) -> Result<(), Fault> {
        let Radio { settings, clock, counters, .. } = self.radio;
        // Another frame may have gone out all the while.
        if waiting.is_missed(clock.now()) {
            self.miss(waiting, desk);
            return Ok(());
        }
        let (hz, modulation, bytes) = (waiting.frequency_hz, waiting.modulation, waiting.phy.len());
        let goes_at = clock.now().max(waiting.at);
        let verdict = desk
            .account
            .as_ref()
            .map(|account| account.airtime().ask(hz, modulation, bytes, waiting.urgency, goes_at));
        let power_dbm = match verdict {
            Some(Verdict::Now { power_dbm }) => power_dbm,
            Some(Verdict::Wait(at)) => {
                if !desk.schedule.put_back(waiting, at) {
                    counters.held.add(1);
                }
                return Ok(());
            }
            Some(Verdict::Never(_)) | None => {
                counters.held.add(1);
                tracing::warn!(?verdict, "a frame may not be sent");
                return Ok(());
            }
        };
        let params = tuned(&mut self.lora, hz, modulation)?;
        if self.is_busy(&params).await? {
            counters.busy.add(1);
            let again = clock.now() + AGAIN + modulation.time_on_air(bytes, true);
            if !desk.schedule.put_back(waiting, again) {
                counters.late.add(1);
            }
            return Ok(());
        }
        #[expect(clippy::cast_possible_truncation, reason = "tens of dBm")]
        let power = (power_dbm.floor() as i32).min(settings.power_dbm);
        let power = power.saturating_sub(settings.circuit.amplifier_db);
        let power = power.min(settings.circuit.power_max_dbm);
        let sends = self.lora.create_tx_packet_params(PREAMBLE, false, true, false, &params);
        let mut sends = sends.map_err(Fault::Driver)?;
        self.lora
            .prepare_for_tx(&params, &mut sends, power, &waiting.phy)
            .await
            .map_err(Fault::Driver)?;
        let now = clock.now().max(waiting.at);
        if let Some(account) = &mut desk.account {
            account.book(hz, modulation, bytes, now);
        }
        clock.sleep_until(Some(waiting.at)).await;
        if waiting.is_missed(clock.now()) {
            self.miss(waiting, desk);
            return Ok(());
        }
        let air = clock.real(modulation.time_on_air(bytes, true));
        let sent = timeout(air + GRACE, self.lora.tx()).await;
        sent.map_err(|_| Fault::Silent)?.map_err(Fault::Driver)?;
        counters.sent.add(1);
        let share = desk.account.as_ref().and_then(|account| account.airtime().share(hz, now));
        counters.set_share(share);
        Ok(())
    }

    /// Feels whether somebody else is on the air.
    async fn is_busy(&mut self, channel: &ModulationParams) -> Result<bool, Fault> {
        self.lora.prepare_for_cad(channel).await.map_err(Fault::Driver)?;
        let felt = timeout(GRACE, self.lora.cad(channel)).await;
        felt.map_err(|_| Fault::Silent)?.map_err(Fault::Driver)
    }
}

fn tuned<RK: RadioKind>(
    lora: &mut LoRa<RK, Pause>,
    frequency_hz: u32,
    modulation: Modulation,
) -> Result<ModulationParams, Fault> {
    let Modulation::Lora { spreading_factor, bandwidth_hz } = modulation else {
        return Err(Fault::Modulation);
    };
    let factor = match spreading_factor {
        7 => SpreadingFactor::_7,
        8 => SpreadingFactor::_8,
        9 => SpreadingFactor::_9,
        10 => SpreadingFactor::_10,
        11 => SpreadingFactor::_11,
        12 => SpreadingFactor::_12,
        _ => return Err(Fault::Modulation),
    };
    let bandwidth = match bandwidth_hz {
        125_000 => Bandwidth::_125KHz,
        250_000 => Bandwidth::_250KHz,
        500_000 => Bandwidth::_500KHz,
        _ => return Err(Fault::Modulation),
    };
    lora.create_modulation_params(factor, bandwidth, CodingRate::_4_5, frequency_hz)
        .map_err(Fault::Driver)
}

/// Returns the step of DIO3's voltage that is the nearest above, so that the TCXO starts.
fn tcxo(millivolts: u16) -> TcxoCtrlVoltage {
    match millivolts {
        ..=1600 => TcxoCtrlVoltage::Ctrl1V6,
        1601..=1700 => TcxoCtrlVoltage::Ctrl1V7,
        1701..=1800 => TcxoCtrlVoltage::Ctrl1V8,
        1801..=2200 => TcxoCtrlVoltage::Ctrl2V2,
        2201..=2400 => TcxoCtrlVoltage::Ctrl2V4,
        2401..=2700 => TcxoCtrlVoltage::Ctrl2V7,
        2701..=3000 => TcxoCtrlVoltage::Ctrl3V0,
        3001.. => TcxoCtrlVoltage::Ctrl3V3,
    }
}
