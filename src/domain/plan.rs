//! Who is told what: an alert and the people of its area become texts.

use crate::domain::message::Priority;
use crate::domain::recipient::{PhoneNumber, Recipient, RecipientId, Role};
use crate::domain::rule::{Function, Rule, RuleBook};
use crate::domain::text::{Placeholder, Template};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use crate::domain::warning::{Alert, MessageType, Notice, Observed, Reason, WarningId};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

/// A notice to the technician is worth nothing after a day.
const NOTICE_VALID: Duration = Duration::from_hours(24);
/// Stands for a clock time while the clock is not set.
const NO_TIME: &str = "--:--";

/// How this gateway speaks.
#[derive(Clone, Debug)]
pub struct Wording {
    /// Who says so.
    pub sender: String,
    /// Language for those whose own has no text.
    pub language: String,
    /// Names of areas as people say them: by area, then by language.
    pub areas: BTreeMap<String, BTreeMap<String, String>>,
    /// Where clock times are read.
    pub timezone: TimeZone,
    /// Channels of each role, best first; those of one step share the work.
    pub channels: BTreeMap<Role, Vec<Vec<String>>>,
    /// Stands before every text of an exercise; `None` when this is no exercise.
    pub exercise: Option<String>,
}

/// One text to one recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Planned {
    /// The alert that it tells of; `None` for a notice.
    pub alert: Option<(WarningId, u32)>,
    /// What the alert does to those before it.
    pub message_type: MessageType,
    /// To whom.
    pub recipient: RecipientId,
    /// Their number.
    pub number: PhoneNumber,
    /// What is said.
    pub text: String,
    /// Which goes first.
    pub priority: Priority,
    /// Who goes first among equals.
    pub rank: u32,
    /// Channels, best first; those of one step share the work.
    pub channels: Vec<Vec<String>>,
    /// Nothing may leave after this.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planned")
            .field("alert", &self.alert)
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}

/// Plans an alert: everybody who has agreed, lives in the area, and has a role that the level tells, in the order of the
/// roles. Whoever may have heard of a level before hears of every change.
#[must_use]
pub fn plan_alert(
    alert: &Alert,
    book: &RuleBook,
    people: &[Recipient],
    wording: &Wording,
    wall: WallClock,
) -> Vec<Planned> {
    let Some(rule) = book.rules.iter().find(|rule| rule.name == alert.rule) else {
        return Vec::new();
    };
    let roles = audience(alert, rule);
    let texts = match alert.message_type {
        MessageType::Cancel => &rule.all_clear,
        MessageType::Alert | MessageType::Update => {
            let Some(level) = rule.levels.iter().find(|l| l.level == alert.level) else {
                return Vec::new();
            };
            // Who reads that the water rises while it falls believes the next text less.
            let eases = alert.reason == Reason::Downgraded && !level.eased.is_empty();
            if eases { &level.eased } else { &level.texts }
        }
    };
    let mut planned = Vec::new();
    for (rank, role) in (0u32..).zip(roles) {
        for person in
            people.iter().filter(|p| p.consent && p.role == *role && p.covers(&alert.area))
        {
            let Some((language, template)) = text_for(person, texts, &wording.language) else {
                continue;
            };
            let body = template.render(|p| fill(p, alert, book, wording, wall, language));
            planned.push(Planned {
                alert: Some((alert.warning, alert.number)),
                message_type: alert.message_type,
                recipient: person.id,
                number: person.number.clone(),
                text: wording
                    .exercise
                    .as_ref()
                    .map_or(body.clone(), |word| format!("{word} {body}")),
                priority: alert.level.priority(),
                rank,
                channels: channels_of(role, wording),
                expires: alert.expires,
            });
        }
    }
    planned
}

/// Plans a notice: every technician who has agreed is told.
#[must_use]
pub fn plan_notice(
    notice: &Notice,
    book: &RuleBook,
    people: &[Recipient],
    wording: &Wording,
) -> Vec<Planned> {
    let node = notice.node.and_then(|node| book.nodes.get(node.0 as usize));
    let subject = node.map(|node| format!("{} ({}): ", node.name, node.place)).unwrap_or_default();
    let text = format!("{}: {subject}{}", wording.sender, notice.kind.words());
    people
        .iter()
        .filter(|person| person.consent && person.role.is_technician())
        .map(|person| Planned {
            alert: None,
            message_type: MessageType::Alert,
            recipient: person.id,
            number: person.number.clone(),
            text: text.clone(),
            priority: Priority::Advice,
            rank: 0,
            channels: channels_of(&person.role, wording),
            expires: notice.at + NOTICE_VALID,
        })
        .collect()
}

/// Returns the roles that an alert is for: those of its own level first, then those of the other levels that the warning
/// has been through.
fn audience<'a>(alert: &Alert, rule: &'a Rule) -> Vec<&'a Role> {
    let own = rule.levels.iter().filter(|l| l.level == alert.level);
    let others =
        rule.levels.iter().rev().filter(|l| l.level != alert.level && l.level <= alert.level_max);
    let mut roles: Vec<&Role> = Vec::new();
    for role in own.chain(others).flat_map(|l| &l.audience) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles
}

