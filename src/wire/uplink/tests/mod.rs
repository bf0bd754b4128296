//! What comes back, what hostile bytes do, and what alerts cost.

mod alerts;
mod file;
mod hostile;
mod packets;
mod segments;
mod values;

use super::*;
use crate::domain::node::Node;
use crate::domain::quantity::Quantity;
use crate::domain::reading::{NodeName, Quality};
use crate::domain::rule::{
    Function, Leaf, LevelRule, Limit, NodeIndex, Rule, RuleBook, Signal, Test,
};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use crate::domain::warning::{Alert, Level, MessageType, Observed, Reason, WarningId};
use crate::wire::tpdu;
use proptest::prelude::*;
use std::time::Duration;

fn key(first: u8) -> Key {
    Key::new(std::array::from_fn(|n| first.wrapping_add(u8::try_from(n).unwrap())))
}

fn hex(bytes: &[u8]) -> String {
    tpdu::to_hex(bytes).to_lowercase()
}

/// Reads digits with spaces between them.
fn from_hex(hex: &str) -> Vec<u8> {
    tpdu::from_hex(&hex.replace([' ', '\n'], "")).unwrap()
}

fn a_node(name: &str) -> Node {
    Node {
        name: NodeName(name.into()),
        heard_as: Box::new([]),
        place: String::new(),
        interval: Duration::from_mins(10),
        silent_after: Duration::from_mins(40),
        late_after: Duration::from_hours(1),
        sensors: Vec::new(),
    }
}

fn a_leaf(signal: Signal) -> Test {
    let limit = Limit::Above { enter: 1.0, exit: 0.5 };
    Test::Signal(Leaf { signal, limit, while_silent: false })
}

fn a_rule(name: &str, hazard: &str, area: &str, levels: Vec<Test>) -> Rule {
    let level = |(level, test)| LevelRule {
        level,
        test,
        hold: Duration::ZERO,
        clear_hold: Duration::ZERO,
        audience: Vec::new(),
        texts: std::collections::BTreeMap::new(),
        eased: std::collections::BTreeMap::new(),
    };
    Rule {
        name: name.to_owned(),
        hazard: hazard.to_owned(),
        area: area.to_owned(),
        levels: Level::ALL.into_iter().zip(levels).map(level).collect(),
        valid: Duration::from_hours(6),
        cool_down: Duration::ZERO,
        all_clear: std::collections::BTreeMap::new(),
        certainty: crate::domain::warning::Certainty::Observed,
    }
}

fn of<T: Clone + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![0..200_000_000_000i64, any::<i64>()].prop_map(Timestamp::from_millis)
}

/// Values as instruments make them, as sums, means and differences make them, and any bits at all.
fn value() -> impl Strategy<Value = f64> {
    let cents = || (-50_000..50_000i32).prop_map(|n| f64::from(n) / 100.0);
    prop_oneof![
        cents(),
        (cents(), cents()).prop_map(|(a, b)| a - b),
        (cents(), 1..200u8).prop_map(|(a, n)| a / f64::from(n)),
        (cents(), any::<u8>()).prop_map(|(a, n)| a * f64::from(n) * 0.3048),
        of(&[0.0, -0.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, 5e-324]),
        any::<u64>().prop_map(f64::from_bits),
    ]
}

fn quantity() -> impl Strategy<Value = Quantity> {
    (0..22usize).prop_map(|n| Quantity::all().nth(n).unwrap())
}

fn window() -> impl Strategy<Value = Duration> {
    let ms = prop_oneof![
        (0..40u64).prop_map(|n| n * 3_600_000),
        (0..200u64).prop_map(|n| n * 60_000),
        0..(1u64 << 61)
    ];
    ms.prop_map(Duration::from_millis)
}

fn function() -> impl Strategy<Value = Function> {
    (0..8usize, window()).prop_map(|(kind, w)| {
        [
            Function::Last,
            Function::Min(w),
            Function::Max(w),
            Function::Mean(w),
            Function::Sum(w),
            Function::Count(w),
            Function::Change(w),
            Function::Rate(w),
        ][kind]
    })
}

fn signal(nodes: u32) -> impl Strategy<Value = Signal> {
    (0..nodes, quantity(), function()).prop_map(|(node, quantity, function)| Signal {
        node: NodeIndex(node),
        quantity,
        function,
    })
}

