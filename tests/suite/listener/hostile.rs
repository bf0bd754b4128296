//! Bytes that no honest client sends.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use std::sync::atomic::Ordering;

/// Packets that are right, to be made wrong.
fn seeds(level: u8) -> Vec<Vec<u8>> {
    let will = Will { topic: "w", payload: b"gone", qos: 2, retain: true, properties: vec![] };
    let properties = [four(0x11, 60), two(0x21, 1), two(0x22, 0), four(0x27, 99)].concat();
    let publish = Publish { topic: "a/b", payload: b"payload", id: 1, ..Publish::default() };
    let with = [vec![0x01, 1], four(0x02, 3), two(0x23, 1)].concat();
    let mut seeds = vec![
        hello(level, "c").will(will).login("user", "password").bytes(),
        hello(level, "c").properties(if level == 5 { &properties } else { &[] }).bytes(),
        publish.bytes(level),
        Publish { qos: 1, ..publish }.bytes(level),
        Publish { qos: 2, retain: true, ..publish }.bytes(level),
        subscribe(level, 1, &[0x0B, 7], &[("a/+", 2), ("$share/g/a", 1), ("#", 0)]),
        unsubscribe(level, 2, &["a/+", "b"]),
        vec![0xC0, 0],
        vec![0xE0, 0],
    ];
    for first in [0x40, 0x50, 0x62, 0x70] {
        seeds.push(word(first, 1));
    }
    if level == 5 {
        seeds.push(Publish { properties: &with, ..publish }.bytes(level));
        seeds.push(packet(0xE0, &[vec![4], sized(&four(0x11, 9))].concat()));
        seeds.push(packet(0xF0, &[0x18, 0]));
    }
    seeds
}

/// Which packet, which of its bytes become what, and where it is cut off.
type Forged = (Index, Vec<(Index, u8)>, Option<Index>);

#[derive(Clone, Debug)]
struct Attack {
    level: u8,
    connected: bool,
    packets: Vec<Forged>,
    noise: Vec<u8>,
}

impl Attack {
    fn bytes(&self) -> Vec<u8> {
        let seeds = seeds(self.level);
        let mut bytes = Vec::new();
        for (which, changes, cut) in &self.packets {
            let mut packet = which.get(&seeds).clone();
            for (place, value) in changes {
                let place = place.index(packet.len());
                packet[place] = *value;
            }
            if let Some(cut) = cut {
                packet.truncate(cut.index(packet.len()));
            }
            bytes.extend(packet);
        }
        bytes.extend(&self.noise);
        bytes
    }
}

fn attack() -> impl Strategy<Value = Attack> {
    let index = any::<Index>;
    let change = (index(), any::<u8>());
    let one = (index(), prop::collection::vec(change, 0..4), prop::option::weighted(0.1, index()));
    let packets = prop::collection::vec(one, 1..8);
    let noise = prop::collection::vec(any::<u8>(), 0..20);
    (prop::sample::select(vec![4, 5]), any::<bool>(), packets, noise)
        .prop_map(|(level, connected, packets, noise)| Attack { level, connected, packets, noise })
}

#[test]
fn no_bytes_make_a_connection_panic_or_the_listener_deaf() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let panics = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&panics);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let of_a_connection = std::thread::current().name().is_some_and(|n| n.contains("tokio"));
        counted.fetch_add(u64::from(of_a_connection), Ordering::Relaxed);
        before(info);
    }));
    let server = runtime.block_on(Server::open());
    let mut bystander = runtime.block_on(server.client(hello(4, "bystander")));
    let mut runner = TestRunner::new(ProptestConfig { cases: 10_000, ..ProptestConfig::default() });
    let result = runner.run(&attack(), |attack| {
        runtime.block_on(async {
            let mut raw = if attack.connected {
                server.client(hello(attack.level, "c").lasting()).await
            } else {
                server.dial().await
            };
            // It may have been closed before all is written.
            let _written = raw.stream.write_all(&attack.bytes()).await.is_ok();
            let _closed = raw.stream.shutdown().await.is_ok();
            while timeout(PATIENCE, read_packet(&mut raw.stream))
                .await
                .expect("a connection whose client has gone ends")
                .is_some()
            {}
        });
        prop_assert_eq!(panics.load(Ordering::Relaxed), 0);
        Ok(())
    });
    runtime.block_on(bystander.expect_silence());
    result.unwrap();
}

#[tokio::test]
async fn a_length_that_is_no_length_ends_the_connection_mqtt_1_5_5() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "c")).await;
        raw.send(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]).await;
        raw.expect_end(0x81).await;
    }
    let mut raw = server.dial().await;
    raw.send(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]).await;
    assert_eq!(raw.next().await, None, "256 MB of CONNECT");
}

#[tokio::test]
async fn whoever_does_not_finish_connect_in_time_is_closed_however_busy_it_is() {
    let patience = Duration::from_millis(300);
    let server = Server::start(with_limits(Limits { patience, ..open().limits })).await;
    let mut silent = server.dial().await;
    let mut slow = server.dial().await;
    let begun = Instant::now();
    for byte in hello(4, "slow").bytes() {
        // The listener closes in the midst of it.
        if slow.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        if timeout(Duration::from_millis(50), slow.stream.read_u8()).await.is_ok() {
            break;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(silent.next().await, None);
}

#[tokio::test]
async fn connections_are_bounded_and_those_that_say_nothing_make_room_again() {
    let limits = Limits { connections_max: 4, ..open().limits };
    let server = Server::start(with_limits(limits)).await;
    let mut client = server.client(hello(4, "c")).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(server.dial().await);
    }
    let counters = server.handle.counters();
    wait_for("those too many are turned away", || counters.too_many.load(Ordering::Relaxed) == 17)
        .await;
    client.expect_silence().await;
    wait_for("the silent ones are closed", || counters.connections.load(Ordering::Relaxed) == 1)
        .await;
    server.client(hello(4, "d")).await.expect_silence().await;
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_closed_and_holds_nobody_up() {
    let patience = Duration::from_millis(500);
    let server = Server::start(with_limits(Limits { patience, ..open().limits })).await;
    let mut deaf = server.client(hello(4, "deaf")).await;
    deaf.subscribe(1, &[("a", 0)]).await;
    let mut publisher = server.client(hello(4, "p")).await;
    let payload = vec![0; 60_000];
    let counters = server.handle.counters();
    let until = Instant::now() + PATIENCE;
    while counters.connections.load(Ordering::Relaxed) > 1 {
        assert!(Instant::now() < until, "the deaf one is closed");
        publisher
            .publish(Publish { topic: "a", payload: &payload, qos: 1, id: 1, ..Publish::default() })
            .await;
        publisher.expect(0x40).await;
    }
}
