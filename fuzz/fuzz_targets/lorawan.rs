//! A LoRaWAN frame, as a gateway hears it.
#![no_main]

use kengele_fuzz::wire::lorawan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _frame = lorawan::parse(bytes);
});
