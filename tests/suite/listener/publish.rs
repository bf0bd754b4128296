//! PUBLISH from clients: when it is acknowledged, and when it is not.

use super::*;

fn note(qos: u8, id: u16) -> Publish<'static> {
    Publish { topic: "a", payload: b"x", qos, id, ..Publish::default() }
}

#[tokio::test]
async fn no_acknowledgement_leaves_before_the_commit_mqtt_4_3_2_2() {
    let server = Server::open().await;
    server.plan(Plan::Hold);
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "p")).await;
        raw.publish(note(1, 1)).await;
        raw.publish(note(2, 2)).await;
        let heard = server.heard(2).await;
        assert_eq!((heard[0].client.as_str(), heard[0].topic.as_str()), ("p", "a"));
        assert_eq!(heard[0].payload, "x");
        raw.expect_silence().await;
        server.settle(Outcome::Committed);
        assert_eq!(raw.expect(0x40).await[..2], [0, 1]);
        assert_eq!(raw.expect(0x50).await[..2], [0, 2]);
    }
}

#[tokio::test]
async fn a_commit_that_fails_closes_the_connection_instead_of_an_acknowledgement() {
    let server = Server::open().await;
    server.plan(Plan::Settle(Outcome::NotStored));
    for (level, qos) in [(4, 1), (4, 2), (5, 1), (5, 2)] {
        let mut raw = server.client(hello(level, "p")).await;
        raw.publish(note(qos, 1)).await;
        raw.expect_end(0x89).await;
    }
}

#[tokio::test]
async fn what_can_never_be_taken_is_told_in_version_5_and_acknowledged_in_3_1_1() {
    let server = Server::open().await;
    server.plan(Plan::Settle(Outcome::Refused));
    let mut raw = server.client(hello(4, "p")).await;
    raw.publish(note(1, 1)).await;
    assert_eq!(raw.expect(0x40).await, [0, 1]);
    let mut raw = server.client(hello(5, "p")).await;
    raw.publish(note(1, 1)).await;
    assert_eq!(raw.expect(0x40).await, [0, 1, 0x83]);
    raw.publish(note(2, 2)).await;
    assert_eq!(raw.expect(0x50).await, [0, 2, 0x83]);
    // The identifier is free again (MQTT-4.3.3-9).
    server.plan(Plan::Settle(Outcome::Committed));
    raw.publish(note(2, 2)).await;
    assert!(matches!(raw.expect(0x50).await[..], [0, 2] | [0, 2, 0]));
}

#[tokio::test]
async fn acknowledgements_come_in_the_order_of_the_publications_mqtt_4_6_0_2() {
    let server = Server::open().await;
    server.plan(Plan::Hold);
    let mut raw = server.client(hello(4, "p")).await;
    for id in 1..=3 {
        raw.publish(note(1, id)).await;
    }
    server.heard(3).await;
    let mut held = std::mem::take(&mut server.pipeline.lock().unwrap().held);
    // The last one is on disk first.
    held.pop().unwrap().settle(Outcome::Committed);
    raw.expect_silence().await;
    for receipt in held {
        receipt.settle(Outcome::Committed);
    }
    for id in 1..=3 {
        assert_eq!(raw.expect(0x40).await, [0, id]);
    }
}

#[tokio::test]
async fn qos_2_is_taken_once_however_often_it_is_sent_mqtt_4_3_3_10() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "p")).await;
        let mut subscriber = server.client(hello(4, "s")).await;
        subscriber.subscribe(1, &[("a", 0)]).await;
        raw.publish(note(2, 5)).await;
        raw.expect(0x50).await;
        raw.publish(Publish { dup: true, ..note(2, 5) }).await;
        raw.expect(0x50).await;
        assert_eq!(server.heard(1).await.len(), 1);
        subscriber.message().await;
        subscriber.expect_silence().await;
        raw.send(&word(0x62, 5)).await;
        assert_eq!(raw.expect(0x70).await[..2], [0, 5], "MQTT-4.3.3-11");
        // After PUBREL, the identifier stands for a new message.
        raw.publish(note(2, 5)).await;
        raw.expect(0x50).await;
        server.heard(1).await;
        subscriber.message().await;
    }
}

#[tokio::test]
async fn a_duplicate_of_qos_2_is_not_acknowledged_before_the_commit_either() {
    let server = Server::open().await;
    server.plan(Plan::Hold);
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "p")).await;
        raw.publish(note(2, 5)).await;
        raw.publish(Publish { dup: true, ..note(2, 5) }).await;
        server.heard(1).await;
        raw.expect_silence().await;
        server.settle(Outcome::Committed);
        raw.expect(0x50).await;
        raw.expect_silence().await;
    }
}

