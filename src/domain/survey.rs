//! A walk with a node that sends test frames: how well it is heard from each place, and what that is worth.

/// A test frame that was heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// When, Unix ms.
    pub at_ms: i64,
    /// Its counter.
    pub counter: u32,
    /// Strength, dBm.
    pub rssi_dbm: f64,
    /// Signal to noise, dB.
    pub snr_db: f64,
    /// How it was sent: 7 to 12.
    pub spreading_factor: u8,
}

/// From here on the node is at another place, or nobody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When, Unix ms.
    pub at_ms: i64,
    /// Which place; none while nobody listens.
    pub place: Option<String>,
}

/// What a place is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A node here is heard in any weather.
    Good,
    /// A node here is heard; leaves, rain and a weak battery may cost frames.
    Fair,
    /// A node here is not to be relied on.
    Poor,
    /// Too few frames to say anything.
    TooFew,
    /// Nothing was heard from here.
    Unheard,
}

/// A place of the walk.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which place.
    pub place: String,
    /// Frames that were heard.
    pub heard: u32,
    /// Frames that were sent and not heard, by the gaps between counters.
    pub lost: u32,
    /// Strength, dBm: weakest, median, strongest; none where nothing was heard.
    pub rssi_dbm: Option<[f64; 3]>,
    /// Signal to noise, dB: worst, median.
    pub snr_db: Option<[f64; 2]>,
    /// By how much three of four frames were above what their spreading factor needs, dB.
    pub margin_db: Option<f64>,
    /// The lowest spreading factor that leaves [`RESERVE_DB`]: the shortest time on the air.
    pub spreading_factor: Option<u8>,
    /// What it is worth.
    pub verdict: Verdict,
}

/// What a link should have in hand for leaves, rain and an ageing battery, dB.
pub const RESERVE_DB: f64 = 10.0;
/// A link with less is not to be relied on, dB.
pub const RESERVE_MIN_DB: f64 = 3.0;
/// Loss that a good place has at the most, per cent.
pub const LOSS_GOOD_PERCENT: f64 = 5.0;
/// Loss that a fair place has at the most, per cent.
pub const LOSS_FAIR_PERCENT: f64 = 20.0;
/// Frames, heard or lost, without which nothing is said of a place.
pub const FRAMES_MIN: u32 = 10;
/// Frames that two hearings can have between them; a counter that leaps further began anew.
const GAP_MAX: u32 = 1_000;

impl Verdict {
    /// Returns the word shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
            Self::TooFew => "too few",
            Self::Unheard => "not heard",
        }
    }
}

/// Returns the signal to noise that a spreading factor needs at least, dB: SX1276 data sheet, table 13.
#[must_use]
pub fn floor_db(spreading_factor: u8) -> f64 {
    -7.5 - 2.5 * (f64::from(spreading_factor.clamp(7, 12)) - 7.0)
}

