//! Both ends together: counters, restarts, freshness, keys.

use super::*;

#[test]
fn a_frame_is_accepted_once_and_acknowledged() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let sealed = pair.seal(Kind::Telemetry, true, 600);
    assert_eq!(sealed.frame.len(), 12 + 10);
    let accepted = pair.hear(&sealed.frame, 5000).unwrap();
    let Content::Readings(readings) = accepted.content else { panic!("{accepted:?}") };
    assert_eq!(readings.new_ones().count(), 1);
    assert_eq!(accepted.counter, sealed.counter);
    let reply = accepted.reply.unwrap();
    assert!(reply.ack);
    assert_eq!(pair.open(&reply.frame, 601).unwrap().acked, Some(sealed.counter));
    assert_eq!(pair.open(&reply.frame, 602), Err(Refusal::Replayed));
    assert_eq!(pair.hear(&sealed.frame, 5001), Err(Refusal::Replayed));
    pair.reboot_gateway();
    assert_eq!(pair.hear(&sealed.frame, 5002), Err(Refusal::Replayed));
}

/// The gateway died before its commit: the node sends the same reading again, under a new counter.
#[test]
fn a_reading_that_comes_again_is_known() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let mut report = Report::new(600);
    let id = pair.node.name_reading(600).unwrap();
    report.push(Reading { id, ..Reading::default() }).unwrap();
    for uptime_s in [600, 630] {
        let sealed = pair.node.seal_report(Kind::Telemetry, true, &schema(), &report, uptime_s);
        let accepted = pair.hear(&sealed.unwrap().frame, 5000 + u64::from(uptime_s)).unwrap();
        let Content::Readings(readings) = accepted.content else { panic!("{accepted:?}") };
        assert_eq!(readings.new_ones().count(), usize::from(uptime_s == 600));
        assert!(accepted.reply.unwrap().ack);
    }
}

#[test]
fn each_fault_of_a_frame_is_told_by_its_name() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let sealed = pair.seal(Kind::Telemetry, true, 600);
    let changed = |place: usize, byte: u8| {
        let mut bytes = sealed.frame.to_vec();
        bytes[place] ^= byte;
        bytes
    };
    let down = pair.hear(&sealed.frame, 5000).unwrap().reply.unwrap().frame;
    for (bytes, refusal) in [
        (sealed.frame[..11].to_vec(), Refusal::Length),
        (Vec::new(), Refusal::Length),
        (vec![0x40; 256], Refusal::Length),
        (changed(0, 0x80), Refusal::Version),
        (changed(0, 0x38), Refusal::ReservedType),
        (changed(0, 0x20), Refusal::WrongWay),
        (changed(2, 1), Refusal::ForeignNode),
        (changed(0, 0x04), Refusal::OtherEpoch),
        (changed(5, 1), Refusal::Tag),
        (changed(9, 1), Refusal::Tag),
        (sealed.frame.to_vec(), Refusal::Replayed),
        (down.to_vec(), Refusal::WrongWay),
    ] {
        assert_eq!(pair.peer.hear(&bytes, at(5001)), Err(refusal), "{bytes:02x?}");
    }
    pair.peer.commit(pair.peer.state().with_revoked(true));
    let next = pair.seal(Kind::Telemetry, true, 700);
    assert_eq!(pair.hear(&next.frame, 5100), Err(Refusal::Revoked));
    pair.reboot_gateway();
    assert_eq!(pair.hear(&next.frame, 5100), Err(Refusal::Revoked));
    pair.peer.commit(pair.peer.state().with_revoked(false));
    assert!(pair.hear(&next.frame, 5100).is_ok());
}

#[test]
fn what_cannot_be_stored_is_not_acknowledged_and_orders_go_out_all_the_same() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let full = |s| Now { stores: false, ..at(s) };
    let sealed = pair.seal(Kind::Health, true, 600);
    let reply = pair.peer.hear(&sealed.frame, full(5000)).unwrap().reply.unwrap();
    assert!(!reply.ack, "it asks for the time, and acknowledges nothing");
    pair.order(Order::SirenOn { seconds: 60 }, 9000);
    let reply = pair.peer.hear(&sealed.frame, full(5000)).unwrap().reply.unwrap();
    assert!(reply.is_danger() && !reply.ack);
    let heard = pair.open(&reply.frame, 601).unwrap();
    assert_eq!(heard.acked, None);
    assert!(matches!(heard.told, Some(Told::Do { .. })), "{heard:?}");
}

