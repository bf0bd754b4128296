//! An SMS from the modem, in all three forms.
#![no_main]

use kengele_fuzz::wire::tpdu;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _submit = tpdu::Submit::decode(bytes);
    let _deliver = tpdu::Deliver::decode(bytes);
    let _report = tpdu::StatusReport::decode(bytes);
});