/// Works out what each place is worth, in the order of the walk. A place that is visited twice is one place.
///
/// The step between two counters is the commonest one: one from frame to frame for LoRaWAN, and as many as there are
/// seconds between two reports for our own link. What is missing between two frames is laid evenly into the time between
/// them, and belongs to the place at that time. What was silent before a pause is missing, too, as much of it as the node
/// would have sent; over the pause nothing is. A frame that comes again is one frame.
#[must_use]
pub fn table(heard: &[Heard], marks: &[Mark]) -> Vec<Row> {
    let mut heard = heard.to_vec();
    heard.sort_by_key(|heard| heard.at_ms);
    heard.dedup_by_key(|heard| heard.counter);
    let mut marks = marks.to_vec();
    marks.sort_by_key(|mark| mark.at_ms);
    let mut places: Vec<(String, Vec<Heard>, u32)> = Vec::new();
    for mark in &marks {
        let Some(place) = &mark.place else { continue };
        if !places.iter().any(|(known, ..)| known == place) {
            places.push((place.clone(), Vec::new(), 0));
        }
    }
    let at = |at_ms: i64| {
        let mark = marks.iter().rev().find(|mark| mark.at_ms <= at_ms)?;
        places.iter().position(|(place, ..)| mark.place.as_ref() == Some(place))
    };
    let paused = |from_ms: i64, to_ms: i64| {
        marks.iter().any(|mark| mark.place.is_none() && (from_ms..=to_ms).contains(&mark.at_ms))
    };
    let step = step(&heard);
    let mut found: Vec<(usize, Option<Heard>)> = Vec::new();
    for (place, heard) in heard.iter().filter_map(|heard| Some((at(heard.at_ms)?, heard))) {
        found.push((place, Some(*heard)));
    }
    for pair in heard.windows(2) {
        let [before, after] = pair else { continue };
        let Some(gap) = after.counter.checked_sub(before.counter) else { continue };
        // Half a step of a node's clock is no frame.
        let missing = ((gap + step / 2) / step).saturating_sub(1);
        if missing >= GAP_MAX || paused(before.at_ms, after.at_ms) {
            continue;
        }
        for n in 1..=missing {
            let share = f64::from(n) / f64::from(missing + 1);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "milliseconds between two hearings"
            )]
            let into = ((after.at_ms - before.at_ms) as f64 * share) as i64;
            found.extend(at(before.at_ms + into).map(|place| (place, None)));
        }
    }
    for (last, mark) in silences(&heard, &marks) {
        let Some(period_ms) = period_ms(&heard, step) else { break };
        // A frame may be a little late.
        let missing = (mark.at_ms - last.at_ms - period_ms / 8) / period_ms;
        let missed = (1..=missing.min(i64::from(GAP_MAX))).map(|n| last.at_ms + n * period_ms);
        found.extend(missed.filter_map(|at_ms| Some((at(at_ms)?, None))));
    }
    for (place, heard) in found {
        let Some((_, frames, lost)) = places.get_mut(place) else { continue };
        match heard {
            Some(heard) => frames.push(heard),
            None => *lost += 1,
        }
    }
    places.into_iter().map(|(place, frames, lost)| row(place, &frames, lost)).collect()
}

/// Returns for each pause the last frame before it, unless that came before another pause.
fn silences<'a>(
    heard: &'a [Heard],
    marks: &'a [Mark],
) -> impl Iterator<Item = (&'a Heard, &'a Mark)> {
    let pauses = || marks.iter().filter(|mark| mark.place.is_none());
    pauses().filter_map(move |pause| {
        let last = heard.iter().rev().find(|heard| heard.at_ms <= pause.at_ms)?;
        let between = last.at_ms..pause.at_ms;
        (!pauses().any(|other| between.contains(&other.at_ms))).then_some((last, pause))
    })
}

/// Returns how long it commonly is from one frame to the next, ms.
fn period_ms(heard: &[Heard], step: u32) -> Option<i64> {
    let is_next = |gap: u32| gap > 0 && step.abs_diff(gap) <= step / 8;
    let between = |pair: &[Heard]| {
        let (before, after) = (pair.first()?, pair.last()?);
        let gap = after.counter.checked_sub(before.counter)?;
        is_next(gap).then_some(after.at_ms - before.at_ms)
    };
    let mut times: Vec<i64> = heard.windows(2).filter_map(between).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().filter(|period_ms| *period_ms > 0)
}

/// Returns the commonest step between two counters; 1 where there is none.
fn step(heard: &[Heard]) -> u32 {
    let mut steps: Vec<u32> = heard
        .windows(2)
        .filter_map(|pair| pair.last()?.counter.checked_sub(pair.first()?.counter))
        .filter(|step| *step > 0)
        .collect();
    steps.sort_unstable();
    // A counter in seconds wavers: what lies close together is one step.
    let close = |step: u32| steps.iter().filter(|other| step.abs_diff(**other) <= step / 8).count();
    let best = steps.iter().copied().max_by_key(|step| (close(*step), std::cmp::Reverse(*step)));
    best.unwrap_or(1)
}

