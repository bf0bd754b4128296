//! Packets between a gateway and its hub, judged by an implementation in another language (`tests/peers/uplink*.py`):
//! what ours writes it reads, what it writes ours reads, alike to the last bit.

use crate::dice::Dice;
use crate::peers::program;
use kengele::domain::node::Node;
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{NodeName, Quality};
use kengele::domain::rule::{
    Function, Leaf, LevelRule, Limit, NodeIndex, Rule, RuleBook, Signal, Test,
};
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::domain::warning::{Alert, Certainty, Level, MessageType, Observed, Reason, WarningId};
use kengele::wire::sealed_quantity;
use kengele::wire::tpdu::{self, Address, Submit};
use kengele::wire::uplink::file::{Found, MAGIC, record, records};
use kengele::wire::uplink::segments::pieces;
use kengele::wire::uplink::{
    About, Answers, Block, Book, BookId, Boot, Down, Ended, Ending, Faults, GatewayNumber, Gone,
    Health, Key, Latest, Mark, Missing, Other, Outcome, Packet, Refusal, Refused, Repair,
    ShortAlert, Tag, Up, open_down, open_up, seal_down, seal_up,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Asks a peer; returns an answer for each order.
fn ask(peer: &str, orders: &[Value]) -> Vec<Value> {
    let mut python = program("python3")
        .arg("-B")
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(peer))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = orders.iter().map(Value::to_string).collect();
    let mut input = python.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all((lines.join("\n") + "\n").as_bytes()));
    let output = python.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success(), "the peer stopped: see above");
    let said = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), orders.len());
    answers
}

fn hex(bytes: &[u8]) -> String {
    tpdu::to_hex(bytes).to_lowercase()
}

fn from_hex(hex: &Value) -> Vec<u8> {
    tpdu::from_hex(hex.as_str().unwrap()).unwrap()
}

fn byte(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(256)).unwrap()
}

const KEY: [u8; 32] = *b"thirty-two bytes that are secret";

/// Everything that a gateway and a hub may say, by chance.
struct Village {
    dice: Dice,
    rules: RuleBook,
}

