//! The board's clock, sensors, relay and watchdog.

use crate::Interrupts;
use crate::plan::{BATTERY, HUMIDITY, LEVEL, RAIN, RAIN_UM_A_TIP, RANGER_HEIGHT_MM, TEMPERATURE};
use core::cell::Cell;
use core::cell::RefCell;
use critical_section::Mutex;
use embassy_nrf::Peri;
use embassy_nrf::gpio::Output;
use embassy_nrf::peripherals::{P0_05, P0_13, P0_14, P0_15, SAADC, TWISPI0, UARTE1};
use embassy_nrf::saadc::{self, ChannelConfig, Saadc};
use embassy_nrf::wdt::WatchdogHandle;
use embassy_nrf::{twim, uarte};
use embassy_time::{Delay, Duration, Instant, Timer, with_timeout};
use kengele_field_node::event::Measured;
use kengele_field_node::filter::Raw;
use kengele_field_node::plan::Plan;
use kengele_field_node::runner::Board;
use kengele_field_node::sensor::adc::millivolts;
use kengele_field_node::sensor::sht;
use kengele_field_node::sensor::ultrasonic::{SerialRanger, level};

/// Tips of the bucket since the last measurement.
pub(crate) static TIPS: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));

/// A HRXL-MaxSonar-WR is ready 160 ms after its power, and measures every 148 ms: data sheet, sensor timing.
const RANGER_START_MS: u64 = 200;
/// After so long a silent ranger is given up.
const RANGER_MS_MAX: u64 = 2_500;
/// What it says when nothing answers: a MB7389 (5 m).
const RANGER_NOTHING_MM: u32 = 5_000;
/// The ADC's full scale, mV: reference 0.6 V, gain 1/6.
const ADC_REFERENCE_MV: u32 = 3_600;
/// The board's divider before the battery pin, 1 MΩ over 1.5 MΩ.
const BATTERY_DIVIDER: [u32; 2] = [5, 3];

/// What the desk is made of.
pub(crate) struct Parts {
    pub(crate) ranger: Peri<'static, UARTE1>,
    pub(crate) ranger_rx: Peri<'static, P0_15>,
    pub(crate) climate: Peri<'static, TWISPI0>,
    pub(crate) sda: Peri<'static, P0_13>,
    pub(crate) scl: Peri<'static, P0_14>,
    pub(crate) adc: Peri<'static, SAADC>,
    pub(crate) battery: Peri<'static, P0_05>,
    pub(crate) sensors_power: Output<'static>,
    pub(crate) relay: Output<'static>,
}

pub(crate) struct Desk {
    parts: Parts,
    watchdog: RefCell<WatchdogHandle>,
}

/// Returns the uptime, ms.
pub(crate) fn now_ms() -> u64 {
    Instant::now().as_millis()
}

impl Desk {
    pub(crate) fn new(parts: Parts, watchdog: WatchdogHandle) -> Self {
        Self { parts, watchdog: RefCell::new(watchdog) }
    }

    /// Each bus lives as long as its measurement: one that is kept keeps the fast clock running.
    async fn range(&mut self, samples: u8, plan: &Plan<'_>, measured: &mut Measured) {
        let Some(filter) = plan.filters.get(LEVEL) else { return };
        let mut settings = uarte::Config::default();
        settings.baudrate = uarte::Baudrate::BAUD9600;
        let parts = &mut self.parts;
        let mut port = uarte::UarteRx::new(
            parts.ranger.reborrow(),
            Interrupts,
            parts.ranger_rx.reborrow(),
            settings,
        );
        let mut ranger = SerialRanger::new(RANGER_NOTHING_MM);
        let mut found = 0;
        let until = Instant::now() + Duration::from_millis(RANGER_MS_MAX);
        while found < samples && Instant::now() < until {
            let mut byte = [0];
            // A byte that is damaged breaks its measurement, and no more.
            if let Ok(Ok(())) = with_timeout(Duration::from_millis(300), port.read(&mut byte)).await
                && let [byte] = byte
                && let Some(raw) = ranger.byte(byte)
            {
                measured.push(LEVEL, level(RANGER_HEIGHT_MM, raw), filter);
                found += 1;
            }
        }
    }

    async fn climate(&mut self, plan: &Plan<'_>, measured: &mut Measured) {
        // Commands are a byte or two: a buffer in memory for what stands in flash.
        let mut buffer = [0; 8];
        let parts = &mut self.parts;
        let mut bus = twim::Twim::new(
            parts.climate.reborrow(),
            Interrupts,
            parts.sda.reborrow(),
            parts.scl.reborrow(),
            twim::Config::default(),
            &mut buffer,
        );
        let mut delay = Delay;
        let measure = sht::measure(sht::Model::Sht4x, &mut bus, sht::ADDRESS, &mut delay);
        let climate = with_timeout(Duration::from_millis(100), measure).await;
        let climate =
            climate.unwrap_or(sht::Climate { temperature: Raw::Silent, humidity: Raw::Silent });
        for (field, raw) in [(TEMPERATURE, climate.temperature), (HUMIDITY, climate.humidity)] {
            if let Some(filter) = plan.filters.get(field) {
                measured.push(field, raw, filter);
            }
        }
    }

    async fn battery(&mut self) -> i32 {
        let parts = &mut self.parts;
        let channel = ChannelConfig::single_ended(parts.battery.reborrow());
        let mut adc =
            Saadc::new(parts.adc.reborrow(), Interrupts, saadc::Config::default(), [channel]);
        let mut sample = [0];
        adc.sample(&mut sample).await;
        let [sample] = sample;
        // 12 bits; a pin at zero may read a little below.
        millivolts(u32::try_from(sample).unwrap_or(0), 4_096, ADC_REFERENCE_MV, BATTERY_DIVIDER)
    }
}

impl Board for Desk {
    fn now_ms(&self) -> u64 {
        now_ms()
    }

    async fn sleep_until(&self, until_ms: u64) {
        Timer::at(Instant::from_millis(until_ms)).await;
    }

    async fn measure(&mut self, plan: &Plan<'_>) -> Measured {
        let mut measured = Measured::default();
        let battery_mv = self.battery().await;
        measured.battery_mv = u16::try_from(battery_mv).unwrap_or(0);
        if let Some(filter) = plan.filters.get(BATTERY) {
            measured.push(BATTERY, Raw::Milli(battery_mv), filter);
        }
        let tips = critical_section::with(|token| TIPS.borrow(token).take());
        if let Some(filter) = plan.filters.get(RAIN) {
            let rain_um = i32::try_from(tips.saturating_mul(RAIN_UM_A_TIP)).unwrap_or(i32::MAX);
            measured.push(RAIN, Raw::Milli(rain_um), filter);
        }
        self.parts.sensors_power.set_high();
        Timer::after_millis(RANGER_START_MS).await;
        self.climate(plan, &mut measured).await;
        let samples = plan.filters.get(LEVEL).map_or(0, |filter| filter.samples);
        self.range(samples, plan, &mut measured).await;
        self.parts.sensors_power.set_low();
        measured
    }

    fn switch(&mut self, on: bool) {
        if on {
            self.parts.relay.set_high();
        } else {
            self.parts.relay.set_low();
        }
    }

    fn feed(&self) {
        self.watchdog.borrow_mut().pet();
    }
}
