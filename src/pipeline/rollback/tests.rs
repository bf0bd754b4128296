use super::*;
use crate::domain::rule::NodeIndex;
use crate::domain::siren::{Command as SirenCommand, Confirms, Desired, Exercises, Settings};
use crate::domain::warning::Level;
use crate::wire::sealed::{
    Direction, Field, Kind, Listens, Now, Provisioning, Schema, Sealed, Session, Told, parse,
};
use std::collections::BTreeSet;
use std::time::Duration;

const NAME: &str = "mto-juu";
const ROW: &str = "wf1 mto-juu";

fn chance(byte: u8) -> Chance {
    Chance { key: [byte; 16], net: 0x1234_5678 }
}

fn link(listens: Listens) -> Link {
    let field = Field { quantity: 1, min_milli: 0, step_milli: 5, bits: 12 };
    let schema = Schema::new(&[field]).unwrap();
    let name = NAME.to_owned();
    let node =
        crate::pipeline::LinkNode { node: NodeIndex(0), name, listens, schema, has_battery: false };
    Link { source: "radio".into(), nodes: vec![node] }
}

/// A gateway and the node that it has just added.
fn added(listens: Listens) -> (Rows, Session) {
    let mut links = Links::new(&link(listens), &Rows::new());
    let add = LinkCommand::Add { name: NAME.to_owned(), chance: chance(7) };
    let changed = links.command(add, Timestamp::from_millis(0)).unwrap();
    let crate::pipeline::LinkAnswer::Code(code) = changed.answer else { panic!("no code") };
    let Provisioning { address, epoch } = Provisioning::from_code(&code).unwrap();
    let mut node = Session::provisioned(address, epoch);
    let record = node.prepare(0).unwrap();
    assert!(node.written(&record));
    (changed.rows.into_iter().collect(), node)
}

/// The node reports something, and wants to know that it is safe.
fn report(node: &mut Session, uptime_s: u32) -> Sealed {
    if let Some(record) = node.prepare(uptime_s) {
        assert!(node.written(&record));
    }
    node.seal(Kind::Health, true, &[], uptime_s).unwrap()
}

fn peer(rows: &Rows, listens: Listens) -> crate::wire::sealed::Peer {
    let mut links = Links::new(&link(listens), rows);
    links.peer(NodeIndex(0)).unwrap()
}

fn with(rows: &Rows, peer: &crate::wire::sealed::Peer) -> Rows {
    let mut rows = rows.clone();
    let (head, _) = split_row(&rows[ROW]).unwrap();
    let row = [head, &peer.state().to_bytes()].concat();
    rows.insert(ROW.to_owned(), row);
    rows
}

fn now(s: u64) -> Now {
    Now { s, unix_s: None, stores: true }
}

/// Lets the gateway order something so often, each time in a frame of its own, and returns the whole counters that it used.
fn order_often(peer: &mut crate::wire::sealed::Peer, times: u32, from_s: u64) -> BTreeSet<u32> {
    let mut used = BTreeSet::new();
    for turn in 0..times {
        let s = from_s + u64::from(turn) * 1000;
        let (_, step) = peer.order(crate::wire::sealed::Order::SirenOff, s + 1_000_000).unwrap();
        peer.commit(step.state);
        let before = peer.state().down_next();
        let step = peer.step(now(s)).unwrap();
        assert!(step.reply.is_some());
        peer.commit(step.state);
        assert!(used.insert(before), "{before} is used twice");
    }
    used
}

#[test]
fn no_counter_of_our_link_is_used_again_and_the_node_follows_whatever_it_heard() {
    for heard_by_the_node in [false, true] {
        let (rows, mut node) = added(Listens::Always);
        let mut peer = peer(&rows, Listens::Always);
        let mut used = order_often(&mut peer, 40, 100);
        let backup = with(&rows, &peer);
        // Life goes on after the backup: many frames, of which the node hears the last or none.
        used.extend(order_often(&mut peer, 5000, 100_000));
        if heard_by_the_node {
            let (_, step) = peer.order(crate::wire::sealed::Order::SirenOff, 99_000_000).unwrap();
            peer.commit(step.state);
            used.insert(peer.state().down_next());
            let step = peer.step(now(9_000_000)).unwrap();
            assert!(node.open(&step.reply.unwrap().frame, 100).is_ok());
        }
        let restored = passed_over(&backup, |_| FRAMES_PASSED, Age::Short);
        let mut peer = super::tests::peer(&restored, Listens::Always);
        let (_, step) =
            peer.order(crate::wire::sealed::Order::SirenOn { seconds: 60 }, 20_000_000).unwrap();
        peer.commit(step.state);
        let counter = peer.state().down_next();
        assert!(!used.contains(&counter), "{counter}");
        let reply = peer.step(now(10_000_000)).unwrap().reply.unwrap();
        let told = node.open(&reply.frame, 100).unwrap().told;
        assert!(matches!(told, Some(Told::Do { .. } | Told::Late(_))), "{told:?}");
    }
}