/// A rule book of a few nodes and rules; the words repeat, so that names are shared.
fn rule_book() -> impl Strategy<Value = RuleBook> {
    let nodes = prop::collection::vec("[a-c]{0,2}|[a-zé-]{1,20}", 1..6);
    let rule = ("[r-t]{1,2}", "[hf]{1,2}", "[a-cü]{1,2}", prop::collection::vec(signal(6), 0..4));
    (nodes, prop::collection::vec(rule, 0..6), "[0-9a-f]{12}").prop_map(
        |(nodes, rules, version)| RuleBook {
            version,
            nodes: nodes.iter().map(|name| a_node(name)).collect(),
            rules: (rules.iter())
                .map(|(name, hazard, area, signals)| {
                    let leaves = signals.iter().map(|signal| a_leaf(*signal)).collect();
                    a_rule(name, hazard, area, vec![Test::AtLeast(1, leaves)])
                })
                .collect(),
        },
    )
}

/// An alert of a rule book, or one that no rule of it can have made.
fn alert_of(book: &RuleBook) -> BoxedStrategy<Alert> {
    let rules: Vec<(String, String, String)> = (book.rules.iter())
        .map(|rule| (rule.name.clone(), rule.hazard.clone(), rule.area.clone()))
        .chain([("gone".into(), "fire".into(), "juu".into())])
        .collect();
    let known: Vec<Signal> = (book.rules.iter())
        .flat_map(|rule| &rule.levels)
        .flat_map(|level| level.test.leaves())
        .map(|leaf| leaf.signal)
        .collect();
    let observed = if known.is_empty() {
        signal(9).boxed()
    } else {
        prop_oneof![9 => prop::sample::select(known), 1 => signal(9)].boxed()
    };
    let observed = (observed, value()).prop_map(|(signal, value)| Observed { signal, value });
    let kinds = (
        of(&[MessageType::Alert, MessageType::Update, MessageType::Cancel]),
        of(&[
            Reason::Raised,
            Reason::Upgraded,
            Reason::Downgraded,
            Reason::Reissued,
            Reason::Cleared,
            Reason::Withdrawn,
        ]),
        of(&Level::ALL),
        of(&Level::ALL),
    );
    let times = prop_oneof![
        9 => (0..200_000_000_000i64, 0..1_000i64).prop_map(|(at, min)| (at, at + min * 60_000)),
        1 => (any::<i64>(), any::<i64>()),
    ];
    let version = prop_oneof![9 => Just(book.version.clone()), 1 => "[0-9a-f]{12}"];
    let who = (prop_oneof![1..500u64, any::<u64>()], any::<u32>(), version);
    (kinds, times, who, prop::sample::select(rules), prop::collection::vec(observed, 0..4))
        .prop_map(|(kinds, (sent, expires), (warning, number, rule_version), rule, observed)| {
            Alert {
                warning: WarningId(warning),
                number,
                message_type: kinds.0,
                reason: kinds.1,
                level: kinds.2,
                level_max: kinds.3,
                hazard: rule.1,
                area: rule.2,
                rule: rule.0,
                rule_version,
                sent: Timestamp::from_millis(sent),
                expires: Timestamp::from_millis(expires),
                observed,
            }
        })
        .boxed()
}

/// A rule book and an alert.
fn alert() -> impl Strategy<Value = (RuleBook, Alert)> {
    rule_book().prop_flat_map(|book| (Just(book.clone()), alert_of(&book)))
}

fn short_alert() -> impl Strategy<Value = ShortAlert> {
    alert().prop_map(|(book, alert)| ShortAlert::of(&alert, Some(&Book::of(&book).unwrap())))
}

fn clock_quality() -> impl Strategy<Value = ClockQuality> {
    of(&[ClockQuality::Unset, ClockQuality::Estimated, ClockQuality::Synchronised])
}

fn health() -> impl Strategy<Value = Health> {
    let small = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u16>());
    let times = (any::<Option<i64>>(), clock_quality(), any::<u64>(), any::<Option<i64>>());
    let bytes =
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<Option<u64>>(), any::<Option<u64>>());
    (small, times, bytes, "[a-z0-9.]{0,32}").prop_map(|(small, times, bytes, version)| Health {
        sent_unix_ms: times.0,
        clock: times.1,
        uptime_s: times.2,
        version,
        nodes_heard: small.0,
        nodes_declared: small.1,
        open_warnings: small.2,
        backlog_blocks: bytes.0,
        backlog_bytes: bytes.1,
        backlog_oldest_unix_ms: times.3,
        budget_used_bytes: bytes.2,
        budget_left_bytes: bytes.3,
        outbox_waiting: small.3,
        disk_free_bytes: bytes.4,
        faults: Faults(small.4),
    })
}

fn latest() -> impl Strategy<Value = Latest> {
    ("[a-z-]{0,8}|[ab]", quantity(), moment(), value(), of(&Quality::ALL)).prop_map(
        |(node, quantity, at, value, quality)| Latest {
            node: NodeName(node.into()),
            quantity,
            at,
            value,
            quality,
        },
    )
}

