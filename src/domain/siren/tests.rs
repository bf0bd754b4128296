use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MINUTE: Duration = Duration::from_mins(1);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn settings() -> Settings {
    Settings {
        areas: vec!["bonde".to_owned()],
        hazards: Vec::new(),
        level: Level::Danger,
        max_on: 3 * MINUTE,
        exercises: Exercises::Silent,
        confirms: Confirms::Yes,
    }
}

/// An alert that holds for an hour.
fn alert(warning: u64, level: Level, reason: Reason, now: Timestamp) -> Alert {
    let ended = matches!(reason, Reason::Cleared | Reason::Withdrawn);
    Alert {
        warning: WarningId(warning),
        number: 1,
        message_type: if ended { MessageType::Cancel } else { MessageType::Update },
        reason,
        level,
        level_max: level,
        hazard: "flood".to_owned(),
        area: "bonde".to_owned(),
        rule: "mafuriko".to_owned(),
        rule_version: String::new(),
        sent: now,
        expires: now + 60 * MINUTE,
        observed: Vec::new(),
    }
}

fn raise(siren: &mut Siren, reason: Reason, now: Timestamp) {
    siren.alerted(&alert(1, Level::Danger, reason, now), Standing::Actual, &settings(), now);
}

fn order(siren: &Siren, now: Timestamp) -> Option<Desired> {
    siren.owed(now).map(|owed| owed.order)
}

/// Gives the order that is owed; the node confirms it.
fn obey(siren: &mut Siren, now: Timestamp) -> Desired {
    let owed = siren.owed(now).unwrap();
    siren.told(owed.version, &settings(), now);
    siren.confirmed(owed.version, &settings(), now);
    owed.order
}

#[test]
fn a_danger_sounds_pauses_and_sounds_again_when_it_is_issued_anew() {
    let mut siren = Siren::default();
    raise(&mut siren, Reason::Raised, at(0));
    let owed = siren.owed(at(0)).unwrap();
    assert_eq!((owed.order, owed.urgency), (Desired::On, Urgency::Danger));
    assert_eq!(obey(&mut siren, at(5)), Desired::On);
    assert_eq!(order(&siren, at(6)), None);
    assert_eq!(siren.next_change(), Some(at(185)));
    siren.advance(at(185));
    assert_eq!(obey(&mut siren, at(185)), Desired::Off);
    siren.advance(at(1000));
    assert_eq!(order(&siren, at(1000)), None, "the warning is still open, and has been heard");
    raise(&mut siren, Reason::Reissued, at(1800));
    assert_eq!(obey(&mut siren, at(1800)), Desired::On);
    // What is issued anew while it sounds prolongs it.
    raise(&mut siren, Reason::Upgraded, at(1900));
    assert_eq!(obey(&mut siren, at(1900)), Desired::On);
    siren.advance(at(1981));
    assert_eq!(siren.desired(), Desired::On);
}

#[test]
fn an_order_that_is_not_confirmed_is_repeated_less_and_less_often_for_as_long_as_the_danger_lasts()
{
    let mut siren = Siren::default();
    raise(&mut siren, Reason::Raised, at(0));
    let (mut now, mut waits) = (at(0), Vec::new());
    while let Some(owed) = siren.owed(now) {
        siren.told(owed.version, &settings(), now);
        let Some(next) = siren.owed(now) else { break };
        waits.push(next.due.since(now).as_secs());
        now = next.due;
    }
    assert_eq!(waits.get(..7), Some(&[10, 20, 40, 80, 160, 300, 300][..]));
    assert!(now >= at(3600) && now < at(3900), "until the alert has expired: {now:?}");
    siren.advance(now);
    assert_eq!(order(&siren, now), Some(Desired::Off), "it may have heard one of them");
}

#[test]
fn silence_is_ordered_a_bounded_number_of_times_and_owed_to_nobody_who_was_told_nothing() {
    let mut siren = Siren::default();
    raise(&mut siren, Reason::Raised, at(0));
    raise(&mut siren, Reason::Cleared, at(60));
    assert_eq!(order(&siren, at(60)), None, "nothing has left");
    raise(&mut siren, Reason::Raised, at(120));
    siren.told(siren.version(), &settings(), at(120));
    raise(&mut siren, Reason::Withdrawn, at(180));
    let mut told = 0;
    while let Some(owed) = siren.owed(at(200)) {
        assert_eq!(owed.order, Desired::Off);
        siren.told(owed.version, &settings(), at(200));
        told += 1;
    }
    assert!(told == ATTEMPTS_MAX && siren.is_given_up());
    // Somebody who hears it still can have it asked again.
    siren.command(Command::Silence, at(300)).unwrap();
    assert_eq!(obey(&mut siren, at(300)), Desired::Off);
    assert!(siren.is_confirmed() && !siren.is_given_up());
}