impl Village {
    fn seeded(seed: u64) -> Self {
        let dice = Dice::seeded(seed);
        let rules = RuleBook { version: format!("{seed:012x}"), ..RuleBook::default() };
        let mut village = Self { dice, rules };
        for node in 0..village.dice.between(1, 5) {
            village.rules.nodes.push(node_named(&format!("mto-{node}é")));
        }
        for rule in 0..village.dice.between(1, 5) {
            let rule = village.rule(rule);
            village.rules.rules.push(rule);
        }
        village
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.index(of.len())]
    }

    /// Of any size, not mostly of the greatest.
    fn any(&mut self) -> u64 {
        let bits = self.dice.below(64);
        self.dice.below(u64::MAX) >> bits
    }

    fn signed(&mut self) -> i64 {
        let sign = self.pick(&[1, -1]);
        (self.any() >> 1).cast_signed() * sign
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.any() >> 32).unwrap()
    }

    fn tiny(&mut self) -> u16 {
        u16::try_from(self.any() >> 48).unwrap()
    }

    fn perhaps<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.dice.chance(500).then(|| value(self))
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.dice.below(most)).map(|_| byte(&mut self.dice)).collect()
    }

    fn value(&mut self) -> f64 {
        let cents = self.dice.below(4_000) as f64 / 100.0;
        match self.dice.below(9) {
            0 => cents / self.dice.between(2, 200) as f64,
            1 => (cents - 20.0) * 0.3048,
            2 => cents - 17.07,
            3 => f64::from_bits(self.dice.below(u64::MAX)),
            4 => -0.0,
            5 => f64::from_bits(0x7FF8_0000_0000_0001),
            6 => 0.2 + 0.1,
            _ => cents,
        }
    }

    fn quantity(&mut self) -> Quantity {
        let all: Vec<Quantity> = Quantity::all().collect();
        self.pick(&all)
    }

    fn clock(&mut self) -> ClockQuality {
        self.pick(&[ClockQuality::Unset, ClockQuality::Estimated, ClockQuality::Synchronised])
    }

    fn signal(&mut self) -> Signal {
        let units = [1, 1_000, 60_000, 600_000, 3_600_000, 21_600_000, 86_400_000];
        let w = Duration::from_millis(self.dice.below(40) * self.pick(&units));
        let function = self.pick(&[
            Function::Last,
            Function::Min(w),
            Function::Max(w),
            Function::Mean(w),
            Function::Sum(w),
            Function::Count(w),
            Function::Change(w),
            Function::Rate(w),
        ]);
        let node = NodeIndex(u32::try_from(self.dice.index(self.rules.nodes.len())).unwrap());
        Signal { node, quantity: self.quantity(), function }
    }

    fn rule(&mut self, number: u64) -> Rule {
        let leaf = |signal| {
            let limit = Limit::Above { enter: 1.0, exit: 0.5 };
            Test::Signal(Leaf { signal, limit, while_silent: false })
        };
        let leaves = (0..self.dice.between(1, 3)).map(|_| leaf(self.signal())).collect();
        Rule {
            name: format!("rule-{number}"),
            hazard: self.pick(&["flood", "dhoruba"]).to_owned(),
            area: self.pick(&["bonde", "mlima"]).to_owned(),
            levels: vec![LevelRule {
                level: Level::Danger,
                test: Test::AtLeast(1, leaves),
                hold: Duration::ZERO,
                clear_hold: Duration::ZERO,
                audience: Vec::new(),
                texts: BTreeMap::new(),
                eased: BTreeMap::new(),
            }],
            valid: Duration::from_hours(6),
            cool_down: Duration::ZERO,
            all_clear: BTreeMap::new(),
            certainty: Certainty::Observed,
        }
    }

    /// An alert of the rule book; one in five is by a rule that it does not have.
    fn alert(&mut self) -> Alert {
        let rule = self.dice.index(self.rules.rules.len());
        let rule = self.rules.rules[rule].clone();
        let leaves: Vec<Signal> = rule.levels[0].test.leaves().map(|leaf| leaf.signal).collect();
        let observed =
            leaves.iter().map(|signal| Observed { signal: *signal, value: self.value() });
        let observed = observed.collect();
        let sent = Timestamp::from_millis(self.dice.below(1 << 39).cast_signed());
        let known = self.dice.chance(800);
        Alert {
            warning: WarningId(self.any()),
            number: self.small(),
            message_type: self.pick(&[
                MessageType::Alert,
                MessageType::Update,
                MessageType::Cancel,
            ]),
            reason: self.pick(&[
                Reason::Raised,
                Reason::Upgraded,
                Reason::Downgraded,
                Reason::Reissued,
                Reason::Cleared,
                Reason::Withdrawn,
            ]),
            level: self.pick(&Level::ALL),
            level_max: self.pick(&Level::ALL),
            hazard: rule.hazard,
            area: rule.area,
            rule: if known { rule.name } else { "gone".to_owned() },
            rule_version: self.rules.version.clone(),
            sent,
            expires: sent + Duration::from_secs(self.dice.below(400) * self.pick(&[1, 1_800])),
            observed,
        }
    }

    fn health(&mut self) -> Health {
        Health {
            sent_unix_ms: self.perhaps(Self::signed),
            clock: self.clock(),
            uptime_s: self.any(),
            version: "0.1.0".to_owned(),
            nodes_heard: self.small(),
            nodes_declared: self.small(),
            open_warnings: self.small(),
            backlog_blocks: self.any(),
            backlog_bytes: self.any(),
            backlog_oldest_unix_ms: self.perhaps(Self::signed),
            budget_used_bytes: self.any(),
            budget_left_bytes: self.perhaps(Self::any),
            outbox_waiting: self.small(),
            disk_free_bytes: self.perhaps(Self::any),
            faults: Faults(self.tiny()),
        }
    }

    fn repair(&mut self) -> Repair {
        Repair { reference: self.tiny(), total: byte(&mut self.dice), parts: self.bytes(9) }
    }

    fn other(&mut self) -> Other {
        Other { kind: 100 + self.any() / 2, bytes: self.bytes(30) }
    }

    fn latest(&mut self) -> Latest {
        Latest {
            node: NodeName(self.pick(&["mto-1", "mto-2", "kituo"]).into()),
            quantity: self.quantity(),
            at: Timestamp::from_millis(self.signed()),
            value: self.value(),
            quality: self.pick(&Quality::ALL),
        }
    }

    fn up(&mut self, book: &Book) -> Up {
        let warning = WarningId(self.any());
        match self.dice.below(11) {
            0 => Up::Health(self.health()),
            1 => Up::Boot(Boot {
                boot: self.any(),
                at: Timestamp::from_millis(self.signed()),
                clock: WallClock { offset_ms: self.signed(), quality: self.clock() },
            }),
            2 => Up::Outcome(Outcome {
                warning,
                alert: self.small(),
                recipients: self.small(),
                delivered: self.small(),
                accepted: self.small(),
                failed: self.small(),
                expired: self.small(),
                waiting: self.small(),
                acknowledged: self.small(),
            }),
            3 => Up::Ended(Ended {
                warning,
                at: Timestamp::from_millis(self.signed()),
                ending: self.pick(&[Ending::Cleared, Ending::Withdrawn, Ending::Expired]),
            }),
            4 => Up::Latest((0..self.dice.below(9)).map(|_| self.latest()).collect()),
            5 => Up::Block(Block {
                chain: self.small(),
                number: self.any(),
                previous: self.any().to_be_bytes(),
                bytes: self.bytes(300),
            }),
            6 => {
                let (first, more) = (self.any() >> 1, self.any() >> 1);
                Up::Gone(Gone { chain: self.small(), first, last: first + more })
            }
            7 => Up::Repair(self.repair()),
            8 => Up::Other(self.other()),
            _ => Up::Alert(ShortAlert::of(&self.alert(), Some(book))),
        }
    }

    fn down(&mut self) -> Down {
        let reasons = [Refusal::Unreadable, Refusal::Damaged, Refusal::Later, Refusal::Unknown];
        match self.dice.below(7) {
            0 => Down::Answers(Answers {
                packet: self.any(),
                mark: Mark(self.any().to_be_bytes()),
                refused: (0..self.dice.below(4))
                    .map(|_| Refused { index: self.small(), reason: self.pick(&reasons) })
                    .collect(),
            }),
            1 => Down::Missing(Missing {
                chain: self.small(),
                numbers: (0..self.dice.below(4))
                    .map(|_| (self.any() >> 1, self.any() >> 1))
                    .map(|(first, more)| first..=first + more)
                    .collect(),
            }),
            2 => Down::Lacks(BookId(self.small().to_be_bytes())),
            3 => Down::Clock(self.signed()),
            4 => Down::Suspended,
            5 => Down::Repair(self.repair()),
            _ => Down::Other(self.other()),
        }
    }

    fn packet<I>(&mut self, items: Vec<I>) -> Packet<I> {
        Packet { gateway: GatewayNumber(self.small()), number: self.any(), items }
    }
}