/// Frames that warned of danger left, and the state behind them was lost with the gateway.
#[test]
fn after_a_restart_no_counter_of_a_frame_that_left_unstored_is_used_again() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::SirenOn { seconds: 60 }, 100_000);
    let (kept, mut counters) = (*pair.peer.state(), Vec::new());
    for sent in 0..UNSTORED_MAX {
        let step = pair.peer.step(at(1000 + 100 * u64::from(sent))).unwrap();
        pair.peer.commit(step.state);
        let frame = step.reply.unwrap().frame;
        counters.push(parse(&frame).unwrap().counter_low);
        pair.open(&frame, 1).unwrap();
    }
    pair.peer.commit(kept.after_restart());
    let step = pair.peer.step(at(9000)).unwrap();
    let frame = step.reply.unwrap().frame;
    assert!(!counters.contains(&parse(&frame).unwrap().counter_low), "{counters:?}");
    // The node, which heard all of them, hears this one too.
    assert!(pair.open(&frame, 2).is_ok());
}

#[test]
fn a_frame_of_another_network_is_refused() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let sealed = pair.seal(Kind::Telemetry, true, 600);
    let address = Address { net: ADDRESS.net + 1, ..ADDRESS };
    let other = Peer::new(Profile { address, ..*pair.peer.profile() }, None);
    assert_eq!(other.hear(&sealed.frame, at(5000)), Err(Refusal::Tag));
}

#[test]
fn a_node_that_was_silent_for_a_year_is_heard_again() {
    for (days, expected) in [(100, None), (195, None), (380, None), (400, Some(Refusal::Gap))] {
        let mut pair = Pair::new(Listens::AfterItsFrames);
        let first = pair.seal(Kind::Telemetry, false, 600);
        pair.hear(&first.frame, 5000).unwrap();
        let sealed = pair.seal(Kind::Telemetry, false, days * 86_400);
        assert_eq!(pair.hear(&sealed.frame, 9_000_000).err(), expected, "{days} days");
    }
}

#[test]
fn a_true_frame_below_the_window_is_too_old() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let held = pair.seal(Kind::Telemetry, false, 600);
    let sealed = pair.seal(Kind::Telemetry, false, 1000);
    pair.hear(&sealed.frame, 5000).unwrap();
    assert_eq!(pair.hear(&held.frame, 5001), Err(Refusal::TooOld));
}

#[test]
fn no_counter_is_used_twice_however_often_the_power_fails() {
    let mut pair = Pair::new(Listens::Never);
    let mut used = std::collections::BTreeSet::new();
    for boot in 0..200_u32 {
        for uptime_s in [0, 0, 1, 5, 900, 1100, 1100, 3000].into_iter().take(1 + boot as usize % 8)
        {
            let sealed = pair.seal(Kind::Telemetry, false, uptime_s);
            assert!(used.insert(sealed.counter), "{} again", sealed.counter);
        }
        pair.reboot_node();
    }
}

#[test]
fn nothing_is_sealed_or_named_unless_a_record_was_written() {
    let mut node = Session::provisioned(ADDRESS, EPOCH);
    assert_eq!(node.seal(Kind::Health, false, &[], 0), Err(SealError::NotReserved));
    assert_eq!(node.name_reading(0), Err(SealError::NotReserved));
    let record = node.prepare(0).unwrap();
    assert_eq!(node.seal(Kind::Health, false, &[], 0), Err(SealError::NotReserved));
    assert!(node.written(&record));
    assert!(!node.written(&record), "the same record is not taken twice");
    assert!(node.seal(Kind::Health, false, &[], 1023).is_ok());
    assert_eq!(node.seal(Kind::Health, false, &[], 1023), Err(SealError::NotReserved));
    assert_eq!(node.name_reading(1024), Err(SealError::NotReserved));
    assert_eq!(node.seal(Kind::Command, false, &[], 0), Err(SealError::WrongWay(Kind::Command)));
}

#[test]
fn flash_is_written_at_most_once_in_16_minutes() {
    let mut pair = Pair::new(Listens::Never);
    let mut writes = 0;
    for uptime_s in (0..86_400).step_by(60) {
        if let Some(record) = pair.node.prepare(uptime_s) {
            pair.keep(&record);
            writes += 1;
        }
        pair.node.seal(Kind::Telemetry, false, &[], uptime_s).unwrap();
    }
    assert!(writes <= 90, "{writes}");
}

