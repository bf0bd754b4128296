use super::super::bytes::{Reader, Writer};
use super::*;

fn written(value: f64) -> Vec<u8> {
    let mut to = Writer::default();
    to.value(value);
    to.finish()
}

proptest! {
    #[test]
    fn every_value_comes_back_bit_by_bit(value in value()) {
        let bytes = written(value);
        prop_assert!(bytes.len() <= 9);
        let mut from = Reader::new(&bytes);
        prop_assert_eq!(from.value().map(f64::to_bits), Ok(value.to_bits()));
        prop_assert!(from.is_empty());
    }

    #[test]
    fn every_number_span_and_sign_comes_back(number: u64, signed: i64, ms in 0..(1u64 << 61)) {
        let mut to = Writer::default();
        to.number(number);
        to.signed(signed);
        prop_assert_eq!(to.span(ms), Ok(()));
        let bytes = to.finish();
        let mut from = Reader::new(&bytes);
        prop_assert_eq!(from.number(), Ok(number));
        prop_assert_eq!(from.signed(), Ok(signed));
        prop_assert_eq!(from.span(), Ok(ms));
        prop_assert!(from.is_empty());
    }
}

/// A value, and the most bytes that it may take.
#[test]
fn values_of_instruments_sums_means_and_slopes_are_short() {
    let tips: f64 = std::iter::repeat_n(0.2, 102).sum();
    assert!((tips - 20.4).abs() > 0.0, "a sum that has left the decimal");
    for (value, bytes_max) in [
        (0.0, 1),
        (3.93, 2),
        (-7.25, 2),
        (1_013.2, 3),
        (tips, 4),
        (4.12 - 3.81, 4),
        (3.93 * 0.3048, 5),
        // Means of three and of 144 readings.
        (11.8 / 3.0, 5),
        (2_931.7 / 144.0, 6),
        // A slope: 12 cm in 70 minutes, by the hour.
        ((4.05 - 3.93) / (4_200.0 / 3_600.0), 7),
        (f64::NAN, 9),
        (-0.0, 9),
        (f64::from_bits(0x3FF1_2345_6789_ABCD), 9),
    ] {
        let bytes = written(value);
        assert!(bytes.len() <= bytes_max, "{value} takes {} bytes", bytes.len());
    }
    assert_eq!(hex(&written(3.93)), "9231");
    assert_eq!(hex(&written(11.8 / 3.0)), "1f00e10e");
    assert_eq!(hex(&written(-0.0)), "078000000000000000");
}

#[test]
fn forms_that_are_none_are_refused() {
    for bytes in ["", "80", "ffffffffffffffffff02", "ffffffffffffffffffffff", "0e", "0e06", "0e07"]
    {
        assert!(Reader::new(&from_hex(bytes)).value().is_err(), "{bytes}");
    }
    for bytes in ["07", "0f", "ffffffffffffffffff01", "feffffffffffffffff01"] {
        assert!(Reader::new(&from_hex(bytes)).span().is_err(), "{bytes}");
    }
}
