//! Sensors of a field node: each a small driver of bytes, pulses or volts to thousandths of the quantity's own unit.
//!
//! What stands here does no waiting of its own beyond what a data sheet asks for between a command and its answer.

pub mod adc;
pub mod bucket;
pub mod sht;
pub mod ultrasonic;