fn row(place: String, frames: &[Heard], lost: u32) -> Row {
    let heard = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    let sorted = |of: fn(&Heard) -> f64| {
        let mut values: Vec<f64> = frames.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (rssi, snr) = (sorted(|heard| heard.rssi_dbm), sorted(|heard| heard.snr_db));
    let margins = {
        let mut margins: Vec<f64> =
            frames.iter().map(|heard| heard.snr_db - floor_db(heard.spreading_factor)).collect();
        margins.sort_by(f64::total_cmp);
        margins
    };
    let quantile = |values: &[f64], share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a short list"
        )]
        let place = ((values.len().saturating_sub(1)) as f64 * share) as usize;
        values.get(place).copied()
    };
    let margin_db = quantile(&margins, 0.25);
    let worst_snr = quantile(&snr, 0.25);
    let spreading_factor =
        worst_snr.and_then(|snr| (7..=12).find(|factor| snr - floor_db(*factor) >= RESERVE_DB));
    let percent = f64::from(lost) / f64::from((heard + lost).max(1)) * 100.0;
    let verdict = match margin_db {
        None => Verdict::Unheard,
        Some(_) if heard + lost < FRAMES_MIN => Verdict::TooFew,
        Some(margin) if margin >= RESERVE_DB && percent <= LOSS_GOOD_PERCENT => Verdict::Good,
        Some(margin) if margin >= RESERVE_MIN_DB && percent <= LOSS_FAIR_PERCENT => Verdict::Fair,
        Some(_) => Verdict::Poor,
    };
    let three = |values: &[f64]| Some([*values.first()?, quantile(values, 0.5)?, *values.last()?]);
    let two = three(&snr).map(|[worst, median, _]| [worst, median]);
    Row {
        place,
        heard,
        lost,
        rssi_dbm: three(&rssi),
        snr_db: two,
        margin_db,
        spreading_factor,
        verdict,
    }
}