fn node_named(name: &str) -> Node {
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

// How the peer tells what ours holds.

fn bits(value: f64) -> Value {
    json!(format!("{:016x}", value.to_bits()))
}

fn told_signal(signal: Signal) -> Value {
    let function = match signal.function {
        Function::Last => 0,
        Function::Min(_) => 1,
        Function::Max(_) => 2,
        Function::Mean(_) => 3,
        Function::Sum(_) => 4,
        Function::Count(_) => 5,
        Function::Change(_) => 6,
        Function::Rate(_) => 7,
    };
    let quantity = sealed_quantity::number(signal.quantity);
    json!([
        signal.node.0,
        quantity,
        function,
        u64::try_from(signal.function.window().as_millis()).unwrap()
    ])
}

fn told_observed(observed: &[Observed]) -> Value {
    observed.iter().map(|seen| json!([told_signal(seen.signal), bits(seen.value)])).collect()
}

fn told_alert(short: &ShortAlert, book: Option<&Book>) -> Value {
    let head =
        [short.message_type as u8, short.reason as u8, short.level as u8, short.level_max as u8];
    let (sent, expires) = (short.sent.as_millis(), short.expires.as_millis());
    let mut told = json!({
        "head": head, "warning": short.warning.0, "number": short.number, "sent": sent,
    });
    match &short.about {
        About::Places { book: id, rule, observed } => {
            told["kind"] = json!(4);
            told["book"] = json!(id.to_string());
            told["rule"] = json!(rule);
            told["valid"] = json!(expires - sent);
            told["observed"] =
                observed.iter().map(|(place, value)| json!([place, bits(*value)])).collect();
            let alert = short.expand(book).unwrap();
            told["expanded"] = json!([
                alert.rule_version,
                alert.rule,
                alert.hazard,
                alert.area,
                told_observed(&alert.observed)
            ]);
        }
        About::Words { rule_version, rule, hazard, area, observed } => {
            told["kind"] = json!(5);
            told["expires"] = json!(expires);
            told["rule_version"] = json!(rule_version);
            told["rule"] = json!(rule);
            told["hazard"] = json!(hazard);
            told["area"] = json!(area);
            told["observed"] = told_observed(observed);
        }
    }
    told
}

fn told_health(health: &Health) -> Value {
    let options = [
        ("sent", health.sent_unix_ms.map(|ms| json!(ms))),
        ("oldest", health.backlog_oldest_unix_ms.map(|ms| json!(ms))),
        ("left", health.budget_left_bytes.map(|bytes| json!(bytes))),
        ("free", health.disk_free_bytes.map(|bytes| json!(bytes))),
    ];
    let has = (0..).zip(&options).map(|(bit, (_, value))| u8::from(value.is_some()) << bit);
    let mut told = json!({
        "kind": 1, "has": has.sum::<u8>(), "clock": health.clock as u8, "faults": health.faults.0,
        "uptime_s": health.uptime_s, "nodes_heard": health.nodes_heard,
        "nodes_declared": health.nodes_declared, "open_warnings": health.open_warnings,
        "backlog_blocks": health.backlog_blocks, "backlog_bytes": health.backlog_bytes,
        "budget_used": health.budget_used_bytes, "outbox_waiting": health.outbox_waiting,
        "version": health.version,
    });
    for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        told[name] = value;
    }
    told
}

