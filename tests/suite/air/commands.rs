//! Commands that lora-phy does not use, or not in this way: bytes in, bytes and pins out.

use super::bench::{MANNER, pair, radio};
use crate::dice::Dice;
use kengele::sim::air::{
    Air, Chip, ChipKind, Conditions, Pins, Position, Reason, What, socket, sx126x,
};
use lora_phy::RxMode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Data sheet table 13-29.
const TX_DONE: u16 = 0x0001;
const RX_DONE: u16 = 0x0002;
const HEADER_ERROR: u16 = 0x0020;
const CAD_DONE: u16 = 0x0080;
const CAD_DETECTED: u16 = 0x0100;
const TIMEOUT: u16 = 0x0200;

async fn tell(chip: &Chip, command: &[u8]) -> Vec<u8> {
    chip.wait_for(|pins| !pins.busy).await;
    chip.transfer(command)
}

/// A bare SX1262 at spreading factor 9, with an explicit header and a checksum, all interrupts on DIO1.
async fn bare(air: &Air, east_m: f64) -> Chip {
    let chip = air.chip(ChipKind::Sx1262, Position::new(east_m, 0.0));
    for command in [
        &[0x8a, 1][..],
        // 868.1 MHz is 0x36419999 steps of 32 MHz / 2^25, rounded down.
        &[0x86, 0x36, 0x41, 0x99, 0x99],
        &[0x8b, 9, 4, 1, 0],
        &[0x8c, 0, 8, 0, 4, 1, 0],
        &[0x08, 0x03, 0xff, 0x03, 0xff, 0, 0, 0, 0],
        &[0x0e, 0, 1, 2, 3, 4],
    ] {
        tell(&chip, command).await;
    }
    chip
}

async fn flags(chip: &Chip) -> u16 {
    let read = tell(chip, &[0x12, 0, 0, 0]).await;
    tell(chip, &[0x02, 0x03, 0xff]).await;
    u16::from_be_bytes([read[2], read[3]])
}

