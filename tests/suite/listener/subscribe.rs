//! SUBSCRIBE and UNSUBSCRIBE, and what subscribers get.

use super::*;

fn note(topic: &'static str, payload: &'static [u8]) -> Publish<'static> {
    Publish { topic, payload, ..Publish::default() }
}

fn kept(topic: &'static str, payload: &'static [u8]) -> Publish<'static> {
    Publish { retain: true, qos: 1, id: 1, ..note(topic, payload) }
}

/// Publishes with QoS 1, and waits until it is acknowledged.
async fn publish(raw: &mut Raw, publish: Publish<'_>) {
    raw.publish(Publish { qos: 1, id: 100, ..publish }).await;
    raw.expect(0x40).await;
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_and_the_others_are_granted_mqtt_4_7_1() {
    let server = Server::open().await;
    let filters = [("a/#", 2), ("a/#/b", 0), ("a#", 0), ("b+", 0), ("+/+", 1), ("#", 0)];
    let mut raw = server.client(hello(4, "c")).await;
    assert_eq!(raw.subscribe(1, &filters).await, [2, 0x80, 0x80, 0x80, 1, 0], "MQTT-3.8.4-4");
    let mut raw = server.client(hello(5, "d")).await;
    assert_eq!(raw.subscribe(1, &filters).await, [2, 0x8F, 0x8F, 0x8F, 1, 0]);
}

#[tokio::test]
async fn subscriptions_that_cannot_be_read_end_the_connection_mqtt_3_8_3() {
    let server = Server::open().await;
    for level in [4, 5] {
        for (what, bytes) in [
            ("no filter (MQTT-3.8.3-2)", subscribe(level, 1, &[], &[])),
            ("QoS 3 (MQTT-3.8.3-4)", subscribe(level, 1, &[], &[("a", 3)])),
            ("reserved options (MQTT-3.8.3-5)", subscribe(level, 1, &[], &[("a", 0xC1)])),
            ("identifier 0 (MQTT-2.2.1-3)", subscribe(level, 0, &[], &[("a", 1)])),
            ("nothing to unsubscribe (MQTT-3.10.3-2)", unsubscribe(level, 1, &[])),
        ] {
            let mut raw = server.client(hello(level, "c")).await;
            raw.send(&bytes).await;
            let end = raw.next().await;
            assert!(
                end.is_none_or(|p| p.first == 0xE0 && matches!(p.body[0], 0x81 | 0x82)),
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn every_filter_of_the_standards_examples_matches_what_it_should_mqtt_4_7_1() {
    let server = Server::open().await;
    let mut publisher = server.client(hello(4, "p")).await;
    for (filter, topic, wanted) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/+", "sport/", true),
        ("sport/+", "sport", false),
        ("+/+", "/finance", true),
        ("+", "/finance", false),
        ("Accounts", "ACCOUNTS", false),
    ] {
        let mut raw = server.client(hello(4, "s")).await;
        raw.subscribe(1, &[(filter, 0)]).await;
        publish(&mut publisher, note(topic, b"x")).await;
        if wanted {
            assert_eq!(raw.message().await.topic, topic);
        }
        raw.expect_silence().await;
    }
}

#[tokio::test]
async fn wildcards_at_the_head_do_not_match_topics_of_the_server_mqtt_4_7_2_1() {
    let server = Server::open().await;
    let mut raw = server.client(hello(4, "s")).await;
    raw.subscribe(1, &[("#", 1), ("+/up", 1)]).await;
    server.handle.publish("$SYS/up", b"1", true);
    raw.expect_silence().await;
    raw.subscribe(2, &[("$SYS/#", 1)]).await;
    assert_eq!(raw.message().await.topic, "$SYS/up");
    // Nobody talks over the server's names: 3.1.1 acknowledges and drops, 5 says so.
    raw.publish(Publish { qos: 1, id: 3, ..note("$SYS/up", b"2") }).await;
    assert_eq!(raw.expect(0x40).await, [0, 3]);
    raw.expect_silence().await;
    let mut raw = server.client(hello(5, "t")).await;
    raw.publish(Publish { qos: 1, id: 3, ..note("$SYS/up", b"2") }).await;
    assert_eq!(raw.expect(0x40).await, [0, 3, 0x87]);
    assert!(server.unheard());
}

#[tokio::test]
async fn overlapping_subscriptions_bring_one_copy_with_the_highest_qos_mqtt_3_3_5_1() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "s")).await;
        raw.subscribe(1, &[("a/+", 0), ("a/#", 2), ("a/b", 1)]).await;
        let mut other = server.client(hello(4, "p")).await;
        other.publish(Publish { qos: 2, id: 5, ..note("a/b", b"x") }).await;
        other.expect(0x50).await;
        assert_eq!(raw.message().await.qos, 2);
        raw.expect_silence().await;
    }
}

