//! Orders: one at a time, again until they are answered, once.

use super::*;

fn number_of(heard: &Heard) -> (u16, Command) {
    match heard.told {
        Some(Told::Do { number, command }) => (number, command),
        ref told => panic!("{told:?}"),
    }
}

/// Tells a node that always listens what is due, and returns what it heard.
fn tell(pair: &mut Pair, s: u64) -> Option<Heard> {
    let step = pair.peer.step(at(s))?;
    pair.peer.commit(step.state);
    let frame = step.reply?.frame;
    Some(pair.open(&frame, u32::try_from(s).unwrap()).unwrap())
}

#[test]
fn a_siren_is_told_at_once_and_again_until_it_answers() {
    let mut pair = Pair::new(Listens::Always);
    let first = pair.seal(Kind::Health, false, 1);
    pair.hear(&first.frame, 1).ok();
    let id = pair.order(Order::SirenOn { seconds: 60 }, 1000);
    assert_eq!(pair.peer.next_deadline_s(), Some(0));
    let sent = pair.peer.step(at(100)).unwrap();
    assert!(sent.reply.unwrap().is_danger());
    pair.peer.commit(sent.state);
    assert_eq!(pair.peer.step(at(109)), None);
    assert_eq!(pair.peer.next_deadline_s(), Some(110));
    pair.reboot_gateway();
    let heard = tell(&mut pair, 110).unwrap();
    let (number, command) = number_of(&heard);
    assert_eq!(command, Command::SirenOn { seconds: 60 });
    let (ack, record) = pair.node.finish(number, Outcome::Done);
    pair.keep(&record);
    // The answer is lost; the order comes again, and is not done again, also after a restart.
    pair.reboot_node();
    let heard = pair.peer.step(at(130)).unwrap();
    pair.peer.commit(heard.state);
    let heard = pair.open(&heard.reply.unwrap().frame, 5).unwrap();
    assert_eq!(heard.told, Some(Told::Again(ack)));
    let accepted = pair.say(ack, 6, 131);
    assert_eq!(accepted.content, Content::Order(ack, Some(id)));
    assert!(accepted.ended.iter().any(|ended| ended.id == id && ended.end == End::Done));
}

/// The node lost power after it wrote that it heard the order, and before it did it.
#[test]
fn an_order_that_was_not_finished_is_done_after_a_restart() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::SirenOn { seconds: 60 }, 1000);
    let heard = tell(&mut pair, 10).unwrap();
    let (number, _) = number_of(&heard);
    pair.reboot_node();
    let heard = tell(&mut pair, 30).unwrap();
    assert_eq!(number_of(&heard).0, number);
}

#[test]
fn an_order_that_was_heard_is_not_heard_again_after_a_restart() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::SirenOn { seconds: 60 }, 1000);
    let sent = pair.peer.step(at(10)).unwrap();
    let frame = sent.reply.unwrap().frame;
    pair.open(&frame, 10).unwrap();
    pair.reboot_node();
    assert_eq!(pair.open(&frame, 11), Err(Refusal::Replayed));
}

#[test]
fn an_order_that_was_held_back_is_late_and_not_done() {
    let mut pair = Pair::new(Listens::Always);
    let first = pair.seal(Kind::Health, false, 1);
    pair.hear(&first.frame, 1).ok();
    pair.order(Order::SirenOn { seconds: 60 }, 100_000);
    let sent = pair.peer.step(at(10)).unwrap();
    pair.peer.commit(sent.state);
    let heard = pair.open(&sent.reply.unwrap().frame, 10 + ORDER_LATE_S + 10).unwrap();
    let Some(Told::Late(ack)) = heard.told else { panic!("{heard:?}") };
    // What the node says shows the gateway its clock; the order goes out again, in the answer.
    let accepted = pair.say(ack, 1821, 1821);
    let frame = accepted.reply.unwrap().frame;
    assert_eq!(number_of(&pair.open(&frame, 1822).unwrap()).1, Command::SirenOn { seconds: 60 });
}