/// Bits 6 to 4 of the status: 2 standby on RC, 3 standby on the crystal, 4 synthesis, 5 reception, 6 transmission.
async fn mode(chip: &Chip) -> u8 {
    tell(chip, &[0xc0, 0]).await[1] >> 4
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_timer_ends_reception_and_transmission() {
    let air = Air::seeded(1);
    let chip = bare(&air, 0.0).await;
    for (command, code) in [([0x82, 0x00, 0x19, 0x00], 5), ([0x83, 0x00, 0x06, 0x40], 6)] {
        // 6400 steps of 15.625 µs are 100 ms; 1600 are 25 ms, less than the frame lasts.
        tell(&chip, &command).await;
        let began = air.now();
        assert_eq!(mode(&chip).await, code);
        chip.wait_for(|pins| pins.irq).await;
        let took = air.now().saturating_sub(began).as_millis();
        let expected = if code == 5 { 99..=103 } else { 24..=28 };
        assert!(expected.contains(&took), "{code}: {took} ms");
        assert_eq!((flags(&chip).await, mode(&chip).await), (TIMEOUT, 2));
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn behind_a_frame_a_chip_goes_where_it_was_told() {
    for (fallback, code) in [(0x20, 2), (0x30, 3), (0x40, 4)] {
        let air = Air::seeded(1);
        let chip = bare(&air, 0.0).await;
        tell(&chip, &[0x93, fallback]).await;
        tell(&chip, &[0x83, 0, 0, 0]).await;
        chip.wait_for(|pins| pins.irq).await;
        assert_eq!((flags(&chip).await, mode(&chip).await), (TX_DONE, code));
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn activity_detection_goes_on_to_listen_or_to_send() {
    let air = Air::seeded(1);
    let (one, other) = (bare(&air, 0.0).await, bare(&air, 100.0).await);
    // Eight symbols, and listen where there is something: without a time-out.
    tell(&one, &[0x88, 3, 22, 10, 1, 0, 0, 0]).await;
    tell(&other, &[0x83, 0, 0, 0]).await;
    tell(&one, &[0xc5]).await;
    one.wait_for(|pins| pins.irq).await;
    assert_eq!((flags(&one).await, mode(&one).await), (CAD_DONE | CAD_DETECTED, 5));
    // It began behind that preamble; the next frame is heard.
    other.wait_for(|pins| pins.irq).await;
    tell(&other, &[0x83, 0, 0, 0]).await;
    while flags(&one).await & RX_DONE == 0 {
        one.wait_for(|pins| pins.irq).await;
    }
    assert_eq!(tell(&one, &[0x1e, 0, 0, 0, 0, 0, 0]).await[3..], [1, 2, 3, 4]);
    // In silence, and told to send then.
    tell(&one, &[0x88, 3, 22, 10, 0x10, 0, 0, 0]).await;
    tell(&one, &[0xc5]).await;
    one.wait_for(|pins| pins.irq).await;
    assert_eq!((flags(&one).await, mode(&one).await), (CAD_DONE, 6));
    one.wait_for(|pins| pins.irq).await;
    assert_eq!(flags(&one).await, TX_DONE);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn implicit_headers_need_agreement() {
    for (length, whole) in [(4, true), (5, false)] {
        let air = Air::seeded(1);
        let (one, other) = (bare(&air, 0.0).await, bare(&air, 100.0).await);
        tell(&one, &[0x8c, 0, 8, 1, length, 1, 0]).await;
        tell(&other, &[0x8c, 0, 8, 1, 4, 1, 0]).await;
        tell(&one, &[0x82, 0, 0, 0]).await;
        tell(&other, &[0x83, 0, 0, 0]).await;
        let mut seen = 0;
        while seen & RX_DONE == 0 {
            one.wait_for(|pins| pins.irq).await;
            seen |= flags(&one).await;
        }
        assert_eq!(seen & 0x0040 == 0, whole, "{length}: {seen:#06x}");
        assert_eq!(seen & 0x0010, 0, "no header, no interrupt for it: {seen:#06x}");
    }
    // One that expects a header finds none.
    let air = Air::seeded(1);
    let (one, other) = (bare(&air, 0.0).await, bare(&air, 100.0).await);
    tell(&other, &[0x8c, 0, 8, 1, 4, 1, 0]).await;
    tell(&one, &[0x82, 0xff, 0xff, 0xff]).await;
    tell(&other, &[0x83, 0, 0, 0]).await;
    other.wait_for(|pins| pins.irq).await;
    assert_eq!(flags(&one).await & (HEADER_ERROR | RX_DONE), HEADER_ERROR);
    // GetStats: received, wrong checksums, wrong headers.
    assert_eq!(tell(&one, &[0x10, 0, 0, 0, 0, 0, 0, 0]).await[2..], [0, 0, 0, 0, 0, 1]);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn strength_rises_while_somebody_sends() {
    let air = Air::seeded(1);
    let (one, other) = (bare(&air, 0.0).await, bare(&air, 100.0).await);
    tell(&one, &[0x82, 0xff, 0xff, 0xff]).await;
    let strength = async || -f64::from(tell(&one, &[0x15, 0, 0]).await[2]) / 2.0;
    // The noise of 125 kHz, and 0 dBm less the amplifier's default less 105.75 dB.
    assert!((strength().await + 117.0).abs() < 0.6, "{}", strength().await);
    tell(&other, &[0x83, 0, 0, 0]).await;
    air.sleep(Duration::from_millis(50)).await;
    assert!((strength().await + 105.5).abs() < 0.6, "{}", strength().await);
}

/// lora-phy gives `SetRx` again with each `rx()`: a frame that has just begun is lost by that.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn reception_that_begins_anew_lets_a_frame_go() {
    let air = Air::seeded(1);
    let ((mut a, _), (mut b, chip)) = pair(&air, [ChipKind::Sx1262; 2], 100.0).await;
    b.prepare(MANNER, RxMode::Continuous).await.unwrap();
    let again = async {
        // Twice, the second in the middle of the frame.
        let first = tokio::time::timeout(Duration::from_millis(120), b.hear(MANNER)).await;
        let second = tokio::time::timeout(Duration::from_secs(2), b.hear(MANNER)).await;
        (first.is_err(), second.is_err())
    };
    let (waited, sent) = tokio::join!(again, a.send(MANNER, &[1; 40]));
    sent.unwrap();
    assert_eq!(waited, (true, true));
    let lost: Vec<Reason> = air
        .events()
        .into_iter()
        .filter_map(|event| match event.what {
            What::Missed { by, reason, .. } if by == chip.id() => Some(reason),
            What::Missed { .. } | What::Sent { .. } | What::Heard { .. } => None,
        })
        .collect();
    assert_eq!(lost, [Reason::Left, Reason::Late]);
}

/// Ten thousand transfers of any bytes, most of which begin like a command, while time goes on and another chip sends: nothing
/// panics, nothing hangs, and after a reset the chip works.
#[test]
fn no_bytes_bring_a_chip_down() {
    for seed in 0..4 {
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(hostile(seed));
    }
}

async fn hostile(seed: u64) {
    let mut dice = Dice::seeded(seed);
    let air = Air::seeded(seed);
    let other = bare(&air, 50.0).await;
    for kind in [ChipKind::Sx1262, ChipKind::Sx1276] {
        let chip = air.chip(kind, Position::default());
        for round in 0..10_000 {
            let mut bytes: Vec<u8> =
                (0..dice.below(12)).map(|_| dice.below(256).to_le_bytes()[0]).collect();
            if let Some(first) = bytes.first_mut()
                && kind == ChipKind::Sx1262
                && dice.chance(900)
            {
                *first = sx126x::COMMANDS[dice.index(sx126x::COMMANDS.len())].opcode;
            }
            assert_eq!(chip.transfer(&bytes).len(), bytes.len());
            if dice.chance(100) {
                air.sleep(Duration::from_millis(dice.below(200))).await;
            }
            if round % 500 == 0 && !other.pins().busy {
                assert_eq!(other.transfer(&[0x83, 0, 0, 0]).len(), 4);
            }
        }
        let mut host = radio(&chip, false).await.unwrap();
        host.send(MANNER, b"still here").await.unwrap();
    }
}

async fn read(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 3];
    stream.read_exact(&mut head).await.unwrap();
    let mut bytes = vec![0; usize::from(u16::from_le_bytes([head[1], head[2]]))];
    stream.read_exact(&mut bytes).await.unwrap();
    (head[0], bytes)
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_socket_tells_of_busy_before_it_answers_what_made_the_chip_so() {
    let air = Air::seeded(1);
    let chip = air.chip(ChipKind::Sx1262, Position::default());
    chip.wait_for(|pins| !pins.busy).await;
    let (mut host, far) = UnixStream::pair().unwrap();
    let talk = async {
        assert_eq!(read(&mut host).await, (0x90, vec![0]));
        // A pulse on NRESET, in two pieces.
        host.write_all(&[0x02, 0x00]).await.unwrap();
        tokio::task::yield_now().await;
        host.write_all(&[0x00]).await.unwrap();
        assert_eq!(read(&mut host).await, (0x90, vec![1]));
        assert_eq!(read(&mut host).await, (0x82, vec![]));
        assert_eq!(read(&mut host).await, (0x90, vec![0]));
        // Two commands in one piece: the packet type, and reading it back.
        host.write_all(&[0x01, 2, 0, 0x8a, 1, 0x01, 3, 0, 0x11, 0, 0]).await.unwrap();
        assert_eq!(read(&mut host).await.0, 0x81);
        assert_eq!(read(&mut host).await.1[2], 1);
        host.write_all(&[0x03, 1, 0, 2]).await.unwrap();
        assert_eq!(read(&mut host).await, (0x83, vec![]));
        assert_eq!(chip.switch(), kengele::sim::air::Switch::Transmit);
        host.write_all(&[0x7f, 0, 0]).await.unwrap();
    };
    let (ended, ()) = tokio::join!(socket::converse(far, &chip), talk);
    let fault = ended.unwrap_err().to_string();
    assert!(fault.contains("0x7f") && fault.contains("0 bytes"), "{fault}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_fast_air_is_as_fast_as_it_says() {
    let air = Air::new(1, Conditions::default(), 50.0);
    let ((mut a, _), (mut b, chip)) = pair(&air, [ChipKind::Sx1262; 2], 100.0).await;
    b.prepare(MANNER, RxMode::Continuous).await.unwrap();
    // A frame of 1.8 s, in real time within a small part of that.
    let began = tokio::time::Instant::now();
    let (heard, sent) = tokio::join!(b.hear(MANNER), a.send(MANNER, &[3; 255]));
    sent.unwrap();
    assert_eq!(heard.unwrap().payload, [3; 255]);
    assert!(air.now() > began.elapsed() * 20);
    assert_eq!(chip.faults().total(), 0, "{:?}", chip.faults());
    assert_eq!(chip.pins(), Pins::default());
    drop(radio(&chip, true).await.unwrap());
}
