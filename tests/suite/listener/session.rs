//! What outlives a connection: subscriptions, messages under way, wills.

use super::*;

fn note(qos: u8, id: u16) -> Publish<'static> {
    Publish { topic: "a", payload: b"x", qos, id, ..Publish::default() }
}

fn will(properties: Vec<u8>) -> Will {
    Will { topic: "will", payload: b"gone", qos: 1, retain: false, properties }
}

#[tokio::test]
async fn a_session_is_present_where_it_was_kept_mqtt_3_2_2_1_to_3() {
    let server = Server::open().await;
    for level in [4, 5] {
        let name = format!("c{level}");
        let present = async |hello: Hello| server.connack(hello).await.1.body[0];
        assert_eq!(present(hello(level, &name).lasting()).await, 0);
        assert_eq!(present(hello(level, &name).lasting()).await, 1);
        assert_eq!(present(hello(level, &name)).await, 0, "clean (MQTT-3.1.2-4)");
    }
    // Not clean, and no word of how long: version 5 ends the session with the connection.
    let mut short = hello(5, "d");
    short.clean = false;
    for _ in 0..2 {
        let (mut raw, answer) = server.connack(short.clone()).await;
        assert_eq!(answer.body[0], 0, "MQTT-3.1.2-23");
        raw.send(&[0xE0, 0]).await;
        assert_eq!(raw.next().await, None);
    }
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_up_mqtt_3_1_2_23() {
    let server = Server::open().await;
    let mut raw = server.client(hello(5, "c").properties(&four(0x11, 1))).await;
    raw.send(&[0xE0, 0]).await;
    assert_eq!(raw.next().await, None);
    let begun = Instant::now();
    wait_for("its second is over", || begun.elapsed() > Duration::from_millis(2500)).await;
    let mut again = hello(5, "c");
    again.clean = false;
    assert_eq!(server.connack(again).await.1.body[0], 0);
}

#[tokio::test]
async fn disconnect_changes_how_long_a_session_lives_but_revives_none_mqtt_3_14_2_2_2() {
    let server = Server::open().await;
    let mut raw = server.client(hello(5, "c").lasting()).await;
    raw.send(&packet(0xE0, &[vec![0], sized(&four(0x11, 0))].concat())).await;
    assert_eq!(raw.next().await, None);
    let (_raw, answer) = server.connack(hello(5, "c").lasting()).await;
    assert_eq!(answer.body[0], 0);
    let mut raw = server.client(hello(5, "d")).await;
    raw.send(&packet(0xE0, &[vec![0], sized(&four(0x11, 9))].concat())).await;
    raw.expect_end(0x82).await;
}

#[tokio::test]
async fn a_subscriber_that_was_away_gets_what_came_and_in_order_mqtt_3_1_2_5() {
    let server = Server::open().await;
    for level in [4, 5] {
        let name = format!("s{level}");
        let mut raw = server.client(hello(level, &name).lasting()).await;
        raw.subscribe(1, &[("a", 2)]).await;
        raw.send(&[0xE0, 0]).await;
        assert_eq!(raw.next().await, None);
        let mut publisher = server.client(hello(4, "p")).await;
        for id in 1..=9_u16 {
            let payload = [u8::try_from(id).unwrap()];
            publisher.publish(Publish { payload: &payload, ..note(1, id) }).await;
            publisher.expect(0x40).await;
        }
        publisher.publish(note(0, 0)).await;
        publisher.expect_silence().await;
        let mut raw = server.client(hello(level, &name).lasting()).await;
        for number in 1..=9 {
            let message = raw.message().await;
            assert_eq!((message.payload, message.dup), (vec![number], false));
            raw.send(&word(0x40, message.id)).await;
        }
        raw.expect_silence().await;
        raw.send(&[0xE0, 0]).await;
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_with_its_identifier_mqtt_4_4_0_1() {
    let server = Server::open().await;
    for level in [4, 5] {
        let name = format!("s{level}");
        let mut raw = server.client(hello(level, &name).lasting()).await;
        raw.subscribe(1, &[("a", 1)]).await;
        for number in 1..=3 {
            server.handle.publish("a", &[number], false);
        }
        let first: Vec<Message> =
            vec![raw.message().await, raw.message().await, raw.message().await];
        raw.send(&word(0x40, first[1].id)).await;
        raw.expect_silence().await;
        drop(raw);
        let mut raw = server.client(hello(level, &name).lasting()).await;
        for place in [0, 2] {
            let again = raw.message().await;
            assert!(again.dup, "MQTT-3.3.1-1");
            assert_eq!((again.id, &again.payload), (first[place].id, &first[place].payload));
            raw.send(&word(0x40, again.id)).await;
        }
        raw.expect_silence().await;
    }
}

#[tokio::test]
async fn qos_2_reaches_a_subscriber_once_across_connections_mqtt_4_3_3() {
    let server = Server::open().await;
    for level in [4, 5] {
        let name = format!("s{level}");
        // A bound of its own makes the client's flow control take part.
        let connect = || {
            let hello = hello(level, &name).lasting();
            if level == 5 { hello.properties(&two(0x21, 2)) } else { hello }
        };
        let mut raw = server.client(connect()).await;
        raw.subscribe(1, &[("a", 2)]).await;
        let mut publisher = server.client(hello(4, "p")).await;
        for id in 1..=3 {
            publisher.publish(note(2, id)).await;
            publisher.expect(0x50).await;
        }
        let (one, other) = (raw.message().await, raw.message().await);
        assert_eq!((one.qos, other.qos), (2, 2));
        if level == 5 {
            raw.expect_silence().await;
        }
        raw.send(&word(0x50, one.id)).await;
        while raw.next().await.unwrap().first != 0x62 {}
        drop(raw);
        // The first is known to have arrived: only its release is sent again. The others are sent again.
        let mut raw = server.client(connect()).await;
        assert_eq!(raw.expect(0x62).await[..2], one.id.to_be_bytes());
        let again = raw.message().await;
        assert_eq!((again.id, again.dup), (other.id, true));
        raw.send(&word(0x70, one.id)).await;
        raw.send(&word(0x50, again.id)).await;
        let mut released = false;
        let mut third = None;
        while !released || third.is_none() {
            let packet = raw.next().await.unwrap();
            match packet.first >> 4 {
                6 => released = packet.body[..2] == again.id.to_be_bytes(),
                _ => third = Some(Message::read(level, &packet)),
            }
        }
        raw.send(&word(0x70, again.id)).await;
        raw.send(&word(0x50, third.unwrap().id)).await;
        raw.expect(0x62).await;
        raw.expect_silence().await;
    }
}

#[tokio::test]
async fn qos_2_is_taken_once_across_connections_mqtt_4_3_3() {
    let server = Server::open().await;
    for level in [4, 5] {
        let name = format!("p{level}");
        let mut raw = server.client(hello(level, &name).lasting()).await;
        raw.publish(note(2, 8)).await;
        raw.expect(0x50).await;
        drop(raw);
        // Sent again in the same breath as CONNECT.
        let mut raw = server.dial().await;
        let again = Publish { dup: true, ..note(2, 8) };
        raw.send(&[hello(level, &name).lasting().bytes(), again.bytes(level)].concat()).await;
        assert_eq!(raw.expect(0x20).await[..2], [1, 0]);
        raw.expect(0x50).await;
        raw.send(&word(0x62, 8)).await;
        assert_eq!(raw.expect(0x70).await, [0, 8], "it was known");
        assert_eq!(server.heard(1).await.len(), 1);
    }
}

#[tokio::test]
async fn a_new_session_gets_nothing_of_the_old_one_mqtt_3_1_2_4() {
    let server = Server::open().await;
    let mut old = server.client(hello(4, "s").lasting()).await;
    old.subscribe(1, &[("a", 1)]).await;
    server.handle.publish("a", b"x", false);
    old.message().await;
    // It is still connected when the new one comes.
    let mut new = server.client(hello(4, "s")).await;
    assert_eq!(old.next().await, None);
    new.expect_silence().await;
    new.subscribe(1, &[("b", 1)]).await;
    server.handle.publish("b", b"y", false);
    assert_eq!(new.message().await.topic, "b");
}

#[tokio::test]
async fn a_slow_subscriber_gets_no_more_than_it_takes_mqtt_3_3_4_9() {
    let server = Server::open().await;
    let mut raw = server.client(hello(5, "s").properties(&two(0x21, 2))).await;
    raw.subscribe(1, &[("a", 1)]).await;
    for number in 0..5 {
        server.handle.publish("a", &[number], false);
    }
    let mut under_way = vec![raw.message().await.id, raw.message().await.id];
    for _ in 2..5 {
        raw.expect_silence().await;
        raw.send(&word(0x40, under_way.remove(0))).await;
        under_way.push(raw.message().await.id);
    }
}

#[tokio::test]
async fn the_oldest_messages_of_a_subscriber_that_is_away_go_first() {
    let limits = Limits { session_queue_max: 3, ..open().limits };
    let server = Server::start(with_limits(limits)).await;
    let mut raw = server.client(hello(4, "s").lasting()).await;
    raw.subscribe(1, &[("a", 1)]).await;
    raw.send(&[0xE0, 0]).await;
    assert_eq!(raw.next().await, None);
    for number in 0..5 {
        server.handle.publish("a", &[number], false);
    }
    let mut raw = server.client(hello(4, "s").lasting()).await;
    for number in 2..5 {
        assert_eq!(raw.message().await.payload, [number]);
    }
    let dropped = server.handle.counters().dropped.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(dropped, 2);
}

#[tokio::test]
async fn sessions_and_subscriptions_are_bounded() {
    let limits = Limits { sessions_max: 2, subscriptions_max: 2, ..open().limits };
    let server = Server::start(with_limits(limits)).await;
    let mut one = server.client(hello(5, "1")).await;
    assert_eq!(one.subscribe(1, &[("a", 0), ("b", 0), ("c", 0)]).await, [0, 0, 0x97]);
    let _other = server.client(hello(4, "2")).await;
    for (level, answer) in [(4, &[0, 0x03][..]), (5, &[0, 0x97, 0])] {
        let mut raw = server.dial().await;
        raw.send(&hello(level, "3").bytes()).await;
        assert_eq!(raw.expect(0x20).await, answer);
        assert_eq!(raw.next().await, None);
    }
}

#[tokio::test]
async fn a_will_comes_true_when_the_connection_breaks_and_not_after_a_goodbye_mqtt_3_1_2_8() {
    let server = Server::open().await;
    let mut subscriber = server.client(hello(4, "s")).await;
    subscriber.subscribe(1, &[("will", 1)]).await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "c").will(will(vec![]))).await;
        raw.send(&[0xE0, 0]).await;
        assert_eq!(raw.next().await, None);
        subscriber.expect_silence().await;
        drop(server.client(hello(level, "c").will(will(vec![]))).await);
        let message = subscriber.message().await;
        assert_eq!((message.payload.as_slice(), message.qos), (&b"gone"[..], 1));
        let mut raw = server.client(hello(level, "c").will(will(vec![]))).await;
        raw.send(&[0x00, 0x00]).await;
        subscriber.message().await;
    }
    let mut raw = server.client(hello(5, "c").will(will(vec![]))).await;
    raw.send(&packet(0xE0, &[0x04])).await;
    subscriber.message().await;
    assert_eq!(server.heard(5).await.len(), 5, "the pipeline hears of each");
}

