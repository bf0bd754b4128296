use super::*;
use crate::domain::time::ClockQuality;

const CLOCK: WallClock =
    WallClock { offset_ms: 1_790_000_123_457, quality: ClockQuality::Synchronised };

fn reading(n: u64, quantity: Quantity, value: f64) -> Reading {
    Reading {
        node: NodeName("mto-7".into()),
        quantity,
        sequence: 1_000 + n,
        at: Timestamp::from_millis(86_400_000 + 600_000 * i64::try_from(n).unwrap()),
        clock: CLOCK,
        stamp: None,
        value,
        quality: Quality::Good,
    }
}

fn of_values(quantity: Quantity, values: &[f64]) -> Vec<Reading> {
    (0..).zip(values).map(|(n, value)| reading(n, quantity, *value)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "it is what the sender does")]
fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

/// Returns how many bytes a block that stands alone has, and that it comes back.
fn round_trip(readings: &[Reading]) -> usize {
    let sealed = seal(readings, Link::START).unwrap();
    assert!(stands_alone(&sealed.bytes));
    assert_eq!(open(&sealed.bytes).as_deref(), Ok(readings));
    sealed.bytes.len()
}

/// Chance that is the same on every machine (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    fn any(&mut self) -> i64 {
        // Of any size, not mostly of the greatest.
        let bits = self.below(64);
        self.next().cast_signed() >> bits
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    fn value(&mut self, strange: u64) -> f64 {
        if self.chance(strange) {
            return self.pick(&[
                f64::NAN,
                f64::from_bits(0xFFF8_0000_0000_BEEF),
                f64::from_bits(0x7FF0_0000_0000_0001),
                f64::INFINITY,
                f64::NEG_INFINITY,
                -0.0,
                0.0,
                f64::MAX,
                f64::MIN_POSITIVE,
                5e-324,
                0.1 + 0.2,
                9_007_199_254_740_993.0,
                -9_007_199_254_740_992.0,
                1e15,
            ]);
        }
        let whole = self.below(4_000) as f64 - 500.0;
        match self.below(6) {
            0 => whole / 100.0,
            1 => whole * 0.01,
            2 => single(whole / 10.0),
            3 => whole * (5.0 / 9.0) + (-160.0 / 9.0),
            4 => (whole * 25.4).round() / 10.0,
            _ => f64::from_bits(self.next()),
        }
    }

    fn signals(&mut self) -> Vec<(NodeName, Quantity)> {
        let quantities: Vec<Quantity> = Quantity::all().collect();
        let names = ["kisumu-ä", "mto-7", "mto-8", "A", "a name with spaces"];
        let signal = |_| (NodeName(self.pick(&names).into()), self.pick(&quantities));
        (0..6).map(signal).collect()
    }

    /// Blocks of one stream: regular ones, and ones where anything may come.
    fn blocks(&mut self) -> Vec<Vec<Reading>> {
        let signals = self.signals();
        let clocks: Vec<WallClock> = (0..=self.below(4))
            .map(|_| WallClock {
                offset_ms: self.any(),
                quality: self.pick(&[
                    ClockQuality::Unset,
                    ClockQuality::Estimated,
                    ClockQuality::Synchronised,
                ]),
            })
            .collect();
        let mut now = reading(0, Quantity::Rain, 0.0);
        (0..=self.below(5)).map(|_| self.block(&signals, &clocks, &mut now)).collect()
    }

    fn block(
        &mut self,
        signals: &[(NodeName, Quantity)],
        clocks: &[WallClock],
        now: &mut Reading,
    ) -> Vec<Reading> {
        let strange = self.pick(&[0, 5, 300]);
        let known = 1 + self.index(signals.len());
        let mut block = Vec::new();
        for _ in 0..self.below(100) {
            (now.node, now.quantity) = signals[self.index(known)].clone();
            now.sequence = if self.chance(strange) {
                self.any().cast_unsigned()
            } else {
                now.sequence.wrapping_add(1)
            };
            if self.chance(700) {
                let at = now.at.as_millis().wrapping_add(self.pick(&[1, 60_000, 600_000, -5]));
                now.at = Timestamp::from_millis(if self.chance(strange) { self.any() } else { at });
            }
            if self.chance(50) {
                now.clock = self.pick(clocks);
            }
            now.stamp = match self.below(4) {
                0 => Some(Stamp::Unix(self.any())),
                1 => Some(Stamp::Age(self.any())),
                2 => Some(Stamp::Unix(now.clock.offset_ms.wrapping_add(now.at.as_millis()))),
                _ => None,
            };
            now.quality = if self.chance(100) { self.pick(&Quality::ALL) } else { Quality::Good };
            now.value = self.value(strange);
            block.push(now.clone());
        }
        block
    }
}

