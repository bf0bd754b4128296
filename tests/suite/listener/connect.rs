//! CONNECT: who is let in, and how the others are told.

use super::*;

/// Sends these bytes first, and returns what is said before the connection is closed.
async fn said_to(server: &Server, bytes: &[u8]) -> Option<Packet> {
    let mut raw = server.dial().await;
    raw.send(bytes).await;
    let answer = raw.next().await?;
    assert_eq!(raw.next().await, None, "closed after {answer:?}");
    Some(answer)
}

fn connack(body: &[u8]) -> Packet {
    Packet { first: 0x20, body: body.to_vec() }
}

#[tokio::test]
async fn a_protocol_level_that_is_not_spoken_is_refused_by_its_own_code_mqtt_3_1_2_2() {
    let server = Server::open().await;
    assert_eq!(said_to(&server, &hello(3, "c").bytes()).await, Some(connack(&[0, 0x01])));
    assert_eq!(
        said_to(&server, &hello(3, "c").bytes_as("MQIsdp", 2)).await,
        Some(connack(&[0, 0x01])),
        "MQTT 3.1"
    );
    assert_eq!(said_to(&server, &hello(6, "c").bytes()).await, Some(connack(&[0, 0x84, 0])));
}

#[tokio::test]
async fn another_protocol_name_is_not_let_in_mqtt_3_1_2_1() {
    let server = Server::open().await;
    assert_eq!(said_to(&server, &hello(4, "c").bytes_as("MQTX", 2)).await, None);
    let answer = said_to(&server, &hello(5, "c").bytes_as("MQTX", 2)).await;
    assert!(answer.is_none_or(|a| a.body[1] >= 0x80));
}

#[tokio::test]
async fn a_first_packet_that_is_not_connect_closes_the_connection_mqtt_3_1_0_1() {
    let server = Server::open().await;
    let publish = Publish { topic: "a", payload: b"x", ..Publish::default() };
    for bytes in [vec![0xC0, 0], publish.bytes(4), subscribe(4, 1, &[], &[("a", 0)])] {
        assert_eq!(said_to(&server, &bytes).await, None, "{bytes:02x?}");
    }
    assert!(server.unheard());
}

#[tokio::test]
async fn a_second_connect_closes_the_connection_mqtt_3_1_0_2() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "c")).await;
        raw.send(&hello(level, "c").bytes()).await;
        raw.expect_end(0x82).await;
    }
    let mut raw = server.dial().await;
    let twice = [hello(4, "d").bytes(), hello(4, "d").bytes()].concat();
    raw.send(&twice).await;
    assert_eq!(raw.expect(0x20).await, [0, 0]);
    assert_eq!(raw.next().await, None, "also when both come at once");
}

#[tokio::test]
async fn flags_that_contradict_each_other_are_malformed_mqtt_3_1_2() {
    let server = Server::open().await;
    let will = Will { topic: "w", payload: b"", qos: 0, retain: false, properties: vec![] };
    for (what, flags, with_will) in [
        ("reserved flag (MQTT-3.1.2-3)", 0x03, false),
        ("will QoS without will (MQTT-3.1.2-13)", 0x0A, false),
        ("will retain without will (MQTT-3.1.2-15)", 0x22, false),
        ("will QoS 3 (MQTT-3.1.2-14)", 0x1E, true),
        ("user name that is not there (MQTT-3.1.2-17)", 0x82, false),
    ] {
        for level in [4, 5] {
            let mut connect = hello(level, "c");
            if with_will {
                connect = connect.will(will.clone());
            }
            let answer = said_to(&server, &connect.bytes_as("MQTT", flags)).await;
            match (level, answer) {
                // 3.1.1 has no code for it (MQTT-3.2.2-6).
                (4, answer) => assert_eq!(answer, None, "{what}"),
                (_, answer) => {
                    let answer = answer.expect(what);
                    assert!(matches!(answer.body[1], 0x81 | 0x82), "{what} {answer:02x?}");
                }
            }
        }
    }
    // A password without a user name: 3.1.1 forbids it (MQTT-3.1.2-22), 5 does not.
    let mut bytes = hello(4, "c").bytes_as("MQTT", 0x42);
    bytes.extend(text("secret"));
    bytes[1] += 8;
    assert_eq!(said_to(&server, &bytes).await, None);
}