/// The node did order 41 last; the gateway has forgotten that there was one. Its next order must not look done.
#[test]
fn no_name_of_an_order_is_given_again() {
    let (rows, mut node) = added(Listens::Always);
    let backup = rows.clone();
    let mut peer = peer(&rows, Listens::Always);
    let (_, step) = peer.order(crate::wire::sealed::Order::SirenOff, 9000).unwrap();
    peer.commit(step.state);
    let step = peer.step(now(100)).unwrap();
    let heard = node.open(&step.reply.unwrap().frame, 1).unwrap();
    let Some(Told::Do { number, .. }) = heard.told else { panic!("{heard:?}") };
    let (_, record) = node.finish(number, crate::wire::sealed::Outcome::Done);
    assert!(node.written(&record));

    let restored = passed_over(&backup, |_| FRAMES_PASSED, Age::Short);
    let mut peer = super::tests::peer(&restored, Listens::Always);
    let order = crate::wire::sealed::Order::SirenOn { seconds: 60 };
    let (_, step) = peer.order(order, 9000).unwrap();
    peer.commit(step.state);
    let reply = peer.step(now(200)).unwrap().reply.unwrap();
    let told = node.open(&reply.frame, 2).unwrap().told;
    assert!(matches!(told, Some(Told::Do { .. })), "the siren would stay silent: {told:?}");
}

#[test]
fn what_waited_for_a_node_when_the_backup_was_made_is_not_ordered_any_more() {
    let (rows, _) = added(Listens::Always);
    let mut peer = peer(&rows, Listens::Always);
    let order = crate::wire::sealed::Order::SirenOn { seconds: 60 };
    let (_, step) = peer.order(order, 1_000_000).unwrap();
    peer.commit(step.state);
    assert_eq!(peer.state().orders().count(), 1);
    let restored = passed_over(&with(&rows, &peer), |_| FRAMES_PASSED, Age::Short);
    let peer = super::tests::peer(&restored, Listens::Always);
    assert_eq!(peer.state().orders().count(), 0);
    assert!(peer.step(now(200)).is_none());
}

#[test]
fn each_node_that_can_be_told_is_ordered_a_new_key_and_takes_it() {
    let (rows, mut node) = added(Listens::AfterItsFrames);
    let restored = passed_over(&rows, |_| FRAMES_PASSED, Age::Short);
    let nodes = link(Listens::AfterItsFrames);
    let at = Timestamp::from_millis(1_000_000);
    let (rows, told) = rekeyed(&nodes, &restored, at, || Some(chance(9)));
    assert_eq!(told, [NAME]);
    let mut peer = peer(&rows, Listens::AfterItsFrames);
    assert!(peer.state().is_rekeying());
    let first = report(&mut node, 10);
    let accepted = peer.hear(&first.frame, now(1010)).unwrap();
    peer.commit(accepted.state);
    let heard = node.open(&accepted.reply.unwrap().frame, 11).unwrap();
    assert!(matches!(heard.told, Some(Told::Rekeyed(_))), "{heard:?}");
    assert!(node.written(&heard.record.unwrap()));
    let second = report(&mut node, 20);
    let accepted = peer.hear(&second.frame, now(1020)).unwrap();
    assert!(accepted.rekeyed);
    assert_eq!(parse(&second.frame).unwrap().direction, Direction::Up);
    // One that never listens, and one that has no key, are left as they are.
    let (rows, _) = added(Listens::Never);
    let (_, told) = rekeyed(&link(Listens::Never), &rows, at, || Some(chance(9)));
    assert!(told.is_empty());
    let (_, told) = rekeyed(&nodes, &Rows::new(), at, || Some(chance(9)));
    assert!(told.is_empty());
}

#[test]
fn of_two_memories_of_a_node_no_counter_of_either_is_used_again() {
    let (rows, _) = added(Listens::Always);
    let (mut one, mut other) = (peer(&rows, Listens::Always), peer(&rows, Listens::Always));
    let used: BTreeSet<u32> =
        &order_often(&mut one, 9, 100) | &order_often(&mut other, 30, 100_000);
    let (one, other) = (with(&rows, &one), with(&rows, &other));
    for (backup, present) in [(&one, &other), (&other, &one)] {
        let (rows, left_out) = joined(backup, present);
        assert!(left_out.is_empty());
        assert!(!used.contains(&peer(&rows, Listens::Always).state().down_next()));
    }
}