fn told_book(book: &Book) -> Value {
    let rules: Value =
        book.rules().iter().map(|rule| json!([&*rule.name, &*rule.hazard, &*rule.area])).collect();
    let signals: Value = (book.signals().iter())
        .map(|known| json!([&*known.node.0, told_signal(known.signal)]))
        .collect();
    json!({
        "kind": 3, "version": book.version(), "rules": rules, "signals": signals,
        "id": book.id().to_string(),
    })
}

fn told_repair(kind: u8, repair: &Repair) -> Value {
    let parts = hex(&repair.parts);
    json!({ "kind": kind, "reference": repair.reference, "total": repair.total, "parts": parts })
}

fn told_other(other: &Other) -> Value {
    json!({ "kind": other.kind, "unreadable": hex(&other.bytes) })
}

fn told_up(item: &Up, book: Option<&Book>) -> Value {
    match item {
        Up::Health(health) => told_health(health),
        Up::Boot(run) => json!({
            "kind": 2, "boot": run.boot, "at": run.at.as_millis(),
            "offset": run.clock.offset_ms, "quality": run.clock.quality as u8,
        }),
        Up::Book(book) => told_book(book),
        Up::Alert(short) => told_alert(short, book),
        Up::Outcome(of) => json!({
            "kind": 6, "warning": of.warning.0, "alert": of.alert, "recipients": of.recipients,
            "delivered": of.delivered, "accepted": of.accepted, "failed": of.failed,
            "expired": of.expired, "waiting": of.waiting, "acknowledged": of.acknowledged,
        }),
        Up::Ended(ended) => json!({
            "kind": 7, "warning": ended.warning.0, "at": ended.at.as_millis(),
            "ending": ended.ending as u8,
        }),
        Up::Latest(readings) => {
            let row = |reading: &Latest| {
                let sensor = [sealed_quantity::number(reading.quantity), reading.quality.code()];
                let at = reading.at.as_millis();
                json!([&*reading.node.0, sensor, at, bits(reading.value)])
            };
            json!({ "kind": 8, "readings": readings.iter().map(row).collect::<Value>() })
        }
        Up::Block(block) => json!({
            "kind": 9, "chain": block.chain, "number": block.number,
            "previous": hex(&block.previous), "bytes": hex(&block.bytes),
            "id": block.id().to_string(),
        }),
        Up::Gone(gone) => json!({
            "kind": 10, "chain": gone.chain, "first": gone.first, "more": gone.last - gone.first,
        }),
        Up::Repair(repair) => told_repair(11, repair),
        Up::Other(other) => told_other(other),
    }
}