fn channels_of(role: &Role, wording: &Wording) -> Vec<Vec<String>> {
    wording.channels.get(role).cloned().unwrap_or_default()
}

/// Returns the text in a recipient's language, in that language without its region, in the gateway's, or in any.
fn text_for<'a>(
    person: &Recipient,
    texts: &'a BTreeMap<String, Template>,
    fallback: &str,
) -> Option<(&'a str, &'a Template)> {
    let own = person.language.as_str();
    let primary = own.split('-').next().unwrap_or(own);
    let choice = [own, primary, fallback].into_iter().find_map(|l| texts.get_key_value(l));
    choice
        .or_else(|| texts.first_key_value())
        .map(|(language, template)| (language.as_str(), template))
}

fn fill(
    placeholder: Placeholder,
    alert: &Alert,
    book: &RuleBook,
    wording: &Wording,
    wall: WallClock,
    language: &str,
) -> String {
    match placeholder {
        Placeholder::Area => {
            let names = wording.areas.get(&alert.area);
            let name = names.and_then(|n| {
                n.get(language).or_else(|| n.get(&wording.language)).or_else(|| n.values().next())
            });
            name.unwrap_or(&alert.area).clone()
        }
        Placeholder::Place => {
            let node =
                alert.observed.first().and_then(|o| book.nodes.get(o.signal.node.0 as usize));
            node.map(|node| node.place.clone()).unwrap_or_default()
        }
        Placeholder::Value => {
            alert.observed.first().map(|seen| value_words(book, seen)).unwrap_or_default()
        }
        Placeholder::Time => clock_time(alert.sent, wording, wall),
        Placeholder::Until => clock_time(alert.expires, wording, wall),
        Placeholder::Sender => wording.sender.clone(),
        Placeholder::Tag => format!("#{}-{}", alert.warning.0, alert.number),
    }
}

/// Returns a value as people read it: with the sensor's digits and the signal's unit.
#[must_use]
pub fn value_words(book: &RuleBook, seen: &Observed) -> String {
    let signal = seen.signal;
    let node = book.nodes.get(signal.node.0 as usize);
    let sensor = node.and_then(|node| node.sensors.iter().find(|s| s.quantity == signal.quantity));
    let decimals = sensor.map_or(1, |sensor| usize::from(sensor.decimals));
    let unit = signal.quantity.symbol();
    match signal.function {
        Function::Count(_) => format!("{}", seen.value),
        Function::Rate(_) => format!("{:.decimals$} {unit}/h", seen.value),
        Function::Last
        | Function::Min(_)
        | Function::Max(_)
        | Function::Mean(_)
        | Function::Sum(_)
        | Function::Change(_) => format!("{:.decimals$} {unit}", seen.value),
    }
}