#[tokio::test]
async fn a_release_of_an_unknown_identifier_is_told_so_mqtt_3_7_2_1() {
    let server = Server::open().await;
    let mut raw = server.client(hello(5, "p")).await;
    raw.send(&word(0x62, 77)).await;
    assert_eq!(raw.expect(0x70).await, [0, 77, 0x92]);
    let mut raw = server.client(hello(4, "p")).await;
    raw.send(&word(0x62, 77)).await;
    assert_eq!(raw.expect(0x70).await, [0, 77]);
}

#[tokio::test]
async fn a_duplicate_reaches_the_pipeline_marked_and_subscribers_unmarked_mqtt_3_3_1_3() {
    let server = Server::open().await;
    let mut subscriber = server.client(hello(4, "s")).await;
    subscriber.subscribe(1, &[("a", 1)]).await;
    let mut raw = server.client(hello(4, "p")).await;
    raw.publish(Publish { dup: true, ..note(1, 1) }).await;
    raw.expect(0x40).await;
    assert!(server.heard(1).await[0].redelivered);
    assert!(!subscriber.message().await.dup);
}

#[tokio::test]
async fn publications_that_break_the_protocol_end_the_connection_mqtt_3_3() {
    let server = Server::open().await;
    let plain = |first: u8, topic: &str, level: u8| {
        let mut body = text(topic);
        if first & 6 != 0 {
            body.extend([0, 1]);
        }
        if level == 5 {
            body.push(0);
        }
        packet(first, &body)
    };
    for level in [4, 5] {
        for (what, bytes, code) in [
            ("a wildcard in the topic (MQTT-3.3.2-2)", plain(0x30, "a/+", level), 0x90),
            ("another wildcard", plain(0x32, "#", level), 0x90),
            ("U+0000 in the topic (MQTT-4.7.3-2)", plain(0x30, "a\0b", level), 0x90),
            ("QoS 3 (MQTT-3.3.1-4)", plain(0x36, "a", level), 0x81),
            ("a duplicate of QoS 0 (MQTT-3.3.1-2)", plain(0x38, "a", level), 0x81),
            ("identifier 0 (MQTT-2.2.1-3)", Publish { id: 0, ..note(1, 0) }.bytes(level), 0x82),
            ("a topic beyond the packet", packet(0x30, &[0, 9, b'a']), 0x81),
        ] {
            let mut raw = server.client(hello(level, "c")).await;
            raw.send(&bytes).await;
            match (level, raw.next().await) {
                (_, None) => {}
                (5, Some(end)) => assert_eq!((end.first, end.body[0]), (0xE0, code), "{what}"),
                (_, said) => panic!("{what}: {said:?}"),
            }
        }
        let mut raw = server.client(hello(level, "c")).await;
        raw.send(&plain(0x30, "", level)).await;
        let end = raw.next().await;
        assert!(end.is_none_or(|p| p.first == 0xE0), "no topic and no alias (MQTT-4.7.3-1)");
    }
    assert!(server.unheard());
}

#[tokio::test]
async fn properties_that_a_publication_cannot_have_end_the_connection_mqtt_3_3_2_and_4() {
    let server = Server::open().await;
    let mut wildcard = vec![0x08];
    wildcard.extend(text("a/#"));
    for (what, properties) in [
        ("identifier of a subscription (MQTT-3.3.4-6)", vec![0x0B, 1]),
        ("response topic with a wildcard (MQTT-3.3.2-14)", wildcard),
        ("payload format twice", vec![0x01, 0, 0x01, 1]),
        ("payload format 2", vec![0x01, 2]),
        ("alias 0 (MQTT-3.3.2-8)", two(0x23, 0)),
        ("alias above the bound (MQTT-3.3.2-9)", two(0x23, 17)),
        ("a property of CONNECT", two(0x21, 1)),
    ] {
        let mut raw = server.client(hello(5, "c")).await;
        raw.publish(Publish { properties: &properties, ..note(0, 0) }).await;
        let end = raw.next().await;
        assert!(end.is_none_or(|packet| packet.first == 0xE0), "{what}");
    }
    assert!(server.unheard());
}

#[tokio::test]
async fn an_alias_stands_for_the_topic_within_its_connection_mqtt_3_3_2_7_and_10() {
    let server = Server::open().await;
    let mut raw = server.client(hello(5, "p")).await;
    let alias = two(0x23, 16);
    raw.publish(Publish { properties: &alias, ..note(1, 1) }).await;
    raw.publish(Publish { properties: &alias, topic: "", ..note(1, 2) }).await;
    raw.expect(0x40).await;
    raw.expect(0x40).await;
    assert!(server.heard(2).await.iter().all(|heard| heard.topic == "a"));
    let mut again = server.client(hello(5, "p")).await;
    again.publish(Publish { properties: &alias, topic: "", ..note(0, 0) }).await;
    again.expect_end(0x94).await;
}

