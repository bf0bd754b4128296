//! The medium: distance, clashes, noise, attackers, and hundreds of nodes.

use super::bench::{MANNER, Manner, pair, pass, radio};
use crate::dice::Dice;
use kengele::sim::air::{
    Air, Attacker, Bursts, Chip, ChipKind, Conditions, Jammer, Limit, PathLoss, Plan, Position,
    Reason, Sender, What,
};
use lora_phy::RxMode;
use lora_phy::mod_params::SpreadingFactor;
use std::time::Duration;

const SX1262: [ChipKind; 2] = [ChipKind::Sx1262, ChipKind::Sx1262];

fn reasons(air: &Air, chip: &Chip) -> Vec<Reason> {
    let missed = |what| match what {
        What::Missed { by, reason, .. } if by == chip.id() => Some(reason),
        What::Missed { .. } | What::Sent { .. } | What::Heard { .. } => None,
    };
    air.events().into_iter().filter_map(|event| missed(event.what)).collect()
}

/// Sensitivity falls where 14 dBm less the loss is −124.5 dBm at spreading factor 7 and −137 dBm at 12: at 2.57 and
/// 8.89 km.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_slower_frame_carries_further() {
    for (factor, near_m, far_m) in
        [(SpreadingFactor::_7, 2500.0, 2650.0), (SpreadingFactor::_12, 8700.0, 9100.0)]
    {
        let manner = Manner { factor, ..MANNER };
        for (apart_m, heard) in [(near_m, true), (far_m, false)] {
            let air = Air::seeded(1);
            let ((mut a, _), (mut b, other)) = pair(&air, SX1262, apart_m).await;
            let frame = pass(&mut a, &mut b, manner, manner, b"x").await;
            assert_eq!(frame.is_some(), heard, "{apart_m} m");
            let why = if heard { vec![] } else { vec![Reason::Weak] };
            assert_eq!(reasons(&air, &other), why, "{apart_m} m");
        }
    }
}