fn repair() -> impl Strategy<Value = Repair> {
    (any::<u16>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(reference, total, parts)| Repair { reference, total, parts })
}

/// Of a kind that neither direction has.
fn other() -> impl Strategy<Value = Other> {
    (100..u64::MAX, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, bytes)| Other { kind, bytes })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    (any::<u64>(), any::<[u32; 8]>()).prop_map(|(warning, figures)| Outcome {
        warning: WarningId(warning),
        alert: figures[0],
        recipients: figures[1],
        delivered: figures[2],
        accepted: figures[3],
        failed: figures[4],
        expired: figures[5],
        waiting: figures[6],
        acknowledged: figures[7],
    })
}

fn block() -> impl Strategy<Value = Block> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    (any::<u32>(), any::<u64>(), any::<[u8; 8]>(), bytes)
        .prop_map(|(chain, number, previous, bytes)| Block { chain, number, previous, bytes })
}

/// Any item of a gateway.
fn up() -> impl Strategy<Value = Up> {
    let boot = (any::<u64>(), moment(), any::<i64>(), clock_quality());
    let boot = boot.prop_map(|(boot, at, offset_ms, quality)| {
        Up::Boot(Boot { boot, at, clock: WallClock { offset_ms, quality } })
    });
    let ended =
        (any::<u64>(), moment(), of(&[Ending::Cleared, Ending::Withdrawn, Ending::Expired]));
    let ended = ended.prop_map(|(warning, at, ending)| {
        Up::Ended(Ended { warning: WarningId(warning), at, ending })
    });
    let gone = (any::<u32>(), any::<u64>(), any::<u64>())
        .prop_map(|(chain, a, b)| Up::Gone(Gone { chain, first: a.min(b), last: a.max(b) }));
    prop_oneof![
        health().prop_map(Up::Health),
        boot,
        rule_book().prop_map(|book| Up::Book(Book::of(&book).unwrap())),
        short_alert().prop_map(Up::Alert),
        outcome().prop_map(Up::Outcome),
        ended,
        prop::collection::vec(latest(), 0..12).prop_map(Up::Latest),
        block().prop_map(Up::Block),
        gone,
        repair().prop_map(Up::Repair),
        other().prop_map(Up::Other),
    ]
}

/// Any item of a hub.
fn down() -> impl Strategy<Value = Down> {
    let refused = (
        any::<u32>(),
        of(&[Refusal::Unreadable, Refusal::Damaged, Refusal::Later, Refusal::Unknown]),
    );
    let refused = refused.prop_map(|(index, reason)| Refused { index, reason });
    let answers = (any::<u64>(), any::<[u8; 8]>(), prop::collection::vec(refused, 0..4));
    let run = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| a.min(b)..=a.max(b));
    let missing = (any::<u32>(), prop::collection::vec(run, 0..6));
    prop_oneof![
        answers.prop_map(|(packet, mark, refused)| {
            Down::Answers(Answers { packet, mark: Mark(mark), refused })
        }),
        missing.prop_map(|(chain, numbers)| Down::Missing(Missing { chain, numbers })),
        any::<[u8; 4]>().prop_map(|book| Down::Lacks(BookId(book))),
        any::<i64>().prop_map(Down::Clock),
        Just(Down::Suspended),
        repair().prop_map(Down::Repair),
        other().prop_map(Down::Other),
    ]
}

fn packet<I: std::fmt::Debug>(item: impl Strategy<Value = I>) -> impl Strategy<Value = Packet<I>> {
    (any::<u32>(), any::<u64>(), prop::collection::vec(item, 0..6)).prop_map(
        |(gateway, number, items)| Packet { gateway: GatewayNumber(gateway), number, items },
    )
}

/// What a test can compare: all fields as words, and all bits of values.
fn told(items: &[Up]) -> (String, Vec<u64>) {
    let mut bits = Vec::new();
    for item in items {
        match item {
            Up::Latest(readings) => bits.extend(readings.iter().map(|r| r.value.to_bits())),
            Up::Alert(ShortAlert { about: About::Places { observed, .. }, .. }) => {
                bits.extend(observed.iter().map(|(_, value)| value.to_bits()));
            }
            Up::Alert(ShortAlert { about: About::Words { observed, .. }, .. }) => {
                bits.extend(observed.iter().map(|seen| seen.value.to_bits()));
            }
            Up::Health(_)
            | Up::Boot(_)
            | Up::Book(_)
            | Up::Outcome(_)
            | Up::Ended(_)
            | Up::Block(_)
            | Up::Gone(_)
            | Up::Repair(_)
            | Up::Other(_) => {}
        }
    }
    (format!("{items:?}"), bits)
}