fn each_seed(seeds: u64, mut test: impl FnMut(u64, &mut Dice)) {
    for seed in 0..seeds {
        test(seed, &mut Dice(seed));
    }
}

#[test]
fn whatever_readings_hold_comes_back_bit_by_bit() {
    each_seed(200, |seed, dice| {
        let (mut writer, mut reader) = (Stream::after(Link::START), Stream::after(Link::START));
        for (number, block) in dice.blocks().into_iter().enumerate() {
            let sealed = writer.seal(&block).unwrap();
            let said = format!("seed {seed}, block {number}");
            assert_eq!(reader.open(&sealed.bytes).as_ref(), Ok(&block), "{said}");
            assert_eq!((reader.link(), writer.link()), (sealed.link, sealed.link), "{said}");
            assert_eq!(open(&seal(&block, sealed.link).unwrap().bytes), Ok(block), "{said}");
        }
    });
}

#[test]
fn an_empty_block_comes_back_alone_and_between_others() {
    assert!(round_trip(&[]) < 16);
    let some = of_values(Quantity::Rain, &[0.2]);
    let (mut writer, mut reader) = (Stream::after(Link::START), Stream::after(Link::START));
    for block in [&[], &some[..], &[], &some[..]] {
        let sealed = writer.seal(block).unwrap();
        assert_eq!(reader.open(&sealed.bytes).as_deref(), Ok(block));
    }
}

#[test]
fn the_ends_of_what_numbers_hold_come_back() {
    let mut readings = of_values(Quantity::Rain, &[0.0; 6]);
    for (n, at) in [i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN].into_iter().enumerate() {
        let reading = &mut readings[n];
        reading.at = Timestamp::from_millis(at);
        reading.sequence = at.cast_unsigned();
        reading.clock.offset_ms = at.wrapping_neg();
        reading.stamp = Some(if n % 2 == 0 { Stamp::Unix(at) } else { Stamp::Age(at) });
    }
    round_trip(&readings);
    let far = [1.0, 1e9, 1_073_741_823.0, 1_073_741_824.0, -1_073_741_823.0, 9e15, -9e15, 1.0];
    round_trip(&of_values(Quantity::Discharge, &far));
}

#[test]
fn a_block_that_continues_costs_less_and_says_which_one_it_continues() {
    let day = |d: u64| -> Vec<Reading> {
        let n = (144 * d)..(144 * (d + 1));
        let value = |n: u64| (200 + n * n % 7) as f64 / 10.0;
        n.map(|n| reading(n, Quantity::AirTemperature, value(n))).collect()
    };
    let mut writer = Stream::after(Link::START);
    let blocks: Vec<Sealed> = (0..3).map(|d| writer.seal(&day(d)).unwrap()).collect();
    assert!(stands_alone(&blocks[0].bytes));
    assert!(!stands_alone(&blocks[1].bytes));
    assert!(blocks[1].bytes.len() + 15 < blocks[0].bytes.len(), "{blocks:?}");
    let mut reader = Stream::after(Link::START);
    let lacking = Err(DecodeError::Predecessor(blocks[0].link.begins()));
    assert_eq!(reader.open(&blocks[1].bytes), lacking);
    assert_eq!(reader.open(&blocks[0].bytes), Ok(day(0)));
    assert_eq!(
        reader.open(&blocks[2].bytes),
        Err(DecodeError::Predecessor(blocks[1].link.begins()))
    );
    assert_eq!(reader.open(&blocks[1].bytes), Ok(day(1)), "an error leaves the stream as it was");
    assert_eq!(reader.open(&blocks[2].bytes), Ok(day(2)));
    // Who begins in the middle waits for the next that stands alone.
    writer.stand_alone();
    let fourth = writer.seal(&day(3)).unwrap();
    let mut late = Stream::after(blocks[2].link);
    assert_eq!(late.open(&fourth.bytes), Ok(day(3)));
    assert_eq!(late.link(), fourth.link);
}