#[test]
fn the_newest_whole_record_counts() {
    let mut pair = Pair::new(Listens::Never);
    let old = pair.flash.clone();
    pair.seal(Kind::Telemetry, false, 5000);
    let new = pair.flash.clone();
    let erased = [0xFF; 64];
    let marks = |slots: [&[u8]; 2]| Session::resume(slots).map(|session| session.seconds(0));
    assert_eq!(marks([&old, &new]), marks([&new, &old]));
    assert!(marks([&old, &new]).unwrap() > marks([&old, &erased]).unwrap());
    for place in 0..new.len() {
        let mut torn = new.clone();
        torn[place] ^= 0x10;
        assert_eq!(marks([&old, &torn]), marks([&old, &[]]), "byte {place}");
    }
    assert_eq!(marks([&erased, &[]]), Err(RecordError::Nothing));
    assert_eq!(marks([&[0; 64], &erased]), Err(RecordError::Damaged));
}

#[test]
fn a_frame_that_was_held_back_is_stale_and_still_heard() {
    let mut pair = Pair::new(Listens::Never);
    for n in 1..10 {
        let sealed = pair.seal(Kind::Telemetry, false, n * 600);
        let accepted = pair.hear(&sealed.frame, 5000 + u64::from(n) * 600).unwrap();
        assert_eq!(accepted.freshness, Freshness::Unproven);
    }
    let held = pair.seal(Kind::Telemetry, false, 6000);
    let accepted = pair.hear(&held.frame, 5000 + 6000 + 900).unwrap();
    assert_eq!(accepted.freshness, Freshness::Stale { lag_s: 900 });
    let Content::Readings(readings) = accepted.content else { panic!("{accepted:?}") };
    assert_eq!(accepted.age_s(&readings.report.readings()[0]), 900);
}

#[test]
fn a_prompt_answer_proves_that_frames_are_fresh() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let sealed = pair.seal(Kind::Telemetry, true, 600);
    let accepted = pair.hear(&sealed.frame, 5000).unwrap();
    assert_eq!(accepted.freshness, Freshness::Unproven);
    let heard = pair.open(&accepted.reply.unwrap().frame, 601).unwrap();
    let Some(Told::Do { number, command: Command::Time { unix_s } }) = heard.told else {
        panic!("{heard:?}")
    };
    assert_eq!(unix_s, Some(1_800_000_000));
    let (ack, record) = pair.node.finish(number, Outcome::Done);
    pair.keep(&record);
    assert_eq!(pair.say(ack, 602, 5002).freshness, Freshness::Fresh);
    let sealed = pair.seal(Kind::Telemetry, true, 1200);
    let accepted = pair.hear(&sealed.frame, 5600).unwrap();
    assert_eq!(accepted.freshness, Freshness::Fresh);
    assert_eq!(accepted.reply.unwrap().order, None);
}

/// The answer was held back with the rest: it proves nothing.
#[test]
fn a_late_answer_proves_nothing() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let sealed = pair.seal(Kind::Telemetry, true, 600);
    let reply = pair.hear(&sealed.frame, 5000).unwrap().reply.unwrap();
    let heard = pair.open(&reply.frame, 601).unwrap();
    let Some(Told::Do { number, .. }) = heard.told else { panic!("{heard:?}") };
    let (ack, record) = pair.node.finish(number, Outcome::Done);
    pair.keep(&record);
    let accepted = pair.say(ack, 602, 5121);
    assert_eq!(accepted.freshness, Freshness::Unproven);
    // The question is asked anew.
    assert!(matches!(accepted.reply.unwrap().order, Some((_, Order::Time))));
}

#[test]
fn a_node_that_begins_again_has_to_prove_its_time() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    let sealed = pair.seal(Kind::Telemetry, false, 50_000);
    pair.hear(&sealed.frame, 50_000).unwrap();
    // Five hours without power: its seconds stood still.
    pair.reboot_node();
    let sealed = pair.seal(Kind::Telemetry, false, 10);
    let accepted = pair.hear(&sealed.frame, 68_000).unwrap();
    assert!(matches!(accepted.freshness, Freshness::Stale { .. }), "{accepted:?}");
    let health = Health {
        boot: Boot::PowerOn,
        firmware: [1, 2],
        schema: schema().digest(),
        uptime_s: 20,
        battery_mv: 3300,
        boots: 1,
        dropped: 0,
        repeats: 0,
    };
    let sealed = pair.node.seal(Kind::Health, true, &health.to_bytes(), 20).unwrap();
    let accepted = pair.hear(&sealed.frame, 68_010).unwrap();
    assert_eq!(accepted.content, Content::Health(health));
    assert_eq!(accepted.freshness, Freshness::Unproven);
}

