//! What a country lets a radio send: plans as data, and the account that keeps within them.
//!
//! The account covers every hour, not every calendar hour: no hour that could be cut out of the past holds more airtime
//! than the plan allows. A part of it is held back for frames that warn of danger.

mod plans;

pub use plans::{Band, PLANS, Plan, WF1_BANDWIDTH_HZ};

use crate::domain::radio::{Modulation, Urgency};
use crate::domain::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Time over which airtime is counted (ETSI EN 300 220-2 §4.3.3: the duty cycle is over one hour).
pub const HOUR: Duration = Duration::from_hours(1);
const HOUR_US: u64 = 3_600_000_000;
/// Share of the airtime that is held back for frames that warn of danger.
pub const KEPT_FOR_DANGER: f64 = 0.25;
/// So much later than it was booked a frame may have gone out: its chip was slow to obey.
const BOOKED_EARLY_MAX: Duration = Duration::from_secs(3);
/// The time line counts milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);
/// Countries, and what two sources say of them.
const COUNTRIES: &str = include_str!("airtime/countries.csv");

/// What a country is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Country {
    /// This plan, as far as the sources agree.
    Plan(&'static Plan),
    /// The sources say different things: by the LoRa Alliance, by The Things Network.
    Disputed(Vec<&'static str>, Vec<&'static str>),
    /// Some plan that this program does not have.
    OtherPlans(Vec<&'static str>),
    /// No source knows it.
    Unknown,
}

/// Returns what the country of that ISO 3166 code is allowed. That is no legal advice: the regulator decides.
#[must_use]
pub fn country(iso2: &str) -> Country {
    let Some((alliance, network)) = sources(iso2) else { return Country::Unknown };
    let first = alliance.first().or(network.first()).copied().unwrap_or("");
    if !alliance.is_empty() && !network.is_empty() && !network.contains(&first) {
        return Country::Disputed(alliance, network);
    }
    match Plan::named(first) {
        Some(plan) => Country::Plan(plan),
        None => Country::OtherPlans(alliance.into_iter().chain(network).collect()),
    }
}

/// Returns every plan that a source gives the country, also those that this program does not have.
#[must_use]
pub fn plans_of(iso2: &str) -> Vec<&'static str> {
    let (mut plans, network) = sources(iso2).unwrap_or_default();
    plans.extend(network.into_iter().filter(|name| !plans.contains(name)).collect::<Vec<_>>());
    plans
}

/// Returns what the LoRa Alliance and The Things Network say of a country.
fn sources(iso2: &str) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
    let words = |column: Option<&'static str>| -> Vec<&'static str> {
        column.unwrap_or("").split_whitespace().collect()
    };
    COUNTRIES.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut columns = line.split(',');
        (columns.next()? == iso2).then(|| (words(columns.next()), words(columns.next())))
    })
}

/// Whether a frame may go out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Now, with at most so much power at the antenna's foot, dBm.
    Now {
        /// Effective radiated power less the antenna's gain over a dipole.
        power_dbm: f64,
    },
    /// Not before this moment.
    Wait(Timestamp),
    /// Never.
    Never(Never),
}

/// Why a frame may never go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// The plan has no band at this frequency.
    Frequency,
    /// It is longer than one frame may be.
    Dwell,
    /// It is longer than what an hour allows.
    Duty,
}

/// What a radio has sent within the last hour, by band.
#[derive(Clone, Debug)]
pub struct Airtime {
    plan: &'static Plan,
    /// Gain of the antenna over a dipole, dB.
    gain_db: f64,
    /// What the operator lets all bands together have in an hour.
    most: Option<Duration>,
    sent: BTreeMap<usize, VecDeque<(Timestamp, Duration)>>,
}

impl Airtime {
    /// Opens the account of a radio whose antenna has so much gain over an isotropic one, dBi.
    #[must_use]
    pub fn new(plan: &'static Plan, antenna_dbi: f64) -> Self {
        let gain_db = antenna_dbi - plans::DIPOLE_DBI;
        Self { plan, gain_db, most: None, sent: BTreeMap::new() }
    }

    /// Lets no hour hold more than that in all bands together, whatever the plan allows.
    #[must_use]
    pub fn at_most(self, most: Option<Duration>) -> Self {
        Self { most, ..self }
    }