#[test]
fn only_its_own_areas_hazards_and_levels_make_it_sound() {
    let mut only = settings();
    only.hazards = vec!["landslide".to_owned()];
    let danger = alert(1, Level::Danger, Reason::Raised, at(0));
    let milder = alert(1, Level::Warning, Reason::Raised, at(0));
    let elsewhere = Alert { area: "kijiji".to_owned(), ..danger.clone() };
    for (alert, settings) in [(&danger, &only), (&milder, &settings()), (&elsewhere, &settings())] {
        let mut siren = Siren::default();
        siren.alerted(alert, Standing::Actual, settings, at(0));
        assert_eq!(order(&siren, at(0)), None);
    }
    let sensitive = Settings { level: Level::Advisory, ..settings() };
    let mut siren = Siren::default();
    siren.alerted(&milder, Standing::Actual, &sensitive, at(0));
    let owed = siren.owed(at(0)).unwrap();
    assert_eq!((owed.order, owed.urgency), (Desired::On, Urgency::Ordinary));
}

#[test]
fn it_stays_silent_in_exercises_unless_it_is_set_to_sound() {
    let danger = alert(1, Level::Danger, Reason::Raised, at(0));
    let heard = Settings { exercises: Exercises::Sound, ..settings() };
    for (settings, expected) in [(settings(), None), (heard, Some(Desired::On))] {
        let mut siren = Siren::default();
        siren.alerted(&danger, Standing::Exercise, &settings, at(0));
        assert_eq!(order(&siren, at(0)), expected);
    }
}

#[test]
fn a_level_that_falls_below_the_sirens_ends_it_and_one_that_stays_above_does_not_begin_anew() {
    let sensitive = Settings { level: Level::Warning, ..settings() };
    let mut siren = Siren::default();
    let mut hear = |level, reason, now| {
        siren.alerted(&alert(1, level, reason, now), Standing::Actual, &sensitive, now);
        let order = siren.owed(now).map(|owed| owed.order);
        if let Some(owed) = siren.owed(now) {
            siren.told(owed.version, &sensitive, now);
            siren.confirmed(owed.version, &sensitive, now);
        }
        order
    };
    assert_eq!(hear(Level::Danger, Reason::Raised, at(0)), Some(Desired::On));
    assert_eq!(hear(Level::Warning, Reason::Downgraded, at(60)), None);
    assert_eq!(hear(Level::Advisory, Reason::Downgraded, at(90)), Some(Desired::Off));
}

#[test]
fn an_operator_silences_what_sounds_and_not_what_comes_after() {
    let mut siren = Siren::default();
    raise(&mut siren, Reason::Raised, at(0));
    assert_eq!(siren.command(Command::Test, at(1)), Err(Refused::Needed));
    obey(&mut siren, at(1));
    siren.command(Command::Silence, at(30)).unwrap();
    assert_eq!(obey(&mut siren, at(30)), Desired::Off);
    raise(&mut siren, Reason::Reissued, at(1800));
    assert_eq!(order(&siren, at(1800)), Some(Desired::On));
    let mut siren = Siren::default();
    siren.command(Command::Sound, at(0)).unwrap();
    assert_eq!(obey(&mut siren, at(0)), Desired::On);
    siren.advance(at(180));
    assert_eq!(obey(&mut siren, at(180)), Desired::Off);
}

#[test]
fn a_test_ends_by_itself_and_gives_way_to_danger() {
    let mut siren = Siren::default();
    siren.command(Command::Test, at(0)).unwrap();
    assert_eq!(obey(&mut siren, at(0)), Desired::Test);
    assert_eq!((siren.desired(), order(&siren, at(1))), (Desired::Off, None));
    siren.command(Command::Test, at(10)).unwrap();
    raise(&mut siren, Reason::Raised, at(11));
    assert_eq!(order(&siren, at(11)), Some(Desired::On));
    let mut siren = Siren::default();
    siren.command(Command::Test, at(0)).unwrap();
    assert_eq!(order(&siren, at(0) + TEST_VALID), None, "nobody waits for a test of yesterday");
}

#[test]
fn a_node_that_confirms_nothing_is_told_three_times() {
    let mute = Settings { confirms: Confirms::No, ..settings() };
    let mut siren = Siren::default();
    siren.alerted(&alert(1, Level::Danger, Reason::Raised, at(0)), Standing::Actual, &mute, at(0));
    let mut told = 0;
    while let Some(owed) = siren.owed(at(0)) {
        siren.told(owed.version, &mute, at(0));
        told += 1;
    }
    assert_eq!((told, siren.next_change()), (UNCONFIRMED_ATTEMPTS, Some(at(180))));
}

/// What may happen to a siren.
#[derive(Clone, Copy, Debug)]
enum Event {
    Alert(u64, Level, Reason),
    Command(Command),
    /// The order is given and does not arrive, arrives unconfirmed, or is confirmed.
    Give(Way),
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Lost,
    AckLost,
    Whole,
}