fn clock_time(at: Timestamp, wording: &Wording, wall: WallClock) -> String {
    if wall.quality == ClockQuality::Unset {
        return NO_TIME.to_owned();
    }
    jiff::Timestamp::from_millisecond(wall.unix_ms(at)).map_or_else(
        |_| NO_TIME.to_owned(),
        |moment| moment.to_zoned(wording.timezone.clone()).strftime("%H:%M").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::node::{Node, Sensor};
    use crate::domain::quantity::Quantity;
    use crate::domain::reading::NodeName;
    use crate::domain::rule::{LevelRule, NodeIndex, Signal, Test};
    use crate::domain::warning::{Certainty, Level, NoticeKind, Reason};

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, Template> {
        pairs.iter().map(|(l, t)| ((*l).to_owned(), Template::parse(t).unwrap())).collect()
    }

    fn book() -> RuleBook {
        let level = |level, roles: &[&str], text: &str| LevelRule {
            level,
            test: Test::AtLeast(0, vec![]),
            hold: Duration::ZERO,
            clear_hold: Duration::ZERO,
            audience: roles.iter().map(|r| Role((*r).to_owned())).collect(),
            texts: texts(&[("en", text), ("sw", &format!("SW {text}"))]),
            eased: texts(&[("en", "Falls to {value}")]),
        };
        let sensor = Sensor {
            quantity: Quantity::WaterLevel,
            range: (0.0, 6.0),
            step: None,
            spike: None,
            stuck_after: None,
            counter: None,
            decimals: 1,
        };
        RuleBook {
            version: "v".into(),
            nodes: vec![Node {
                name: NodeName("up".into()),
                heard_as: Box::default(),
                place: "Upper bridge".into(),
                interval: Duration::from_mins(5),
                silent_after: Duration::from_mins(30),
                late_after: Duration::from_mins(20),
                sensors: vec![sensor],
            }],
            rules: vec![Rule {
                name: "river".into(),
                hazard: "flood".into(),
                area: "valley".into(),
                levels: vec![
                    level(Level::Warning, &["warden"], "Ready at {area}"),
                    level(
                        Level::Danger,
                        &["household", "warden"],
                        "GO {area} {value} {time}-{until} {tag} {sender} {place}",
                    ),
                ],
                valid: Duration::from_hours(6),
                cool_down: Duration::ZERO,
                all_clear: texts(&[("en", "Over")]),
                certainty: Certainty::Observed,
            }],
        }
    }

    fn person(id: i64, role: &str, language: &str, area: &str) -> Recipient {
        Recipient {
            id: RecipientId(id),
            name: format!("P{id}"),
            number: PhoneNumber::parse(&format!("+25570000000{id}")).unwrap(),
            role: Role(role.into()),
            language: language.into(),
            areas: vec![area.into()],
            consent: true,
        }
    }

    fn wording() -> Wording {
        Wording {
            sender: "Committee".into(),
            language: "en".into(),
            areas: [("valley".to_owned(), [("sw".to_owned(), "Bonde".to_owned())].into())].into(),
            timezone: TimeZone::fixed(jiff::tz::offset(3)),
            channels: [(Role("warden".into()), vec![vec!["modem".to_owned()]])].into(),
            exercise: None,
        }
    }

    fn alert(level: Level, message_type: MessageType) -> Alert {
        let signal =
            Signal { node: NodeIndex(0), quantity: Quantity::WaterLevel, function: Function::Last };
        Alert {
            warning: WarningId(7),
            number: 2,
            message_type,
            reason: Reason::Upgraded,
            level,
            level_max: Level::Danger,
            hazard: "flood".into(),
            area: "valley".into(),
            rule: "river".into(),
            rule_version: "v".into(),
            sent: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(6 * 3_600_000),
            observed: vec![Observed { signal, value: 3.13 }],
        }
    }

    const WALL: WallClock = WallClock { offset_ms: 0, quality: ClockQuality::Synchronised };

    #[test]
    fn everybody_of_the_area_who_agreed_is_told_in_their_language_roles_in_order() {
        let mut people = vec![
            person(1, "warden", "sw-TZ", "valley"),
            person(2, "household", "fr", "*"),
            person(3, "household", "en", "hill"),
            person(4, "household", "en", "valley"),
        ];
        people[3].consent = false;
        let planned = plan_alert(
            &alert(Level::Danger, MessageType::Update),
            &book(),
            &people,
            &wording(),
            WALL,
        );
        let told: Vec<_> =
            planned.iter().map(|p| (p.recipient.0, p.rank, p.text.as_str())).collect();
        assert_eq!(
            told,
            [
                (2, 0, "GO Bonde 3.1 m 03:00-09:00 #7-2 Committee Upper bridge"),
                (1, 1, "SW GO Bonde 3.1 m 03:00-09:00 #7-2 Committee Upper bridge"),
            ]
        );
    }

    #[test]
    fn a_level_that_a_higher_one_came_down_to_has_words_of_its_own() {
        let people = [person(1, "warden", "en", "valley")];
        let down =
            Alert { reason: Reason::Downgraded, ..alert(Level::Warning, MessageType::Update) };
        let told =
            |alert: &Alert| plan_alert(alert, &book(), &people, &wording(), WALL)[0].text.clone();
        assert_eq!(told(&down), "Falls to 3.1 m");
        assert_eq!(told(&Alert { reason: Reason::Upgraded, ..down }), "Ready at Bonde");
    }

    #[test]
    fn an_all_clear_goes_to_the_roles_of_every_level_that_was_reached() {
        let people = [person(1, "warden", "en", "valley"), person(2, "household", "en", "valley")];
        let planned = plan_alert(
            &alert(Level::Warning, MessageType::Cancel),
            &book(),
            &people,
            &wording(),
            WALL,
        );
        assert_eq!(planned.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), ["Over", "Over"]);
    }

    #[test]
    fn a_clock_that_is_not_set_is_not_shown() {
        let people = [person(2, "household", "en", "valley")];
        let planned = plan_alert(
            &alert(Level::Danger, MessageType::Update),
            &book(),
            &people,
            &wording(),
            WallClock::default(),
        );
        assert!(planned[0].text.contains("--:-----:--"), "{}", planned[0].text);
    }

    #[test]
    fn a_notice_reaches_the_technician_alone_and_an_exercise_says_so() {
        let people = [person(1, "technician", "en", "*"), person(2, "household", "en", "*")];
        let notice = Notice {
            node: Some(NodeIndex(0)),
            kind: NoticeKind::Silent,
            at: Timestamp::from_millis(0),
        };
        let planned = plan_notice(&notice, &book(), &people, &wording());
        assert_eq!(planned.len(), 1);
        assert_eq!(planned[0].text, "Committee: up (Upper bridge): silent");
        let exercise = Wording { exercise: Some("EXERCISE".into()), ..wording() };
        let planned = plan_alert(
            &alert(Level::Danger, MessageType::Alert),
            &book(),
            &people,
            &exercise,
            WALL,
        );
        assert!(planned.iter().all(|p| p.text.starts_with("EXERCISE ")) && !planned.is_empty());
    }
}
