//! CONNECT: who is let in, and how the others are told.

use super::*;

#[tokio::test]
async fn a_protocol_level_that_is_not_spoken_is_refused_mqtt_3_1_2_2() {
    let server = Server::open().await;
    for (level, code) in [(3, 0x01), (6, 0x84)] {
        let mut raw = server.dial().await;
        raw.send(&hello(level, "c").bytes()).await;
        let answer = raw.next().await;
        if let Some(answer) = &answer {
            assert_eq!((answer.first, answer.body[1]), (0x20, code), "level {level}");
        }
        assert!(answer.is_some(), "level {level}");
        assert_eq!(raw.next().await, None);
    }
}