#[test]
fn a_node_that_was_given_another_key_since_keeps_it_and_one_of_another_network_is_left_out() {
    let (backup, _) = added(Listens::Always);
    let mut links = Links::new(&link(Listens::Always), &backup);
    let swap = LinkCommand::Swap { name: NAME.to_owned(), chance: chance(8) };
    let changed = links.command(swap, Timestamp::from_millis(0)).unwrap();
    let mut present = backup.clone();
    present.extend(changed.rows);
    let restored = passed_over(&backup, |_| FRAMES_PASSED, Age::Unknown);
    let (rows, left_out) = joined(&restored, &present);
    assert_eq!((&rows[ROW], left_out.len()), (&present[ROW], 0));
    let numbers = |rows: &Rows| network_of(&rows[NETWORK_KEY]).unwrap().numbers;
    assert!(numbers(&rows) > numbers(&present), "no number is given away twice");

    let foreign = Network { net: Some(99), numbers: 3 }.row().unwrap();
    let mut present = Rows::from([foreign]);
    let (rows, left_out) = joined(&restored, &present);
    assert_eq!((left_out, rows.contains_key(ROW)), (vec![ROW.to_owned()], false));
    present.clear();
    assert_eq!(joined(&restored, &present), (restored, Vec::new()));
}

fn settings() -> Settings {
    Settings {
        areas: Vec::new(),
        hazards: Vec::new(),
        level: Level::Danger,
        max_on: Duration::from_mins(3),
        exercises: Exercises::Silent,
        confirms: Confirms::Yes,
    }
}

#[test]
fn a_late_word_of_a_sirens_node_is_not_taken_for_one_about_a_new_state() {
    let at = Timestamp::from_millis;
    let backup = Siren::default();
    let mut siren = backup.clone();
    siren.command(SirenCommand::Sound, at(1000)).unwrap();
    let version = siren.owed(at(1000)).unwrap().version;
    siren.told(version, &settings(), at(1000));
    let rows = Rows::from([("siren shule".to_owned(), backup.to_bytes())]);
    let restored = passed_over(&rows, |_| 0, Age::Short);
    let mut siren = Siren::from_bytes(&restored["siren shule"]).unwrap();
    assert!(siren.is_confirmed() && siren.owed(at(2000)).is_none(), "it was never asked for");
    siren.command(SirenCommand::Sound, at(2000)).unwrap();
    siren.confirmed(version, &settings(), at(2001));
    assert!(siren.owed(at(2001)).is_some(), "what the node says is about another order");
    siren.confirmed(siren.told_version(), &settings(), at(2001));
    assert!(siren.owed(at(2001)).is_some(), "nothing was told yet");
    // Beside a siren that was begun without the backup: above both.
    let fresh = Rows::from([("siren shule".to_owned(), siren.to_bytes())]);
    let (rows, _) = joined(&restored, &fresh);
    let mut both = Siren::from_bytes(&rows["siren shule"]).unwrap();
    assert!(both.owed(at(2002)).is_none(), "what the other sounded for is forgotten");
    both.command(SirenCommand::Sound, at(3000)).unwrap();
    assert!(both.owed(at(3000)).unwrap().version > siren.version());
}

#[test]
fn a_siren_does_not_sound_for_what_is_old_and_is_owed_its_silence() {
    let at = Timestamp::from_millis;
    let mut siren = Siren::default();
    siren.command(SirenCommand::Sound, at(1000)).unwrap();
    let rows = |siren: &Siren| Rows::from([("siren shule".to_owned(), siren.to_bytes())]);
    let restored = |siren: &Siren, age| {
        let rows = passed_over(&rows(siren), |_| 0, age);
        let mut siren = Siren::from_bytes(&rows["siren shule"]).unwrap();
        siren.advance(at(2000));
        siren.owed(at(2000)).map(|owed| owed.order)
    };
    assert_eq!(restored(&siren, Age::Short), Some(Desired::On));
    assert_eq!(restored(&siren, Age::Long), None, "it was never told to sound");
    let version = siren.owed(at(1000)).unwrap().version;
    siren.told(version, &settings(), at(1000));
    for age in [Age::Long, Age::Unknown] {
        assert_eq!(restored(&siren, age), Some(Desired::Off));
    }
}

#[test]
fn what_is_not_understood_stays_as_it_is_and_is_named() {
    let rows: Rows =
        [("wf1 x", vec![9, 9]), ("otaa 1", vec![7]), ("siren y", vec![]), ("z", vec![1])]
            .into_iter()
            .map(|(name, row)| (name.to_owned(), row))
            .collect();
    assert_eq!(passed_over(&rows, |_| FRAMES_PASSED, Age::Unknown), rows);
    assert!(rows.iter().all(|(name, row)| !is_understood(name, row)));
    let (good, _) = added(Listens::Always);
    assert!(good.iter().all(|(name, row)| is_understood(name, row)));
    let (rows, _) = joined(&good, &Rows::from([(ROW.to_owned(), vec![1, 2, 3])]));
    assert_eq!(rows, good, "what is damaged is worth less than what is old");
}
