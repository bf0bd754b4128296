//! A report: what is read is written again to the same bytes. The first bytes make the schema.
#![no_main]

use kengele_fuzz::wire::sealed::{Field, Report, Schema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[count, bits, ref seed @ ..], payload)) = bytes.split_first_chunk::<6>() else {
        return;
    };
    let step_milli = u32::from_be_bytes(*seed) & 0xFFF;
    let field = |n: u8| Field {
        quantity: n,
        min_milli: -1000,
        step_milli,
        bits: bits.wrapping_add(n) % 26,
    };
    let fields: Vec<Field> = (0..count % 14).map(field).collect();
    let Ok(schema) = Schema::new(&fields) else { return };
    let mut payload = payload.to_vec();
    if let Some(first) = payload.first_mut() {
        *first = schema.digest();
    }
    if let Ok(report) = Report::read(&schema, 5_000_000, &payload) {
        let again = report.write(&schema, 5_000_000).expect("what was read can be written");
        assert_eq!(Report::read(&schema, 5_000_000, &again), Ok(report));
    }
});
