//! Field nodes with their own firmware (`hardware/field-node`) on simulated chips: what stands in the field is the very
//! logic that a microcontroller runs, on the air's clock.

use super::air::{Air, AirDelay, AirInterface, AirSpi, ChipKind, Position};
use kengele_field_node::airtime::Modulation;
use kengele_field_node::app::{App, StartError};
use kengele_field_node::event::Measured;
use kengele_field_node::filter::{Filter, Gather, Raw};
use kengele_field_node::flash::{FlashFault, MemoryFlash};
use kengele_field_node::plan::{Confirm, Listening, Plan, Siren};
use kengele_field_node::radio::{Driver, NoSuchModulation};
use kengele_field_node::runner::{Board, run};
use kengele_field_node::sealed::{Boot, CodeError, Field, Provisioning, Schema, SchemaError};
use lora_phy::LoRa;
use lora_phy::mod_params::RadioError;
use lora_phy::sx126x::{Config, Sx126x, Sx1262};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;

/// What a sensor says at a moment since the beginning of the air, in its quantity's own unit; nothing where it is silent.
/// The first argument is the field's place in the report.
pub type Sensors = Arc<dyn Fn(usize, Duration) -> Option<f64> + Send + Sync>;

/// A field node: what is built, and where it stands.
#[derive(Clone)]
pub struct FieldNode {
    /// What it is called here.
    pub name: String,
    /// The code that `kengele node add` shows.
    pub code: String,
    /// Where it stands.
    pub position: Position,
    /// What its report holds: number of the quantity in `docs/formats/wf1.md`, minimum and step in thousandths, bits.
    pub report: Vec<(u8, i32, u32, u8)>,
    /// What its sensors say.
    pub sensors: Sensors,
    /// Reports so often.
    pub interval: Duration,
    /// Whether it asks for acknowledgements, and keeps what has none.
    pub confirms: bool,
    /// Whether it always listens; else behind its own frames.
    pub always_listens: bool,
    /// Whether a siren hangs on it.
    pub has_siren: bool,
    /// Channel, Hz.
    pub frequency_hz: u32,
    /// Spreading factor, at 125 kHz.
    pub spreading_factor: u8,
    /// Any number that other nodes do not have.
    pub seed: u64,
    /// So long after it is put up it is switched on.
    pub switched_on_after: Duration,
}

/// What can be seen of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which node.
    pub node: String,
    /// When, from the beginning of the air.
    pub at: Duration,
    /// Its siren sounds, or does not any more.
    pub sounds: bool,
}

/// Where what can be seen of nodes is told. Clones tell the same watcher.
#[derive(Clone, Debug)]
pub struct Watch {
    sights: mpsc::Sender<Seen>,
    missed: Arc<AtomicU64>,
}

impl Watch {
    /// Makes one on which so many sights may wait to be looked at.
    #[must_use]
    pub fn of(sights_max: usize) -> (Self, mpsc::Receiver<Seen>) {
        let (sights, seen) = mpsc::channel(sights_max);
        (Self { sights, missed: Arc::default() }, seen)
    }

    /// Returns how many sights nobody saw, because too many waited or the watcher had gone.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn tell(&self, seen: Seen) {
        if self.sights.try_send(seen).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Why a node does not live.
#[derive(Debug, Error)]
pub enum Error {
    /// Its code is none.
    #[error("{0}")]
    Code(CodeError),
    /// Its report cannot be.
    #[error("{0}")]
    Report(SchemaError),
    /// Its flash is broken.
    #[error("the node's flash is broken")]
    Flash(FlashFault),
    /// It does not begin.
    #[error("the node does not begin: {0:?}")]
    Start(StartError),
    /// Its radio does not begin.
    #[error("the node's radio does not begin: {0:?}")]
    Radio(RadioError),
    /// Its radio has no such channel.
    #[error("the node's radio has no such spreading factor or frequency")]
    Channel,
}

impl From<NoSuchModulation> for Error {
    fn from(NoSuchModulation: NoSuchModulation) -> Self {
        Self::Channel
    }
}

/// The board of a simulated node.
struct Desk {
    air: Air,
    began: Duration,
    name: String,
    sensors: Sensors,
    watch: Watch,
}

impl Board for Desk {
    fn now_ms(&self) -> u64 {
        let up = self.air.now().saturating_sub(self.began);
        u64::try_from(up.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_until(&self, until_ms: u64) {
        self.air.sleep(Duration::from_millis(until_ms.saturating_sub(self.now_ms()))).await;
    }

    async fn measure(&mut self, plan: &Plan<'_>) -> Measured {
        let mut measured = Measured { battery_mv: 3_710, ..Measured::default() };
        for (place, filter) in plan.filters.iter().enumerate() {
            let raw = (self.sensors)(place, self.air.now()).map_or(Raw::Silent, |value| {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "thousandths of a sensor's value"
                )]
                Raw::Milli((value * 1000.0).round() as i32)
            });
            measured.push(place, raw, filter);
        }
        measured
    }