fn told_down(item: &Down) -> Value {
    match item {
        Down::Answers(answers) => {
            let reason = |reason| match reason {
                Refusal::Unknown => 0,
                Refusal::Unreadable => 1,
                Refusal::Damaged => 2,
                Refusal::Later => 3,
            };
            let refused: Value = (answers.refused.iter())
                .map(|refused| json!([refused.index, reason(refused.reason)]))
                .collect();
            json!({
                "kind": 1, "packet": answers.packet, "mark": hex(&answers.mark.0),
                "refused": refused,
            })
        }
        Down::Missing(missing) => {
            let runs: Value = (missing.numbers.iter())
                .map(|run| json!([run.start(), run.end() - run.start()]))
                .collect();
            json!({ "kind": 2, "chain": missing.chain, "runs": runs })
        }
        Down::Lacks(book) => json!({ "kind": 3, "book": book.to_string() }),
        Down::Clock(unix_ms) => json!({ "kind": 4, "unix_ms": unix_ms }),
        Down::Suspended => json!({ "kind": 5 }),
        Down::Repair(repair) => told_repair(6, repair),
        Down::Other(other) => told_other(other),
    }
}

fn told_packet<I>(packet: &Packet<I>, first: u8, item: impl Fn(&I) -> Value) -> Value {
    json!({
        "first": first, "gateway": packet.gateway.0, "packet": packet.number,
        "items": packet.items.iter().map(item).collect::<Value>(),
    })
}

/// A packet up and one down of each seed, sealed by ours, and what the peer shall say of them.
fn spoken(seeds: u64) -> Vec<(Vec<u8>, Value)> {
    let mut spoken = Vec::new();
    for seed in 0..seeds {
        let mut village = Village::seeded(seed);
        let tag = village.pick(&[Tag::Long, Tag::Short]);
        let short = if tag == Tag::Short { 2 } else { 0 };
        let book = Book::of(&village.rules).unwrap();
        let others = (0..village.dice.below(12)).map(|_| village.up(&book)).collect::<Vec<_>>();
        let items = std::iter::once(Up::Book(book.clone())).chain(others).collect();
        let up = village.packet(items);
        let items = (0..village.dice.below(9)).map(|_| village.down()).collect();
        let down = village.packet(items);
        let key = Key::new(KEY);
        let told = told_packet(&up, 0x10 | short, |item| told_up(item, Some(&book)));
        spoken.push((seal_up(&up, &key, tag).unwrap(), told));
        let told = told_packet(&down, 0x11 | short, told_down);
        spoken.push((seal_down(&down, &key, tag).unwrap(), told));
    }
    spoken
}

const SEEDS: u64 = 150;

#[test]
fn what_we_seal_another_implementation_opens_alike() {
    let spoken = spoken(SEEDS);
    let order = |bytes: &[u8]| json!({ "key": hex(&KEY), "bytes": hex(bytes) });
    let mut orders: Vec<Value> = spoken.iter().map(|(bytes, _)| order(bytes)).collect();
    let mut forged = spoken[0].0.clone();
    *forged.last_mut().unwrap() ^= 1;
    orders.push(order(&forged));
    let mut answers = ask("uplink.py", &orders);
    assert_eq!(answers.pop(), Some(json!({ "error": "tag" })));
    for (number, (answer, (bytes, told))) in answers.iter().zip(&spoken).enumerate() {
        let mut told = told.clone();
        told["mark"] = json!(hex(&Mark::of(bytes).unwrap().0));
        assert_eq!(*answer, told, "packet {number}");
    }
}

