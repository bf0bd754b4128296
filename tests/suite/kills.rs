//! Kill -9 under load, again and again: what was acknowledged is stored, each danger of the river was raised once and told
//! to everybody who is to be told, and no text came twice without a record that it might.
//!
//! The witnesses stand outside: the nodes know what was acknowledged, the telephones what came. When danger there was is
//! found by a few lines that look at the stored values in the order in which they were judged.

use crate::gateway::{BEGIN_S, Site};
use crate::peers::{PATIENCE, wait_for};
use kengele::domain::reading::Quality;
use kengele::sim::node::{self, Witness};
use kengele::sim::world::Publication;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Readings of a gauge from one flood to the next.
const WAVE: i64 = 1200;
/// From where there is danger, and below which there is none any more: `deploy/rules.d/flood.toml`.
const DANGER_M: (f64, f64) = (3.0, 2.7);
/// The wardens and households of the valley who agreed to be told: `people_csv` of the village.
const TO_BE_TOLD: [&str; 7] = [
    "+255700000001",
    "+255700000002",
    "+255700000003",
    "+255700000004",
    "+255700000005",
    "+255700000006",
    "+255700000007",
];

/// Warning and number of an alert.
type AlertKey = (i64, i64);

/// How often the program is killed: few in the suite, many in a campaign of its own (`KENGELE_KILLS=100`).
fn kills() -> u32 {
    std::env::var_os("KENGELE_KILLS").and_then(|n| n.to_str()?.parse().ok()).unwrap_or(6)
}

/// What a gauge publishes: a river that rises to 3.5 m and falls to 1 m, a minute of its own time every 4 ms.
fn river(node: &'static str, count: i64) -> Vec<Publication> {
    let publication = |n: i64| {
        let cm = 100 + (n % WAVE - WAVE / 2).abs() * 250 / (WAVE / 2);
        let payload = format!("{{\"level\":{cm},\"ts\":{}}}", BEGIN_S + n * 60);
        let at = Duration::from_millis(u64::try_from(n).unwrap() * 4);
        Publication { at, node, topic: format!("field/{node}/up"), payload }
    };
    (0..count).map(publication).collect()
}

