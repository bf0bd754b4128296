//! The one integration test binary: the whole program and its peers. A file of this folder that is not named here fails
//! the tidy test.

#![allow(missing_docs, unreachable_pub, reason = "tests are read by their names")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what must hold fails the test where it does not"
)]

mod air;
mod archive;
mod blocks;
mod card;
mod channels;
mod command_line;
mod config;
mod dice;
mod engine_search;
mod external_broker;
mod field;
mod forwarders;
mod gateway;
mod http_sms;
mod hub;
mod javascript;
mod kills;
mod link;
mod listener;
mod lorawan;
mod modem_driver;
mod modem_clients;
mod network_servers;
mod observed;
mod outbox_search;
mod own_radio;
mod peers;
mod radio_search;
mod radio_vectors;
mod scenarios;
mod sirens;
mod sms_codec;
mod survey;
mod tidy;
mod uplink_packets;
mod village_search;
