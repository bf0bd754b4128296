//! Readings in few bytes.

use super::*;
use proptest::prelude::*;

#[test]
fn six_quantities_with_the_battery_fit_11_bytes() {
    let mut report = Report::new(86_400);
    let values = [Value::Milli(1000); FIELDS_MAX];
    report.push(Reading { id: 990, before_restart: false, values }).unwrap();
    assert_eq!(report.write(&schema(), 1000).unwrap().len(), 10);
    assert_eq!(schema().report_bytes(1, 0), 10);
    // Kept for a day, it has 16 bits more of age.
    assert_eq!(schema().report_bytes(0, 1), 12);
    assert_eq!(schema().report_bytes(1, 4), report_of(&[0, 1000, 2000, 3000, 4000]).len());
}

fn report_of(ages: &[u32]) -> Payload {
    let mut report = Report::new(0);
    for age in ages {
        report.push(Reading { id: 10_000 - age, ..Reading::default() }).unwrap();
    }
    report.write(&schema(), 10_000).unwrap()
}

#[test]
fn beyond_the_field_missing_and_faulty_are_told_apart() {
    let field = Field { quantity: 1, min_milli: -1000, step_milli: 10, bits: 8 };
    let schema = Schema::new(&[field]).unwrap();
    let told = |value| {
        let mut report = Report::new(0);
        let mut reading = Reading { id: 5, ..Reading::default() };
        reading.values[0] = value;
        report.push(reading).unwrap();
        let payload = report.write(&schema, 5).unwrap();
        Report::read(&schema, 5, &payload).unwrap().readings()[0].values[0]
    };
    for value in [Value::Missing, Value::Faulty, Value::Above, Value::Below] {
        assert_eq!(told(value), value);
    }
    assert_eq!(field.max_milli(), Some(1510));
    for (milli, expected) in [
        (-1000, Value::Milli(-1000)),
        (-1004, Value::Milli(-1000)),
        (-1006, Value::Below),
        (-994, Value::Milli(-990)),
        (1510, Value::Milli(1510)),
        (1514, Value::Milli(1510)),
        (1515, Value::Above),
        (i32::MAX, Value::Above),
        (i32::MIN, Value::Below),
    ] {
        assert_eq!(told(Value::Milli(milli)), expected, "{milli}");
    }
}

#[test]
fn a_report_of_another_schema_is_refused() {
    let payload = report_of(&[0]);
    for place in 0..FIELDS.len() {
        let mut fields = FIELDS;
        fields[place].min_milli += 1;
        let other = Schema::new(&fields).unwrap();
        let refused = Report::read(&other, 10_000, &payload);
        assert!(matches!(refused, Err(ReportError::Schema { .. })), "{refused:?}");
    }
}

#[test]
fn a_report_that_is_longer_shorter_or_padded_is_refused() {
    let payload = report_of(&[0, 500]).to_vec();
    for cut in 1..payload.len() {
        assert_eq!(Report::read(&schema(), 10_000, &payload[..cut]), Err(ReportError::Shape));
    }
    let longer = [&payload[..], &[0]].concat();
    assert_eq!(Report::read(&schema(), 10_000, &longer), Err(ReportError::Shape));
    assert_eq!(Report::read(&schema(), 100, &payload), Err(ReportError::Age));
}

#[test]
fn what_a_report_cannot_say_is_an_error() {
    let mut report = Report::new(0);
    assert_eq!(report.write(&schema(), 5), Err(ReportError::Empty));
    report.push(Reading { id: 6, ..Reading::default() }).unwrap();
    assert_eq!(report.write(&schema(), 5), Err(ReportError::Age));
    assert_eq!(report.write(&schema(), 6 + AGE_S_MAX + 1), Err(ReportError::Age));
    assert!(report.write(&schema(), 6 + AGE_S_MAX).is_ok());
    for _ in 1..READINGS_MAX {
        report.push(Reading { id: 6, ..Reading::default() }).unwrap();
    }
    assert_eq!(report.push(Reading::default()), Err(ReportError::TooMany));
}

#[test]
fn a_schema_that_cannot_be_is_refused() {
    let field = FIELDS[0];
    assert_eq!(Schema::new(&[]), Err(SchemaError::Fields(0)));
    assert_eq!(Schema::new(&[field; 13]), Err(SchemaError::Fields(13)));
    let with = |changed: Field| Schema::new(&[field, changed]);
    assert_eq!(with(Field { step_milli: 0, ..field }), Err(SchemaError::Field(1)));
    assert_eq!(with(Field { bits: 2, ..field }), Err(SchemaError::Field(1)));
    assert_eq!(with(Field { bits: 25, ..field }), Err(SchemaError::Field(1)));
    assert_eq!(with(Field { step_milli: u32::MAX, ..field }), Err(SchemaError::Range(1)));
}

fn any_field() -> impl Strategy<Value = Field> {
    (1_u8..23, -1_000_000..1_000_000_i32, 1..100_u32, 3..=24_u8).prop_map(
        |(quantity, min_milli, step_milli, bits)| Field { quantity, min_milli, step_milli, bits },
    )
}

proptest! {
    #[test]
    fn what_was_measured_comes_back_within_half_a_step(
        fields in prop::collection::vec(any_field(), 1..=12),
        parts in prop::collection::vec((0_u32..5_000_000, any::<bool>(), 0.0..1.0_f64), 1..=4),
    ) {
        let schema = Schema::new(&fields).unwrap();
        let mut report = Report::new(77);
        for (age, before_restart, part) in parts {
            let mut reading = Reading { id: 10_000_000 - age.min(AGE_S_MAX), before_restart, ..Reading::default() };
            for (value, field) in reading.values.iter_mut().zip(&fields) {
                let span = f64::from(field.max_milli().unwrap()) - f64::from(field.min_milli);
                #[allow(clippy::cast_possible_truncation, reason = "it is within the field")]
                let above = (span * part) as i32;
                *value = Value::Milli(field.min_milli + above);
            }
            report.push(reading).unwrap();
        }
        let payload = report.write(&schema, 10_000_000).unwrap();
        let back = Report::read(&schema, 10_000_000, &payload).unwrap();
        prop_assert_eq!(back.readings().len(), report.readings().len());
        for (was, is) in report.readings().iter().zip(back.readings()) {
            prop_assert_eq!((was.id, was.before_restart), (is.id, is.before_restart));
            for ((was, is), field) in was.values.iter().zip(is.values).zip(&fields) {
                let (Value::Milli(was), Value::Milli(is)) = (*was, is) else {
                    return Err(TestCaseError::fail(format!("{was:?} came as {is:?}")));
                };
                prop_assert!(was.abs_diff(is) * 2 <= field.step_milli, "{} as {}", was, is);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fall(
        counter in any::<u32>(),
        bytes in prop::collection::vec(any::<u8>(), 0..260),
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = schema().digest();
        }
        if let Ok(report) = Report::read(&schema(), counter, &bytes) {
            prop_assert_eq!(report.write(&schema(), counter).map(|p| p.to_vec()).is_ok(), true);
        }
    }
}
