//! Who may do what.

use super::*;
use kengele::source::broker::Credential;
use std::sync::atomic::Ordering;

fn credential(user: &str, publish: &[&str], subscribe: &[&str]) -> Credential {
    let own = |filters: &[&str]| filters.iter().map(|&filter| filter.to_owned()).collect();
    let rights = Rights { nodes: Vec::new(), publish: own(publish), subscribe: own(subscribe) };
    Credential::new(user.to_owned(), format!("{user}-secret"), rights)
}

async fn closed() -> Server {
    let credentials = vec![
        credential("node", &["field/%u/#"], &["cmd/%u"]),
        credential("siren", &[], &["kengele/warnings/#"]),
    ];
    Server::start(Settings { anonymous: None, credentials, ..open() }).await
}

fn node(level: u8, client: &str) -> Hello {
    hello(level, client).login("node", "node-secret")
}

#[tokio::test]
async fn nobody_comes_in_without_a_credential_or_with_a_wrong_one_mqtt_3_1_4_2() {
    let server = closed().await;
    for (level, who, answer) in [
        (4, None, &[0, 0x05][..]),
        (4, Some(("node", "wrong")), &[0, 0x05]),
        (4, Some(("nobody", "x")), &[0, 0x05]),
        (5, None, &[0, 0x87, 0]),
        (5, Some(("node", "wrong")), &[0, 0x86, 0]),
        (5, Some(("nobody", "x")), &[0, 0x86, 0]),
    ] {
        let mut connect = hello(level, "c");
        connect.login = who.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let mut raw = server.dial().await;
        raw.send(&connect.bytes()).await;
        assert_eq!(raw.expect(0x20).await, answer, "{who:?}");
        assert_eq!(raw.next().await, None);
    }
    assert_eq!(server.handle.counters().refused.load(Ordering::Relaxed), 6);
    server.client(node(4, "c")).await.expect_silence().await;
}

#[tokio::test]
async fn a_publication_outside_the_rights_is_not_taken_mqtt_3_3_5_2() {
    let server = closed().await;
    let outside = |qos| Publish { topic: "field/other", qos, id: 1, ..Publish::default() };
    // 3.1.1 leaves two ways, an acknowledgement or the end: a node must not believe that it was heard.
    let mut raw = server.client(node(4, "c")).await;
    raw.publish(outside(1)).await;
    assert_eq!(raw.next().await, None);
    let mut raw = server.client(node(5, "c")).await;
    raw.publish(outside(1)).await;
    assert_eq!(raw.expect(0x40).await, [0, 1, 0x87]);
    raw.publish(outside(2)).await;
    assert_eq!(raw.expect(0x50).await, [0, 1, 0x87]);
    raw.publish(outside(0)).await;
    raw.expect_silence().await;
    assert!(server.unheard());
    raw.publish(Publish { topic: "field/node/up", ..outside(1) }).await;
    assert_eq!(raw.expect(0x40).await[..2], [0, 1]);
    assert_eq!(server.heard(1).await[0].topic, "field/node/up");
}

#[tokio::test]
async fn a_subscription_outside_the_rights_is_refused_in_its_place_mqtt_3_8_4() {
    let server = closed().await;
    let filters = [("cmd/node", 1), ("cmd/+", 1), ("#", 0), ("field/node/#", 0)];
    let mut raw = server.client(node(4, "c")).await;
    assert_eq!(raw.subscribe(1, &filters).await, [1, 0x80, 0x80, 0x80]);
    let mut raw = server.client(node(5, "d")).await;
    assert_eq!(raw.subscribe(1, &filters).await, [1, 0x87, 0x87, 0x87]);
    assert_eq!(raw.subscribe(2, &[("$share/g/#", 0)]).await, [0x87], "nor by way of a group");
    server.handle.publish("field/node/up", b"x", false);
    raw.expect_silence().await;
}

#[tokio::test]
async fn a_will_outside_the_rights_does_not_come_true() {
    let server = closed().await;
    let mut siren = server.client(hello(4, "s").login("siren", "siren-secret")).await;
    siren.subscribe(1, &[("kengele/warnings/#", 1)]).await;
    let false_alarm = Will {
        topic: "kengele/warnings/valley",
        payload: b"danger",
        qos: 1,
        retain: true,
        properties: vec![],
    };
    let mut raw = server.client(node(4, "c").will(false_alarm)).await;
    raw.send(&[0, 0]).await;
    assert_eq!(raw.next().await, None);
    siren.expect_silence().await;
    assert!(server.unheard());
}

#[tokio::test]
async fn nobody_gets_at_a_session_of_another_user_by_its_client_identifier() {
    let server = closed().await;
    let mut siren = server.client(hello(5, "same").login("siren", "siren-secret").lasting()).await;
    siren.subscribe(1, &[("kengele/warnings/#", 1)]).await;
    let (mut thief, answer) = server.connack(node(5, "same").lasting()).await;
    assert_eq!(answer.body[0], 0, "no session is present");
    server.handle.publish("kengele/warnings/valley", b"danger", true);
    thief.expect_silence().await;
    assert_eq!(siren.message().await.payload, b"danger");
}

#[tokio::test]
async fn a_siren_that_subscribes_late_hears_the_state_of_each_area_once() {
    let server = closed().await;
    for (area, state) in [("valley", "watch"), ("hill", "danger"), ("valley", "danger")] {
        server.handle.publish(&format!("kengele/warnings/{area}"), state.as_bytes(), true);
    }
    let mut siren = server.client(hello(4, "s").login("siren", "siren-secret")).await;
    siren.subscribe(1, &[("kengele/warnings/#", 1)]).await;
    for area in ["kengele/warnings/hill", "kengele/warnings/valley"] {
        let message = siren.message().await;
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), (area, &b"danger"[..]));
        assert!(message.retain);
    }
    siren.expect_silence().await;
}