impl Row {
    /// Returns how many frames of a hundred were lost.
    #[must_use]
    pub fn loss_percent(&self) -> f64 {
        f64::from(self.lost) / f64::from((self.heard + self.lost).max(1)) * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heard(at_s: i64, counter: u32, snr_db: f64) -> Heard {
        Heard {
            at_ms: at_s * 1000,
            counter,
            rssi_dbm: -100.0 + snr_db,
            snr_db,
            spreading_factor: 9,
        }
    }

    fn mark(at_s: i64, place: &str) -> Mark {
        Mark { at_ms: at_s * 1000, place: Some(place.to_owned()) }
    }

    /// SX1276 data sheet, table 13.
    #[test]
    fn each_spreading_factor_needs_what_the_data_sheet_says() {
        let floors: Vec<f64> = (7..=12).map(floor_db).collect();
        assert_eq!(floors, [-7.5, -10.0, -12.5, -15.0, -17.5, -20.0]);
    }

    #[test]
    fn a_walk_becomes_a_table() {
        // A frame every ten seconds; under the tree every second one is lost.
        let near = (0..10).map(|n| heard(i64::from(n) * 10, n * 10, 8.0));
        let far = (10..30).step_by(2).map(|n| heard(i64::from(n) * 10, n * 10 + 1, -9.0));
        let frames: Vec<Heard> = near.chain(far).collect();
        let rows = table(&frames, &[mark(0, "daraja"), mark(95, "mwembe"), mark(300, "kilima")]);
        let [near, far, none] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((near.heard, near.lost, near.verdict), (10, 0, Verdict::Good));
        assert_eq!(near.margin_db, Some(20.5));
        assert_eq!(near.spreading_factor, Some(7));
        assert_eq!((far.heard, far.lost, far.verdict), (10, 9, Verdict::Poor));
        assert_eq!((far.margin_db, far.spreading_factor), (Some(3.5), Some(12)));
        assert_eq!((none.heard, none.verdict), (0, Verdict::Unheard));
    }

    #[test]
    fn a_counter_that_begins_anew_loses_nothing() {
        let frames =
            [heard(0, 500, 5.0), heard(10, 501, 5.0), heard(20, 0, 5.0), heard(30, 1, 5.0)];
        let rows = table(&frames, &[mark(0, "a")]);
        assert_eq!((rows[0].heard, rows[0].lost), (4, 0));
        assert_eq!(rows[0].verdict, Verdict::TooFew);
        let leap = [heard(0, 5, 5.0), heard(10, 6, 5.0), heard(20, 90_000, 5.0)];
        assert_eq!(table(&leap, &[mark(0, "a")])[0].lost, 0);
    }

    #[test]
    fn over_a_pause_nothing_is_lost_and_a_frame_that_comes_again_is_one() {
        let mut frames: Vec<Heard> =
            (0..10).map(|n| heard(i64::from(n) * 10, n * 10, 8.0)).collect();
        frames.extend((370..380).map(|n| heard(i64::from(n) * 10, n * 10, 8.0)));
        frames.push(heard(3791, 3790, 8.0));
        let pause = Mark { at_ms: 100_000, place: None };
        let rows = table(&frames, &[mark(0, "a"), pause, mark(3690, "a")]);
        assert_eq!((rows.len(), rows[0].heard, rows[0].lost), (1, 20, 0));
        assert_eq!(rows[0].verdict, Verdict::Good);
    }

    #[test]
    fn silence_before_a_pause_is_loss_and_after_it_is_none() {
        let mut frames: Vec<Heard> =
            (0..10).map(|n| heard(i64::from(n) * 10, n * 10, 8.0)).collect();
        // At the tree two are heard, then none for two minutes. The next day another two.
        frames.extend([heard(101, 101, -9.0), heard(110, 110, -9.0)]);
        frames.extend([heard(90_000, 90_000, 8.0), heard(90_010, 90_010, 8.0)]);
        let pause = |at_s: i64| Mark { at_ms: at_s * 1000, place: None };
        let marks = [
            mark(0, "daraja"),
            mark(95, "mwembe"),
            pause(235),
            pause(89_900),
            mark(89_900, "kilima"),
            pause(90_012),
        ];
        let rows = table(&frames, &marks);
        let counts: Vec<(u32, u32)> = rows.iter().map(|row| (row.heard, row.lost)).collect();
        assert_eq!(counts, [(10, 0), (2, 12), (2, 0)]);
        assert_eq!(rows[1].verdict, Verdict::Poor);
    }

    proptest! {
        /// However frames are lost: heard and lost are together what was sent between the first and the last heard.
        #[test]
        fn nothing_is_counted_twice_and_nothing_forgotten(
            kept in prop::collection::vec(prop::bool::weighted(0.8), 3..200),
            step in prop_oneof![Just(1_u32), Just(10), Just(60)],
            changes in prop::collection::vec(0_i64..2000, 0..4),
        ) {
            let all = (0_u32..).zip(&kept).filter(|(_, kept)| **kept);
            let frames: Vec<Heard> =
                all.map(|(n, _)| heard(i64::from(n) * 10, n * step, 3.0)).collect();
            let pairs = frames.windows(2).filter(|p| p[1].counter - p[0].counter == step).count();
            // Where hardly any two frames follow each other, nobody can tell the step.
            prop_assume!(frames.len() > 2 && pairs * 2 > frames.len());
            let mut marks = vec![mark(0, "p0")];
            marks.extend(changes.iter().zip(1..).map(|(at, n)| mark(*at, &format!("p{}", n % 3))));
            let rows = table(&frames, &marks);
            let (first, last) = (frames[0].counter, frames[frames.len() - 1].counter);
            let together: u32 = rows.iter().map(|row| row.heard + row.lost).sum();
            prop_assert_eq!(together, (last - first) / step + 1);
            let counted: usize = rows.iter().map(|row| row.heard as usize).sum();
            prop_assert_eq!(counted, frames.len());
        }
    }
}
