//! The gateway's own radio on an emulated chip: the source as it runs in the daemon, behind the chip link's socket, and
//! other chips on the same air, driven by lora-phy.

use crate::peers::PATIENCE;
use kengele::domain::airtime::Plan;
use kengele::domain::frame::{Envelope, Origin};
use kengele::domain::radio::{Downlink, Hearing, Modulation, SyncWord, Urgency, When, Window};
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::sim::air::{
    Air, AirDelay, AirInterface, AirSpi, Chip, ChipKind, Conditions, Limit, Position, socket,
};
use kengele::source::lora::{self, Circuit, Counters, Radio, Settings, State};
use kengele::supervise::Tasks;
use kengele::telemetry::Clock;
use kengele::wire::chip_link::{Message, Pins};
use lora_phy::mod_params::{Bandwidth, CodingRate, RadioError, SpreadingFactor};
use lora_phy::sx126x::{Config, Sx126x, Sx1262};
use lora_phy::{LoRa, RxMode};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

const HZ: u32 = 867_900_000;

fn slow(spreading_factor: u8) -> Modulation {
    Modulation::Lora { spreading_factor, bandwidth_hz: 125_000 }
}

/// An air with the gateway's chip on it, the source on that, and what it says.
struct Post {
    air: Air,
    chip: Chip,
    frames: mpsc::Receiver<Envelope>,
    downlinks: mpsc::Sender<Downlink>,
    counters: Arc<Counters>,
    clock: Clock,
    tasks: Tasks,
    folder: TempDir,
}

impl Post {
    async fn new(kind: ChipKind, faster: f64, spreading_factor: u8) -> Self {
        Self::behind(kind, faster, spreading_factor, false).await
    }

    /// The first connection finds a chip that is busy for ever, if it is `wedged`.
    async fn behind(kind: ChipKind, faster: f64, spreading_factor: u8, wedged: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let path: PathBuf = folder.path().join("chip");
        let air = Air::new(11, Conditions::default(), faster);
        let chip = air.chip(kind, Position::new(0.0, 0.0));
        let listener = UnixListener::bind(&path).unwrap();
        let served = chip.clone();
        let mut tasks = Tasks::default();
        tasks.spawn("chip", async move {
            if wedged {
                let (mut host, _) = listener.accept().await?;
                let busy = Message::Pins(Pins { busy: true, ..Pins::default() });
                host.write_all(&busy.to_bytes()).await?;
                host.write_all(&Message::WasReset.to_bytes()).await?;
                let (host, _held) = (listener.accept().await?.0, host);
                return socket::converse(host, &served).await;
            }
            socket::serve(&listener, &served).await
        });
        let chip_of = match kind {
            ChipKind::Sx1276 => lora::Chip::Sx1276,
            ChipKind::Sx1261 => lora::Chip::Sx1261,
            ChipKind::Sx1262 | ChipKind::Sx1262Tcxo => lora::Chip::Sx1262,
        };
        let wall = WallClock { offset_ms: 0, quality: ClockQuality::Synchronised };
        let clock = Clock::new(Timestamp::default(), wall, faster);
        let settings = Settings {
            link: "radio".into(),
            bus: lora::Bus::Linked(path),
            circuit: Circuit {
                chip: chip_of,
                dio2_switch: true,
                tcxo_mv: None,
                power_max_dbm: 14,
                amplifier_db: 0,
            },
            frequency_hz: HZ,
            modulation: slow(spreading_factor),
            plan: Plan::named("EU868"),
            power_dbm: 14,
            antenna_dbi: 2.15,
            record: Some(folder.path().join("airtime")),
        };
        let (frames, frames_in) = mpsc::channel(64);
        let (downlinks, downlinks_in) = mpsc::channel(64);
        let radio = Radio::new(settings, clock.clone(), frames);
        let counters = radio.counters();
        tasks.spawn("radio", radio.run(downlinks_in, tasks.stop_signal()));
        let post = Self { air, chip, frames: frames_in, downlinks, counters, clock, tasks, folder };
        post.until(|post| post.counters.state() == State::Listening).await;
        post
    }

    async fn until(&self, so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "it did not come about: {:?}", self.counters);
    }

    async fn frame(&mut self) -> (Vec<u8>, Arc<Hearing>) {
        let envelope = tokio::time::timeout(PATIENCE, self.frames.recv()).await;
        let envelope = envelope.expect("nothing is heard").unwrap();
        let Origin::Radio(hearing) = &envelope.frame.origin else { panic!() };
        (envelope.frame.payload.to_vec(), Arc::clone(hearing))
    }

    async fn send(&self, phy: &[u8], when: When, urgency: Urgency) {
        let downlink = Downlink { link: "radio".into(), phy: phy.to_vec(), when, urgency };
        self.downlinks.send(downlink).await.unwrap();
    }

    fn end(self) {
        self.tasks.stop();
        drop(self.folder);
        // The chip's own task ends with its runtime.
    }
}

/// Another chip on the same air.
struct Node {
    lora: LoRa<Sx126x<AirSpi, AirInterface, Sx1262>, AirDelay>,
    factor: SpreadingFactor,
}