#[tokio::test]
async fn a_will_that_is_to_be_retained_is_mqtt_3_1_2_17() {
    let server = Server::open().await;
    drop(server.client(hello(4, "c").will(Will { retain: true, ..will(vec![]) })).await);
    server.heard(1).await;
    let mut subscriber = server.client(hello(4, "s")).await;
    subscriber.subscribe(1, &[("will", 0)]).await;
    let message = subscriber.message().await;
    assert!(message.retain && message.payload == b"gone");
}

#[tokio::test]
async fn a_will_waits_for_its_delay_and_is_void_when_the_client_is_back_mqtt_3_1_3_9() {
    let server = Server::open().await;
    let mut subscriber = server.client(hello(4, "s")).await;
    subscriber.subscribe(1, &[("will", 1)]).await;
    let delayed = || hello(5, "c").lasting().will(will(four(0x18, 1)));
    let mut raw = server.client(delayed()).await;
    raw.send(&[0x00, 0x00]).await;
    raw.expect_end(0x81).await;
    let begun = Instant::now();
    subscriber.message().await;
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?}", begun.elapsed());
    // Back in time, even while the first connection is open still.
    let _first = server.client(delayed()).await;
    let mut second = server.client(delayed()).await;
    second.send(&[0xE0, 0]).await;
    assert_eq!(second.next().await, None);
    let begun = Instant::now();
    wait_for("the delay is over", || begun.elapsed() > Duration::from_millis(2200)).await;
    subscriber.expect_silence().await;
    // A clean start ends the session, and the delay with it.
    let long = || hello(5, "c").lasting().will(will(four(0x18, 600)));
    let _first = server.client(long()).await;
    let _second = server.client(hello(5, "c")).await;
    subscriber.message().await;
}

#[tokio::test]
async fn a_will_that_cannot_be_published_is_refused() {
    let server = Server::open().await;
    let wrong = Will { topic: "a/#", ..will(vec![]) };
    let mut raw = server.dial().await;
    raw.send(&hello(5, "c").will(wrong.clone()).bytes()).await;
    assert_eq!(raw.expect(0x20).await, [0, 0x90, 0]);
    let mut raw = server.dial().await;
    raw.send(&hello(4, "c").will(wrong).bytes()).await;
    assert_eq!(raw.next().await, None);
}