#[test]
fn an_order_that_overtook_another_leaves_it_behind() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::SirenOn { seconds: 60 }, 1000);
    let on = pair.peer.step(at(10)).unwrap();
    pair.peer.commit(on.state);
    pair.order(Order::SirenOff, 1000);
    let heard = tell(&mut pair, 20).unwrap();
    assert_eq!(number_of(&heard).1, Command::SirenOff);
    assert_eq!(pair.open(&on.reply.unwrap().frame, 21), Err(Refusal::OutOfOrder));
}

#[test]
fn the_last_siren_order_replaces_the_others_and_goes_first() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::Interval { seconds: 300 }, 1000);
    pair.order(Order::SirenTest { seconds: 5 }, 1000);
    let (_, step) = pair.peer.order(Order::SirenOn { seconds: 60 }, 1000).unwrap();
    assert_eq!(step.ended.iter().map(|ended| ended.end).collect::<Vec<_>>(), [End::Replaced]);
    pair.peer.commit(step.state);
    pair.order(Order::SirenTest { seconds: 5 }, 1000);
    let heard = tell(&mut pair, 10).unwrap();
    let (number, command) = number_of(&heard);
    assert_eq!(command, Command::SirenOn { seconds: 60 });
    let (ack, record) = pair.node.finish(number, Outcome::Done);
    pair.keep(&record);
    let answer = pair.say(ack, 11, 11).reply.unwrap();
    let heard = pair.open(&answer.frame, 12).unwrap();
    assert_eq!(number_of(&heard).1, Command::SirenTest { seconds: 5 });
}

#[test]
fn the_queue_is_bounded() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let kinds = [
        Order::SirenOn { seconds: 1 },
        Order::SirenTest { seconds: 1 },
        Order::Interval { seconds: 1 },
        Order::Time,
        Order::Rekey { random: [1; 16] },
    ];
    // An order replaces its like, so that the bound is met by none of the orders there are today.
    for order in kinds.into_iter().cycle().take(50) {
        pair.order(order, 1000);
        assert!(pair.peer.state().orders().count() <= ORDERS_MAX);
    }
    assert_eq!(pair.peer.order(Order::SirenOn { seconds: 0 }, 1).err(), Some(OrderError::NoTime));
    let revoked = pair.peer.state().with_revoked(true);
    pair.peer.commit(revoked);
    assert_eq!(pair.peer.order(Order::Time, 1).err(), Some(OrderError::Revoked));
    let deaf = Pair::new(Listens::Never);
    assert_eq!(deaf.peer.order(Order::Time, 1).err(), Some(OrderError::NeverListens));
}

#[test]
fn a_node_finds_back_after_thousands_of_frames_that_it_did_not_hear() {
    for lost in [100, 255, 256, 300, 10_000, 16_000] {
        let mut pair = Pair::new(Listens::Always);
        pair.order(Order::Interval { seconds: 9 }, u64::MAX);
        assert!(tell(&mut pair, 1).is_some());
        for n in 0..lost {
            let sent = pair.peer.step(at(1000 + n * 600)).unwrap();
            pair.peer.commit(sent.state);
        }
        let s = 1000 + lost * 600;
        let sent = pair.peer.step(at(s)).unwrap();
        assert!(pair.node.open(&sent.reply.unwrap().frame, 5).is_ok(), "{lost} lost");
    }
}

#[test]
fn waits_between_repetitions_grow_to_their_bound() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::Interval { seconds: 9 }, u64::MAX);
    let mut waits = Vec::new();
    let mut last = 0;
    for _ in 0..10 {
        let due = pair.peer.next_deadline_s().unwrap();
        waits.push(due - last);
        let step = pair.peer.step(at(due)).unwrap();
        pair.peer.commit(step.state);
        last = due;
    }
    assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
}
