//! Packets into the storage and out again, on both databases.

use super::Kept;
use super::gateway::{BEGIN_MS, Gateway, SYNCHRONISED, Told, stored};
use crate::dice::Dice;
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::hub::Counters;
use kengele::hub::receive::{Received, receive};
use kengele::hub::storage::{Enrolled, NoticeKind, Storage};
use kengele::hub::token;
use kengele::wire::batch::Reading;
use kengele::wire::uplink::{
    Block, Boot, DecodeError, Down, GatewayNumber, Gone, Key, Other, Packet, Refusal, Tag, Up,
    open_down, seal_up,
};
use std::collections::BTreeSet;
use std::sync::Arc;

const NOW_MS: i64 = BEGIN_MS + 90 * 86_400_000;

/// Hands bytes to the hub; returns what it says, after looking that it is an answer to these bytes.
async fn tell(storage: &Storage, gateway: &Gateway, packet: &[u8]) -> Vec<Down> {
    tell_at(storage, gateway, packet, NOW_MS).await
}

async fn tell_at(storage: &Storage, gateway: &Gateway, packet: &[u8], now_ms: i64) -> Vec<Down> {
    let received = receive(storage, &Counters::default(), packet, now_ms).await.unwrap();
    let Received::Answered { answer, .. } = received else { panic!("{received:?}") };
    let (answers, others) = gateway.answered(packet, &answer).expect("an answer to this packet");
    assert_eq!(answers.refused, [], "nothing is refused");
    others
}

fn all_told(readings: &[Reading]) -> BTreeSet<Told> {
    readings.iter().map(Gateway::told).collect()
}

/// Blocks of a gateway in their order, and the readings in them.
fn blocks(gateway: &mut Gateway, count: usize, each: usize) -> (Vec<Block>, Vec<Reading>) {
    let (mut blocks, mut all) = (Vec::new(), Vec::new());
    for number in 0..count {
        if number % 20 == 19 {
            gateway.stand_alone();
        }
        let readings = gateway.readings(each);
        blocks.push(gateway.seal(&readings));
        all.extend(readings);
    }
    (blocks, all)
}

/// Cuts blocks into packets, some of them into two, and shuffles them.
fn shuffled(gateway: &mut Gateway, blocks: &[Block], dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut rest = blocks;
    while !rest.is_empty() {
        let (some, others) = rest.split_at(1 + dice.index(rest.len().min(4)));
        let items: Vec<Up> = some.iter().cloned().map(Up::Block).collect();
        packets.push(gateway.pack(items.clone()));
        if dice.chance(300) {
            packets.push(gateway.pack(items));
        }
        if dice.chance(300) {
            packets.push(packets[dice.index(packets.len())].clone());
        }
        rest = others;
    }
    for place in (1..packets.len()).rev() {
        packets.swap(place, dice.index(place + 1));
    }
    packets
}

