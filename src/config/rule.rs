//! `[rule.NAME]`: levels, their order, who is told.

use super::amount::list_text;
use super::condition::Conditions;
use super::document::{Faults, Place};
use super::limit;
use super::people::{checked_name, unknown};
use super::section::Section;
use super::texts::Texts;
use crate::domain::recipient::Role;
use crate::domain::rule::{LevelRule, Rule, Test};
use crate::domain::warning::{Certainty, Level};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What rules may name.
pub(super) struct Known<'a> {
    pub(super) areas: Vec<&'a str>,
    pub(super) roles: Vec<&'a str>,
}

/// Reads `[rule.NAME]`.
pub(super) fn rules(
    root: &Section<'_>,
    known: &Known<'_>,
    conditions: &Conditions<'_>,
    texts: &mut Texts<'_>,
) -> Vec<Rule> {
    let faults = conditions.faults;
    let mut rules = Vec::new();
    for section in root.named("rule") {
        let name = checked_name(&section, faults);
        let area: String = section.get("area");
        if !known.areas.contains(&area.as_str()) && !area.is_empty() {
            unknown(faults, section.place_of("area"), "area", &area, &known.areas);
        }
        let certainty = match section.opt::<String>("certainty").as_deref() {
            Some("likely") => Certainty::Likely,
            Some("possible") => Certainty::Possible,
            Some(_) | None => Certainty::Observed,
        };
        let sections = section.tables("level");
        if sections.is_empty() && section.written("level").is_some() {
            faults.error(
                section.place_of("level"),
                "the rule has no levels",
                "add [[rule.NAME.level]]",
            );
        }
        let mut levels = Vec::new();
        for level in &sections {
            levels.push((level_rule(level, known, conditions), level));
        }
        levels.sort_by_key(|(level, _)| level.level);
        check_order(&levels, faults);
        let mut read: Vec<LevelRule> = Vec::new();
        texts.begin_rule(&name, &area);
        for (mut level, section) in levels {
            level.texts = texts.read(section, "text", Some(&level));
            level.eased = texts.read(section, "eased", Some(&level));
            read.push(level);
        }
        let all_clear = texts.read_all_clear(&section, &read);
        texts.end_rule();
        rules.push(Rule {
            name,
            hazard: section.get("hazard"),
            area,
            levels: read,
            valid: section.get("valid"),
            cool_down: section.get("cool_down"),
            all_clear,
            certainty,
        });
    }
    rules
}

/// Reads one level, without its texts.
fn level_rule(section: &Section<'_>, known: &Known<'_>, conditions: &Conditions<'_>) -> LevelRule {
    let faults = conditions.faults;
    let test = conditions.read(section);
    let audience = section.list::<String>("audience");
    if audience.is_empty() && section.written("audience").is_some() {
        let help = if known.roles.is_empty() { "declare a [role.NAME]" } else { "name a role" };
        faults.error(section.place_of("audience"), "nobody is told", help);
    }
    for (role, place) in &audience {
        if !known.roles.contains(&role.as_str()) {
            unknown(faults, *place, "role", role, &known.roles);
        }
    }
    let mut roles: Vec<Role> = Vec::new();
    for (role, place) in audience {
        let role = Role(role);
        if roles.contains(&role) {
            let message = format!("role \"{}\" stands here twice", role.0);
            faults.warn(place, message, "remove one of them");
        } else {
            roles.push(role);
        }
    }
    LevelRule {
        // Stand-ins keep the texts in view; their faults are reported.
        level: level_of(section).unwrap_or(Level::Advisory),
        test: test.unwrap_or(Test::AtLeast(1, Vec::new())),
        hold: section.get("hold"),
        clear_hold: section.get("clear_hold"),
        audience: roles,
        texts: BTreeMap::new(),
        eased: BTreeMap::new(),
    }
}

fn level_of(section: &Section<'_>) -> Option<Level> {
    Level::from_word(&section.opt::<String>("level")?)
}

/// Reports levels that stand twice, and those that are easier to reach than a milder one.
fn check_order(levels: &[(LevelRule, &Section<'_>)], faults: &Faults<'_>) {
    let levels: Vec<_> = levels.iter().filter(|(_, section)| level_of(section).is_some()).collect();
    for (at, (severe, section)) in levels.iter().enumerate() {
        let place: Place = section.place_of("level");
        for (mild, _) in levels.iter().take(at) {
            let (a, b) = (mild.level.as_str(), severe.level.as_str());
            if severe.level == mild.level {
                let help = "join the two with `any`";
                faults.error(place, format!("the level \"{b}\" stands here twice"), help);
                break;
            }
            let message = match ease(&mild.test, &severe.test) {
                Some(Ordering::Less) => format!("\"{b}\" is easier to reach than \"{a}\""),
                Some(Ordering::Equal) if severe.hold <= mild.hold => {
                    format!("\"{b}\" is reached whenever \"{a}\" is")
                }
                Some(Ordering::Equal | Ordering::Greater) | None => {
                    check_end(mild, severe, section, faults);
                    continue;
                }
            };
            let words: Vec<&str> = Level::ALL.iter().map(|level| level.as_str()).collect();
            let help = format!(
                "give it a threshold that is harder to reach; from mild to severe the levels are {}",
                list_text(&words, "and")
            );
            faults.error(place, message, help);
            break;
        }
    }
}

/// Warns of a level whose hysteresis keeps it going when a milder one has ended.
fn check_end(mild: &LevelRule, severe: &LevelRule, section: &Section<'_>, faults: &Faults<'_>) {
    if let (Test::Signal(one), Test::Signal(other)) = (&mild.test, &severe.test)
        && one.signal == other.signal
        && limit::outlasts(&one.limit, &other.limit)
    {
        let (a, b) = (mild.level.as_str(), severe.level.as_str());
        let help = "make its `hysteresis` smaller";
        let place = section.place_of("hysteresis");
        faults.warn(place, format!("\"{b}\" goes on when \"{a}\" has ended"), help);
    }
}

/// Returns whether the second is easier (`Less`) or harder (`Greater`) to reach than the first; `None` when it is
/// neither, or when nobody can say.
fn ease(mild: &Test, severe: &Test) -> Option<Ordering> {
    match (mild, severe) {
        (Test::Signal(mild), Test::Signal(severe)) if mild.signal == severe.signal => {
            limit::harder(&mild.limit, &severe.limit)?.partial_cmp(&0.0)
        }
        (Test::Silent(one, mild), Test::Silent(other, severe)) if one == other => {
            Some(severe.cmp(mild))
        }
        (Test::AtLeast(m, mild), Test::AtLeast(n, severe)) if mild.len() == severe.len() => {
            let parts = mild.iter().zip(severe).map(|(mild, severe)| ease(mild, severe));
            let all = parts.chain([Some(n.cmp(m))]);
            all.reduce(|a, b| match (a?, b?) {
                (Ordering::Equal, other) | (other, Ordering::Equal) => Some(other),
                (a, b) => (a == b).then_some(a),
            })?
        }
        (Test::Signal(_) | Test::Silent(..) | Test::AtLeast(..), _) => None,
    }
}