#[test]
fn a_block_stands_alone_after_the_most_that_may_continue() {
    let mut writer = Stream::after(Link::START);
    let block = of_values(Quantity::Rain, &[0.0]);
    let alone: Vec<usize> =
        (0..150).filter(|_| stands_alone(&writer.seal(&block).unwrap().bytes)).map(|_| 1).collect();
    assert_eq!(alone.len(), 3);
}

#[test]
fn values_off_the_grid_cost_their_bits_and_leave_the_others_cheap() {
    let even: Vec<f64> = (0..100).map(|n| f64::from(200 + n % 3) / 10.0).collect();
    let mut odd = even.clone();
    odd[50] = f64::from_bits(0x7FF8_0000_0000_0123);
    odd[51] = -0.0;
    let (even, odd) = (
        round_trip(&of_values(Quantity::AirTemperature, &even)),
        round_trip(&of_values(Quantity::AirTemperature, &odd)),
    );
    assert!(odd < even + 16 + 8, "{even} and {odd} bytes");
}

/// What a sender makes of a whole number.
type Way = fn(f64) -> f64;

#[test]
fn each_way_that_values_are_made_has_its_grid() {
    let ways: [(Quantity, Way); 8] = [
        (Quantity::WaterLevel, |n| n / 100.0),
        (Quantity::WaterLevel, |n| n * 0.001),
        (Quantity::AirTemperature, |n| single(n / 10.0)),
        (Quantity::AirTemperature, |n| n / 10.0 * (5.0 / 9.0) + (-160.0 / 9.0)),
        (Quantity::WindSpeed, |n| n / 10.0 * (1.0 / 3.6) + 0.0),
        (Quantity::AirTemperature, |n| ((n - 732.0) * 50.0 / 9.0).round() / 10.0),
        (Quantity::Rain, |n| (n * 2.54).round() / 10.0),
        (Quantity::Rain, |n| n * 2.0 / 10.0),
    ];
    for (way, (quantity, value)) in ways.into_iter().enumerate() {
        let values: Vec<f64> =
            (0..144).map(|n| value(f64::from(726 + n * n % 31 * 24 / 31))).collect();
        let bytes = round_trip(&of_values(quantity, &values));
        assert!(bytes < 140, "way {way}: {bytes} bytes");
    }
}

#[test]
fn every_unit_of_a_quantity_has_a_number_or_is_told_in_full() {
    for quantity in Quantity::all() {
        for unit in quantity.units() {
            let value = |n: i32| f64::from(n * n % 97 + 300) / 10.0 * unit.factor + unit.offset;
            round_trip(&of_values(quantity, &(0..50).map(value).collect::<Vec<_>>()));
        }
    }
}

#[test]
fn a_year_of_hours_without_rain_costs_next_to_nothing() {
    let bytes = round_trip(&of_values(Quantity::Rain, &vec![0.0; 8_760]));
    assert!(bytes < 80, "{bytes} bytes");
}

#[test]
fn a_lost_frame_costs_a_few_bytes_and_not_its_successors() {
    let whole = of_values(Quantity::Rain, &[0.0; 144]);
    let mut with_gap = whole.clone();
    with_gap.remove(70);
    for (n, reading) in (1_000..).zip(&mut with_gap) {
        reading.sequence = n;
    }
    let (whole, gap) = (round_trip(&whole), round_trip(&with_gap));
    assert!(gap <= whole + 5, "{whole} and {gap} bytes");
}

