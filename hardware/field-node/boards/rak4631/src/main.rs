//! The field node on a RAK4631: nRF52840 and SX1262 in one module.
//!
//! It measures a water level by a serial ultrasonic ranger, air by an `SHT4x`, and rain by a tipping bucket; it can close
//! the relay of a siren. Wiring: `hardware/field-node/README.md`. Compiled; never run on hardware by us.

#![no_std]
#![no_main]

mod desk;
mod flash;
mod plan;

use crate::desk::{Desk, Parts, TIPS, now_ms};
use crate::flash::BoardFlash;
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_nrf::nvmc::Nvmc;
use embassy_nrf::peripherals::{SPI3, TWISPI0, UARTE1};
use embassy_nrf::wdt::{self, HaltConfig, Watchdog};
use embassy_nrf::{bind_interrupts, config, pac, saadc, spim, twim, uarte};
use embassy_time::{Delay, Timer};
use embedded_hal_bus::spi::ExclusiveDevice;
use kengele_field_node::app::{App, StartError};
use kengele_field_node::radio::Driver;
use kengele_field_node::runner::{FEED_MS, run};
use kengele_field_node::sealed::Boot;
use kengele_field_node::sensor::bucket::Bucket;
use lora_phy::LoRa;
use lora_phy::iv::GenericSx126xInterfaceVariant;
use lora_phy::sx126x::{self, Sx126x, Sx1262, TcxoCtrlVoltage};

bind_interrupts!(struct Interrupts {
    SPIM3 => spim::InterruptHandler<SPI3>;
    TWISPI0 => twim::InterruptHandler<TWISPI0>;
    UARTE1 => uarte::InterruptHandler<UARTE1>;
    SAADC => saadc::InterruptHandler;
});

/// Whatever goes wrong: begin again. The journal remembers.
#[panic_handler]
fn begin_again(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

/// Counts tips of the bucket, also while the node sleeps.
#[embassy_executor::task]
async fn count_tips(mut contact: Input<'static>) {
    let mut bucket = Bucket::default();
    loop {
        contact.wait_for_falling_edge().await;
        bucket.close(now_ms());
        let tips = bucket.take();
        critical_section::with(|token| {
            let count = TIPS.borrow(token);
            count.set(count.get().saturating_add(tips));
        });
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let mut settings = config::Config::default();
    settings.lfclk_source = config::LfclkSource::ExternalXtal;
    settings.dcdc.reg1 = true;
    let p = embassy_nrf::init(settings);
    // The relay is open before anything else happens.
    let relay = Output::new(p.P0_21, Level::Low, OutputDrive::Standard);
    let mut watch = wdt::Config::default();
    watch.timeout_ticks = u32::try_from(3 * FEED_MS * 32_768 / 1000).unwrap_or(u32::MAX);
    watch.action_during_debug_halt = HaltConfig::PAUSE;
    // A watchdog that runs already, with another setting, bites: then it starts with this one.
    let Ok((_, [watchdog])) = Watchdog::try_new(p.WDT, watch) else {
        cortex_m::peripheral::SCB::sys_reset()
    };
    let boot = boot_reason();

    let mut bus = spim::Config::default();
    bus.frequency = spim::Frequency::M8;
    let bus = spim::Spim::new(p.SPI3, Interrupts, p.P1_11, p.P1_13, p.P1_12, bus);
    let select = Output::new(p.P1_10, Level::High, OutputDrive::Standard);
    let Ok(device) = ExclusiveDevice::new(bus, select, Delay);
    let _radio_power = Output::new(p.P1_05, Level::High, OutputDrive::Standard);
    let reset = Output::new(p.P1_06, Level::High, OutputDrive::Standard);
    let dio1 = Input::new(p.P1_15, Pull::Down);
    let busy = Input::new(p.P1_14, Pull::None);
    let Ok(pins) = GenericSx126xInterfaceVariant::new(reset, dio1, busy, None, None) else {
        cortex_m::peripheral::SCB::sys_reset()
    };
    let chip = sx126x::Config {
        chip: Sx1262,
        tcxo_ctrl: Some(TcxoCtrlVoltage::Ctrl1V8),
        use_dcdc: true,
        rx_boost: true,
    };

    if let Ok(task) = count_tips(Input::new(p.P0_17, Pull::Up)) {
        spawner.spawn(task);
    }
    let mut desk = Desk::new(
        Parts {
            ranger: p.UARTE1,
            ranger_rx: p.P0_15,
            climate: p.TWISPI0,
            sda: p.P0_13,
            scl: p.P0_14,
            adc: p.SAADC,
            battery: p.P0_05,
            sensors_power: Output::new(p.P1_02, Level::Low, OutputDrive::Standard),
            relay,
        },
        watchdog,
    );

    let plan = plan::plan();
    let flash = BoardFlash::new(Nvmc::new(p.NVMC));
    let app = match App::start(plan, flash.provisioned(), boot, seed()) {
        Ok(app) => app,
        Err(StartError::NotProvisioned(_) | StartError::Flash) => {
            // Nothing to say and no name to say it under: a code or a new chip changes that.
            Timer::after_millis(FEED_MS).await;
            cortex_m::peripheral::SCB::sys_reset()
        }
    };
    let radio = LoRa::new(Sx126x::new(device, pins, chip), false, Delay).await;
    let Ok(radio) = radio else { cortex_m::peripheral::SCB::sys_reset() };
    let Ok(mut radio) = Driver::new(radio, &plan) else { cortex_m::peripheral::SCB::sys_reset() };
    run(app, &plan, &mut desk, &mut radio).await
}

/// Reads why the chip began, and clears it for the next time: nRF52840 product specification, POWER, `RESETREAS`.
fn boot_reason() -> Boot {
    let register = pac::POWER.resetreas();
    let reasons = register.read();
    register.write_value(reasons);
    if reasons.dog() {
        Boot::Watchdog
    } else if reasons.resetpin() {
        Boot::Button
    } else if reasons.0 == 0 {
        // Power came, or came back.
        Boot::PowerOn
    } else {
        Boot::Unknown
    }
}

/// The chip's own number: no two have the same.
fn seed() -> u64 {
    u64::from(pac::FICR.deviceid(0).read()) << 32 | u64::from(pac::FICR.deviceid(1).read())
}
