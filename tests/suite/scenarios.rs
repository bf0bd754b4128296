//! Every scenario of the village, through the wire formats, the shipped rules and the engine, in memory: what must be
//! warned of is, and nothing else.

use kengele::app::convert;
use kengele::config::Source;
use kengele::domain::engine::{Effect, Engine, Input};
use kengele::domain::reading::Quality;
use kengele::domain::rule::NodeIndex;
use kengele::domain::time::Timestamp;
use kengele::domain::warning::{Level, NoticeKind, Reason};
use kengele::sim::scenario::Scenario;
use kengele::sim::village::{self, Places};
use kengele::sim::world::World;
use kengele::wire::payload::About;
use std::collections::BTreeMap;
use std::path::Path;

const SEEDS: u64 = 20;

fn loaded() -> kengele::config::Loaded {
    let places = Places {
        folder: Path::new("/var/lib/village"),
        mqtt: "127.0.0.1:1883".parse().unwrap(),
        modem: Path::new("/dev/ttyUSB0"),
        provider: "http://127.0.0.1:8080",
        radio: None,
    };
    let sources: Vec<Source> = village::files(&places)
        .into_iter()
        .filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "toml"))
        .map(|(name, text)| Source { name, text })
        .collect();
    convert::parse(&sources).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

struct Told {
    /// Highest level of each hazard.
    hazards: BTreeMap<String, Level>,
    raised: usize,
    notices: Vec<NoticeKind>,
    unreadable: usize,
}

fn live(seed: u64, scenario: Scenario) -> Told {
    let rules = convert::rules(&loaded()).unwrap();
    let mut engine = Engine::new(&rules.book, Timestamp::from_millis(0));
    let mut told = Told { hazards: BTreeMap::new(), raised: 0, notices: Vec::new(), unreadable: 0 };
    let mut measurements = Vec::new();
    for publication in World::seeded(seed, scenario).publications() {
        let found =
            rules.routes.iter().find_map(|r| Some((r, r.template.matches(&publication.topic)?)));
        let (route, captured) =
            found.unwrap_or_else(|| panic!("no template for {}", publication.topic));
        let node = rules.book.nodes.iter().position(|n| *n.name.0 == *captured.node).unwrap();
        measurements.clear();
        if route
            .map
            .decode(
                publication.payload.as_bytes(),
                About { quantity: captured.quantity, ..About::default() },
                &mut measurements,
            )
            .is_err()
        {
            told.unreadable += 1;
        }
        let now = Timestamp::from_millis(i64::try_from(publication.at.as_millis()).unwrap());
        let mut effects = Vec::new();
        let node = NodeIndex(u32::try_from(node).unwrap());
        let input = Input::Heard { node, measurements: &measurements, redelivered: false };
        engine.handle(input, now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Alert(alert) => {
                    told.raised += usize::from(alert.reason == Reason::Raised);
                    let highest = told.hazards.entry(alert.hazard).or_insert(alert.level_max);
                    *highest = (*highest).max(alert.level_max);
                }
                Effect::Notice(notice) => told.notices.push(notice.kind),
                Effect::Reading(_) | Effect::Repeated { .. } => {}
                Effect::Undeclared { quantity, .. } => panic!("{quantity} is not declared"),
            }
        }
    }
    told
}

#[test]
fn the_villages_own_files_have_no_fault() {
    let loaded = loaded();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let long: Vec<_> =
        loaded.texts.iter().filter(|t| t.count.segments > 2).map(|t| &t.worst).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn every_scenario_warns_of_what_it_must_and_of_nothing_else_whatever_the_seed() {
    for scenario in Scenario::ALL {
        let expected = scenario.expected();
        for seed in 0..SEEDS {
            let told = live(seed, scenario);
            let name = scenario.as_str();
            for (hazard, least) in expected.hazards {
                let least = Level::from_word(least).unwrap();
                let highest = told.hazards.get(*hazard).copied();
                assert!(
                    highest >= Some(least),
                    "{name}, seed {seed}: {hazard} reached {highest:?}"
                );
            }
            let known = |hazard: &String| expected.hazards.iter().any(|(h, _)| h == hazard);
            assert!(told.hazards.keys().all(known), "{name}, seed {seed}: {:?}", told.hazards);
            assert_eq!(
                told.notices.is_empty(),
                !expected.faults,
                "{name}, seed {seed}: {:?}",
                told.notices
            );
            assert!(told.raised <= 8, "{name}, seed {seed}: {} warnings raised", told.raised);
            assert!(expected.faults || told.unreadable == 0, "{name}, seed {seed}");
        }
    }
}

#[test]
fn broken_sensors_show_every_kind_of_fault_to_the_technician() {
    let told = live(1, Scenario::SensorFaults);
    let has = |wanted: fn(&NoticeKind) -> bool| told.notices.iter().any(wanted);
    assert!(has(|n| *n == NoticeKind::Silent), "{:?}", told.notices);
    assert!(has(|n| *n == NoticeKind::HeardAgain), "{:?}", told.notices);
    assert!(has(|n| *n == NoticeKind::ClockStepped), "{:?}", told.notices);
    for quality in [Quality::OutOfRange, Quality::Stuck, Quality::NotANumber] {
        let shown =
            told.notices.iter().any(|n| matches!(n, NoticeKind::Suspect(_, q) if *q == quality));
        assert!(shown, "{quality:?}: {:?}", told.notices);
    }
    assert!(
        has(|n| matches!(n, NoticeKind::Suspect(_, Quality::Step | Quality::Spike))),
        "{:?}",
        told.notices
    );
}