#[test]
fn what_is_too_much_is_said_and_leaves_the_stream_as_it_was() {
    let mut writer = Stream::after(Link::START);
    let good = of_values(Quantity::Rain, &[0.0]);
    let before = writer.seal(&good).unwrap().link;
    for name in [String::new(), "n".repeat(NAME_BYTES_MAX + 1)] {
        let mut readings = of_values(Quantity::Rain, &[0.0, 0.0]);
        readings[1].node = NodeName(name.into());
        assert_eq!(writer.seal(&readings), Err(EncodeError::Name(1)));
    }
    let mut many = of_values(Quantity::Rain, &vec![0.0; READINGS_MAX + 1]);
    assert_eq!(writer.seal(&many), Err(EncodeError::Readings(READINGS_MAX + 1)));
    many.truncate(SIGNALS_MAX + 1);
    for (n, reading) in many.iter_mut().enumerate() {
        reading.node = NodeName(format!("n{n}").into());
    }
    assert_eq!(writer.seal(&many), Err(EncodeError::Signals(SIGNALS_MAX + 1)));
    assert_eq!(writer.link(), before);
    // With those known before there are too many: it stands alone.
    let sealed = writer.seal(&many[1..]).unwrap();
    assert!(stands_alone(&sealed.bytes));
    assert_eq!(open(&sealed.bytes).as_deref(), Ok(&many[1..]));
    round_trip(&of_values(Quantity::Rain, &vec![0.0; READINGS_MAX]));
}

#[test]
fn a_block_cut_short_or_with_more_behind_is_never_read_as_it_was() {
    each_seed(12, |seed, dice| {
        let mut block = dice.blocks().concat();
        block.truncate(40);
        let bytes = seal(&block, Link::START).unwrap().bytes;
        for behind in 5..9 {
            let long: Vec<u8> = bytes.iter().copied().chain(vec![7; behind]).collect();
            assert!(open(&long).is_err(), "seed {seed}, {behind} more");
        }
        for length in 0..bytes.len().saturating_sub(5) {
            assert_ne!(open(&bytes[..length]).as_ref(), Ok(&block), "seed {seed}, {length} bytes");
        }
    });
    assert_eq!(open(&[]), Err(DecodeError::Version));
    assert_eq!(open(&[1, 0, 0]), Err(DecodeError::Version));
    assert_eq!(open(&[0x20]), Err(DecodeError::Version));
    assert_eq!(open(&[0x2A, 0xBC, 0]), Err(DecodeError::Predecessor(0xABC)));
}

#[test]
fn hostile_bytes_neither_panic_nor_take_more_than_the_bounds() {
    each_seed(600, |seed, dice| {
        let mut writer = Stream::after(Link::START);
        let blocks: Vec<Vec<u8>> =
            dice.blocks().iter().map(|block| writer.seal(block).unwrap().bytes).collect();
        let mut reader = Stream::after(Link::START);
        for mut bytes in blocks {
            if dice.chance(200) {
                let length = dice.below(300);
                bytes = (0..length).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
            }
            for _ in 0..dice.below(4) {
                let place = dice.index(bytes.len() + 1);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = u8::try_from(dice.below(256)).unwrap();
                }
            }
            let continues = reader.link().begins().to_be_bytes();
            match (dice.below(4), &mut bytes[..]) {
                (0, [first, ..]) => *first = 0x10,
                (1 | 2, [first, second, ..]) => {
                    (*first, *second) = (0x20 | continues[0], continues[1]);
                }
                _ => {}
            }
            let Ok(readings) = reader.open(&bytes) else { continue };
            assert!(readings.len() <= READINGS_MAX);
            let again = seal(&readings, Link::START).unwrap();
            assert_eq!(open(&again.bytes), Ok(readings), "seed {seed}");
        }
    });
}

#[test]
fn a_link_stands_for_the_block_and_all_before_it() {
    let (a, b) = (Link::START.next(b"a"), Link::START.next(b"b"));
    assert_ne!(a.next(b"c"), b.next(b"c"));
    assert_ne!(Link::START.next(b"ab"), a.next(b"b"));
    // sha256sum of the same bytes: printf 'kengele block\0' followed by 32 zero bytes and 'a'.
    let expected = "29e66dab23ef94f8faedc460daab1e9cd09029980125f8b2044a9cb40d6cb0ec";
    assert_eq!(a.to_string(), expected);
}
