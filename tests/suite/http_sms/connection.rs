//! Tokens and TLS, and answers given word for word.

use super::{ANNA, BEN, channel, kind, message, settings};
use kengele::channel::http_sms::HttpSms;
use kengele::domain::message::Submitted;
use kengele::wire::http1;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Serves `answers` in turn, one a connection, and records the requests.
async fn scripted(answers: Vec<String>) -> (String, oneshot::Receiver<Vec<String>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (done, requests) = oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut seen = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !matches!(http1::read(&bytes, 10_000), Ok(Some(_))) {
                let mut part = [0; 1000];
                let count = stream.read(&mut part).await.unwrap();
                bytes.extend_from_slice(&part[..count]);
            }
            seen.push(String::from_utf8(bytes).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        done.send(seen).unwrap();
    });
    (base, requests, tasks)
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused() {
    let sent = r#"{"Data":{"MessageID":"m"}}"#;
    let token = |n: u8| answer(200, &format!(r#"{{"access_token":"t{n}","expires_in":3600}}"#));
    let answers = vec![
        token(1),
        answer(200, sent),
        answer(200, sent),
        answer(401, ""),
        token(2),
        answer(200, sent),
        answer(401, ""),
        token(3),
        answer(401, ""),
        answer(403, ""),
    ];
    let (base, requests, _tasks) = scripted(answers).await;
    let channel = channel("hormuud", &base);
    let mut kinds = Vec::new();
    for id in 0..5 {
        kinds.push(kind(&channel.submit(&message(id, ANNA, "a")).await));
    }
    assert_eq!(kinds, ["accepted", "accepted", "accepted", "down", "down"]);
    let requests = requests.await.unwrap();
    let bearer = |request: &String| {
        let line = request.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
        line.unwrap_or("-").to_owned()
    };
    let bearers: Vec<String> = requests.iter().map(bearer).collect();
    assert_eq!(bearers, ["-", "t1", "t1", "t1", "-", "t2", "t2", "-", "t3", "t3"]);
    assert!(
        requests[0].contains("Password=s3cret%20%26%20more&Username=kengele&grant_type=password")
    );
}

#[tokio::test]
async fn a_token_that_has_run_out_is_not_used() {
    let token = answer(200, r#"{"access_token":"t","expires_in":0}"#);
    let sent = answer(200, r#"{"Data":{"MessageID":"m"}}"#);
    let answers = vec![token.clone(), sent.clone(), token, sent];
    let (base, requests, _tasks) = scripted(answers).await;
    let channel = channel("hormuud", &base);
    for id in 0..2 {
        assert_eq!(kind(&channel.submit(&message(id, ANNA, "a")).await), "accepted");
    }
    let requests = requests.await.unwrap();
    let paths: Vec<&str> =
        requests.iter().filter_map(|request| request.split(' ').nth(1)).collect();
    assert_eq!(paths, ["/token", "/api/SendSMS", "/token", "/api/SendSMS"]);
}

#[tokio::test]
async fn a_recipient_of_whom_the_answer_says_nothing_has_no_certain_outcome() {
    let ben = r#"{"statusCode":101,"status":"Success","number":"+254722000222","messageId":"b"}"#;
    let with = |message: &str, recipients: &str| {
        let data = format!(r#"{{"Message":"{message}","Recipients":[{recipients}]}}"#);
        answer(201, &format!(r#"{{"SMSMessageData":{data}}}"#))
    };
    let answers = vec![with("Sent to 1/2", ben), with("InvalidSenderId", ""), with("?", "")];
    let (base, _requests, _tasks) = scripted(answers).await;
    let channel = channel("africastalking", &base);
    let messages = [message(1, ANNA, "a"), message(2, BEN, "a")];
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.extend(channel.submit_batch(&messages).await.iter().map(kind));
    }
    assert_eq!(kinds, ["unknown", "accepted", "down", "down", "unknown", "unknown"]);
}

#[tokio::test]
async fn a_message_of_which_a_part_was_taken_has_no_certain_outcome() {
    let items = r#"{"messages":[{"status":"0","message-id":"s1"},{"status":"1"}]}"#;
    let (base, _requests, _tasks) = scripted(vec![answer(200, items)]).await;
    let outcome = channel("vonage", &base).submit(&message(1, ANNA, "a")).await;
    let Submitted::Unknown { references, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(references, ["s1"]);
}

#[tokio::test]
async fn a_providers_words_reach_the_operator_but_no_number_does() {
    let body = r#"{"code":21211,"message":"The 'To' number +254711000111 is not valid"}"#;
    let odd = r#"{"code":"to +254711000111"}"#;
    let (base, _requests, _tasks) = scripted(vec![answer(400, body), answer(400, odd)]).await;
    let channel = channel("twilio", &base);
    let rejected = |reason: &str| Submitted::Rejected { reason: reason.to_owned() };
    let outcome = channel.submit(&message(1, ANNA, "a")).await;
    assert_eq!(outcome, rejected("the number is not valid (HTTP 400, code 21211)"));
    let outcome = channel.submit(&message(1, ANNA, "a")).await;
    assert_eq!(outcome, rejected("the provider refuses the request (HTTP 400)"));
}

#[tokio::test]
async fn a_telephone_on_the_lan_is_trusted_by_its_own_certificate() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key =
        tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let tls = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut part = [0; 4000];
                let _count = stream.read(&mut part).await.unwrap();
                let sent = answer(202, r#"{"id":"key-1"}"#);
                stream.write_all(sent.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
    });
    let mut settings = settings("sms-gateway-android", &base);
    let stranger = HttpSms::new(settings.clone()).unwrap().submit(&message(1, ANNA, "a")).await;
    assert_eq!(kind(&stranger), "retry", "{stranger:?}");
    settings.extra_roots_pem = Some(own.cert.pem().into_bytes());
    let known = HttpSms::new(settings.clone()).unwrap().submit(&message(1, ANNA, "a")).await;
    assert_eq!(kind(&known), "accepted", "{known:?}");
    settings.extra_roots_pem =
        Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".into());
    assert!(HttpSms::new(settings).is_err());
}
