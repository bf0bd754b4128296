//! The one integration test binary: the whole program and its peers. A file of this folder that is not named here fails
//! the tidy test.

#![allow(missing_docs, unreachable_pub, reason = "tests are read by their names")]

mod config;
mod gateway;
mod http_sms;
mod listener;
mod modem_driver;
mod modem_clients;
mod peers;
mod scenarios;
mod sms_codec;
mod tidy;
