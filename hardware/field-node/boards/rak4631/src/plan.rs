//! What this node is: change it for the place, build, and give the gateway the same fields.

use kengele_field_node::airtime::Modulation;
use kengele_field_node::filter::{Filter, Gather};
use kengele_field_node::plan::{Confirm, Listening, Plan, Siren};
use kengele_field_node::sealed::{Field, Schema};

/// How high the ranger hangs over the gauge's zero, mm.
pub(crate) const RANGER_HEIGHT_MM: i32 = 4_000;
/// Rain of one tip, µm: 0.2 mm.
pub(crate) const RAIN_UM_A_TIP: u32 = 200;

/// Places of the fields below.
pub(crate) const LEVEL: usize = 0;
pub(crate) const RAIN: usize = 1;
pub(crate) const TEMPERATURE: usize = 2;
pub(crate) const HUMIDITY: usize = 3;
pub(crate) const BATTERY: usize = 4;

/// Quantities by their codes in `docs/formats/wf1.md`. Level to 14 m by 1 mm, rain to 101 mm by 0.2 mm, air by 0.1 °C and 1 %, battery by 20 mV: 47 bits.
const FIELDS: [Field; 5] = [
    Field { quantity: 1, min_milli: -2_000, step_milli: 1, bits: 14 },
    Field { quantity: 3, min_milli: 0, step_milli: 200, bits: 9 },
    Field { quantity: 4, min_milli: -30_000, step_milli: 100, bits: 10 },
    Field { quantity: 5, min_milli: 0, step_milli: 1_000, bits: 7 },
    Field { quantity: 21, min_milli: 2_500, step_milli: 20, bits: 7 },
];

const FILTERS: [Filter; 5] = [
    filter(7, [-2_000, 3_700], Some(50)),
    Filter {
        gather: Gather::Sum,
        samples: 1,
        possible_milli: [0, 100_000],
        change_milli: Some(5_000),
    },
    filter(1, [-30_000, 60_000], None),
    filter(1, [0, 100_000], None),
    filter(1, [2_000, 6_000], None),
];

const fn filter(samples: u8, possible_milli: [i32; 2], change_milli: Option<u32>) -> Filter {
    Filter { gather: Gather::Last, samples, possible_milli, change_milli }
}

const SCHEMA: Schema = match Schema::new(&FIELDS) {
    Ok(schema) => schema,
    Err(_) => panic!("fields that are no schema"),
};

/// EU868. Ask the regulator of the country before anything is sent.
pub(crate) fn plan() -> Plan<'static> {
    Plan {
        firmware: [0, 1],
        schema: SCHEMA,
        filters: &FILTERS,
        sample_s: 120,
        interval_s: 600,
        modulation: Modulation { spreading_factor: 9, bandwidth_hz: 125_000 },
        frequency_hz: 868_100_000,
        power_dbm: 14,
        airtime_permille: 10,
        payload_bytes_max: 24,
        confirm: Confirm::All,
        windows_ms: [1_000, 2_000],
        listening: Listening::Windows,
        siren: Some(Siren { on_s_max: 180, test_s_max: 5 }),
    }
}