/// A gateway between two nodes that send at once; returns how many frames it got whole.
async fn at_once(east_m: f64, second: Manner, delay: Duration) -> (Vec<Vec<u8>>, Vec<Reason>) {
    let air = Air::seeded(1);
    let ((mut a, _), (mut gateway, chip)) = pair(&air, SX1262, 300.0).await;
    let other = air.chip(ChipKind::Sx1262, Position::new(300.0 + east_m, 0.0));
    let mut b = radio(&other, false).await.unwrap();
    gateway.prepare(MANNER, RxMode::Continuous).await.unwrap();
    let listen = async {
        let mut heard = Vec::new();
        while let Ok(frame) =
            tokio::time::timeout(Duration::from_secs(5), gateway.hear(MANNER)).await
        {
            heard.push(frame.unwrap().payload);
        }
        heard
    };
    let later = async {
        air.sleep(delay).await;
        b.send(second, &[2; 20]).await
    };
    let (heard, one, two) = tokio::join!(listen, a.send(MANNER, &[1; 20]), later);
    one.unwrap();
    two.unwrap();
    (heard, reasons(&air, &chip))
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn two_frames_of_like_strength_destroy_each_other() {
    let (heard, why) = at_once(300.0, MANNER, Duration::from_millis(90)).await;
    // The driver hands out the damaged one (its issue 487).
    assert!(!heard.contains(&vec![1; 20]) && !heard.contains(&vec![2; 20]), "{heard:?}");
    assert!(why.contains(&Reason::Clash), "{why:?}");
}

/// A quarter of the distance is 14 dB.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_much_stronger_frame_survives_a_weaker_one() {
    for delay_ms in [0, 90] {
        let (heard, _) = at_once(1200.0, MANNER, Duration::from_millis(delay_ms)).await;
        assert_eq!(heard, [vec![1; 20]], "{delay_ms} ms");
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_frame_that_ends_within_the_early_preamble_does_no_harm() {
    // The second begins so late that its preamble's first symbols meet the first's last ones.
    let (heard, why) = at_once(300.0, MANNER, Duration::from_millis(184)).await;
    assert_eq!(why, [Reason::Clash]);
    assert_eq!(heard.len(), 2);
    assert_ne!(heard[0], [1; 20]);
    assert_eq!(heard[1], [2; 20]);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn another_spreading_factor_does_no_harm_unless_it_is_very_strong() {
    let other = Manner { factor: SpreadingFactor::_8, ..MANNER };
    let (heard, _) = at_once(300.0, other, Duration::from_millis(20)).await;
    assert_eq!(heard, [vec![1; 20]]);
    // 10 m away it is 34 dB stronger.
    let (heard, why) = at_once(10.0, other, Duration::from_millis(20)).await;
    assert!(!heard.contains(&vec![1; 20]), "{heard:?}");
    assert!(why.contains(&Reason::Clash), "{why:?}");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_receiver_that_begins_too_late_misses_the_frame() {
    let air = Air::seeded(1);
    let ((mut a, _), (mut b, other)) = pair(&air, SX1262, 100.0).await;
    let late = async {
        // Of 8 symbols of preamble 33 ms are over.
        air.sleep(Duration::from_millis(60)).await;
        b.prepare(MANNER, RxMode::Continuous).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), b.hear(MANNER)).await
    };
    let (heard, sent) = tokio::join!(late, a.send(MANNER, &[1; 60]));
    sent.unwrap();
    assert!(heard.is_err(), "{heard:?}");
    assert_eq!(reasons(&air, &other), [Reason::Late]);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_jammer_and_a_burst_of_noise_silence_a_channel() {
    let ever = (Duration::ZERO, Duration::from_secs(100));
    let jammer = |hz: f64| Jammer {
        position: Position::new(600.0, 0.0),
        frequency_hz: hz,
        bandwidth_hz: 200_000.0,
        power_dbm: 14.0,
        from: ever.0,
        until: ever.1,
    };
    for (hz, heard) in [(868.1e6, false), (869.5e6, true)] {
        let air = Air::seeded(1);
        let ((mut a, _), (mut b, _)) = pair(&air, SX1262, 500.0).await;
        air.jam(jammer(hz));
        let frame = pass(&mut a, &mut b, MANNER, MANNER, b"x").await;
        assert_eq!(frame.is_some(), heard, "{hz}");
    }
    for (rise_db, heard) in [(60.0, false), (3.0, true)] {
        let every = Duration::from_secs(1);
        let bursts = Some(Bursts { every, lasting: 2 * every, rise_db });
        let air = Air::new(1, Conditions { bursts, ..Conditions::default() }, 1.0);
        let ((mut a, _), (mut b, _)) = pair(&air, SX1262, 500.0).await;
        // The first burst has no other before it.
        air.sleep(every).await;
        let frame = pass(&mut a, &mut b, MANNER, MANNER, b"x").await;
        assert_eq!(frame.is_some(), heard, "{rise_db} dB");
    }
}

async fn attacked(plan: Plan) -> (Air, Vec<(Duration, Vec<u8>)>, Chip) {
    let air = Air::seeded(1);
    let ((mut a, _), (mut b, chip)) = pair(&air, SX1262, 500.0).await;
    air.attack(Attacker {
        ear: Position::new(10.0, 0.0),
        antenna: Position::new(510.0, 0.0),
        power_dbm: 14.0,
        plan,
        share: 1.0,
        from: Duration::ZERO,
        until: Duration::from_hours(1),
    });
    b.prepare(MANNER, RxMode::Continuous).await.unwrap();
    let listen = async {
        let mut heard = Vec::new();
        while let Ok(frame) = tokio::time::timeout(Duration::from_mins(2), b.hear(MANNER)).await {
            heard.push((air.now(), frame.unwrap().payload));
        }
        heard
    };
    let (heard, sent) = tokio::join!(listen, a.send(MANNER, b"siren off"));
    sent.unwrap();
    (air, heard, chip)
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_replayed_frame_arrives_again_and_again() {
    let plan = Plan::Replay { after: Duration::from_secs(30), times: 3 };
    let (air, heard, _) = attacked(plan).await;
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert!(heard.iter().all(|(_, payload)| payload == b"siren off"));
    assert!(heard[1].0.saturating_sub(heard[0].0) >= Duration::from_secs(30));
    assert_eq!((air.deeds().heard, air.deeds().sent), (1, 3));
    let by_attacker = |event: &kengele::sim::air::Event| {
        matches!(event.what, What::Sent { by: Sender::Attacker(0), .. })
    };
    assert_eq!(air.events().iter().filter(|event| by_attacker(event)).count(), 3);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_wormhole_destroys_the_frame_and_delivers_it_later() {
    let plan = Plan::Wormhole { after: Duration::from_mins(1) };
    let (air, heard, chip) = attacked(plan).await;
    // The first is the damaged one, which the driver hands out (its issue 487).
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_ne!(heard[0].1, b"siren off");
    assert_eq!(heard[1].1, b"siren off");
    assert!(heard[1].0.saturating_sub(heard[0].0) >= Duration::from_mins(1));
    assert_eq!(reasons(&air, &chip), [Reason::Jammed]);
    assert_eq!((air.deeds().jammed, air.deeds().sent), (1, 1));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_forged_frame_is_another_one_with_a_good_checksum() {
    let plan = Plan::Forge { after: Duration::from_secs(30) };
    let (air, heard, chip) = attacked(plan).await;
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[0].1, b"siren off");
    assert_ne!(heard[1].1, b"siren off");
    assert_eq!(heard[1].1.len(), b"siren off".len());
    assert_eq!((air.deeds().sent, air.deeds().forged), (1, 1));
    // The chip itself has nothing against it.
    assert_eq!(air.tallies()[&chip.id()].heard, 2);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_attacker_takes_up_the_share_of_frames_that_it_is_told_to() {
    let air = Air::seeded(4);
    let ((mut a, one), (mut b, other)) = pair(&air, SX1262, 100.0).await;
    air.attack(Attacker {
        ear: Position::new(10.0, 0.0),
        antenna: Position::new(90.0, 0.0),
        power_dbm: 14.0,
        plan: Plan::Replay { after: Duration::from_hours(2), times: 1 },
        share: 0.3,
        from: Duration::ZERO,
        until: Duration::from_hours(1),
    });
    b.prepare(MANNER, RxMode::Continuous).await.unwrap();
    let listen = async {
        while tokio::time::timeout(Duration::from_hours(3), b.hear(MANNER)).await.is_ok() {}
    };
    let talk = async {
        for _ in 0..400 {
            a.send(MANNER, b"x").await.unwrap();
        }
    };
    tokio::join!(listen, talk);
    let deeds = air.deeds();
    assert_eq!(deeds.heard, 400);
    // 120 expected, with a standard deviation of 9.2.
    assert!((85..=155).contains(&deeds.sent), "seed 4: {}", deeds.sent);
    let tallies = air.tallies();
    assert_eq!(tallies[&one.id()].sent, 400);
    assert_eq!(tallies[&other.id()].heard, 400 + deeds.sent);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn chance_takes_the_share_that_it_is_given() {
    let air = Air::new(3, Conditions { loss: 0.3, ..Conditions::default() }, 1.0);
    let ((mut a, _), (mut b, _)) = pair(&air, SX1262, 100.0).await;
    b.prepare(MANNER, RxMode::Continuous).await.unwrap();
    let listen = async {
        let mut heard = 0;
        while tokio::time::timeout(Duration::from_secs(5), b.hear(MANNER)).await.is_ok() {
            heard += 1;
        }
        heard
    };
    let talk = async {
        for _ in 0..400 {
            a.send(MANNER, b"x").await.unwrap();
        }
    };
    let (heard, ()) = tokio::join!(listen, talk);
    // 280 expected, with a standard deviation of 9.2.
    assert!((245..=315).contains(&heard), "seed 3: {heard}");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn one_way_may_be_bad_while_the_other_is_good() {
    let air = Air::seeded(1);
    let ((mut a, one), (mut b, _)) = pair(&air, SX1262, 100.0).await;
    one.set_loss(Some(1.0));
    assert!(pass(&mut a, &mut b, MANNER, MANNER, b"level").await.is_some());
    assert!(pass(&mut b, &mut a, MANNER, MANNER, b"siren").await.is_none());
    assert_eq!(reasons(&air, &one), [Reason::Chance]);
    one.set_loss(None);
    assert!(pass(&mut b, &mut a, MANNER, MANNER, b"siren").await.is_some());
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn damage_may_slip_through_the_checksum() {
    let air = Air::new(1, Conditions { undetected: 1.0, ..Conditions::default() }, 1.0);
    let ((mut a, _), (mut b, other)) = pair(&air, SX1262, 100.0).await;
    let frame = pass(&mut a, &mut b, MANNER, MANNER, b"level 3.4").await.unwrap();
    assert_ne!(frame.payload, b"level 3.4");
    // GetStats counts one frame and no wrong checksum.
    let stats = other.transfer(&[0x10, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(stats[2..6], [0, 1, 0, 0]);
    assert_eq!(reasons(&air, &other), []);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_chip_that_is_stopped_in_the_middle_is_heard_by_nobody() {
    let air = Air::seeded(1);
    let ((mut a, one), (mut b, other)) = pair(&air, SX1262, 100.0).await;
    let limit = air.watch(Limit {
        from_hz: 868e6,
        to_hz: 868.6e6,
        an_hour: Duration::from_secs(36),
        dwell_max: None,
        power_max_dbm: 14.0,
    });
    b.prepare(MANNER, RxMode::Continuous).await.unwrap();
    let stop = async {
        air.sleep(Duration::from_millis(150)).await;
        // SetStandby.
        assert_eq!(one.transfer(&[0x80, 0]).len(), 2);
    };
    let wait = Duration::from_secs(5);
    let (heard, sent, ()) = tokio::join!(
        tokio::time::timeout(wait, b.hear(MANNER)),
        tokio::time::timeout(wait, a.send(MANNER, &[1; 100])),
        stop
    );
    assert!(sent.is_err(), "{sent:?}");
    // The driver hands out the damaged one (its issue 487).
    assert_ne!(heard.unwrap().unwrap().payload, [1; 100]);
    assert_eq!(reasons(&air, &other), [Reason::Cut]);
    let told = air.testimony(one.id(), limit);
    assert!(told.airtime < Duration::from_millis(150), "{told:?}");
}

/// A future that waits for one chip, kept aside while another chip works, holds nobody up.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_host_that_is_kept_waiting_does_not_stop_the_air() {
    let air = Air::seeded(1);
    let ((mut a, _), (mut b, _)) = pair(&air, SX1262, 100.0).await;
    b.prepare(MANNER, RxMode::Continuous).await.unwrap();
    let hear = b.hear(MANNER);
    tokio::pin!(hear);
    let early = tokio::time::timeout(Duration::from_secs(1), hear.as_mut()).await;
    assert!(early.is_err());
    let sent = tokio::time::timeout(Duration::from_secs(30), a.send(MANNER, b"level 3.4")).await;
    assert_eq!(sent, Ok(Ok(())));
    assert_eq!(hear.await.unwrap().payload, b"level 3.4");
}

const NODES: u32 = 300;

/// Three hundred nodes of both families that report once in half a minute for two minutes, unsynchronised, to one
/// gateway.
async fn crowd(seed: u64) -> ([u8; 32], usize, usize, u64) {
    let path_loss = PathLoss { shadowing_db: 4.0, fading_db: 1.0, ..PathLoss::default() };
    let air = Air::new(seed, Conditions { path_loss, loss: 0.01, ..Conditions::default() }, 1.0);
    let limit = air.watch(Limit {
        from_hz: 868e6,
        to_hz: 868.6e6,
        an_hour: Duration::from_secs(36),
        dwell_max: None,
        power_max_dbm: 14.0,
    });
    let quick = Manner { factor: SpreadingFactor::_7, ..MANNER };
    let gateway = air.chip(ChipKind::Sx1262, Position::default());
    let mut receiver = radio(&gateway, false).await.unwrap();
    receiver.prepare(quick, RxMode::Continuous).await.unwrap();
    let mut nodes = tokio::task::JoinSet::new();
    let mut chips = Vec::new();
    for index in 0..NODES {
        let (kind, angle) = (
            if index % 3 == 0 { ChipKind::Sx1276 } else { ChipKind::Sx1262 },
            f64::from(index) * 2.4,
        );
        let away_m = 50.0 + 5.0 * f64::from(index);
        let place = Position::new(away_m * angle.cos(), away_m * angle.sin());
        let chip = air.chip(kind, place);
        chips.push(chip.clone());
        let air = air.clone();
        nodes.spawn(async move {
            let mut dice = Dice::seeded(seed * 1_000 + u64::from(index));
            let mut radio = radio(&chip, false).await.unwrap();
            for round in 0..4_u64 {
                let at = Duration::from_millis(1_000 + round * 30_000 + dice.below(30_000));
                air.sleep(at.saturating_sub(air.now())).await;
                radio.send(quick, &index.to_be_bytes()).await.unwrap();
                radio.sleep(true).await.unwrap();
            }
        });
    }
    let listen = async {
        while tokio::time::timeout(Duration::from_mins(1), receiver.hear(quick)).await.is_ok() {}
    };
    let all = async {
        while let Some(done) = nodes.join_next().await {
            done.unwrap();
        }
    };
    tokio::join!(listen, all);
    let (mut sent, mut heard) = (0, 0);
    for event in air.events() {
        match event.what {
            What::Sent { .. } => sent += 1,
            What::Heard { by, .. } if by == gateway.id() => heard += 1,
            What::Heard { .. } | What::Missed { .. } => {}
        }
    }
    for chip in &chips {
        assert!(air.testimony(chip.id(), limit).is_lawful());
        assert_eq!(chip.faults().total(), 0, "{:?}", chip.faults());
    }
    (air.digest(), sent, heard, air.refused())
}

#[test]
fn three_hundred_nodes_go_the_same_way_by_the_same_seed() {
    let run = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(crowd(seed))
    };
    let (first, sent, heard, refused) = run(11);
    println!("seed 11: {sent} frames, {heard} heard");
    assert_eq!((sent, refused), (4 * NODES as usize, 0));
    // 31 ms each, ten a second: without capture pure ALOHA would let e^(−2·0.31) = 54 % through, and capture saves some of the rest.
    assert!((0.50..0.85).contains(&(heard as f64 / sent as f64)), "{heard} of {sent}");
    assert_eq!(run(11).0, first);
    assert_ne!(run(12).0, first);
}