async fn site() -> Site {
    // A flood ends as soon as the water has gone down, and nobody's texts are held back by a budget.
    let brisk = |text: String| {
        text.replace("\nclear_hold = \"1 h\"", "\nclear_hold = \"0 s\"")
            .replace("\nclear_hold = \"2 h\"", "\nclear_hold = \"0 s\"")
            .replace("budget_per_day = 400", "budget_per_day = 1000000")
    };
    let mut site = Site::village(brisk).await;
    site.start().await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_it_is_killed_nothing_acknowledged_and_no_warning_is_lost_and_no_text_comes_twice_unrecorded()
 {
    let mut site = site().await;
    let kills = kills();
    let witness = Witness::default();
    let target = site.target();
    let length = i64::from(kills) * 400;
    let publications: Vec<Publication> =
        [river("mto-juu", length), river("mto-kati", length)].into_iter().flatten().collect();
    let total = publications.len();
    let seen = witness.clone();
    let nodes = tokio::task::JoinSet::from_iter([async move {
        node::publish(publications, &target, 1.0, PATIENCE, &seen).await;
    }]);
    for round in 0..kills {
        // At a moment that has nothing to do with what the gateway is doing.
        tokio::time::sleep(Duration::from_millis(700 + u64::from(round * 7919 % 900))).await;
        site.kill();
        site.start().await;
    }
    nodes.join_all().await;
    let acknowledged = witness.acknowledged();
    assert_eq!(acknowledged.len(), total, "with the gateway back, every node is heard to the end");
    settle(&mut site).await;
    let deliveries = site.ask(&["deliveries"]);
    let warnings = site.ask(&["warnings"]);
    let people = site.ask(&["people", "list"]);
    site.stop().await;

    everything_is_stored(&site, &acknowledged);
    let raised = dangers(&warnings);
    let begun = dangers_begun(&site);
    assert_eq!(raised.len(), begun, "dangers raised, and dangers that the stored readings show");
    assert!(i64::try_from(begun).unwrap() > length / WAVE, "the river rose {begun} times");
    wait_for("what the network took is in the telephones", || {
        Told::of(&site, &deliveries, &people).is_complete()
    })
    .await;
    let told = Told::of(&site, &deliveries, &people);
    let outcomes = told.of_dangers(&raised);
    let twice = told.no_copy_is_unrecorded();
    println!(
        "{kills} kills: {total} readings acknowledged and stored, {begun} dangers raised, {outcomes:?}, {} texts, {twice} \
         of them a second copy",
        told.texts.values().sum::<u32>()
    );
}

/// Waits until nothing is under way; where the fate of a text is not known yet, with a clock that runs fast.
async fn settle(site: &mut Site) {
    let count = |site: &Site, of: &dyn Fn(&Value) -> bool| {
        site.ask(&["deliveries"]).as_array().unwrap().iter().filter(|row| of(row)).count()
    };
    let under_way = |row: &Value| row["state"] == "queued" || row["state"] == "writing";
    let undecided = |row: &Value| row["state"] == "unknown" && row["ended_ms"].is_null();
    wait_for("the outbox is empty", || count(site, &under_way) == 0).await;
    if count(site, &undecided) > 0 {
        site.stop().await;
        site.start_at(20.0).await;
        let open = |row: &Value| under_way(row) || undecided(row);
        wait_for("what is unknown is decided", || count(site, &open) == 0).await;
    }
}

fn everything_is_stored(site: &Site, acknowledged: &[Publication]) {
    let stored = site.kengele(&["readings", "--quantity", "water_level"]);
    let mut count: BTreeMap<(String, i64), u32> = BTreeMap::new();
    for line in stored.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let at: jiff::Timestamp = fields[0].parse().unwrap();
        *count.entry((fields[1].to_owned(), at.as_second())).or_default() += 1;
    }
    let is_lost = |publication: &&Publication| {
        let at: Value = serde_json::from_str(&publication.payload).unwrap();
        !count.contains_key(&(publication.node.to_owned(), at["ts"].as_i64().unwrap()))
    };
    let lost: Vec<_> = acknowledged.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "{} acknowledged readings are lost: {:?}", lost.len(), lost.first());
    let twice: Vec<_> = count.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "stored twice: {twice:?}");
}

/// Returns the alerts that raised danger.
fn dangers(warnings: &Value) -> Vec<AlertKey> {
    let mut found = Vec::new();
    for warning in warnings.as_array().unwrap() {
        for alert in warning["alerts"].as_array().unwrap() {
            let began = alert["reason"] == "raised" || alert["reason"] == "upgraded";
            if began && alert["level"] == "danger" {
                found.push((number(&warning["warning"]), number(&alert["number"])));
            }
        }
    }
    found
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

/// Returns how often danger began, by the stored readings alone: both gauges are above the one limit, and neither has been
/// below the other since. What is sent again after a kill may come after newer readings: it says nothing of now, and what
/// was under way for long begins nothing.
fn dangers_begun(site: &Site) -> usize {
    let rows = site.ask(&["readings", "--quantity", "water_level"]);
    let mut above: BTreeSet<&str> = BTreeSet::new();
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut is_danger, mut begun) = (false, 0);
    for row in rows.as_array().unwrap() {
        let (node, level) = (row["node"].as_str().unwrap(), row["value"].as_f64().unwrap());
        let quality = row["quality"].as_str().unwrap();
        let is_good = quality == Quality::Good.as_str();
        assert!(
            is_good || quality == Quality::Late.as_str(),
            "nothing is wrong with the gauges: {row}"
        );
        let stamp = number(&row["unix_ms"]);
        let newest = newest.entry(node).or_insert(stamp);
        if stamp < *newest {
            continue;
        }
        *newest = stamp;
        if level >= DANGER_M.0 {
            above.insert(node);
        } else if level < DANGER_M.1 {
            above.remove(node);
        }
        let holds = above.len() == 2;
        if holds && !is_danger && is_good {
            begun += 1;
            is_danger = true;
        }
        is_danger &= holds;
    }
    begun
}