#[tokio::test]
async fn a_message_comes_with_the_lower_qos_of_publication_and_subscription_mqtt_3_8_4_6() {
    let server = Server::open().await;
    let mut publisher = server.client(hello(4, "p")).await;
    for granted in 0..=2 {
        let mut raw = server.client(hello(4, "s")).await;
        assert_eq!(raw.subscribe(1, &[("a", granted)]).await, [granted]);
        for qos in 0..=2 {
            publisher.publish(Publish { qos, id: 9, ..note("a", b"x") }).await;
            assert_eq!(raw.message().await.qos, granted.min(qos), "{granted} {qos}");
            match qos {
                1 => drop(publisher.expect(0x40).await),
                2 => {
                    publisher.expect(0x50).await;
                    publisher.send(&word(0x62, 9)).await;
                    publisher.expect(0x70).await;
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn what_is_retained_comes_with_the_subscription_and_is_marked_mqtt_3_3_1_6() {
    let server = Server::open().await;
    let mut publisher = server.client(hello(4, "p")).await;
    for (topic, payload) in [("r/1", &b"old"[..]), ("r/1", b"one"), ("r/2", b"two")] {
        publisher.publish(Publish { payload, ..kept(topic, b"") }).await;
        publisher.expect(0x40).await;
    }
    let mut raw = server.client(hello(4, "s")).await;
    raw.subscribe(1, &[("r/#", 1)]).await;
    for (topic, payload) in [("r/1", b"one"), ("r/2", b"two")] {
        let message = raw.message().await;
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), (topic, &payload[..]));
        assert!(message.retain, "MQTT-3.3.1-8");
    }
    // To a subscription that is there, it is a message like any other.
    publish(&mut publisher, kept("r/1", b"three")).await;
    assert!(!raw.message().await.retain, "MQTT-3.3.1-9");
    raw.expect_silence().await;
    for (filter, payload) in [("r/1", &b"three"[..]), ("r/2", b"two")] {
        raw.subscribe(2, &[(filter, 0)]).await;
        assert_eq!(raw.message().await.payload, payload);
    }
}

#[tokio::test]
async fn an_empty_payload_takes_a_retained_message_away_mqtt_3_3_1_10() {
    let server = Server::open().await;
    let mut publisher = server.client(hello(4, "p")).await;
    publish(&mut publisher, kept("r", b"x")).await;
    let mut raw = server.client(hello(4, "s")).await;
    raw.subscribe(1, &[("r", 0)]).await;
    raw.message().await;
    publish(&mut publisher, kept("r", b"")).await;
    let gone = raw.message().await;
    assert_eq!((gone.payload.len(), gone.retain), (0, false), "subscribers hear of it");
    raw.subscribe(2, &[("r", 0)]).await;
    raw.expect_silence().await;
    // What is not marked to be retained takes nothing away and leaves nothing (MQTT-3.3.1-12).
    publish(&mut publisher, kept("r", b"y")).await;
    publish(&mut publisher, note("r", b"")).await;
    let mut late = server.client(hello(4, "late")).await;
    late.subscribe(1, &[("r", 0)]).await;
    assert_eq!(late.message().await.payload, b"y");
}

#[tokio::test]
async fn retain_handling_says_when_what_is_retained_comes_mqtt_3_3_1_9_to_11() {
    let server = Server::open().await;
    server.handle.publish("r", b"x", true);
    let mut raw = server.client(hello(5, "s")).await;
    for (handling, comes) in [(2, false), (0, true), (0, true), (1, false)] {
        raw.subscribe(1, &[("r", handling << 4)]).await;
        if comes {
            assert_eq!(raw.message().await.payload, b"x");
        }
        raw.expect_silence().await;
    }
    raw.send(&unsubscribe(5, 2, &["r"])).await;
    raw.expect(0xB0).await;
    raw.subscribe(3, &[("r", 1 << 4)]).await;
    assert_eq!(raw.message().await.payload, b"x", "1: a new subscription");
    let mut raw = server.client(hello(5, "t")).await;
    raw.send(&subscribe(5, 1, &[], &[("r", 3 << 4)])).await;
    let end = raw.next().await;
    assert!(end.is_none_or(|packet| packet.first == 0xE0), "3 is no handling (MQTT-3.8.3-5)");
}

#[tokio::test]
async fn a_client_hears_itself_unless_it_asks_not_to_mqtt_3_8_3_3() {
    let server = Server::open().await;
    let mut raw = server.client(hello(5, "s")).await;
    raw.subscribe(1, &[("a", 0)]).await;
    raw.publish(note("a", b"1")).await;
    assert_eq!(raw.message().await.payload, b"1");
    raw.subscribe(2, &[("a", 4)]).await;
    raw.publish(note("a", b"2")).await;
    raw.expect_silence().await;
    let mut other = server.client(hello(5, "o")).await;
    other.publish(note("a", b"3")).await;
    assert_eq!(raw.message().await.payload, b"3");
}

#[tokio::test]
async fn retain_as_published_keeps_the_mark_mqtt_3_3_1_12_and_13() {
    let server = Server::open().await;
    let mut as_is = server.client(hello(5, "as-is")).await;
    let mut plain = server.client(hello(5, "plain")).await;
    as_is.subscribe(1, &[("a", 8)]).await;
    plain.subscribe(1, &[("a", 0)]).await;
    let mut publisher = server.client(hello(5, "p")).await;
    publish(&mut publisher, kept("a", b"x")).await;
    assert!(as_is.message().await.retain);
    assert!(!plain.message().await.retain);
}

#[tokio::test]
async fn identifiers_of_all_subscriptions_that_match_come_along_mqtt_3_3_4_3_and_4() {
    let server = Server::open().await;
    server.handle.publish("a/r", b"kept", true);
    let mut raw = server.client(hello(5, "s")).await;
    for (id, number, filter) in [(1, 7, "a/+"), (2, 9, "a/b"), (3, 11, "c")] {
        raw.send(&subscribe(5, id, &[0x0B, number], &[(filter, 0)])).await;
        raw.expect(0x90).await;
        if id == 1 {
            assert_eq!(raw.message().await.properties, [0x0B, 7], "also with what is retained");
        }
    }
    server.handle.publish("a/b", b"x", false);
    assert_eq!(raw.message().await.properties, [0x0B, 7, 0x0B, 9]);
    raw.send(&subscribe(5, 4, &[0x0B, 0], &[("d", 0)])).await;
    let end = raw.next().await;
    assert!(end.is_none_or(|packet| packet.first == 0xE0), "0 is no identifier");
}

#[tokio::test]
async fn a_subscription_to_the_same_filter_replaces_the_first_mqtt_3_8_4_3() {
    let server = Server::open().await;
    let mut raw = server.client(hello(4, "s")).await;
    raw.subscribe(1, &[("a", 2)]).await;
    raw.subscribe(2, &[("a", 0)]).await;
    server.handle.publish("a", b"x", false);
    assert_eq!(raw.message().await.qos, 0);
    raw.expect_silence().await;
}

#[tokio::test]
async fn unsubscribing_ends_what_comes_and_is_always_acknowledged_mqtt_3_10_4() {
    let server = Server::open().await;
    let mut raw = server.client(hello(4, "s")).await;
    raw.subscribe(1, &[("a/b", 1), ("a/+", 0)]).await;
    raw.send(&unsubscribe(4, 2, &["a/b", "never"])).await;
    assert_eq!(raw.expect(0xB0).await, [0, 2], "MQTT-3.10.4-5");
    server.handle.publish("a/b", b"x", false);
    assert_eq!(raw.message().await.qos, 0, "filters are compared letter by letter (MQTT-3.10.4-1)");
    let mut raw = server.client(hello(5, "t")).await;
    raw.subscribe(1, &[("a", 0)]).await;
    raw.send(&unsubscribe(5, 2, &["a", "never"])).await;
    assert_eq!(raw.expect(0xB0).await, [0, 2, 0, 0x00, 0x11], "MQTT-3.11.3-2");
    server.handle.publish("a", b"x", false);
    raw.expect_silence().await;
}

#[tokio::test]
async fn one_of_a_group_gets_each_message_of_a_shared_subscription_mqtt_4_8_2() {
    let server = Server::open().await;
    server.handle.publish("a/r", b"kept", true);
    let mut one = server.client(hello(5, "one")).await;
    let mut other = server.client(hello(5, "other")).await;
    let mut alone = server.client(hello(5, "alone")).await;
    for raw in [&mut one, &mut other] {
        assert_eq!(raw.subscribe(1, &[("$share/g/a/+", 0)]).await, [0]);
        raw.expect_silence().await;
    }
    alone.subscribe(1, &[("a/b", 0)]).await;
    for number in *b"1234" {
        server.handle.publish("a/b", &[number], false);
    }
    for number in *b"1234" {
        assert_eq!(alone.message().await.payload, [number]);
    }
    for raw in [&mut one, &mut other] {
        raw.message().await;
        raw.message().await;
        raw.expect_silence().await;
    }
    // The one that goes leaves everything to the other.
    one.send(&unsubscribe(5, 2, &["$share/g/a/+"])).await;
    assert_eq!(one.expect(0xB0).await, [0, 2, 0, 0]);
    for _ in 0..2 {
        server.handle.publish("a/b", b"x", false);
        other.message().await;
    }
}

#[tokio::test]
async fn names_of_groups_are_checked_mqtt_4_8_2_1_and_2() {
    let server = Server::open().await;
    for filter in ["$share//a", "$share/g", "$share/g+/a", "$share/g/a/#/b"] {
        let mut raw = server.client(hello(5, "s")).await;
        raw.send(&subscribe(5, 1, &[], &[(filter, 0)])).await;
        match raw.next().await.unwrap() {
            Packet { first: 0x90, body } => assert_eq!(body, [0, 1, 0, 0x8F], "{filter}"),
            Packet { first, body } => assert_eq!((first, body[0]), (0xE0, 0x81), "{filter}"),
        }
    }
    let mut raw = server.client(hello(5, "s")).await;
    raw.send(&subscribe(5, 2, &[], &[("$share/g/a", 4)])).await;
    raw.expect_end(0x82).await;
}

#[tokio::test]
async fn messages_of_one_publisher_arrive_in_their_order_mqtt_4_6_0_5_and_6() {
    let server = Server::open().await;
    for (level, qos) in [(4, 0), (4, 1), (4, 2), (5, 1), (5, 2)] {
        let mut raw = server.client(hello(level, "s")).await;
        raw.subscribe(1, &[("a", qos)]).await;
        for number in 0..200_u8 {
            server.handle.publish("a", &[number], false);
        }
        for number in 0..200_u8 {
            let message = raw.message().await;
            assert_eq!(message.payload, [number], "QoS {qos}");
            // The gateway's own messages are of QoS 1.
            assert_eq!(message.qos, qos.min(1));
            if message.qos == 1 {
                raw.send(&word(0x40, message.id)).await;
            }
        }
        raw.expect_silence().await;
    }
}

#[tokio::test]
async fn retained_messages_are_bounded_and_known_topics_are_still_renewed() {
    let server = Server::start(with_limits(Limits { retained_max: 2, ..open().limits })).await;
    for (topic, payload) in [("r/1", b"a"), ("r/2", b"b"), ("r/3", b"c"), ("r/1", b"d")] {
        server.handle.publish(topic, payload, true);
    }
    let mut raw = server.client(hello(4, "s")).await;
    raw.subscribe(1, &[("r/+", 0)]).await;
    assert_eq!(raw.message().await.payload, b"d");
    assert_eq!(raw.message().await.payload, b"b");
    raw.expect_silence().await;
}