impl Node {
    async fn new(air: &Air, east_m: f64, public: bool, factor: SpreadingFactor) -> Self {
        let chip = air.chip(ChipKind::Sx1262, Position::new(east_m, 0.0));
        let config = Config { chip: Sx1262, tcxo_ctrl: None, use_dcdc: true, rx_boost: true };
        let driver = Sx126x::new(chip.spi(), chip.interface(), config);
        Self { lora: LoRa::new(driver, public, chip.delay()).await.unwrap(), factor }
    }

    async fn say(&mut self, bytes: &[u8]) {
        let how = self
            .lora
            .create_modulation_params(self.factor, Bandwidth::_125KHz, CodingRate::_4_5, HZ)
            .unwrap();
        let mut packet = self.lora.create_tx_packet_params(8, false, true, false, &how).unwrap();
        self.lora.prepare_for_tx(&how, &mut packet, 14, bytes).await.unwrap();
        self.lora.tx().await.unwrap();
    }

    async fn hear(&mut self, mode: RxMode) -> Option<Vec<u8>> {
        let how = self
            .lora
            .create_modulation_params(self.factor, Bandwidth::_125KHz, CodingRate::_4_5, HZ)
            .unwrap();
        let packet = self.lora.create_rx_packet_params(8, false, 255, true, false, &how).unwrap();
        self.lora.prepare_for_rx(mode, &how, &packet).await.unwrap();
        let mut buffer = [0; 255];
        match self.lora.rx(&packet, &mut buffer).await {
            Ok((length, _)) => Some(buffer[..usize::from(length)].to_vec()),
            Err(RadioError::ReceiveTimeout) => None,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn windows(hearing: &Arc<Hearing>) -> When {
    let window = |s| {
        let (frequency_hz, modulation) = (hearing.frequency_hz, hearing.modulation);
        Some(Window { delay: Duration::from_secs(s), frequency_hz, modulation })
    };
    When::Answer { hearing: Arc::clone(hearing), windows: [window(1), window(2)] }
}

/// A node of class A: it says something until it is answered, as real ones do.
async fn is_heard_and_answered(kind: ChipKind) {
    let mut post = Post::new(kind, 1.0, 11).await;
    let mut node = Node::new(&post.air, 400.0, false, SpreadingFactor::_11).await;
    let delay = post.air.clone();
    let answered = async {
        for _ in 0..5 {
            node.say(b"maji 2.4").await;
            delay.sleep(Duration::from_millis(995)).await;
            for pause_ms in [0, 800] {
                delay.sleep(Duration::from_millis(pause_ms)).await;
                if let Some(answer) = node.hear(RxMode::Single(16)).await {
                    return Some(answer);
                }
            }
        }
        None
    };
    let gateway = async {
        loop {
            let (phy, hearing) = post.frame().await;
            assert_eq!((phy.as_slice(), hearing.sync_word), (&b"maji 2.4"[..], SyncWord::Private));
            assert!(
                hearing.rssi_dbm.is_some_and(|dbm| (-120.0..-40.0).contains(&dbm)),
                "{hearing:?}"
            );
            post.send(b"sawa", windows(&hearing), Urgency::Ordinary).await;
        }
    };
    let answer = tokio::select! {
        answer = answered => answer,
        () = gateway => None,
    };
    assert_eq!(answer.as_deref(), Some(&b"sawa"[..]), "{:?}", post.counters);
    assert_eq!(post.chip.faults(), kengele::sim::air::Faults::default());
    post.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_heard_and_answered_in_its_window_by_an_sx1262() {
    is_heard_and_answered(ChipKind::Sx1262).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_heard_and_answered_in_its_window_by_an_sx1276() {
    is_heard_and_answered(ChipKind::Sx1276).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chip_that_is_busy_for_ever_is_begun_anew_and_hears() {
    let mut post = Post::behind(ChipKind::Sx1262, 10.0, 9, true).await;
    assert_eq!(post.counters.resets.get(), 1);
    let mut node = Node::new(&post.air, 400.0, false, SpreadingFactor::_9).await;
    node.say(b"nipo").await;
    assert_eq!(post.frame().await.0, b"nipo");
    post.end();
}

/// As after a dip of its voltage: the chip answers, and has forgotten what it was told. A chip that only hears nothing is
/// left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chip_that_lost_its_settings_is_found_out_and_hears_again() {
    for kind in [ChipKind::Sx1262, ChipKind::Sx1276] {
        let mut post = Post::new(kind, 1000.0, 9).await;
        post.until(|post| post.clock.now() > Timestamp::from_millis(1_500_000)).await;
        assert_eq!((post.counters.resets.get(), post.counters.state()), (0, State::Listening));
        post.chip.reset();
        post.until(|post| post.counters.resets.get() > 0).await;
        post.until(|post| post.counters.state() == State::Listening).await;
        let mut node = Node::new(&post.air, 400.0, false, SpreadingFactor::_9).await;
        node.say(b"nipo").await;
        assert_eq!(post.frame().await.0, b"nipo");
        post.end();
    }
}

/// The answer to the first lasts beyond the first window of the second, whose answer waits for the other window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_whose_windows_overlap_both_are_answered() {
    let mut post = Post::new(ChipKind::Sx1262, 1.0, 10).await;
    let air = post.air.clone();
    let mut first = Node::new(&air, 400.0, false, SpreadingFactor::_10).await;
    let mut second = Node::new(&air, -300.0, false, SpreadingFactor::_10).await;
    let until = async |at: Duration| air.sleep(at.saturating_sub(air.now())).await;
    let answered = async {
        for _ in 0..5 {
            first.say(b"kwanza").await;
            second.say(b"pili").await;
            let end = air.now();
            for window_ms in [995, 1995] {
                until(end + Duration::from_millis(window_ms)).await;
                if let Some(answer) = second.hear(RxMode::Single(16)).await {
                    return Some((window_ms, answer));
                }
            }
        }
        None
    };
    let gateway = async {
        loop {
            let (phy, hearing) = post.frame().await;
            let answer: &[u8] = if phy == b"kwanza" { &[5; 60] } else { b"sawa" };
            post.send(answer, windows(&hearing), Urgency::Ordinary).await;
        }
    };
    let answer = tokio::select! {
        answer = answered => answer,
        () = gateway => None,
    };
    assert_eq!(answer, Some((1995, b"sawa".to_vec())), "{:?}", post.counters);
    post.end();
}

/// A frame that comes in is let come to its end, and what is to be sent goes out behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_siren_that_always_listens_is_told_and_nobody_is_talked_over() {
    let mut post = Post::new(ChipKind::Sx1262, 10.0, 10).await;
    let mut talker = Node::new(&post.air, 400.0, false, SpreadingFactor::_10).await;
    let mut siren = Node::new(&post.air, -300.0, false, SpreadingFactor::_10).await;
    let said = [7; 60];
    let order = async {
        post.air.sleep(Duration::from_millis(300)).await;
        post.send(b"lia", When::Always, Urgency::Danger).await;
        post.frame().await.0
    };
    let listens = async {
        // The talker is heard first, and then the order.
        let first = siren.hear(RxMode::Continuous).await;
        (first, siren.hear(RxMode::Continuous).await)
    };
    let ((), heard, (first, second)) = tokio::join!(talker.say(&said), order, listens);
    assert_eq!((heard.as_slice(), first.as_deref()), (&said[..], Some(&said[..])));
    assert_eq!(second.as_deref(), Some(&b"lia"[..]));
    post.end();
}

/// The frame of a stranger cannot be heard, but felt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_channel_is_felt_before_anything_is_sent() {
    let post = Post::new(ChipKind::Sx1262, 20.0, 10).await;
    let mut stranger = Node::new(&post.air, 400.0, true, SpreadingFactor::_10).await;
    let mut siren = Node::new(&post.air, -300.0, false, SpreadingFactor::_10).await;
    let order = async {
        post.air.sleep(Duration::from_millis(200)).await;
        post.send(b"lia", When::Always, Urgency::Danger).await;
    };
    let talks = async {
        for _ in 0..4 {
            stranger.say(&[9; 255]).await;
        }
    };
    let ((), (), heard) = tokio::join!(talks, order, siren.hear(RxMode::Continuous));
    assert_eq!(heard.as_deref(), Some(&b"lia"[..]));
    assert!(post.counters.busy.get() > 0, "{:?}", post.counters);
    post.end();
}

/// An independent witness on the air counts what was really sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hour_holds_more_than_the_plan_allows_and_danger_has_some_left() {
    let post = Post::new(ChipKind::Sx1262, 400.0, 12).await;
    let limit = post.air.watch(Limit {
        from_hz: 865e6,
        to_hz: 868.6e6,
        an_hour: Duration::from_secs(36),
        dwell_max: None,
        power_max_dbm: 14.0,
    });
    for urgency in [Urgency::Ordinary, Urgency::Danger] {
        for _ in 0..20 {
            post.send(&[1; 51], When::Always, urgency).await;
        }
        let waiting = |post: &Post| {
            let gone =
                post.counters.sent.get() + post.counters.held.get() + post.counters.late.get();
            let twenty = if urgency == Urgency::Ordinary { 20 } else { 40 };
            gone >= twenty
        };
        post.until(waiting).await;
    }
    let told = post.air.testimony(post.chip.id(), limit);
    assert!(told.is_lawful(), "{told:?}");
    assert_eq!(told.frames, post.counters.sent.get());
    // 51 bytes at SF12 are 2.47 s: ten fit 27 s, and four more the nine that are kept for danger.
    assert!((12..=14).contains(&told.frames), "{told:?}, {:?}", post.counters);
    assert!(post.counters.held.get() >= 20, "{:?}", post.counters);
    let (sent, allowed) = post.counters.share().unwrap();
    assert!(sent > 0.0075 && sent <= allowed, "{sent} of {allowed}");
    assert!(post.clock.now() < Timestamp::from_millis(3_600_000), "an hour has gone by");
    // And it is kept for the time after a restart.
    let record = std::fs::read_to_string(post.folder.path().join("airtime")).unwrap();
    assert_eq!(record.lines().count() as u64, told.frames, "{record}");
    post.end();
}
