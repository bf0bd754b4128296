use super::*;

/// All of an alert, with the bits of what was seen.
fn fields(alert: &Alert) -> (String, Vec<u64>) {
    let bits = alert.observed.iter().map(|seen| seen.value.to_bits()).collect();
    (format!("{alert:?}"), bits)
}

/// Sends an alert as an item, and expands what arrives; returns that and the item's bytes.
fn sent(alert: &Alert, book: Option<&Book>) -> (Alert, usize) {
    let bytes = Up::Alert(ShortAlert::of(alert, book)).to_bytes().unwrap();
    let Ok(Up::Alert(short)) = Up::from_bytes(&bytes) else { panic!("{bytes:?} is no alert") };
    (short.expand(book).unwrap(), bytes.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_alert_comes_back_to_the_last_bit((rules, alert) in alert()) {
        let book = Book::of(&rules).unwrap();
        prop_assert_eq!(Book::from_bytes(book.as_bytes()), Some(book.clone()));
        prop_assert_eq!(fields(&sent(&alert, Some(&book)).0), fields(&alert));
        prop_assert_eq!(fields(&sent(&alert, None).0), fields(&alert), "in words");
    }

    #[test]
    fn an_alert_of_its_rule_book_goes_by_the_dictionary((rules, alert) in alert()) {
        let book = Book::of(&rules).unwrap();
        let known = |signal| book.signals().iter().any(|known| known.signal == signal);
        let about = |rule: &Rule| {
            (&rule.name, &rule.hazard, &rule.area) == (&alert.rule, &alert.hazard, &alert.area)
        };
        let (sent, expires) = (alert.sent.as_millis(), alert.expires.as_millis());
        let usual = alert.rule_version == rules.version
            && rules.rules.iter().any(about)
            && alert.observed.iter().all(|seen| known(seen.signal))
            && (0..1 << 40).contains(&sent)
            && (sent..1 << 60).contains(&expires);
        let short = ShortAlert::of(&alert, Some(&book));
        prop_assert_eq!(short.book(), usual.then(|| book.id()));
    }
}

/// The village of the tutorial, larger: three gauges, rain, wind, and seven rules.
fn village() -> RuleBook {
    let nodes = ["mto-juu", "mto-kati", "mto-chini", "mvua-1", "mvua-2", "kituo"];
    let signal = |node, quantity, function| Signal { node: NodeIndex(node), quantity, function };
    let level = |node| signal(node, Quantity::WaterLevel, Function::Last);
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    let rain = |node, window| signal(node, Quantity::Rain, Function::Sum(window));
    let rate = signal(0, Quantity::WaterLevel, Function::Rate(hour));
    let one = |signal: Signal| vec![a_leaf(signal), a_leaf(signal), a_leaf(signal)];
    let both = |a, b| Test::AtLeast(2, vec![a_leaf(a), a_leaf(b)]);
    let silent = Test::Silent(NodeIndex(0), Duration::from_hours(2));
    RuleBook {
        version: "5f1cc09ab3e7".to_owned(),
        nodes: nodes.iter().map(|name| a_node(name)).collect(),
        rules: vec![
            a_rule("mto-juu-flood", "flood", "bonde", one(level(0))),
            a_rule("mto-kati-flood", "flood", "bonde", one(level(1))),
            a_rule("mto-rising", "flash-flood", "bonde", vec![both(level(0), rate)]),
            a_rule("rain-day", "landslide", "mlima", one(rain(3, day))),
            a_rule("rain-both", "landslide", "mlima", vec![both(rain(3, hour), rain(4, hour))]),
            a_rule("wind", "storm", "ziwa", {
                one(signal(5, Quantity::WindSpeed, Function::Mean(Duration::from_mins(10))))
            }),
            a_rule("gauge-gone", "flood", "bonde", vec![silent]),
        ],
    }
}

/// An alert of a rule of [`village`], of its `level`, with these values.
fn alert_by(rules: &RuleBook, rule: usize, level: usize, values: &[f64]) -> Alert {
    let rule = &rules.rules[rule];
    let signals = rule.levels[level].test.leaves().map(|leaf| leaf.signal);
    let sent = Timestamp::from_millis(200 * 86_400_000 + 12_345);
    Alert {
        warning: WarningId(37),
        number: 1,
        message_type: MessageType::Alert,
        reason: Reason::Raised,
        level: Level::ALL[level],
        level_max: Level::ALL[level],
        hazard: rule.hazard.clone(),
        area: rule.area.clone(),
        rule: rule.name.clone(),
        rule_version: rules.version.clone(),
        sent,
        expires: sent + rule.valid,
        observed: signals
            .zip(values)
            .map(|(signal, value)| Observed { signal, value: *value })
            .collect(),
    }
}

/// What happened, the alert about it, and its bytes in a packet.
fn usual_alerts(rules: &RuleBook) -> Vec<(&'static str, Alert, usize)> {
    let by = |rule, level, values: &[f64]| alert_by(rules, rule, level, values);
    let tips: f64 = std::iter::repeat_n(0.2, 312).sum();
    let years = |years: i64| Timestamp::from_millis(years * 31_557_600_000 + 1);
    let all_clear = Alert {
        number: 5,
        message_type: MessageType::Cancel,
        reason: Reason::Cleared,
        level_max: Level::Danger,
        ..by(0, 0, &[1.84])
    };
    let reissued = Alert {
        warning: WarningId(12_000),
        number: 9,
        message_type: MessageType::Update,
        reason: Reason::Reissued,
        sent: years(20),
        expires: years(20) + Duration::from_hours(12),
        ..by(1, 2, &[14.85])
    };
    let half = Alert { expires: by(0, 0, &[]).sent + Duration::from_mins(30), ..by(0, 0, &[2.4]) };
    vec![
        ("a river reaches its first level", by(0, 0, &[2.41]), 19),
        ("and its last, above ten metres", by(1, 2, &[12.04]), 20),
        ("it is told every half hour", half, 19),
        ("a river is high and rises 60 cm an hour", by(2, 0, &[3.93, 0.6]), 21),
        ("and as fast as three readings say", by(2, 0, &[3.93, (4.05 - 3.93) * 6.0]), 24),
        ("the rain of a day", by(3, 1, &[tips]), 21),
        ("two gauges see the rain of an hour", by(4, 0, &[31.4, 28.0]), 22),
        ("the mean of three wind speeds", by(5, 1, &[(17.2 + 18.1 + 16.9) / 3.0]), 19),
        ("a gauge is gone", by(6, 0, &[]), 16),
        ("the all-clear", all_clear, 19),
        ("after twenty years", reissued, 21),
    ]
}

#[test]
fn usual_alerts_take_16_to_24_bytes() {
    let rules = village();
    let book = Book::of(&rules).unwrap();
    let mut table = Vec::new();
    for (what, alert, bytes) in usual_alerts(&rules) {
        let (back, took) = sent(&alert, Some(&book));
        assert_eq!(fields(&back), fields(&alert), "{what}");
        if took != bytes || !(16..=24).contains(&took) {
            table.push(format!("{what}: {took} bytes, not {bytes}"));
        }
    }
    assert!(table.is_empty(), "{table:#?}");
    assert!(book.as_bytes().len() < 400, "{} bytes", book.as_bytes().len());
}

#[test]
fn an_unusual_alert_is_longer_and_the_same() {
    let rules = village();
    let book = Book::of(&rules).unwrap();
    let usual = alert_by(&rules, 0, 0, &[2.41]);
    let strange = f64::from_bits(0x7FF8_0000_0000_1234);
    let alone = |signal| vec![Observed { signal, value: strange }];
    let node = Signal { node: NodeIndex(9), ..usual.observed[0].signal };
    for alert in [
        Alert { observed: alone(usual.observed[0].signal), ..usual.clone() },
        Alert { observed: alone(node), ..usual.clone() },
        Alert { sent: Timestamp::from_millis(-1), ..usual.clone() },
        Alert { sent: Timestamp::from_millis(1 << 40), ..usual.clone() },
        Alert { expires: Timestamp::from_millis(0), ..usual.clone() },
        Alert { expires: Timestamp::from_millis(i64::MAX), ..usual.clone() },
        Alert { rule: String::new(), ..usual.clone() },
        Alert { area: "mlima".to_owned(), ..usual.clone() },
        Alert { rule_version: "000000000000".to_owned(), ..usual.clone() },
        Alert { warning: WarningId(u64::MAX), number: u32::MAX, ..usual },
    ] {
        let (back, bytes) = sent(&alert, Some(&book));
        assert_eq!(fields(&back), fields(&alert));
        assert!((25..120).contains(&bytes), "{bytes} bytes for {alert:?}");
    }
}

#[test]
fn an_alert_waits_for_its_own_dictionary() {
    let rules = village();
    let book = Book::of(&rules).unwrap();
    let alert = alert_by(&rules, 3, 0, &[61.2]);
    let short = ShortAlert::of(&alert, Some(&book));
    assert_eq!(short.expand(None), Err(ExpandError::Book(book.id())));
    let mut changed = rules.clone();
    changed.rules.remove(0);
    let other = Book::of(&changed).unwrap();
    assert_ne!(other.id(), book.id(), "of the same version, and yet another");
    assert_eq!(short.expand(Some(&other)), Err(ExpandError::Book(book.id())));
    assert_eq!(short.expand(Some(&book)), Ok(alert));
    // What does not need names is there at once.
    assert_eq!((short.warning, short.level), (WarningId(37), Level::Advisory));
    for (rule, place) in [(7, 0), (3, 90)] {
        let about = About::Places { book: book.id(), rule, observed: vec![(place, 1.0)] };
        let forged = ShortAlert { about, ..short.clone() };
        assert_eq!(forged.expand(Some(&book)), Err(ExpandError::Place));
    }
}

#[test]
fn the_numbers_of_the_first_byte_are_those_of_the_page() {
    let rules = village();
    let short = ShortAlert::of(&alert_by(&rules, 0, 0, &[2.41]), None);
    let types = [MessageType::Alert, MessageType::Update, MessageType::Cancel];
    let reasons = [
        Reason::Raised,
        Reason::Upgraded,
        Reason::Downgraded,
        Reason::Reissued,
        Reason::Cleared,
        Reason::Withdrawn,
    ];
    let mut expected = 0..=u8::MAX;
    for message_type in types {
        for reason in reasons {
            for level in Level::ALL {
                for level_max in Level::ALL {
                    let alert =
                        ShortAlert { message_type, reason, level, level_max, ..short.clone() };
                    let bytes = Up::Alert(alert.clone()).to_bytes().unwrap();
                    assert_eq!(bytes[2], expected.next().unwrap());
                    assert_eq!(Up::from_bytes(&bytes), Ok(Up::Alert(alert)));
                }
            }
        }
    }
    let mut bytes = Up::Alert(short).to_bytes().unwrap();
    for byte in expected {
        bytes[2] = byte;
        assert!(matches!(Up::from_bytes(&bytes), Ok(Up::Other(_))), "{byte}");
    }
}

#[test]
fn a_rule_book_that_is_too_large_keeps_its_rules_and_loses_signals() {
    let names: Vec<String> = (0..6_000).map(|n| format!("mto-{n:010}")).collect();
    let signal =
        |n| Signal { node: NodeIndex(n), quantity: Quantity::WaterLevel, function: Function::Last };
    let leaves = (0..6_000).map(|n| a_leaf(signal(n))).collect();
    let mut rules = village();
    rules.nodes = names.iter().map(|name| a_node(name)).collect();
    rules.rules = vec![a_rule("any", "flood", "bonde", vec![Test::AtLeast(1, leaves)])];
    let book = Book::of(&rules).unwrap();
    assert!(book.as_bytes().len() <= BOOK_BYTES_MAX && book.as_bytes().len() > BOOK_BYTES_MAX / 3);
    assert_eq!(book.rules().len(), 1);
    let last = book.signals().last().unwrap().signal.node.0;
    assert_eq!(book.node(NodeIndex(last)).map(|name| &*name.0), Some(&*names[last as usize]));
    for (node, in_words) in [(last, false), (last + 1, true)] {
        let observed = vec![Observed { signal: signal(node), value: 1.5 }];
        let alert = Alert { observed, ..alert_by(&rules, 0, 0, &[]) };
        assert_eq!(ShortAlert::of(&alert, Some(&book)).book().is_none(), in_words);
        assert_eq!(fields(&sent(&alert, Some(&book)).0), fields(&alert));
    }
    rules.rules = names.iter().map(|name| a_rule(name, name, name, Vec::new())).collect();
    assert!(matches!(Book::of(&rules), Err(EncodeError::Book(_))));
    rules.rules = vec![a_rule(&"r".repeat(256), "flood", "bonde", Vec::new())];
    assert_eq!(Book::of(&rules), Err(EncodeError::Text { bytes: 256, bytes_max: 255 }));
    let odd = Function::Sum(Duration::from_micros(1_500));
    let odd = Signal { function: odd, ..signal(0) };
    rules.rules = vec![a_rule("r", "flood", "bonde", vec![a_leaf(odd)])];
    assert_eq!(Book::of(&rules), Err(EncodeError::Time));
}