#[tokio::test]
async fn properties_go_on_to_subscribers_in_their_order_mqtt_3_3_2_15_to_20() {
    let server = Server::open().await;
    let mut subscriber = server.client(hello(5, "s")).await;
    subscriber.subscribe(1, &[("a", 0)]).await;
    let mut properties = vec![0x01, 1];
    for (id, value) in [(0x08, "back"), (0x09, "c"), (0x03, "text/plain")] {
        properties.push(id);
        properties.extend(text(value));
    }
    for (name, value) in [("k", "1"), ("k", "2"), ("j", "3")] {
        properties.push(0x26);
        properties.extend([text(name), text(value)].concat());
    }
    let mut raw = server.client(hello(5, "p")).await;
    raw.publish(Publish { properties: &properties, ..note(0, 0) }).await;
    assert_eq!(subscriber.message().await.properties, properties);
}

#[tokio::test]
async fn a_message_expires_and_the_time_that_is_left_goes_along_mqtt_3_3_2_5_and_6() {
    let server = Server::open().await;
    drop(server.client(hello(5, "s").lasting()).await.subscribe(1, &[("a", 1)]).await);
    let mut raw = server.client(hello(5, "p")).await;
    for (id, payload, seconds) in [(1, &b"short"[..], 1), (2, b"long", 100)] {
        let properties = four(0x02, seconds);
        raw.publish(Publish { properties: &properties, payload, ..note(1, id) }).await;
        raw.expect(0x40).await;
    }
    let begun = Instant::now();
    wait_for("the short one expires", || begun.elapsed() > Duration::from_millis(1100)).await;
    let mut subscriber = server.client(hello(5, "s").lasting()).await;
    let message = subscriber.message().await;
    assert_eq!(message.payload, b"long");
    let left = property(&sized(&message.properties), 0x02).unwrap();
    assert!((90..100).contains(&left[3]), "{left:?}");
}

#[tokio::test]
async fn a_packet_beyond_the_bound_ends_the_connection_before_it_is_read_mqtt_3_2_2_15() {
    let limits = Limits { packet_bytes_max: 1000, ..open().limits };
    let server = Server::start(with_limits(limits)).await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "p")).await;
        // Nothing but the length of it.
        raw.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]).await;
        raw.expect_end(0x95).await;
        let mut raw = server.client(hello(level, "p")).await;
        raw.publish(Publish { payload: &[0; 900], ..note(1, 1) }).await;
        raw.expect(0x40).await;
    }
}

#[tokio::test]
async fn what_is_larger_than_a_subscriber_takes_is_left_out_mqtt_3_1_2_24_and_25() {
    let server = Server::open().await;
    let mut raw = server.client(hello(5, "s").properties(&four(0x27, 50))).await;
    raw.subscribe(1, &[("a", 1)]).await;
    for _ in 0..100 {
        server.handle.publish("a", &[b'.'; 60], false);
    }
    server.handle.publish("a", b"small", false);
    assert_eq!(raw.message().await.payload, b"small");
}

#[tokio::test]
async fn more_publications_than_the_receive_maximum_end_the_connection_mqtt_3_3_4_7() {
    let limits = Limits { inflight_max: 3, ..open().limits };
    let server = Server::start(with_limits(limits)).await;
    server.plan(Plan::Hold);
    let mut raw = server.client(hello(5, "p")).await;
    for id in 1..=4 {
        raw.publish(note(1 + u8::from(id == 2), id)).await;
    }
    raw.expect_end(0x93).await;
    server.settle(Outcome::Committed);
    server.heard(3).await;
    // 3.1.1 has no such bound: the client is not read from, and nothing is lost.
    let mut raw = server.client(hello(4, "q")).await;
    for id in 1..=9 {
        raw.publish(note(1, id)).await;
    }
    server.heard(3).await;
    server.plan(Plan::Settle(Outcome::Committed));
    server.settle(Outcome::Committed);
    for id in 1..=9 {
        assert_eq!(raw.expect(0x40).await, [0, id]);
    }
}

#[tokio::test]
async fn a_client_that_publishes_too_fast_is_slowed_down_and_loses_nothing() {
    let limits = Limits { rate_max: 20.0, inflight_max: 1000, ..open().limits };
    let server = Server::start(with_limits(limits)).await;
    let mut raw = server.client(hello(4, "p")).await;
    let begun = Instant::now();
    // Two hundred pass at once, the burst; thirty more take one and a half seconds.
    for id in 1..=230 {
        raw.publish(note(1, id)).await;
        raw.expect(0x40).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