fn event() -> impl Strategy<Value = Event> {
    let level = prop::sample::select(Level::ALL.to_vec());
    let reason = prop::sample::select(vec![
        Reason::Raised,
        Reason::Upgraded,
        Reason::Downgraded,
        Reason::Reissued,
        Reason::Cleared,
        Reason::Withdrawn,
    ]);
    let command =
        prop::sample::select(vec![Command::Sound, Command::Silence, Command::Test, Command::Test]);
    let way = prop::sample::select(vec![Way::Lost, Way::AckLost, Way::Whole]);
    prop_oneof![
        3 => (1..4_u64, level, reason).prop_map(|(id, level, reason)| Event::Alert(id, level, reason)),
        1 => command.prop_map(Event::Command),
        5 => way.prop_map(Event::Give),
        1 => Just(Event::Restart),
    ]
}

/// What must be true of a siren, worked out from what happened alone.
#[derive(Default)]
struct Oracle {
    /// Warnings of the siren's level and the operator's order (0): until when each holds.
    holds: BTreeMap<u64, Timestamp>,
    /// Those that nobody has heard yet.
    unheard: BTreeMap<u64, Timestamp>,
    /// The node sounds, as far as it can be.
    node_sounds: bool,
}

impl Oracle {
    fn advance(&mut self, now: Timestamp) {
        self.holds.retain(|_, until| *until > now);
        self.unheard.retain(|_, until| *until > now);
    }

    fn hear(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Alert(
                id,
                Level::Danger,
                reason @ (Reason::Raised | Reason::Upgraded | Reason::Reissued),
            ) => {
                let until = alert(id, Level::Danger, reason, now).expires;
                self.holds.insert(id, until);
                self.unheard.insert(id, until);
            }
            Event::Alert(id, Level::Danger, Reason::Downgraded) => {
                self.holds.insert(id, now + 60 * MINUTE);
            }
            Event::Alert(id, _, _) => {
                self.holds.remove(&id);
                self.unheard.remove(&id);
            }
            Event::Command(Command::Sound) => {
                self.holds.insert(0, now + BY_HAND_VALID);
                self.unheard.insert(0, now + BY_HAND_VALID);
            }
            Event::Command(Command::Silence) => self.unheard.clear(),
            Event::Command(Command::Test) | Event::Give(_) | Event::Restart => {}
        }
    }

    fn judge(&self, siren: &Siren, now: Timestamp) {
        let owed = siren.owed(now);
        let order = owed.map(|owed| owed.order);
        if order == Some(Desired::On) {
            assert!(!self.holds.is_empty(), "it is told to sound for nothing that holds");
        }
        if !self.unheard.is_empty() {
            assert_eq!(siren.desired(), Desired::On);
            assert_eq!(order, Some(Desired::On), "danger is owed until it is confirmed or over");
        }
        if self.holds.is_empty() {
            assert_ne!(siren.desired(), Desired::On);
            if self.node_sounds && siren.desired() == Desired::Off && !siren.is_given_up() {
                assert_eq!(order, Some(Desired::Off), "it sounds and nobody ends it");
            }
        }
        assert!(siren.attempts() <= ATTEMPTS_MAX || siren.desired() == Desired::On);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn danger_is_owed_until_confirmed_nothing_sounds_after_it_is_over_and_who_was_told_is_silenced(
        events in prop::collection::vec((0..2000_i64, event()), 1..60)
    ) {
        let settings = settings();
        let (mut siren, mut oracle, mut now) = (Siren::default(), Oracle::default(), at(0));
        for (wait, event) in events {
            now = now + Duration::from_secs(wait.unsigned_abs());
            siren.advance(now);
            oracle.advance(now);
            oracle.judge(&siren, now);
            oracle.hear(event, now);
            match event {
                Event::Alert(id, level, reason) => {
                    siren.alerted(&alert(id, level, reason, now), Standing::Actual, &settings, now);
                }
                Event::Command(command) => {
                    let needed = siren.desired() == Desired::On;
                    let refused = siren.command(command, now).is_err();
                    prop_assert_eq!(refused, needed && command == Command::Test);
                }
                Event::Give(way) => {
                    if let Some(owed) = siren.owed(now) {
                        siren.told(owed.version, &settings, now);
                        match (way, owed.order) {
                            (Way::Lost, _) | (_, Desired::Test) => {}
                            (Way::AckLost | Way::Whole, Desired::On) => oracle.node_sounds = true,
                            (Way::AckLost | Way::Whole, Desired::Off) => oracle.node_sounds = false,
                        }
                        if way == Way::Whole {
                            siren.confirmed(owed.version, &settings, now);
                            if owed.order == Desired::On {
                                oracle.unheard.clear();
                            }
                        }
                    }
                }
                Event::Restart => {
                    siren = Siren::from_bytes(&siren.to_bytes()).unwrap();
                }
            }
            prop_assert_eq!(Siren::from_bytes(&siren.to_bytes()), Ok(siren.clone()));
            oracle.judge(&siren, now);
        }
    }

    #[test]
    fn damaged_states_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _either = Siren::from_bytes(&bytes).is_ok();
        let mut cut = Siren::default().to_bytes();
        cut.truncate(bytes.len().min(cut.len().saturating_sub(1)));
        prop_assert!(Siren::from_bytes(&cut).is_err());
    }
}