#[test]
fn what_another_implementation_seals_we_open_alike() {
    let spoken = spoken(SEEDS);
    let order = |(_, told): &(Vec<u8>, Value)| json!({ "key": hex(&KEY), "packet": told });
    let orders: Vec<Value> = spoken.iter().map(order).collect();
    let mut others = 0;
    for (number, (answer, (bytes, told))) in
        ask("uplink_seal.py", &orders).iter().zip(&spoken).enumerate()
    {
        let sealed = from_hex(answer);
        others += usize::from(sealed != *bytes);
        let first = sealed[0];
        let mut again = if first & 1 == 0 {
            let packet = open_up(&sealed, |_| Some(Key::new(KEY))).unwrap();
            let Some(Up::Book(book)) = packet.items.first() else { panic!("no dictionary") };
            told_packet(&packet, first, |item| {
                // Written otherwise, the same names have another identity.
                if let Up::Alert(short) = item {
                    told_alert(&by_its_book(short, book), Some(book))
                } else {
                    told_up(item, Some(book))
                }
            })
        } else {
            told_packet(&open_down(&sealed, &Key::new(KEY)).unwrap(), first, told_down)
        };
        let mut told = told.clone();
        for items in [&mut again, &mut told] {
            for item in items["items"].as_array_mut().unwrap() {
                if item["kind"] == 3 || item["kind"] == 4 {
                    item.as_object_mut().unwrap().retain(|key, _| key != "id" && key != "book");
                }
            }
        }
        assert_eq!(again, told, "packet {number}");
    }
    assert!(others > 100, "the peer writes as we do, and so shows little: {others}");
}

/// Lets an alert refer to a dictionary of the same content.
fn by_its_book(short: &ShortAlert, book: &Book) -> ShortAlert {
    let mut short = short.clone();
    if let About::Places { book: id, .. } = &mut short.about {
        *id = book.id();
    }
    short
}

#[test]
fn pieces_of_packets_are_joined_alike() {
    let to = Address::parse("+254700000001").unwrap();
    let mut dice = Dice::seeded(4);
    let (mut orders, mut packets) = (Vec::new(), Vec::new());
    for length in [1, 140, 141, 266, 267, 1_000, 33_915] {
        let packet: Vec<u8> = (0..length).map(|_| byte(&mut dice)).collect();
        let mut sent: Vec<String> = (pieces(&packet, 0x1234).unwrap().into_iter())
            .map(|data| hex(&Submit::new(to.clone(), data).encode()))
            .collect();
        for place in (1..sent.len()).rev() {
            sent.swap(place, dice.index(place + 1));
        }
        sent.push(sent[0].clone());
        orders.push(json!({ "do": "join", "bytes": sent }));
        packets.push(json!(hex(&packet)));
    }
    assert_eq!(ask("uplink_carriers.py", &orders), packets);
}

#[test]
fn files_are_written_and_read_alike_whole_torn_and_damaged() {
    let mut dice = Dice::seeded(5);
    let packets: Vec<Vec<u8>> =
        [30, 1, 200].iter().map(|n| (0..*n).map(|_| byte(&mut dice)).collect()).collect();
    let ours = packets.iter().flat_map(|packet| record(packet).unwrap());
    let whole: Vec<u8> = MAGIC.into_iter().chain(ours).collect();
    let told: Vec<String> = packets.iter().map(|packet| hex(packet)).collect();
    let theirs = ask("uplink_carriers.py", &[json!({ "do": "write", "bytes": told })]).remove(0);
    assert_eq!(from_hex(&theirs), whole);
    let mut files: Vec<Vec<u8>> =
        (MAGIC.len()..=whole.len()).map(|length| whole[..length].to_vec()).collect();
    for length in MAGIC.len()..whole.len() {
        let mut file = whole[..length].to_vec();
        match dice.below(3) {
            0 => file.extend(vec![0; dice.index(60)]),
            1 => file.extend(record(&packets[0]).unwrap()),
            _ => {
                let hit = dice.between(MAGIC.len() as u64, whole.len() as u64 - 1);
                file.clone_from(&whole);
                file[usize::try_from(hit).unwrap()] ^= 1 << dice.below(8);
            }
        }
        files.push(file);
    }
    let order = |file: &Vec<u8>| json!({ "do": "read", "bytes": [hex(file)] });
    let orders: Vec<Value> = files.iter().map(order).collect();
    for (answer, file) in ask("uplink_carriers.py", &orders).iter().zip(&files) {
        let found = records(file).unwrap().map(|found| match found {
            Found::Packet(packet) => json!(["packet", hex(packet)]),
            Found::Damaged(bytes) => json!(["damaged", bytes]),
            Found::Torn(bytes) => json!(["torn", bytes]),
        });
        assert_eq!(*answer, found.collect::<Value>(), "{}", hex(file));
    }
}