/// Returns the alert that a text names: `#7-2`.
fn tag_of(text: &str) -> Option<AlertKey> {
    let (warning, rest) = text.rsplit_once('#')?.1.split_once('-')?;
    let alert: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((warning.parse().ok()?, alert.parse().ok()?))
}

/// Whether a network took the text.
fn is_told(row: &Value) -> bool {
    ["delivered", "accepted", "submitted"].iter().any(|state| row["state"] == *state)
}

/// What the record says of the texts, and what came to the telephones. A text says at its end which alert it is.
struct Told {
    rows: BTreeMap<(AlertKey, String), Value>,
    texts: BTreeMap<(AlertKey, String), u32>,
}

impl Told {
    fn of(site: &Site, deliveries: &Value, people: &Value) -> Self {
        let number_of = |recipient: &Value| {
            let person = people.as_array().unwrap().iter().find(|p| p["id"] == *recipient).unwrap();
            person["number"].as_str().unwrap().to_owned()
        };
        let mut rows = BTreeMap::new();
        for row in deliveries.as_array().unwrap().iter().filter(|row| !row["warning"].is_null()) {
            let key = (number(&row["warning"]), number(&row["alert"]));
            let before = rows.insert((key, number_of(&row["recipient"])), row.clone());
            assert!(before.is_none(), "one alert is to be told once: {before:?} {row}");
        }
        let mut texts = BTreeMap::new();
        for number in (1..=13).map(|n| format!("+2557000000{n:02}")) {
            for text in site.carrier.inbox(&number) {
                let Some((warning, alert)) = tag_of(&text.text) else { continue };
                *texts.entry(((warning, alert), number.clone())).or_insert(0) += 1;
            }
        }
        Self { rows, texts }
    }

    fn is_complete(&self) -> bool {
        let mut taken = self.rows.iter().filter(|(_, row)| is_told(row));
        taken.all(|(key, _)| self.texts.contains_key(key))
    }

    /// Returns how the texts about dangers ended; none may be lost.
    fn of_dangers(&self, raised: &[AlertKey]) -> BTreeMap<String, u32> {
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        for (alert, number) in raised.iter().flat_map(|a| TO_BE_TOLD.map(|n| (*a, n.to_owned()))) {
            let key = (alert, number);
            let row = self.rows.get(&key).unwrap_or_else(|| panic!("nobody told {key:?}"));
            let state = row["state"].as_str().unwrap();
            if is_told(row) {
                assert!(self.texts.contains_key(&key), "{key:?} never came: {row}");
            } else {
                // What a kill left unknown is not sent again once it has been replaced.
                let replaced = state == "superseded" || state == "unknown";
                assert!(replaced, "the danger was not told to {key:?}: {row}");
                // A later alert of the same warning says how things stand now.
                let later = self.rows.keys().any(|((warning, alert), number)| {
                    *warning == key.0.0 && *alert > key.0.1 && *number == key.1
                });
                assert!(later, "{key:?} was replaced by nothing: {row}");
            }
            *outcomes.entry(state.to_owned()).or_default() += 1;
        }
        let told: u32 = outcomes
            .iter()
            .filter(|(s, _)| *s != "superseded" && *s != "unknown")
            .map(|(_, n)| n)
            .sum();
        assert!(told * 2 > outcomes.values().sum(), "most were not told in time: {outcomes:?}");
        outcomes
    }

    /// Returns how many texts came twice; each is recorded as one that might.
    fn no_copy_is_unrecorded(&self) -> u32 {
        let mut twice = 0;
        for (key, times) in &self.texts {
            let row = self.rows.get(key).unwrap_or_else(|| panic!("no record of {key:?}"));
            let most = if row["possible_duplicate"] == true { 2 } else { 1 };
            assert!(*times <= most, "{key:?} came {times} times: {row}");
            twice += times - 1;
        }
        twice
    }
}
