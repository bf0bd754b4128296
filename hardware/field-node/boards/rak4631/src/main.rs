#![no_std]
#![no_main]
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_nrf::{bind_interrupts, peripherals, spim};
use embassy_time::Delay;
use embedded_hal_bus::spi::ExclusiveDevice;
use lora_phy::LoRa;
use lora_phy::iv::GenericSx126xInterfaceVariant;
use lora_phy::sx126x::{self, Sx126x, Sx1262, TcxoCtrlVoltage};

bind_interrupts!(struct Interrupts { SPIM3 => spim::InterruptHandler<peripherals::SPI3>; });

#[panic_handler]
fn reset(_info: &core::panic::PanicInfo) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let p = embassy_nrf::init(Default::default());
    let mut config = spim::Config::default();
    config.frequency = spim::Frequency::M8;
    let bus = spim::Spim::new(p.SPI3, Interrupts, p.P1_11, p.P1_13, p.P1_12, config);
    let select = Output::new(p.P1_10, Level::High, OutputDrive::Standard);
    let spi = ExclusiveDevice::new(bus, select, Delay).unwrap();
    let reset = Output::new(p.P1_06, Level::High, OutputDrive::Standard);
    let dio1 = Input::new(p.P1_15, Pull::Down);
    let busy = Input::new(p.P1_14, Pull::None);
    let iv = GenericSx126xInterfaceVariant::new(reset, dio1, busy, None, None).unwrap();
    let config = sx126x::Config {
        chip: Sx1262,
        tcxo_ctrl: Some(TcxoCtrlVoltage::Ctrl1V8),
        use_dcdc: true,
        rx_boost: false,
    };
    let mut radio = LoRa::new(Sx126x::new(spi, iv, config), false, Delay).await.unwrap();
    radio.sleep(true).await.unwrap();
}