/// Several gateways tell two hubs at once, in any order, and twice.
async fn however_it_comes(kept: &Kept, gateways: u64, count: usize) {
    let hubs = [kept.open().await, kept.open().await];
    let (mut expected, mut tasks) = (Vec::new(), tokio::task::JoinSet::new());
    for seed in 1..=gateways {
        let mut dice = Dice::seeded(seed);
        let mut gateway = Gateway::enrol(&hubs[0], &format!("mto-{seed}"), seed).await;
        let (blocks, readings) = blocks(&mut gateway, count, 24);
        expected.push((gateway.name.clone(), all_told(&readings)));
        let packets = Arc::new(shuffled(&mut gateway, &blocks, &mut dice));
        // Each hub gets every packet, and so at the same moment what the other has got.
        for hub in hubs.clone() {
            let (gateway, packets) = (gateway.clone(), Arc::clone(&packets));
            tasks.spawn(async move {
                for packet in packets.iter() {
                    tell(&hub, &gateway, packet).await;
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for (name, expected) in expected {
        assert_eq!(stored(&hubs[1], &name).await, expected, "{name}");
    }
    assert!(hubs[0].unread().await.unwrap().is_empty(), "every run is complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gateways_tell_is_stored_once_and_exactly_in_whatever_order_it_comes() {
    however_it_comes(&Kept::sqlite(), 2, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_has_it_once_and_exactly_too_with_two_hubs_at_the_same_moment() {
    however_it_comes(&Kept::postgres().await, 4, 80).await;
}

async fn as_soon_as_a_run_is_complete(kept: &Kept) {
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 5).await;
    let (blocks, readings) = blocks(&mut gateway, 10, 12);
    for (place, block) in blocks.iter().enumerate().skip(1).rev() {
        let packet = gateway.pack(vec![Up::Block(block.clone())]);
        tell(&hub, &gateway, &packet).await;
        let waiting = hub.unread().await.unwrap()[&gateway.number.0].waiting;
        assert_eq!(usize::try_from(waiting).unwrap(), blocks.len() - place);
        assert_eq!(stored(&hub, "mto-juu").await, BTreeSet::new(), "nothing can be read yet");
    }
    let packet = gateway.pack(vec![Up::Block(blocks[0].clone())]);
    tell(&hub, &gateway, &packet).await;
    assert_eq!(stored(&hub, "mto-juu").await, all_told(&readings));
    assert!(hub.unread().await.unwrap().is_empty());
    // A hub that was not there goes on in the middle of a run.
    let later = gateway.readings(12);
    let block = gateway.seal(&later);
    let packet = gateway.pack(vec![Up::Block(block)]);
    let other = kept.open().await;
    tell(&other, &gateway, &packet).await;
    let both = [readings, later].concat();
    assert_eq!(stored(&hub, "mto-juu").await, all_told(&both));
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_there_as_soon_as_the_run_of_their_block_is_complete() {
    as_soon_as_a_run_is_complete(&Kept::sqlite()).await;
    as_soon_as_a_run_is_complete(&Kept::postgres().await).await;
}

async fn late_clock(kept: &Kept) {
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 6).await;
    // A box without a clock battery: in its first run it believes to be in 1970.
    gateway.clock = WallClock { offset_ms: 0, quality: ClockQuality::Unset };
    let began = gateway.readings(1)[0].at;
    let (blocks, readings) = blocks(&mut gateway, 6, 40);
    for block in &blocks[..4] {
        let packet = gateway.pack(vec![Up::Block(block.clone())]);
        tell(&hub, &gateway, &packet).await;
    }
    let believed = stored(&hub, "mto-juu").await;
    assert_eq!(believed, all_told(&readings[..160]));
    let boot = |at, clock| Up::Boot(Boot { boot: 3, at, clock });
    // Somebody sets it by hand, then a satellite says better; what comes after that is known better at once.
    let by_hand = WallClock {
        offset_ms: SYNCHRONISED.offset_ms - 3_600_000,
        quality: ClockQuality::Estimated,
    };
    let packet = gateway.pack(vec![boot(began, by_hand)]);
    tell(&hub, &gateway, &packet).await;
    let older = gateway.pack(vec![boot(began, by_hand)]);
    let packet = gateway.pack(vec![boot(began, SYNCHRONISED)]);
    tell(&hub, &gateway, &packet).await;
    // An older word that was held up on the way changes nothing.
    tell(&hub, &gateway, &older).await;
    for block in &blocks[4..] {
        let packet = gateway.pack(vec![Up::Block(block.clone())]);
        tell(&hub, &gateway, &packet).await;
    }
    let right: Vec<Reading> =
        readings.iter().map(|reading| Reading { clock: SYNCHRONISED, ..reading.clone() }).collect();
    assert_eq!(stored(&hub, "mto-juu").await, all_told(&right));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_late_puts_right_what_was_sent_before() {
    late_clock(&Kept::sqlite()).await;
    late_clock(&Kept::postgres().await).await;
}

async fn restored(kept: &Kept) {
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 7).await;
    let backup = gateway.clone();
    let (first, readings) = blocks(&mut gateway, 6, 20);
    for block in first {
        let packet = gateway.pack(vec![Up::Block(block)]);
        tell(&hub, &gateway, &packet).await;
    }
    // The database of the backup seals the first hundred again, by a clock that was set a little otherwise, and goes on.
    let mut gateway = gateway.restored(&backup);
    gateway.clock.offset_ms += 40;
    let again = gateway.readings(100);
    let moved = |reading: &&Reading| reading.clock == gateway.clock;
    assert_eq!(again.iter().filter(moved).count(), 100);
    let block = gateway.seal(&again);
    let new = gateway.readings(30);
    // What is new has numbers that were used, and other times.
    let new: Vec<Reading> = new
        .into_iter()
        .map(|r| Reading { at: Timestamp::from_millis(r.at.as_millis() + 7_000_000), ..r })
        .collect();
    let next = gateway.seal(&new);
    let packet = gateway.pack(vec![Up::Block(block), Up::Block(next)]);
    tell(&hub, &gateway, &packet).await;
    tell(&hub, &gateway, &packet).await;
    let mut expected = all_told(&readings);
    // A node's own clock says when, whoever tells it.
    expected.extend(all_told(&new));
    assert_eq!(stored(&hub, "mto-juu").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_restored_from_a_backup_adds_nothing_twice() {
    restored(&Kept::sqlite()).await;
    restored(&Kept::postgres().await).await;
}

async fn what_cannot_be_read(kept: &Kept) {
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 8).await;
    let (mut sound, readings) = blocks(&mut gateway, 3, 10);
    let other = Block { bytes: vec![0x10, 0xff, 0xff], ..sound[1].clone() };
    let garbage = Block { number: 9, bytes: vec![0x10, 0xee], ..sound[1].clone() };
    let unknown = Block { number: 10, bytes: vec![0xf0; 40], ..sound[1].clone() };
    let last = sound.pop().unwrap();
    let mut items: Vec<Up> = sound.into_iter().map(Up::Block).collect();
    items.extend([other, garbage, unknown].map(Up::Block));
    items.push(Up::Block(last));
    let packet = gateway.pack(items);
    tell(&hub, &gateway, &packet).await;
    assert_eq!(stored(&hub, "mto-juu").await, all_told(&readings), "the sound ones are read");
    let counts = hub.unread().await.unwrap()[&gateway.number.0];
    assert_eq!((counts.misplaced, counts.unreadable, counts.waiting), (1, 1, 1));
    // Of an item that a later version may know, the hub says that it has not kept it.
    let strange = gateway.pack(vec![
        Up::Gone(Gone { chain: gateway.chain, first: 1, last: 2 }),
        Up::Other(Other { kind: 99, bytes: vec![1, 2, 3] }),
    ]);
    let received = receive(&hub, &Counters::default(), &strange, NOW_MS).await.unwrap();
    let Received::Answered { answer, .. } = received else { panic!("{received:?}") };
    let (answers, _) = gateway.answered(&strange, &answer).unwrap();
    assert_eq!(answers.refused.len(), 1);
    assert_eq!((answers.refused[0].index, answers.refused[0].reason), (1, Refusal::Unreadable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_cannot_be_read_is_kept_and_hinders_no_other() {
    what_cannot_be_read(&Kept::sqlite()).await;
    what_cannot_be_read(&Kept::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_others_wait_for_too_long_are_asked_for_unless_they_are_gone() {
    let kept = Kept::sqlite();
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 9).await;
    let (blocks, _) = blocks(&mut gateway, 12, 4);
    for place in [0, 1, 5, 6, 11] {
        let packet = gateway.pack(vec![Up::Block(blocks[place].clone())]);
        tell(&hub, &gateway, &packet).await;
    }
    let packet = gateway.pack(vec![Up::Health(super::alerts::health())]);
    let soon = tell_at(&hub, &gateway, &packet, NOW_MS + 60_000).await;
    assert_eq!(soon, [], "it may be on its way");
    let gone = gateway.pack(vec![Up::Gone(Gone { chain: gateway.chain, first: 8, last: 9 })]);
    tell(&hub, &gateway, &gone).await;
    let late = tell_at(&hub, &gateway, &packet, NOW_MS + 7_200_000).await;
    let [Down::Missing(missing)] = late.as_slice() else { panic!("{late:?}") };
    // Numbers count from one: 3 to 5 lie between the second block and the sixth.
    assert_eq!((missing.chain, &missing.numbers[..]), (gateway.chain, &[3..=5][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_packet_is_believed_whose_tag_does_not_fit() {
    let kept = Kept::sqlite();
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 10).await;
    let mut other = Gateway::enrol(&hub, "mto-kati", 11).await;
    let readings = gateway.readings(5);
    let block = gateway.seal(&readings);
    let packet = gateway.pack(vec![Up::Block(block.clone())]);
    let refusal =
        async |bytes: &[u8]| match receive(&hub, &Counters::default(), bytes, NOW_MS).await {
            Ok(Received::Refused(error)) => error,
            said => panic!("{said:?}"),
        };
    for place in 0..packet.len() {
        let mut changed = packet.clone();
        changed[place] ^= 1 << (place % 8);
        refusal(&changed).await;
        refusal(&packet[..place]).await;
    }
    // Another gateway's key proves nothing of this one, nor does one that nobody knows.
    let stolen = Packet { gateway: gateway.number, number: 1, items: vec![Up::Block(block)] };
    assert_eq!(refusal(&seal_up(&stolen, &other.key, Tag::Long).unwrap()).await, DecodeError::Tag);
    other.number = GatewayNumber(4_000_000_000);
    let nobody = other.pack(vec![Up::Health(super::alerts::health())]);
    assert_eq!(refusal(&nobody).await, DecodeError::Gateway(GatewayNumber(4_000_000_000)));
    assert_eq!(stored(&hub, "mto-juu").await, BTreeSet::new());
    tell(&hub, &gateway, &packet).await;
    assert_eq!(stored(&hub, "mto-juu").await, all_told(&readings));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_suspended_gateway_nothing_is_kept_and_it_is_told_so() {
    let kept = Kept::sqlite();
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 12).await;
    let readings = gateway.readings(5);
    let block = gateway.seal(&readings);
    let packet = gateway.pack(vec![Up::Block(block)]);
    assert!(hub.suspend("mto-juu", Some(NOW_MS)).await.unwrap());
    assert!(!hub.suspend("nobody", Some(NOW_MS)).await.unwrap());
    let received = receive(&hub, &Counters::default(), &packet, NOW_MS).await.unwrap();
    let Received::Answered { answer, .. } = received else { panic!("{received:?}") };
    assert_eq!(gateway.answered(&packet, &answer), None, "nothing is acknowledged");
    assert_eq!(open_down(&answer, &gateway.key).unwrap().items, [Down::Suspended]);
    assert_eq!(stored(&hub, "mto-juu").await, BTreeSet::new());
    assert!(hub.suspend("mto-juu", None).await.unwrap());
    tell(&hub, &gateway, &packet).await;
    assert_eq!(stored(&hub, "mto-juu").await, all_told(&readings));
}

async fn tokens(kept: &Kept) {
    let hub = kept.open().await;
    let hash = |word: &str| token::hash(word);
    let key = |byte: u8| Key::new([byte; 32]);
    hub.add_token(&hash("one"), "mto-juu", 1_000, 5_000).await.unwrap();
    hub.add_token(&hash("two"), "mto-kati", 1_000, 5_000).await.unwrap();
    assert_eq!(hub.enrol(&hash("none"), &key(1), 2_000).await.unwrap(), Enrolled::Refused);
    assert_eq!(
        hub.enrol(&hash("two"), &key(1), 5_001).await.unwrap(),
        Enrolled::Refused,
        "too late"
    );
    // At the same moment at two hubs: one of them lets it in, and the other knows it by its key.
    let other = kept.open().await;
    let (one_hash, one_key, two_key) = (hash("one"), key(1), key(2));
    let (here, there) = tokio::join!(
        hub.enrol(&one_hash, &one_key, 2_000),
        other.enrol(&one_hash, &two_key, 2_000)
    );
    let mut said = [here.unwrap(), there.unwrap()];
    let (winner, loser) = if said[0] == Enrolled::Refused { (1, 0) } else { (0, 1) };
    assert_eq!(said[loser], Enrolled::Refused, "a token is good once");
    let Enrolled::As(number, name) = said[winner].clone() else { panic!("{said:?}") };
    assert_eq!(name, "mto-juu");
    let winning = if winner == 0 { key(1) } else { key(2) };
    said[0] = hub.enrol(&hash("one"), &winning, 900_000).await.unwrap();
    assert_eq!(
        said[0],
        Enrolled::As(number, name.clone()),
        "the answer was lost, and is given again"
    );
    // Its computer is replaced: the same number, and the old key is good no more.
    hub.add_token(&hash("three"), "mto-juu", 1_000, 5_000).await.unwrap();
    let again = hub.enrol(&hash("three"), &key(3), 2_000).await.unwrap();
    assert_eq!(again, Enrolled::As(number, name));
    let known = hub.key(number).await.unwrap().unwrap();
    assert_eq!(known.secret_bytes(), key(3).secret_bytes());
    assert_eq!(hub.enrol(&hash("one"), &winning, 900_000).await.unwrap(), Enrolled::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_once_and_for_a_while_and_a_lost_answer_is_given_again() {
    tokens(&Kept::sqlite()).await;
    tokens(&Kept::postgres().await).await;
}

async fn missed(kept: &Kept) {
    let (hub, other) = (kept.open().await, kept.open().await);
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 13).await;
    Gateway::enrol(&hub, "mto-kati", 14).await;
    assert!(hub.suspend("mto-kati", Some(1)).await.unwrap(), "nobody misses it");
    let packet = gateway.pack(vec![Up::Health(super::alerts::health())]);
    tell(&hub, &gateway, &packet).await;
    let hour = 3_600_000;
    assert_eq!(hub.watch(NOW_MS + hour, NOW_MS - 1).await.unwrap(), 0, "it was heard in time");
    let (here, there) = tokio::join!(
        hub.watch(NOW_MS + 2 * hour, NOW_MS + 1),
        other.watch(NOW_MS + 2 * hour, NOW_MS + 1)
    );
    assert_eq!(here.unwrap() + there.unwrap(), 1, "one of the two notes it");
    let claims =
        tokio::join!(hub.claim_notices(NOW_MS + 2 * hour), other.claim_notices(NOW_MS + 2 * hour));
    let notices = [claims.0.unwrap(), claims.1.unwrap()].concat();
    assert_eq!(notices.len(), 1, "one of the two tells it: {notices:?}");
    assert_eq!((notices[0].kind, &*notices[0].name), (NoticeKind::Missing, "mto-juu"));
    hub.told(notices[0].id, NOW_MS + 2 * hour).await.unwrap();
    tell_at(&hub, &gateway, &packet, NOW_MS + 3 * hour).await;
    assert_eq!(other.watch(NOW_MS + 3 * hour, NOW_MS + 2 * hour).await.unwrap(), 1);
    let notices = other.claim_notices(NOW_MS + 3 * hour).await.unwrap();
    assert_eq!(notices[0].kind, NoticeKind::HeardAgain);
    assert_eq!(other.notices().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_missed_is_noticed_and_told_of_once_however_many_hubs_look() {
    missed(&Kept::sqlite()).await;
    missed(&Kept::postgres().await).await;
}

/// A stream begins anew where the number of continued blocks is full; the hub follows it.
#[tokio::test(flavor = "multi_thread")]
async fn long_runs_are_read_to_their_end_and_the_next_begins() {
    let kept = Kept::sqlite();
    let hub = kept.open().await;
    let mut gateway = Gateway::enrol(&hub, "mto-juu", 15).await;
    let mut all = Vec::new();
    let mut packets = Vec::new();
    for _ in 0..140 {
        let readings = gateway.readings(3);
        let block = gateway.seal(&readings);
        all.extend(readings);
        packets.push(gateway.pack(vec![Up::Block(block)]));
    }
    // Every other one first: the second half of each run waits for the first.
    for packet in packets.iter().skip(1).step_by(2).chain(packets.iter().step_by(2)) {
        tell(&hub, &gateway, packet).await;
    }
    assert_eq!(stored(&hub, "mto-juu").await, all_told(&all));
}