#[tokio::test]
async fn a_client_without_a_name_gets_one_or_none_mqtt_3_1_3_6_to_8() {
    let server = Server::open().await;
    let mut nameless = hello(4, "");
    nameless.clean = false;
    assert_eq!(said_to(&server, &nameless.bytes()).await, Some(connack(&[0, 0x02])));
    let (_raw, answer) = server.connack(hello(4, "")).await;
    assert_eq!(answer.body, [0, 0]);
    let (_one, first) = server.connack(hello(5, "")).await;
    let (_other, second) = server.connack(hello(5, "")).await;
    let name = |answer: &Packet| property(&answer.body[2..], 0x12).expect("an assigned name");
    assert_ne!(name(&first), name(&second), "MQTT-3.2.2-16");
}

#[tokio::test]
async fn the_welcome_of_version_5_names_the_bounds_mqtt_3_2_2() {
    let limits = Limits {
        inflight_max: 9,
        packet_bytes_max: 5000,
        session_expiry_max: Duration::from_secs(77),
        keep_alive_s_max: Some(60),
        ..open().limits
    };
    let server = Server::start(with_limits(limits)).await;
    let mut asking = hello(5, "c").properties(&four(0x11, 1000));
    asking.keep_alive_s = 120;
    let (_raw, answer) = server.connack(asking).await;
    let properties = &answer.body[2..];
    assert_eq!(property(properties, 0x21), Some(vec![0, 9]), "Receive Maximum");
    assert_eq!(property(properties, 0x27), Some(vec![0, 0, 19, 136]), "Maximum Packet Size");
    assert_eq!(property(properties, 0x22), Some(vec![0, 16]), "Topic Alias Maximum");
    assert_eq!(property(properties, 0x13), Some(vec![0, 60]), "Server Keep Alive (MQTT-3.1.2-21)");
    assert_eq!(property(properties, 0x11), Some(vec![0, 0, 0, 77]), "Session Expiry Interval");
    assert_eq!(property(properties, 0x24), None, "Maximum QoS: absent, it is 2 (MQTT-3.2.2-9)");
}

#[tokio::test]
async fn a_client_that_connects_again_takes_its_session_over_mqtt_3_1_4_3() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut first = server.client(hello(level, "same")).await;
        let mut second = server.client(hello(level, "same")).await;
        first.expect_end(0x8E).await;
        second.expect_silence().await;
    }
}

#[tokio::test]
async fn silence_of_one_and_a_half_keep_alives_ends_a_connection_mqtt_3_1_2_22() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut quiet = hello(level, "quiet");
        quiet.keep_alive_s = 1;
        let mut raw = server.client(quiet).await;
        let begun = Instant::now();
        raw.expect_end(0x8D).await;
        assert!(begun.elapsed() >= Duration::from_millis(1400), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn the_keep_alive_that_the_listener_sets_is_in_force_mqtt_3_1_2_21() {
    let limits = Limits { keep_alive_s_max: Some(1), ..open().limits };
    let server = Server::start(with_limits(limits)).await;
    let mut forever = hello(5, "forever");
    forever.keep_alive_s = 0;
    server.client(forever).await.expect_end(0x8D).await;
}

#[tokio::test]
async fn a_ping_is_answered_and_reserved_bits_are_not_mqtt_3_12_4_1_and_2_2_2_2() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "c")).await;
        raw.expect_silence().await;
        raw.send(&[0xC1, 0]).await;
        raw.expect_end(0x81).await;
        let mut raw = server.client(hello(level, "c")).await;
        let mut wrong = subscribe(level, 1, &[], &[("a", 0)]);
        wrong[0] = 0x80;
        raw.send(&wrong).await;
        raw.expect_end(0x81).await;
    }
}

#[tokio::test]
async fn packets_that_only_servers_send_end_the_connection() {
    let server = Server::open().await;
    for level in [4, 5] {
        for bytes in [&[0x20, 2, 0, 0][..], &[0x90, 3, 0, 1, 0], &[0xB0, 2, 0, 1], &[0xD0, 0]] {
            let mut raw = server.client(hello(level, "c")).await;
            raw.send(bytes).await;
            let end = raw.next().await;
            assert!(end.is_none_or(|packet| packet.first == 0xE0), "{bytes:02x?}");
        }
    }
    let mut raw = server.client(hello(5, "c")).await;
    raw.send(&[0xF0, 0]).await;
    raw.expect_end(0x82).await;
}

