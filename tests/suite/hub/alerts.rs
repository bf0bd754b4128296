//! Alerts, what became of them, and what a gateway says of itself.

use super::Kept;
use super::gateway::{BEGIN_MS, Gateway, SYNCHRONISED};
use kengele::domain::node::{Node, Sensor};
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{NodeName, Quality};
use kengele::domain::rule::{
    Function, Leaf, LevelRule, Limit, NodeIndex, Rule, RuleBook, Signal, Test,
};
use kengele::domain::time::{ClockQuality, Timestamp};
use kengele::domain::warning::{Alert, Certainty, Level, MessageType, Observed, Reason, WarningId};
use kengele::hub::Counters;
use kengele::hub::receive::{Received, receive};
use kengele::hub::storage::Storage;
use kengele::wire::uplink::{
    Book, Boot, Down, Ended, Ending, Faults, Health, Latest, Outcome, ShortAlert, Up,
};
use std::collections::BTreeMap;
use std::time::Duration;

const NOW_MS: i64 = BEGIN_MS + 86_400_000;

pub(crate) fn health() -> Health {
    Health {
        sent_unix_ms: Some(NOW_MS),
        clock: ClockQuality::Synchronised,
        uptime_s: 90_000,
        version: "0.1.0".to_owned(),
        nodes_heard: 11,
        nodes_declared: 12,
        open_warnings: 1,
        backlog_blocks: 7,
        backlog_bytes: 4_000,
        backlog_oldest_unix_ms: Some(BEGIN_MS),
        budget_used_bytes: 12_345,
        budget_left_bytes: None,
        outbox_waiting: 3,
        disk_free_bytes: Some(1 << 30),
        faults: Faults::MODEM_DOWN.and(Faults::DISK_FULL),
    }
}

const SIGNAL: Signal = Signal {
    node: NodeIndex(0),
    quantity: Quantity::WaterLevel,
    function: Function::Max(Duration::from_hours(2)),
};

fn rule_book() -> RuleBook {
    let sensor = Sensor {
        quantity: Quantity::WaterLevel,
        range: (0.0, 8.0),
        step: None,
        spike: None,
        stuck_after: None,
        counter: None,
        decimals: 2,
    };
    let node = Node {
        name: NodeName("mto-juu".into()),
        heard_as: Box::default(),
        place: "the upper bridge".to_owned(),
        interval: Duration::from_mins(10),
        silent_after: Duration::from_hours(1),
        late_after: Duration::from_hours(1),
        sensors: vec![sensor],
    };
    let limit = Limit::Above { enter: 3.0, exit: 2.7 };
    let level = LevelRule {
        level: Level::Danger,
        test: Test::Signal(Leaf { signal: SIGNAL, limit, while_silent: false }),
        hold: Duration::ZERO,
        clear_hold: Duration::ZERO,
        audience: Vec::new(),
        texts: BTreeMap::new(),
        eased: BTreeMap::new(),
    };
    let rule = Rule {
        name: "mafuriko".to_owned(),
        hazard: "flood".to_owned(),
        area: "bonde".to_owned(),
        levels: vec![level],
        valid: Duration::from_hours(6),
        cool_down: Duration::ZERO,
        all_clear: BTreeMap::new(),
        certainty: Certainty::Observed,
    };
    RuleBook { version: "0123456789ab".to_owned(), nodes: vec![node], rules: vec![rule] }
}

fn alert(number: u32, message_type: MessageType, reason: Reason) -> Alert {
    let sent =
        Timestamp::from_millis(BEGIN_MS - SYNCHRONISED.offset_ms + i64::from(number) * 60_000);
    Alert {
        warning: WarningId(7),
        number,
        message_type,
        reason,
        level: Level::Danger,
        level_max: Level::Danger,
        hazard: "flood".to_owned(),
        area: "bonde".to_owned(),
        rule: "mafuriko".to_owned(),
        rule_version: "0123456789ab".to_owned(),
        sent,
        expires: sent + Duration::from_hours(6),
        observed: vec![Observed { signal: SIGNAL, value: 3.21 }],
    }
}

async fn tell(hub: &Storage, gateway: &mut Gateway, items: Vec<Up>) -> Vec<Down> {
    let packet = gateway.pack(items);
    say(hub, gateway, &packet).await
}

async fn say(hub: &Storage, gateway: &Gateway, packet: &[u8]) -> Vec<Down> {
    let received = receive(hub, &Counters::default(), packet, NOW_MS).await.unwrap();
    let Received::Answered { answer, .. } = received else { panic!("{received:?}") };
    gateway.answered(packet, &answer).expect("an answer to this packet").1
}

