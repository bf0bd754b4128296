//! Where frames come in. Each source hands [`Envelope`](crate::domain::frame::Envelope)s to the pipeline over a
//! bounded queue and hears through [`Acknowledge`](crate::domain::frame::Acknowledge) what became of them.

mod account;
pub mod broker;
pub mod lora;
pub mod mqtt;
pub mod semtech_udp;