    fn switch(&mut self, on: bool) {
        let (node, at) = (self.name.clone(), self.air.now());
        // Who looks away misses it; the siren sounds all the same.
        self.watch.tell(Seen { node, at, sounds: on });
    }

    fn feed(&self) {}
}

type Radio = LoRa<Sx126x<AirSpi, AirInterface, Sx1262>, AirDelay>;

/// Lets a node live on an air, for ever.
///
/// # Errors
///
/// Why it does not begin.
///
/// # Cancel safety
///
/// Dropping it is taking its battery out; what was in its flash is lost.
pub async fn live(air: &Air, node: FieldNode, watch: Watch) -> Result<Infallible, Error> {
    let provisioning = Provisioning::from_code(&node.code).map_err(Error::Code)?;
    let field = |&(quantity, min_milli, step_milli, bits): &(u8, i32, u32, u8)| Field {
        quantity,
        min_milli,
        step_milli,
        bits,
    };
    let fields: Vec<Field> = node.report.iter().map(field).collect();
    let schema = Schema::new(&fields).map_err(Error::Report)?;
    let filter = |field: &Field| Filter {
        gather: Gather::Last,
        samples: 1,
        possible_milli: [field.min_milli, field.max_milli().unwrap_or(i32::MAX)],
        change_milli: None,
    };
    let filters: Vec<Filter> = fields.iter().map(filter).collect();
    let interval_s = u16::try_from(node.interval.as_secs()).unwrap_or(u16::MAX).max(1);
    let plan = Plan {
        firmware: [0, 1],
        schema,
        filters: &filters,
        sample_s: interval_s,
        interval_s,
        modulation: Modulation { spreading_factor: node.spreading_factor, bandwidth_hz: 125_000 },
        frequency_hz: node.frequency_hz,
        power_dbm: 14,
        airtime_permille: 10,
        payload_bytes_max: 24,
        confirm: if node.confirms { Confirm::All } else { Confirm::Alarms },
        windows_ms: [1_000, 2_000],
        listening: if node.always_listens { Listening::Always } else { Listening::Windows },
        siren: node.has_siren.then_some(Siren { on_s_max: 600, test_s_max: 10 }),
    };
    air.sleep(node.switched_on_after).await;
    let chip = air.chip(ChipKind::Sx1262, node.position);
    let config = Config { chip: Sx1262, tcxo_ctrl: None, use_dcdc: true, rx_boost: true };
    let driver = Sx126x::new(chip.spi(), chip.interface(), config);
    let lora: Radio = LoRa::new(driver, false, chip.delay()).await.map_err(Error::Radio)?;
    let mut radio = Driver::new(lora, &plan)?;
    let flash = App::provision(MemoryFlash::<4, 4096>::default(), &provisioning);
    let app = App::start(plan, flash.map_err(Error::Flash)?, Boot::PowerOn, node.seed);
    let app = app.map_err(Error::Start)?;
    let (air, began, name) = (air.clone(), air.now(), node.name);
    let mut desk = Desk { air, began, name, sensors: node.sensors, watch };
    // A future of its own on the heap: the firmware's is large, and there are hundreds.
    Box::pin(run(app, &plan, &mut desk, &mut radio)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sights_that_nobody_had_time_for_are_counted() {
        let (watch, mut sights) = Watch::of(2);
        let seen = |ms| Seen { node: "honi".into(), at: Duration::from_millis(ms), sounds: true };
        for ms in 0..5 {
            watch.clone().tell(seen(ms));
        }
        assert_eq!(watch.missed(), 3);
        assert_eq!(sights.try_recv().unwrap(), seen(0));
        drop(sights);
        watch.tell(seen(9));
        assert_eq!(watch.missed(), 4);
    }
}
