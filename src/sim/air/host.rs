//! Where hosts reach the air: chips with a bus and pins, on tokio time.

use super::attack::{Attacker, Deeds};
use super::ether::{Conditions, Jammer};
use super::log::{Event, Tally};
use super::medium::Medium;
use super::signal::Position;
use super::silicon::{Faults, Silicon};
use super::sx126x::Sx126x;
use super::sx126x_bus::Board;
use super::sx127x::Sx127x;
use super::witness::{Limit, Testimony};
use super::{ChipId, ChipKind};
use crate::wire::chip_link::{self, Pins, Switch};
use embedded_hal::spi::{ErrorType, Operation};
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::spi::SpiDevice;
use lora_phy::mod_params::RadioError;
use lora_phy::mod_traits::InterfaceVariant;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often those who wait look whether the one who sleeps for all of them does so.
const OVERSIGHT_EVERY: Duration = Duration::from_secs(1);

/// How late that one may be.
const OVERSIGHT_GRACE: Duration = Duration::from_millis(20);

struct Shared {
    medium: Mutex<Medium>,
    /// One for each chip: its pins changed.
    changed: Mutex<Vec<Arc<Notify>>>,
    /// Whoever holds this sleeps until something is due, for all who wait.
    driver: tokio::sync::Mutex<()>,
    /// Something became due sooner.
    sooner: Notify,
    began: Instant,
    speed: f64,
}

/// A stretch of land and everything that sends on it. Clones are the same air.
#[derive(Clone)]
pub struct Air(Arc<Shared>);

/// An emulated chip. Clones are the same chip.
#[derive(Clone)]
pub struct Chip {
    air: Air,
    id: ChipId,
    changed: Arc<Notify>,
    switch: Arc<Mutex<Switch>>,
    kind: ChipKind,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Air {
    /// Makes a quiet air, at the pace of tokio's clock; to be called within a tokio runtime.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::new(seed, Conditions::default(), 1.0)
    }

    /// Makes an air on which time goes `times_faster` times as fast as tokio's clock (at least a thousandth); to be
    /// called within a tokio runtime.
    #[must_use]
    pub fn new(seed: u64, conditions: Conditions, times_faster: f64) -> Self {
        Self(Arc::new(Shared {
            medium: Mutex::new(Medium::new(seed, conditions)),
            changed: Mutex::new(Vec::new()),
            driver: tokio::sync::Mutex::new(()),
            sooner: Notify::new(),
            began: Instant::now(),
            speed: times_faster.max(0.001),
        }))
    }

    /// Adds a chip at a place.
    #[must_use]
    pub fn chip(&self, kind: ChipKind, position: Position) -> Chip {
        let now = self.now();
        let silicon: Box<dyn Silicon> = match kind {
            ChipKind::Sx1261 | ChipKind::Sx1262 => {
                Box::new(Sx126x::new(Board { tcxo: false }, now))
            }
            ChipKind::Sx1262Tcxo => Box::new(Sx126x::new(Board { tcxo: true }, now)),
            ChipKind::Sx1276 => Box::new(Sx127x::new()),
        };
        let changed = Arc::new(Notify::new());
        let id = self.with(|medium, _| {
            locked(&self.0.changed).push(changed.clone());
            medium.add(silicon, position)
        });
        Chip { air: self.clone(), id, changed, switch: Arc::default(), kind }
    }