async fn names_come_late(kept: &Kept) {
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 1).await;
    let book = Book::of(&rule_book()).unwrap();
    let raised = alert(1, MessageType::Alert, Reason::Raised);
    let short = |alert: &Alert| Up::Alert(ShortAlert::of(alert, Some(&book)));
    let said = tell(&hub, &mut gateway, vec![short(&raised)]).await;
    assert_eq!(said, [Down::Lacks(book.id())], "the hub asks for the dictionary");
    let warnings = hub.warnings(None).await.unwrap();
    assert_eq!((warnings.len(), &*warnings[0].level), (1, "danger"), "danger is seen without it");
    assert_eq!((&warnings[0].hazard, warnings[0].raised_unix_ms), (&None, None));
    let run = Boot { boot: 1, at: Timestamp::from_millis(0), clock: SYNCHRONISED };
    let outcome = Outcome {
        warning: WarningId(7),
        alert: 1,
        recipients: 9,
        delivered: 5,
        accepted: 1,
        failed: 1,
        expired: 0,
        waiting: 2,
        acknowledged: 1,
    };
    let items = vec![Up::Boot(run), Up::Book(book.clone()), Up::Outcome(outcome)];
    assert_eq!(tell(&hub, &mut gateway, items).await, []);
    let held_up = gateway.pack(vec![Up::Outcome(outcome)]);
    let items = vec![Up::Outcome(Outcome { waiting: 0, delivered: 7, ..outcome })];
    tell(&hub, &mut gateway, items).await;
    say(&hub, &gateway, &held_up).await;
    let warnings = hub.warnings(Some("mto-juu")).await.unwrap();
    let warning = &warnings[0];
    assert_eq!(warning.hazard.as_deref(), Some("flood"));
    assert_eq!(warning.area.as_deref(), Some("bonde"));
    assert_eq!(warning.raised_unix_ms, Some(BEGIN_MS + 60_000));
    assert_eq!(warning.expires_unix_ms, Some(BEGIN_MS + 60_000 + 6 * 3_600_000));
    let outcome = warning.outcome.unwrap();
    assert_eq!((outcome.delivered, outcome.waiting), (7, 0), "the newest word counts");
    // The all-clear comes twice, and once more in words.
    let cleared = alert(2, MessageType::Cancel, Reason::Cleared);
    for item in [short(&cleared), short(&cleared), Up::Alert(ShortAlert::of(&cleared, None))] {
        assert_eq!(tell(&hub, &mut gateway, vec![item]).await, []);
    }
    let at = cleared.sent + Duration::from_secs(1);
    let ended = Ended { warning: WarningId(7), at, ending: Ending::Cleared };
    tell(&hub, &mut gateway, vec![Up::Ended(ended), Up::Ended(ended)]).await;
    let warnings = hub.warnings(None).await.unwrap();
    assert_eq!((warnings.len(), warnings[0].alerts), (1, 2));
    assert_eq!(warnings[0].message_type, "Cancel");
    assert_eq!(warnings[0].ended, Some((Some(BEGIN_MS + 121_000), "cleared".to_owned())));
    assert_eq!(hub.warnings(Some("mto-kati")).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_seen_at_once_and_gets_its_names_when_their_dictionary_comes() {
    names_come_late(&Kept::sqlite()).await;
    names_come_late(&Kept::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_says_of_itself_is_shown_as_it_last_said_it() {
    let kept = Kept::sqlite();
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 1).await;
    let held_up = gateway.pack(vec![Up::Health(health())]);
    let newer = Health { open_warnings: 4, clock: ClockQuality::Unset, ..health() };
    let latest = Latest {
        node: NodeName("mto-juu".into()),
        quantity: Quantity::WaterLevel,
        at: Timestamp::from_millis(5),
        value: 1.25,
        quality: Quality::Good,
    };
    let items = vec![Up::Health(newer), Up::Latest(vec![latest.clone(), latest])];
    let said = tell(&hub, &mut gateway, items).await;
    assert_eq!(said, [Down::Clock(NOW_MS)], "who has no clock is told the time");
    say(&hub, &gateway, &held_up).await;
    let gateways = hub.gateways().await.unwrap();
    let said: serde_json::Value =
        serde_json::from_str(gateways[0].health.as_deref().unwrap()).unwrap();
    assert_eq!((&said["open_warnings"], &said["clock"]), (&4.into(), &"unset".into()));
    assert_eq!(said["faults"], serde_json::json!(["disk_full", "modem_down"]));
    assert_eq!((gateways[0].heard_ms, gateways[0].packets), (Some(NOW_MS), 2));
}
