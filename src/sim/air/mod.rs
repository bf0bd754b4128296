//! Simulated radio: emulated LoRa chips on a shared medium, beneath drivers that do not know it.
//!
//! A chip is a state machine at the level of its bus: an SX126x takes commands, an SX127x registers, as their data
//! sheets have it. Frames last as long as on the air, fade with distance, clash, and reach a receiver as its interrupts
//! tell it. Everything is decided by one seed and by the order in which hosts act; on paused tokio time and one thread
//! that is the same in each run.
//!
//! Time is tokio's, faster by the air's `speed`. Nobody has to run the air: whoever waits for a chip moves all of it
//! on.
//!
//! ```
//! use kengele::sim::air::{Air, ChipKind, Conditions, Position};
//! use lora_phy::mod_params::{Bandwidth, CodingRate, SpreadingFactor};
//! use lora_phy::sx126x::{Config, Sx126x, Sx1262};
//! use lora_phy::{LoRa, RxMode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), lora_phy::mod_params::RadioError> {
//! let air = Air::new(7, Conditions::default(), 100.0);
//! let mut radios = Vec::new();
//! for east_m in [0.0, 500.0] {
//!     let chip = air.chip(ChipKind::Sx1262, Position::new(east_m, 0.0));
//!     let config = Config { chip: Sx1262, tcxo_ctrl: None, use_dcdc: true, rx_boost: true };
//!     let driver = Sx126x::new(chip.spi(), chip.interface(), config);
//!     radios.push(LoRa::new(driver, false, chip.delay()).await?);
//! }
//! let (Some(mut node), Some(mut gateway)) = (radios.pop(), radios.pop()) else { return Ok(()) };
//!
//! let how = node.create_modulation_params(
//!     SpreadingFactor::_9, Bandwidth::_125KHz, CodingRate::_4_5, 868_100_000,
//! )?;
//! let mut sent = node.create_tx_packet_params(8, false, true, false, &how)?;
//! let heard = gateway.create_rx_packet_params(8, false, 255, true, false, &how)?;
//! gateway.prepare_for_rx(RxMode::Continuous, &how, &heard).await?;
//! node.prepare_for_tx(&how, &mut sent, 14, b"level 3.4").await?;
//! let mut buffer = [0; 255];
//! let (received, sent) = tokio::join!(gateway.rx(&heard, &mut buffer), node.tx());
//! let (length, status) = received?;
//! sent?;
//! assert_eq!(buffer.get(..usize::from(length)), Some(&b"level 3.4"[..]));
//! assert!(status.rssi < -90 && status.snr > 0);
//! # Ok(())
//! # }
//! ```

mod signal;
mod ether;
mod log;
mod attack;
mod witness;
mod silicon;
pub mod sx126x;
mod sx126x_bus;
pub mod sx127x;
mod medium;
mod host;
pub mod socket;

pub use crate::wire::chip_link::{Pins, Switch};
pub use attack::{Attacker, Deeds, HELD_MAX, Plan};
pub use ether::{
    Bursts, CAPTURE_DB, Conditions, FLIGHTS_MAX, FOREIGN_FACTOR_DB, JAMMERS_MAX, Jammer, Sender,
};
pub use host::{Air, AirDelay, AirInterface, AirSpi, Chip};
pub use log::{Event, LOG_MAX, Reason, Tally, What};
pub use signal::{Family, Parts, PathLoss, Position, Shape, Tuning};
pub use silicon::Faults;
pub use sx126x_bus::Board;
pub use witness::{Limit, REMEMBERED_MAX, Testimony, Witness};

/// A chip's number on its air: 0, 1, … in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipId(pub u32);

/// Which chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChipKind {
    /// Low power, to 15 dBm.
    Sx1261,
    /// High power, to 22 dBm.
    Sx1262,
    /// An SX1262 on a board with a TCXO that DIO3 feeds.
    Sx1262Tcxo,
    /// 137 to 1020 MHz, to 20 dBm.
    Sx1276,
}