#[test]
fn keys_change_although_every_message_may_be_lost() {
    // Which of the first six frames, of either side, are lost.
    for lost in 0..64_u32 {
        let mut pair = Pair::new(Listens::AfterItsFrames);
        pair.order(Order::Rekey { random: [9; 16] }, u64::MAX);
        let mut changed = false;
        for round in 0..10_u32 {
            let is_lost = |n: u32| n < 6 && lost >> n & 1 == 1;
            let uptime_s = 600 * (round + 1);
            let sealed = pair.seal(Kind::Telemetry, true, uptime_s);
            if is_lost(2 * round) {
                continue;
            }
            let accepted = pair.hear(&sealed.frame, u64::from(uptime_s)).unwrap();
            changed |= accepted.rekeyed;
            if is_lost(2 * round + 1) {
                continue;
            }
            if let Some(reply) = accepted.reply {
                let heard = pair.open(&reply.frame, uptime_s + 1).unwrap();
                if let Some(Told::Do { number, .. }) = heard.told {
                    let (_, record) = pair.node.finish(number, Outcome::Done);
                    pair.keep(&record);
                }
            }
            if round % 2 == 0 {
                // Restarts of either side change nothing; the node's seconds begin at its mark.
                pair.reboot_gateway();
            }
        }
        assert!(changed, "lost {lost:06b}");
        assert_eq!((pair.peer.state().epoch(), pair.node.epoch()), (4, 4));
        assert!(!pair.peer.state().is_rekeying());
        assert!(pair.peer.state().orders().all(|w| w.order == Order::Time));
    }
}

#[test]
fn the_old_key_is_gone_once_the_new_one_was_heard() {
    let mut pair = Pair::new(Listens::Always);
    let old = pair.seal(Kind::Telemetry, false, 10);
    pair.order(Order::Rekey { random: [9; 16] }, u64::MAX);
    let told = pair.peer.step(at(100)).unwrap();
    pair.peer.commit(told.state);
    let heard = pair.open(&told.reply.unwrap().frame, 100).unwrap();
    assert!(matches!(heard.told, Some(Told::Rekeyed(_))), "{heard:?}");
    // Until the gateway hears the new key, it goes on with the old one, and so does the node's ear.
    let again = pair.peer.step(at(200)).unwrap();
    pair.peer.commit(again.state);
    let heard = pair.open(&again.reply.unwrap().frame, 200).unwrap();
    assert!(matches!(heard.told, Some(Told::Again(_))), "{heard:?}");
    pair.reboot_node();
    assert_eq!(pair.node.epoch(), 4);
    let new = pair.seal(Kind::Telemetry, true, 20);
    let accepted = pair.hear(&new.frame, 300).unwrap();
    assert!(accepted.rekeyed);
    assert_eq!(pair.hear(&old.frame, 301), Err(Refusal::OtherEpoch));
    let heard = pair.open(&accepted.reply.unwrap().frame, 21).unwrap();
    assert!(heard.record.is_some(), "the node forgets the old key");
}

#[test]
fn a_key_that_is_offered_stays_offered() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    pair.order(Order::Rekey { random: [9; 16] }, 100);
    let first = pair.seal(Kind::Telemetry, true, 10);
    let reply = pair.hear(&first.frame, 50).unwrap().reply.unwrap();
    pair.open(&reply.frame, 11).unwrap();
    // The order expires, and the operator gives it again, with other random bytes: the node has the first ones.
    let expired = pair.peer.step(at(200)).unwrap();
    assert!(expired.ended.iter().any(|ended| ended.end == End::Expired));
    pair.peer.commit(expired.state);
    pair.order(Order::Rekey { random: [8; 16] }, u64::MAX);
    let next = pair.seal(Kind::Telemetry, true, 300);
    assert!(pair.hear(&next.frame, 300).unwrap().rekeyed);
}

#[test]
fn secrets_are_not_shown() {
    let mut pair = Pair::new(Listens::AfterItsFrames);
    pair.order(Order::Rekey { random: [0xAB; 16] }, 100);
    let shown = format!("{:?} {:?} {:?}", pair.peer, pair.node, pair.node.prepare(99_999));
    for secret in ["7, 7", "171", "AB, ab"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
