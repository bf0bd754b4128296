//! The simulated radio beneath the unmodified lora-phy driver: what a chip does, what the air does to frames.

mod bench;
mod chips;
mod commands;
mod foreign;
mod medium;
mod tables;
