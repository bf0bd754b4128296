//! A simulated village, for developers without hardware and for the tests: everything here stands outside the
//! front door and speaks the real protocols to the ports that real things use.

pub mod scenario;
pub mod world;
pub mod village;
pub mod node;
pub mod carrier;
pub mod modem;
pub mod provider;
pub mod air;
pub mod field;