    /// Judges a frame of that many bytes.
    #[must_use]
    pub fn ask(
        &self,
        frequency_hz: u32,
        modulation: Modulation,
        bytes: usize,
        urgency: Urgency,
        now: Timestamp,
    ) -> Verdict {
        let Some((place, band)) = self.plan.band(frequency_hz, width(modulation)) else {
            return Verdict::Never(Never::Frequency);
        };
        let air = modulation.time_on_air(bytes, true);
        if band.dwell(modulation).is_some_and(|most| air > most) {
            return Verdict::Never(Never::Dwell);
        }
        let power_dbm = band.erp_dbm - self.gain_db.max(0.0);
        let of_band = || self.sent.get(&place).into_iter().flatten();
        let of_all = || self.sent.values().flatten();
        let limits = [
            band.duty.map(|duty| (HOUR.mul_f64(duty), of_band().copied().collect())),
            self.most.map(|most| (most, of_all().copied().collect())),
        ];
        let mut from = now;
        for (most, sent) in limits.into_iter().flatten() {
            let most = match urgency {
                Urgency::Danger => most,
                Urgency::Ordinary => most.mul_f64(1.0 - KEPT_FOR_DANGER),
            };
            match room(sent, air, most, now) {
                Some(at) => from = from.max(at),
                None => return Verdict::Never(Never::Duty),
            }
        }
        if from > now { Verdict::Wait(from) } else { Verdict::Now { power_dbm } }
    }

    /// Books a frame that goes out now. Ask first.
    pub fn book(
        &mut self,
        frequency_hz: u32,
        modulation: Modulation,
        bytes: usize,
        now: Timestamp,
    ) {
        let band = self.plan.band(frequency_hz, width(modulation));
        let is_limited = |band: &Band| band.duty.is_some() || self.most.is_some();
        let Some((place, _)) = band.filter(|(_, band)| is_limited(band)) else { return };
        let air = modulation.time_on_air(bytes, true);
        let sent = self.sent.entry(place).or_default();
        while sent.front().is_some_and(|(at, _)| now.since(*at) > 2 * HOUR) {
            sent.pop_front();
        }
        sent.push_back((now, air));
    }

    /// Returns what is booked, as text, for [`Airtime::resume`] after a restart.
    #[must_use]
    pub fn record(&self) -> String {
        let line = |(place, (at, air)): (usize, &(Timestamp, Duration))| {
            let band = self.plan.bands.get(place)?;
            let middle_hz = band.from_hz.midpoint(band.to_hz);
            Some(format!("{middle_hz} {} {}\n", at.as_millis(), air.as_micros()))
        };
        let booked = self.sent.iter().flat_map(|(place, sent)| sent.iter().map(|of| (*place, of)));
        booked.filter_map(line).collect()
    }

    /// Takes up what was booked before a restart. What the time line has not reached yet counts as sent now. Returns whether
    /// all of it was understood.
    pub fn resume(&mut self, record: &str, now: Timestamp) -> bool {
        let mut understood = true;
        for line in record.lines() {
            let mut words = line.split(' ').map(str::parse::<u64>);
            let (Some(Ok(hz)), Some(Ok(at_ms)), Some(Ok(air_us)), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                understood = false;
                continue;
            };
            let (Ok(hz), Ok(at_ms)) = (u32::try_from(hz), i64::try_from(at_ms)) else {
                understood = false;
                continue;
            };
            let at = Timestamp::from_millis(at_ms).min(now);
            if let Some((place, _)) = self.plan.band(hz, WF1_BANDWIDTH_HZ)
                && now.since(at) <= 2 * HOUR
            {
                let sent = self.sent.entry(place).or_default();
                sent.push_back((at, Duration::from_micros(air_us.min(HOUR_US))));
            }
        }
        understood
    }

    /// Books half of what an hour allows, in each band and in all together, where nobody knows what was sent before.
    pub fn doubt(&mut self, now: Timestamp) {
        let bands = self.plan.bands.iter().enumerate();
        let half =
            |(place, band): (usize, &plans::Band)| Some((place, HOUR.mul_f64(band.duty? / 2.0)));
        let mut halves: Vec<(usize, Duration)> = bands.filter_map(half).collect();
        if let Some(most) = self.most {
            // Where the plan has no limit, the operator's is booked in any one band.
            if halves.is_empty() {
                halves.push((0, most / 2));
            }
            let all: Duration = halves.iter().map(|(_, half)| *half).sum();
            let fits = (most / 2).div_duration_f64(all).min(1.0);
            for (_, half) in &mut halves {
                *half = half.mul_f64(fits);
            }
        }
        for (place, half) in halves {
            self.sent.entry(place).or_default().push_back((now, half));
        }
    }