#[tokio::test]
async fn extended_authentication_is_refused_by_its_code_mqtt_4_12_0_1() {
    let server = Server::open().await;
    let mut method = vec![0x15];
    method.extend(text("SCRAM-SHA-1"));
    let asking = hello(5, "c").properties(&method);
    assert_eq!(said_to(&server, &asking.bytes()).await, Some(connack(&[0, 0x8C, 0])));
}

#[tokio::test]
async fn what_a_refused_client_sent_after_connect_is_not_processed_mqtt_3_1_4_5() {
    let server = Server::start(Settings { anonymous: None, ..open() }).await;
    let publish = Publish { topic: "a", payload: b"x", qos: 1, id: 1, ..Publish::default() };
    let bytes = [hello(4, "c").bytes(), publish.bytes(4)].concat();
    assert_eq!(said_to(&server, &bytes).await, Some(connack(&[0, 0x05])));
    assert!(server.unheard());
}

#[tokio::test]
async fn what_is_sent_right_after_connect_is_processed_mqtt_3_1_4() {
    let server = Server::open().await;
    for level in [4, 5] {
        let publish = Publish { topic: "a", payload: b"x", qos: 1, id: 7, ..Publish::default() };
        let mut raw = server.dial().await;
        raw.send(&[hello(level, "c").bytes(), publish.bytes(level)].concat()).await;
        assert_eq!(raw.next().await.unwrap().first, 0x20);
        assert_eq!(raw.expect(0x40).await[..2], [0, 7]);
    }
}

#[tokio::test]
async fn text_with_a_null_character_is_malformed_mqtt_1_5_4_2() {
    let server = Server::open().await;
    assert_eq!(said_to(&server, &hello(4, "a\0b").bytes()).await, None);
    assert_eq!(said_to(&server, &hello(5, "a\0b").bytes()).await, Some(connack(&[0, 0x81, 0])));
    let mut ill = hello(4, "ab").bytes();
    *ill.last_mut().unwrap() = 0xFF;
    assert_eq!(said_to(&server, &ill).await, None, "ill-formed UTF-8 (MQTT-1.5.4-1)");
}

#[tokio::test]
async fn disconnect_ends_the_connection_and_reserved_bits_in_it_are_malformed_mqtt_3_14() {
    let server = Server::open().await;
    for level in [4, 5] {
        let mut raw = server.client(hello(level, "c")).await;
        raw.send(&[0xE0, 0]).await;
        assert_eq!(raw.next().await, None);
        let mut raw = server.client(hello(level, "c")).await;
        raw.send(&[0xE1, 0]).await;
        raw.expect_end(0x81).await;
    }
}

#[tokio::test]
async fn a_client_may_forbid_aliases_by_naming_zero_mqtt_3_1_2_26() {
    let server = Server::open().await;
    let properties = [four(0x11, 5), two(0x21, 3), two(0x22, 0)].concat();
    let mut raw = server.client(hello(5, "c").properties(&properties)).await;
    raw.subscribe(1, &[("a", 0)]).await;
    for _ in 0..2 {
        server.handle.publish("a", b"x", false);
        assert_eq!(raw.message().await.properties, [0_u8; 0]);
    }
    // One that allows them gets them: the second message has no topic.
    let mut raw = server.client(hello(5, "d").properties(&two(0x22, 4))).await;
    raw.subscribe(1, &[("a", 0)]).await;
    for topic in ["a", ""] {
        server.handle.publish("a", b"x", false);
        let message = raw.message().await;
        assert_eq!(message.topic, topic);
        assert_eq!(message.properties[..2], [0x23, 0]);
    }
}

#[tokio::test]
async fn clients_hear_that_the_gateway_ends_mqtt_4_13_2() {
    let server = Server::open().await;
    let mut old = server.client(hello(4, "old")).await;
    let mut new = server.client(hello(5, "new")).await;
    server.tasks.stop();
    new.expect_end(0x8B).await;
    old.expect_end(0).await;
}
