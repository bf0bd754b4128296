//! Clients that others wrote: mosquitto's, Paho's for Python, and rumqttc.

use super::*;
use crate::peers::{program, python};
use kengele::source::broker::Credential;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode as Code5, Packet as Packet5};
use rumqttc::{ConnectReturnCode, ConnectionError, MqttOptions, QoS, v5};
use std::process::{Command, Output, Stdio};

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn mosquitto(name: &str, server: &Server, arguments: &[&str]) -> Command {
    let mut command = program("timeout");
    command.args(["20", name, "-h", "127.0.0.1", "-p", &server.address.port().to_string()]);
    command.args(arguments).stdin(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_publishes_and_subscribes_in_every_version_and_quality() {
    let server = Server::open().await;
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("t/{version}/{qos}");
            let publish = ["-V", version, "-q", qos, "-t", &topic, "-m", "hello", "-r"];
            let published = run(mosquitto("mosquitto_pub", &server, &publish)).await;
            assert!(published.status.success(), "{published:?}");
            let subscribe = ["-V", version, "-q", qos, "-t", &topic, "-C", "1", "-F", "%q %r %p"];
            let got = run(mosquitto("mosquitto_sub", &server, &subscribe)).await;
            assert_eq!(String::from_utf8_lossy(&got.stdout).trim(), format!("{qos} 1 hello"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_publishes_over_tls_to_a_listener_whose_certificate_it_can_check() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let rights = Rights { nodes: Vec::new(), publish: vec!["#".into()], subscribe: vec![] };
    let server = Server::start(Settings {
        listen: vec![],
        listen_tls: vec!["127.0.0.1:0".parse().unwrap()],
        tls: Some(Arc::new(tls)),
        credentials: vec![Credential::new("node".into(), "secret".into(), rights)],
        anonymous: None,
        ..open()
    })
    .await;
    let port = server.address.port().to_string();
    let publish = |arguments: &[&str]| {
        let mut command = program("timeout");
        command.args(["20", "mosquitto_pub", "-h", "localhost", "-p", &port, "-u", "node"]);
        command.args(["-P", "secret", "-q", "1", "-t", "a", "-m", "x"]).args(arguments);
        run(command)
    };
    let trusting = publish(&["--cafile", &file.to_string_lossy()]).await;
    assert!(trusting.status.success(), "{trusting:?}");
    assert_eq!(server.heard(1).await[0].topic, "a");
    let plain = publish(&[]).await;
    assert!(!plain.status.success(), "what is not TLS is not let in");
    assert!(server.unheard());
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_for_python_finds_every_flow_as_it_expects_in_both_versions() {
    let server = Server::open().await;
    for version in ["3.1.1", "5"] {
        let mut command = python();
        command.args(["tests/peers/paho_client.py", &server.address.port().to_string(), version]);
        let output = run(command).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{version}: {said}{wrong}");
        let steps =
            ["connected", "received 0", "received 1", "received 2", "retained", "away", "will"];
        assert_eq!(said.lines().collect::<Vec<_>>(), steps, "{version}");
    }
}

#[tokio::test]
async fn rumqttc_publishes_and_hears_itself_in_version_3_1_1() {
    let server = Server::open().await;
    let mut options = MqttOptions::new("r", "127.0.0.1", server.address.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = rumqttc::AsyncClient::new(options, 64);
    client.subscribe("a/#", QoS::ExactlyOnce).await.unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        client.publish("a/b", qos, false, [qos as u8]).await.unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 3 {
        let event = timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event {
            got.push((publish.qos as u8, publish.payload.to_vec()));
        }
    }
    got.sort();
    assert_eq!(got, [(0, vec![0]), (1, vec![1]), (2, vec![2])]);
}

#[tokio::test]
async fn rumqttc_publishes_and_hears_itself_in_version_5() {
    let server = Server::open().await;
    let mut options = v5::MqttOptions::new("r", "127.0.0.1", server.address.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = v5::AsyncClient::new(options, 64);
    client.subscribe("a/#", QoS5::ExactlyOnce).await.unwrap();
    for qos in [QoS5::AtMostOnce, QoS5::AtLeastOnce, QoS5::ExactlyOnce] {
        client.publish("a/b", qos, false, vec![qos as u8]).await.unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 3 {
        let event = timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
        if let v5::Event::Incoming(Packet5::Publish(publish)) = event {
            got.push((publish.qos as u8, publish.payload.to_vec()));
        }
    }
    got.sort();
    assert_eq!(got, [(0, vec![0]), (1, vec![1]), (2, vec![2])]);
}

#[tokio::test]
async fn rumqttc_is_told_that_its_password_is_wrong() {
    let server = Server::start(Settings { anonymous: None, ..open() }).await;
    let mut options = MqttOptions::new("r", "127.0.0.1", server.address.port());
    options.set_credentials("node", "wrong");
    let (_client, mut events) = rumqttc::AsyncClient::new(options, 1);
    let refused = timeout(PATIENCE, events.poll()).await.unwrap().unwrap_err();
    assert!(
        matches!(refused, ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized)),
        "{refused}"
    );
    let mut options = v5::MqttOptions::new("r", "127.0.0.1", server.address.port());
    options.set_credentials("node", "wrong");
    let (_client, mut events) = v5::AsyncClient::new(options, 1);
    let refused = timeout(PATIENCE, events.poll()).await.unwrap().unwrap_err();
    assert!(
        matches!(refused, v5::ConnectionError::ConnectionRefused(Code5::BadUserNamePassword)),
        "{refused}"
    );
}