    /// Returns the share of the last hour that was sent in the band of a frequency, and the share that is allowed, if it
    /// is limited.
    #[must_use]
    pub fn share(&self, frequency_hz: u32, now: Timestamp) -> Option<(f64, f64)> {
        let (place, band) = self.plan.band(frequency_hz, WF1_BANDWIDTH_HZ)?;
        let sent = self.sent.get(&place).into_iter().flatten();
        let sum: Duration =
            sent.filter(|(at, _)| now.since(*at) <= HOUR).map(|(_, air)| *air).sum();
        Some((sum.as_secs_f64() / HOUR.as_secs_f64(), band.duty?))
    }
}

/// Returns from when on a frame that lasts `air` leaves an hour with no more than `most`; none: never.
fn room(
    mut sent: Vec<(Timestamp, Duration)>,
    air: Duration,
    most: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    if air > most {
        return None;
    }
    // The hour that ends with this frame: what ended within it counts whole.
    let leaves = |at: Timestamp, old: Duration| at + old + HOUR + BOOKED_EARLY_MAX + ROUNDING;
    sent.retain(|(at, old)| leaves(*at, *old) > now + air);
    sent.sort_unstable();
    let mut sum: Duration = sent.iter().map(|(_, old)| *old).sum();
    if sum + air <= most {
        return Some(now);
    }
    sent.into_iter().find_map(|(at, old)| {
        sum = sum.saturating_sub(old);
        (sum + air <= most).then(|| leaves(at, old) - air + ROUNDING)
    })
}

