//! What is to be told in a seed: people, warnings, their alerts, and when the faults stop.

use super::network::{HTTP, MODEM};
use crate::dice::Dice;
use kengele::domain::message::{DeliveryId, Priority};
use kengele::domain::outbox::{Delivery, DeliveryState, LaneSettings, Route, Subject};
use kengele::domain::recipient::RecipientId;
use kengele::domain::time::Timestamp;
use kengele::domain::warning::{MessageType, WarningId};
use std::collections::BTreeSet;
use std::time::Duration;

pub struct Plan {
    pub start: Timestamp,
    /// From here on nothing fails any more.
    pub heal: Timestamp,
    pub alerts: Vec<PlannedAlert>,
    pub opt_outs: Vec<(Timestamp, RecipientId)>,
    people: Vec<Person>,
}

struct Person {
    number: String,
    rank: u8,
    channels: Vec<&'static str>,
    /// The channels share the work, instead of one coming after the other.
    share: bool,
}

pub struct PlannedAlert {
    pub at: Timestamp,
    subject: Subject,
    priority: Priority,
    segments: u16,
    lasts: Duration,
    audience: Vec<usize>,
}

/// Hours of faults.
const FAULTY_HOURS: u64 = 6;

pub fn lanes(dice: &mut Dice) -> Vec<LaneSettings> {
    let window = |dice: &mut Dice| Duration::from_secs(dice.between(60, 24 * 3600));
    let modem = LaneSettings {
        name: MODEM.into(),
        width: 1,
        segment_interval: Duration::from_secs(dice.between(0, 20)),
        report_window: window(dice),
    };
    let reports = dice.chance(700);
    let http = LaneSettings {
        name: HTTP.into(),
        width: usize::try_from(dice.between(1, 4)).unwrap(),
        segment_interval: Duration::from_millis(dice.between(0, 2000)),
        report_window: if reports { window(dice) } else { Duration::ZERO },
    };
    if dice.chance(250) { vec![modem] } else { vec![modem, http] }
}

impl Plan {
    pub fn drawn(dice: &mut Dice) -> Self {
        let start = Timestamp::from_millis(i64::try_from(dice.below(86_400_000)).unwrap());
        let people = (0..dice.between(1, 5))
            .map(|n| Person {
                number: format!("+25571200000{n}"),
                rank: u8::from(n > 0),
                share: dice.chance(300),
                channels: match dice.below(4) {
                    0 => vec![MODEM],
                    1 => vec![HTTP, MODEM],
                    _ => vec![MODEM, HTTP],
                },
            })
            .collect();
        let mut plan = Self {
            start,
            heal: start + Duration::from_secs(FAULTY_HOURS * 3600),
            alerts: Vec::new(),
            opt_outs: Vec::new(),
            people,
        };
        for warning in 1..=dice.between(1, 4) {
            plan.draw_warning(WarningId(warning), dice);
        }
        for subject in [Subject::Notice, Subject::Test] {
            if dice.chance(200) {
                let at = start + Duration::from_secs(dice.below(FAULTY_HOURS * 3600));
                plan.draw_alert(at, subject, Priority::Advice, dice);
            }
        }
        if dice.chance(300) {
            let alert = dice.index(plan.alerts.len());
            let at = plan.alerts[alert].at + Duration::from_secs(dice.below(60));
            let person = dice.below(plan.people.len() as u64);
            plan.opt_outs.push((at, RecipientId(i64::try_from(person).unwrap())));
        }
        plan.alerts.sort_by_key(|alert| alert.at);
        plan
    }

    fn draw_warning(&mut self, warning: WarningId, dice: &mut Dice) {
        let mut at = self.start + Duration::from_secs(dice.below(2 * 3600));
        let count = u32::try_from(dice.between(1, 4)).unwrap();
        let cancelled = dice.chance(800);
        let mut priority = Priority::Advice;
        for number in 1..=count {
            let last = number == count && number > 1 && cancelled;
            let message_type = match (number, last) {
                (1, _) => MessageType::Alert,
                (_, true) => MessageType::Cancel,
                (_, false) => MessageType::Update,
            };
            if message_type != MessageType::Cancel {
                let priorities = [Priority::Danger, Priority::Warning, Priority::Advice];
                priority = priorities[dice.index(3)];
            }
            self.draw_alert(at, Subject::Alert { warning, number, message_type }, priority, dice);
            let longest = if dice.chance(300) { 30 } else { 3600 };
            at = at + Duration::from_secs(dice.between(1, longest));
        }
    }

    fn draw_alert(&mut self, at: Timestamp, subject: Subject, priority: Priority, dice: &mut Dice) {
        let everybody = matches!(subject, Subject::Alert { message_type: MessageType::Cancel, .. });
        let audience = (0..self.people.len()).filter(|_| everybody || dice.chance(700)).collect();
        let lasts = match dice.below(3) {
            0 => Duration::from_secs(dice.between(10, 300)),
            1 => Duration::from_secs(dice.between(300, 3600)),
            _ => Duration::from_secs(dice.between(3600, 20 * 3600)),
        };
        let segments = u16::try_from(dice.between(1, 3)).unwrap();
        self.alerts.push(PlannedAlert { at, subject, priority, segments, lasts, audience });
    }

    /// Renders the rows of one alert.
    pub fn rows(
        &self,
        index: usize,
        now: Timestamp,
        opted_out: &BTreeSet<RecipientId>,
    ) -> Vec<Delivery> {
        let alert = &self.alerts[index];
        let row = |&person: &usize| {
            let n = i64::try_from(person).unwrap();
            let id = DeliveryId(i64::try_from(index).unwrap() * 100 + n + 1);
            let person = &self.people[person];
            let route = |step: u8, channel: &&str| Route {
                channel: (*channel).into(),
                step: if person.share { 0 } else { step },
                tries: 0,
                not_before: now,
                rejected: None,
            };
            Delivery {
                id,
                subject: alert.subject,
                recipient: RecipientId(n),
                number: person.number.as_str().into(),
                text: format!("text {id:?}").into(),
                segments: alert.segments,
                priority: alert.priority,
                rank: person.rank,
                flash: alert.priority == Priority::Danger,
                idempotency_key: format!("key {id:?}").into(),
                routes: person
                    .channels
                    .iter()
                    .enumerate()
                    .map(|(n, c)| route(u8::try_from(n).unwrap(), c))
                    .collect(),
                created: now,
                expires: now + alert.lasts,
                state: DeliveryState::Queued,
                stop: None,
                attempts: 0,
                channel: None,
                reached: false,
                possible_duplicate: false,
                last_error: None,
                ended: None,
            }
        };
        alert
            .audience
            .iter()
            .filter(|n| !opted_out.contains(&RecipientId(i64::try_from(**n).unwrap())))
            .map(row)
            .collect()
    }
}