    /// Returns the time on the air, from its beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.began.elapsed().mul_f64(self.0.speed)
    }

    /// Waits for so long on the air's own clock.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn sleep(&self, long: Duration) {
        let until = self.now() + long;
        while self.now() < until {
            tokio::time::sleep(self.real(until.saturating_sub(self.now()))).await;
        }
        self.with(|_, _| ());
    }

    /// Adds an attacker.
    pub fn attack(&self, attacker: Attacker) {
        self.with(|medium, _| medium.attack(attacker));
    }

    /// Adds a source of noise.
    pub fn jam(&self, jammer: Jammer) {
        self.with(|medium, now| medium.ether.jam(jammer, now));
    }

    /// Has the witness watch a limit from now on, and returns the limit's number.
    #[must_use]
    pub fn watch(&self, limit: Limit) -> usize {
        self.with(|medium, _| medium.witness.watch(limit))
    }

    /// Returns what the witness knows about a chip under a limit.
    #[must_use]
    pub fn testimony(&self, chip: ChipId, limit: usize) -> Testimony {
        self.with(|medium, _| medium.witness.testimony(chip, limit))
    }

    /// Changes the conditions from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.with(|medium, _| medium.ether.conditions = conditions);
    }

    /// Returns what happened so far, oldest first, as far as the log reaches.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.with(|medium, _| medium.log.entries.iter().cloned().collect())
    }

    /// Returns the SHA-256 of all that happened so far.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.with(|medium, _| medium.log.digest())
    }

    /// Returns what each chip sent, heard and missed so far; those that did nothing are absent.
    #[must_use]
    pub fn tallies(&self) -> BTreeMap<ChipId, Tally> {
        self.with(|medium, _| medium.log.tallies.clone())
    }

    /// Returns what attackers did so far.
    #[must_use]
    pub fn deeds(&self) -> Deeds {
        self.with(|medium, _| medium.deeds)
    }

    /// Returns how many frames and jammers the air had no room for.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.with(|medium, _| medium.ether.refused)
    }

    fn real(&self, long: Duration) -> Duration {
        // A nanosecond more than asked for, so that rounding never wakes too early.
        long.div_f64(self.0.speed) + Duration::from_nanos(1)
    }

    /// Brings the air up to now, works on it, and tells hosts whose pins changed.
    fn with<T>(&self, work: impl FnOnce(&mut Medium, Duration) -> T) -> T {
        let (done, news, sooner) = {
            let mut medium = locked(&self.0.medium);
            let now = self.now();
            let mut news = medium.advance(now);
            let before = medium.deadline();
            let done = work(&mut medium, now);
            news.extend(medium.advance(now));
            let after = medium.deadline();
            (done, news, after != before)
        };
        if !news.is_empty() {
            let changed = locked(&self.0.changed);
            for chip in news {
                if let Some(notify) = changed.get(chip) {
                    notify.notify_waiters();
                }
            }
        }
        if sooner {
            self.0.sooner.notify_waiters();
        }
        done
    }

    /// Moves the air on until it is dropped: one of all who wait sleeps for all of them. Returns when that one does not, because
    /// its own future is kept and not polled.
    async fn drive(&self) {
        let _turn = tokio::select! {
            biased;
            turn = self.0.driver.lock() => turn,
            () = self.overdue() => return,
        };
        loop {
            let sooner = self.0.sooner.notified();
            tokio::pin!(sooner);
            sooner.as_mut().enable();
            match self.with(|medium, _| medium.deadline()) {
                Some(at) => {
                    let wait = self.real(at.saturating_sub(self.now()));
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(wait) => {}
                        () = sooner => {}
                    }
                }
                None => sooner.await,
            }
        }
    }
}

impl Air {
    /// Waits until something should have been done for a while.
    async fn overdue(&self) {
        loop {
            let sooner = self.0.sooner.notified();
            tokio::pin!(sooner);
            sooner.as_mut().enable();
            let deadline = locked(&self.0.medium).deadline();
            match deadline {
                Some(at) => {
                    let wait = self.real(at.saturating_sub(self.now()));
                    tokio::time::sleep(wait.min(OVERSIGHT_EVERY) + OVERSIGHT_GRACE).await;
                    if locked(&self.0.medium).deadline().is_some_and(|at| at <= self.now()) {
                        return;
                    }
                }
                None => sooner.await,
            }
        }
    }
}

impl Chip {
    /// Returns the chip's number.
    #[must_use]
    pub const fn id(&self) -> ChipId {
        self.id
    }

    /// Returns which chip it is.
    #[must_use]
    pub const fn kind(&self) -> ChipKind {
        self.kind
    }

    /// Returns the air that it stands in.
    #[must_use]
    pub const fn air(&self) -> &Air {
        &self.air
    }

    /// Returns the chip's bus for a driver.
    #[must_use]
    pub fn spi(&self) -> AirSpi {
        AirSpi { chip: self.clone() }
    }

    /// Returns the chip's pins for lora-phy: of an SX127x, DIO0 and DIO1 both count as the interrupt.
    #[must_use]
    pub fn interface(&self) -> AirInterface {
        AirInterface { chip: self.clone(), dio1: true, latency: Duration::ZERO }
    }

    /// Returns the chip's pins for lora-phy on a board that leads DIO0 of an SX127x alone to the host.
    #[must_use]
    pub fn interface_without_dio1(&self) -> AirInterface {
        AirInterface { chip: self.clone(), dio1: false, latency: Duration::ZERO }
    }