fn width(modulation: Modulation) -> u32 {
    match modulation {
        Modulation::Lora { bandwidth_hz, .. } => bandwidth_hz,
        // LoRaWAN's 50 kbit/s are narrower than its channels.
        Modulation::Fsk { .. } => WF1_BANDWIDTH_HZ,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_precision_loss, reason = "milliseconds of some days")]

    use super::*;
    use proptest::prelude::*;

    const SF9: Modulation = Modulation::Lora { spreading_factor: 9, bandwidth_hz: 125_000 };
    const SF12: Modulation = Modulation::Lora { spreading_factor: 12, bandwidth_hz: 125_000 };

    fn at(s: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(s)
    }

    #[test]
    fn a_country_has_the_plan_that_its_sources_agree_on() {
        let plan = |name| Country::Plan(Plan::named(name).unwrap());
        assert_eq!(country("KE"), plan("EU868"));
        assert_eq!(country("IN"), plan("IN865"));
        assert_eq!(country("US"), plan("US915"));
        assert_eq!(country("TZ"), Country::Disputed(vec!["AS923-1", "EU433"], vec!["EU868"]));
        assert_eq!(country("XX"), Country::Unknown);
        assert!(matches!(country("CN"), Country::OtherPlans(_)), "{:?}", country("CN"));
        assert_eq!(plans_of("TZ"), ["AS923-1", "EU433", "EU868"]);
        assert_eq!(plans_of("ZA"), ["EU868", "EU433"]);
    }

    #[test]
    fn each_plan_sends_its_own_frames_on_its_own_channel() {
        for plan in PLANS {
            let airtime = Airtime::new(plan, 2.15);
            let modulation =
                Modulation::Lora { spreading_factor: 9, bandwidth_hz: plan.wf1_bandwidth_hz };
            let verdict = airtime.ask(plan.wf1_hz, modulation, 36, Urgency::Ordinary, at(0));
            assert!(matches!(verdict, Verdict::Now { .. }), "{}: {verdict:?}", plan.name);
            let elsewhere = airtime.ask(800_000_000, modulation, 36, Urgency::Danger, at(0));
            assert_eq!(elsewhere, Verdict::Never(Never::Frequency));
        }
    }

    #[test]
    fn power_is_what_the_antenna_leaves_of_it() {
        let eu868 = Plan::named("EU868").unwrap();
        let power =
            |dbi, hz| match Airtime::new(eu868, dbi).ask(hz, SF9, 20, Urgency::Danger, at(0)) {
                Verdict::Now { power_dbm } => power_dbm,
                other @ (Verdict::Wait(_) | Verdict::Never(_)) => panic!("{other:?}"),
            };
        assert!((power(2.15, 868_100_000) - 14.0).abs() < 1e-9);
        assert!((power(5.15, 868_100_000) - 11.0).abs() < 1e-9);
        assert!((power(2.15, 869_525_000) - 27.0).abs() < 1e-9);
        // A poor antenna is no reason to feed it more than the plan's figure.
        assert!((power(0.0, 868_100_000) - 14.0).abs() < 1e-9);
    }

    #[test]
    fn a_signal_may_not_reach_beyond_its_band() {
        let us915 = Airtime::new(Plan::named("US915").unwrap(), 2.15);
        let verdict = |bandwidth_hz| {
            let modulation = Modulation::Lora { spreading_factor: 9, bandwidth_hz };
            us915.ask(902_100_000, modulation, 20, Urgency::Danger, at(0))
        };
        assert!(matches!(verdict(125_000), Verdict::Now { .. }), "{:?}", verdict(125_000));
        assert_eq!(verdict(500_000), Verdict::Never(Never::Frequency));
    }

    #[test]
    fn a_frame_that_dwells_too_long_never_goes_out() {
        let as923 = Airtime::new(Plan::named("AS923-1").unwrap(), 2.15);
        let verdict = as923.ask(923_200_000, SF12, 20, Urgency::Danger, at(0));
        assert_eq!(verdict, Verdict::Never(Never::Dwell));
    }

    #[test]
    fn danger_has_airtime_left_when_the_ordinary_has_none() {
        let mut airtime = Airtime::new(Plan::named("EU868").unwrap(), 2.15);
        let (hz, mut now) = (868_100_000, 0);
        while let Verdict::Now { .. } = airtime.ask(hz, SF12, 51, Urgency::Ordinary, at(now)) {
            airtime.book(hz, SF12, 51, at(now));
            now += 10;
        }
        let Verdict::Wait(until) = airtime.ask(hz, SF12, 51, Urgency::Ordinary, at(now)) else {
            panic!()
        };
        assert!(matches!(airtime.ask(hz, SF12, 51, Urgency::Danger, at(now)), Verdict::Now { .. }));
        let then = airtime.ask(hz, SF12, 51, Urgency::Ordinary, until);
        assert!(matches!(then, Verdict::Now { .. }), "{then:?}");
        let (sent, allowed) = airtime.share(hz, at(now)).unwrap();
        assert!(sent > 0.006 && sent <= allowed, "{sent} of {allowed}");
    }

    #[test]
    fn where_nothing_is_known_of_the_last_hour_half_of_it_is_left() {
        let most = SF12.time_on_air(51, true) * 8;
        for (name, most) in [("EU868", None), ("EU868", Some(most)), ("AU915", Some(most))] {
            let plan = Plan::named(name).unwrap();
            let how = Modulation::Lora { spreading_factor: 9, bandwidth_hz: plan.wf1_bandwidth_hz };
            let fits = |mut airtime: Airtime| {
                let may = |airtime: &Airtime, now| {
                    let verdict = airtime.ask(plan.wf1_hz, how, 21, Urgency::Danger, at(now));
                    matches!(verdict, Verdict::Now { .. })
                };
                let mut frames = 0_u32;
                while frames < 1000 && may(&airtime, frames.into()) {
                    airtime.book(plan.wf1_hz, how, 21, at(frames.into()));
                    frames += 1;
                }
                frames
            };
            let fresh = || Airtime::new(plan, 2.15).at_most(most);
            let mut doubted = fresh();
            doubted.doubt(at(0));
            let (all, left) = (fits(fresh()), fits(doubted));
            assert!(all < 1000 && left > 0, "{name} {most:?}: {left} of {all}");
            assert!(left.abs_diff(all / 2) <= 1, "{name} {most:?}: {left} of {all}");
        }
    }

    #[test]
    fn what_the_operator_allows_bounds_all_bands_together() {
        let eu868 = Plan::named("EU868").unwrap();
        let most = SF12.time_on_air(51, true) * 3;
        let mut airtime = Airtime::new(eu868, 2.15).at_most(Some(most));
        let ask = |airtime: &Airtime, hz, now| airtime.ask(hz, SF12, 51, Urgency::Danger, at(now));
        for (hz, now) in [(868_100_000, 0), (869_525_000, 100), (867_900_000, 200)] {
            assert!(matches!(ask(&airtime, hz, now), Verdict::Now { .. }), "{hz}");
            airtime.book(hz, SF12, 51, at(now));
        }
        let Verdict::Wait(until) = ask(&airtime, 869_525_000, 300) else { panic!() };
        assert!((at(3600)..at(3700)).contains(&until), "{until:?}");
        // What the plan allows in a band is no more for it.
        let mut airtime = Airtime::new(eu868, 2.15).at_most(Some(HOUR));
        let mut now = 0;
        while let Verdict::Now { .. } = ask(&airtime, 869_000_000, now) {
            airtime.book(869_000_000, SF12, 51, at(now));
            now += 10;
        }
        let (sent, allowed) = airtime.share(869_000_000, at(now)).unwrap();
        assert!(sent <= allowed && allowed < 0.0011, "{sent} of {allowed}");
        // Where the plan has no limit, there is the operator's.
        let mut wide = Airtime::new(Plan::named("IN865").unwrap(), 2.15).at_most(Some(most));
        let sent = (0..10).filter(|now| {
            let may = matches!(ask(&wide, 866_550_000, *now * 10), Verdict::Now { .. });
            if may {
                wide.book(866_550_000, SF12, 51, at(*now * 10));
            }
            may
        });
        assert_eq!(sent.count(), 3);
    }

    #[test]
    fn a_restart_makes_no_airtime() {
        let (hz, eu868) = (868_100_000, Plan::named("EU868").unwrap());
        let mut before = Airtime::new(eu868, 2.15);
        let mut now = 100;
        while let Verdict::Now { .. } = before.ask(hz, SF12, 51, Urgency::Danger, at(now)) {
            before.book(hz, SF12, 51, at(now));
            now += 10;
        }
        let mut after = Airtime::new(eu868, 2.15);
        assert!(after.resume(&before.record(), at(now)));
        let asked = |airtime: &Airtime| airtime.ask(hz, SF12, 51, Urgency::Danger, at(now));
        assert_eq!(asked(&after), asked(&before));
        assert_eq!(after.share(hz, at(now)), before.share(hz, at(now)));
        // A time line that began again is no new hour either.
        let mut begun_again = Airtime::new(eu868, 2.15);
        assert!(begun_again.resume(&before.record(), at(0)));
        let verdict = begun_again.ask(hz, SF12, 51, Urgency::Danger, at(1));
        assert!(matches!(verdict, Verdict::Wait(until) if until > at(3600)), "{verdict:?}");
        // What another plan's bands hold does not count, and neither does nonsense.
        let mut elsewhere = Airtime::new(Plan::named("EU433").unwrap(), 2.15);
        assert!(elsewhere.resume(&before.record(), at(now)));
        assert_eq!(elsewhere.record(), "");
        assert!(!elsewhere.resume("433920000 5\n433920000 6 7\n", at(now)));
        assert_eq!(elsewhere.record().lines().count(), 1);
    }

    proptest! {
        #[test]
        fn any_record_is_taken_or_not(record in "[0-9 x\n]{0,80}", now_s in 0_u64..10_000) {
            let mut airtime = Airtime::new(Plan::named("EU868").unwrap(), 2.15);
            airtime.resume(&record, at(now_s));
            let _verdict = airtime.ask(868_100_000, SF12, 51, Urgency::Danger, at(now_s));
        }

        /// Whatever is asked for, whenever: no hour holds more than the plan allows, and who waits as told may send.
        #[test]
        fn no_hour_holds_more_airtime_than_the_plan_allows(
            asked in prop::collection::vec((0_u64..400, 7_u8..=12, 1_usize..60, any::<bool>()), 1..400),
        ) {
            let mut airtime = Airtime::new(Plan::named("EU868").unwrap(), 2.15);
            let (hz, mut now, mut sent) = (868_300_000, Timestamp::default(), Vec::new());
            for (wait_s, spreading_factor, bytes, danger) in asked {
                now = now + Duration::from_secs(wait_s);
                let modulation = Modulation::Lora { spreading_factor, bandwidth_hz: 125_000 };
                let urgency = if danger { Urgency::Danger } else { Urgency::Ordinary };
                match airtime.ask(hz, modulation, bytes, urgency, now) {
                    Verdict::Now { .. } => {
                        airtime.book(hz, modulation, bytes, now);
                        let air = modulation.time_on_air(bytes, true);
                        sent.push((now.as_millis(), air.as_secs_f64() * 1000.0));
                        now = now + air;
                    }
                    Verdict::Wait(until) => {
                        prop_assert!(until > now);
                        let then = airtime.ask(hz, modulation, bytes, urgency, until);
                        let may = matches!(then, Verdict::Now { .. });
                        prop_assert!(may, "{:?}", then);
                    }
                    Verdict::Never(why) => prop_assert_eq!(why, Never::Duty),
                }
            }
            // Judged anew: airtime within each hour that ends with the end of a frame, cut where the hour begins.
            for (last_ms, last_air) in &sent {
                let end = *last_ms as f64 + last_air;
                let begin = end - 3_600_000.0;
                let within: f64 = sent
                    .iter()
                    .map(|(at, air)| {
                                let at = *at as f64;
                        (at + air).min(end) - at.max(begin)
                    })
                    .filter(|part| *part > 0.0)
                    .sum();
                prop_assert!(within <= 36_000.0 + 1.0, "{within} ms within an hour");
            }
        }
    }
}