    /// Returns a delay on the air's own clock.
    #[must_use]
    pub fn delay(&self) -> AirDelay {
        AirDelay { air: self.air.clone() }
    }

    /// Clocks bytes between two edges of NSS, and returns as many.
    #[must_use]
    pub fn transfer(&self, mosi: &[u8]) -> Vec<u8> {
        self.air.with(|medium, now| medium.transfer(self.id, mosi, now))
    }

    /// Pulls NRESET for a moment.
    pub fn reset(&self) {
        self.air.with(|medium, now| medium.reset(self.id, now));
    }

    /// Returns the levels of the chip's outputs.
    #[must_use]
    pub fn pins(&self) -> Pins {
        self.air.with(|medium, now| medium.pins(self.id, now))
    }

    /// Returns where the antenna's switch stands.
    #[must_use]
    pub fn switch(&self) -> Switch {
        *locked(&self.switch)
    }

    /// Moves the antenna's switch. The emulated chip sends and hears whatever it says; the host's mistakes show here.
    pub fn set_switch(&self, switch: Switch) {
        *locked(&self.switch) = switch;
    }

    /// Carries the chip to another place.
    pub fn move_to(&self, position: Position) {
        self.air.with(|medium, _| medium.move_to(self.id, position));
    }

    /// Has the chip miss this share of frames without cause, whatever the conditions say; none gives it back to them. So the
    /// way to a node may be bad while the way from it is good.
    pub fn set_loss(&self, share: Option<f64>) {
        self.air.with(|medium, _| medium.set_loss(self.id, share));
    }

    /// Returns what the host did that the chip does not forgive, or that is not modelled.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let found = self.air.with(|medium, _| medium.with_faults(self.id, |faults| faults.clone()));
        found.unwrap_or_default()
    }

    /// Waits until the pins are as wanted, and returns them.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn wait_for(&self, wanted: impl Fn(Pins) -> bool) -> Pins {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let pins = self.pins();
            if wanted(pins) {
                return pins;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.air.drive() => {}
            }
        }
    }
}

/// A chip's bus.
pub struct AirSpi {
    chip: Chip,
}

impl ErrorType for AirSpi {
    type Error = Infallible;
}

impl SpiDevice<u8> for AirSpi {
    async fn transaction(
        &mut self,
        operations: &mut [Operation<'_, u8>],
    ) -> Result<(), Infallible> {
        let miso = self.chip.transfer(&chip_link::mosi(operations));
        chip_link::spread(&miso, operations);
        Ok(())
    }
}

/// A chip's pins, as lora-phy asks for them.
pub struct AirInterface {
    chip: Chip,
    dio1: bool,
    latency: Duration,
}

impl AirInterface {
    /// Has the host look at an interrupt so long after it came: a computer that is busy with other things.
    #[must_use]
    pub fn looking_late(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }
}

impl InterfaceVariant for AirInterface {
    async fn reset(&mut self, delay: &mut impl DelayNs) -> Result<(), RadioError> {
        self.chip.reset();
        // Until the chip is up: SX1276 data sheet §7.2.2 asks for 5 ms, the SX126x shows it on BUSY.
        delay.delay_ms(5).await;
        Ok(())
    }

    async fn wait_on_busy(&mut self) -> Result<(), RadioError> {
        self.chip.wait_for(|pins| !pins.busy).await;
        Ok(())
    }

    async fn await_irq(&mut self) -> Result<(), RadioError> {
        let dio1 = self.dio1;
        self.chip.wait_for(|pins| pins.irq || (dio1 && pins.dio1)).await;
        if !self.latency.is_zero() {
            self.chip.air.sleep(self.latency).await;
        }
        Ok(())
    }

    async fn enable_rf_switch_rx(&mut self) -> Result<(), RadioError> {
        self.chip.set_switch(Switch::Receive);
        Ok(())
    }

    async fn enable_rf_switch_tx(&mut self) -> Result<(), RadioError> {
        self.chip.set_switch(Switch::Transmit);
        Ok(())
    }

    async fn disable_rf_switch(&mut self) -> Result<(), RadioError> {
        self.chip.set_switch(Switch::Off);
        Ok(())
    }
}

/// A delay on the air's clock.
#[derive(Clone)]
pub struct AirDelay {
    air: Air,
}

impl DelayNs for AirDelay {
    async fn delay_ns(&mut self, ns: u32) {
        self.air.sleep(Duration::from_nanos(u64::from(ns))).await;
    }
}
