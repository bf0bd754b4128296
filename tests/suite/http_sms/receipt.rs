//! Delivery reports, brought and fetched.

use super::{
    ANNA, BEN, DIALECTS, PASSWORD, account, channel, kind, message, provider, settings, wait_for,
};
use kengele::channel::http_sms::{
    HttpSms, Preset, ReceiptError, Reported, Route, Secret, Webhooks, parse_webhook, webhook_answer,
};
use kengele::domain::message::{NetworkReceipt, ReceiptState, Submitted};
use kengele::sim::provider::{Plan, Report};
use kengele::wire::http1;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[tokio::test]
async fn reports_can_be_fetched_without_an_address_of_ours() {
    let plan = Plan { unreachable: [BEN.to_owned()].into(), ..Plan::default() };
    let provider = provider(plan).await;
    let channel = channel("sms-gateway-android", &provider.base());
    for (id, to) in [(1, ANNA), (2, BEN)] {
        assert_eq!(kind(&channel.submit(&message(id, to, "a")).await), "accepted");
    }
    let receipts = channel.poll(&["key-1", "key-2", "key-3"].map(str::to_owned)).await;
    let failed = ReceiptState::Failed { reason: "RESULT_ERROR_NO_SERVICE".to_owned() };
    let expected = [("key-1", ReceiptState::Delivered), ("key-2", failed)]
        .map(|(key, state)| NetworkReceipt { reference: key.to_owned(), to: None, state });
    assert_eq!(receipts, expected);
    assert_eq!(provider.inbox(BEN), Vec::<String>::new());
}

pub type Kept = Arc<Mutex<Vec<NetworkReceipt>>>;

/// Starts a receiver of reports for `id`; each report is kept by `keep`, or refused.
pub async fn receiver(
    id: &str,
    keep: impl Fn(usize) -> bool + Send + 'static,
) -> (String, Kept, JoinSet<()>) {
    let preset = Preset::builtin(id).unwrap();
    let account = account(&preset, "");
    let path_secret = Secret::new("path-secret-1");
    let routes = vec![Route { path_secret, preset, account }];
    let webhooks = Webhooks::bind("127.0.0.1:0", routes, Duration::from_secs(2)).await.unwrap();
    let url = format!("http://127.0.0.1:{}/path-secret-1", webhooks.port().unwrap());
    let (queue, mut reported) = mpsc::channel::<Reported>(4);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { webhooks.serve(queue, std::future::pending()).await.unwrap() });
    let kept: Kept = Kept::default();
    let receipts = Arc::clone(&kept);
    tasks.spawn(async move {
        let mut count = 0;
        while let Some(next) = reported.recv().await {
            count += 1;
            if keep(count) {
                receipts.lock().unwrap().extend(next.receipts);
                next.kept.send(()).unwrap();
            }
        }
    });
    (url, kept, tasks)
}

#[tokio::test]
async fn reports_come_by_webhook_in_every_dialect() {
    for id in DIALECTS {
        let plan = Plan {
            unreachable: [BEN.to_owned()].into(),
            signing_key: Some(PASSWORD.to_owned()),
            reports: vec![Report::Twice, Report::Late(Duration::from_millis(100)), Report::Missing],
            ..Plan::default()
        };
        let provider = provider(plan).await;
        let (url, kept, _tasks) = receiver(id, |_| true).await;
        let mut settings = settings(id, &provider.base());
        settings.account.dlr_url = Some(url.clone());
        provider.set_webhook(&url);
        let channel = HttpSms::new(settings).unwrap();
        let mut references = Vec::new();
        for (number, to) in [(1, ANNA), (2, BEN), (3, ANNA)] {
            match channel.submit(&message(number, to, "a")).await {
                Submitted::Accepted { references: mut new } => references.append(&mut new),
                other @ (Submitted::Retry { .. }
                | Submitted::Rejected { .. }
                | Submitted::ChannelDown { .. }
                | Submitted::Unknown { .. }) => panic!("{id}: {other:?}"),
            }
        }
        wait_for("three reports", || kept.lock().unwrap().len() == 3).await;
        let kept = kept.lock().unwrap().clone();
        let of = |reference: &String| -> Vec<&ReceiptState> {
            kept.iter().filter(|r| r.reference == *reference).map(|r| &r.state).collect()
        };
        assert_eq!(of(&references[0]), [&ReceiptState::Delivered; 2], "{id}");
        assert!(matches!(of(&references[1])[..], [ReceiptState::Failed { .. }]), "{id}");
        assert_eq!(of(&references[2]), Vec::<&ReceiptState>::new(), "{id}");
        let numbers = kept.iter().filter_map(|receipt| receipt.to.as_deref());
        for number in numbers {
            assert!(["254711000111", "254722000222"].contains(&number.trim_start_matches('+')));
        }
    }
}

#[tokio::test]
async fn a_report_is_brought_again_until_it_is_kept() {
    let provider = provider(Plan::default()).await;
    let (url, kept, _tasks) = receiver("africastalking", |count| count == 3).await;
    provider.set_webhook(url);
    let channel = channel("africastalking", &provider.base());
    assert_eq!(kind(&channel.submit(&message(1, ANNA, "a")).await), "accepted");
    wait_for("the third try", || kept.lock().unwrap().len() == 1).await;
}

async fn post(url: &str, target: &str, headers: &str, body: &str) -> String {
    let authority = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let length = body.len();
    let request =
        format!("POST {target} HTTP/1.1\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_receiver_of_reports_takes_only_what_is_meant_for_it() {
    let (url, kept, _tasks) = receiver("jasmin", |_| true).await;
    let report = "id=abc&message_status=DELIVRD&err=000";
    let status = |answer: String| answer.split(' ').nth(1).unwrap_or("none").to_owned();
    assert_eq!(status(post(&url, "/", "", report).await), "404");
    assert_eq!(status(post(&url, "/path-secret-2", "", report).await), "404");
    assert_eq!(status(post(&url, "/path-secret-1", "", "hello").await), "400");
    assert_eq!(status(post(&url, "/path-secret-1", "bad header\r\n", report).await), "400");
    let large = "x".repeat(64 * 1024);
    assert_eq!(status(post(&url, "/path-secret-1", "", &large).await), "413");
    assert_eq!(*kept.lock().unwrap(), []);
    let answer = post(&url, "/path-secret-1", "", report).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ACK/Jasmin"), "{answer}");
    assert_eq!(kept.lock().unwrap().len(), 1);
    // A peer that says nothing is not waited for, and does not keep others from being served.
    let authority = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut silent = TcpStream::connect(authority).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(post(&url, "/path-secret-1", "", report).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_route_without_a_secret_has_no_address() {
    let preset = Preset::builtin("jasmin").unwrap();
    let account = account(&preset, "");
    let routes = vec![Route { path_secret: Secret::new(""), preset, account }];
    let webhooks = Webhooks::bind("127.0.0.1:0", routes, Duration::from_secs(2)).await.unwrap();
    let url = format!("http://127.0.0.1:{}", webhooks.port().unwrap());
    let (queue, _reported) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { webhooks.serve(queue, std::future::pending()).await });
    let answer = post(&url, "/", "", "id=abc&message_status=DELIVRD").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[test]
fn a_report_is_believed_only_with_the_right_signature() {
    let preset = Preset::builtin("sms-gateway-android").unwrap();
    let mut account = account(&preset, "");
    account.secrets.insert("signing_key".to_owned(), Secret::new("key"));
    let body =
        br#"{"event":"sms:delivered","payload":{"messageId":"m1","phoneNumber":"+254711000111"}}"#;
    let call = |signature: &str, timestamp: &str| http1::Request {
        method: "POST".to_owned(),
        path: "/x".to_owned(),
        query: String::new(),
        headers: vec![
            ("x-signature".to_owned(), signature.to_owned()),
            ("x-timestamp".to_owned(), timestamp.to_owned()),
        ],
        body: body.to_vec(),
    };
    // Made with: printf '%s' 'BODY1700000000' | openssl dgst -sha256 -hmac key
    let signature = "e267dc0a69e320015dc45a053318c50720e596ede5d84df51333ca5bee3e8a92";
    let receipts = parse_webhook(&preset, &account, &call(signature, "1700000000")).unwrap();
    assert_eq!(receipts[0].reference, "m1");
    for (signature, timestamp) in
        [(signature, "1700000001"), ("", "1700000000"), ("zz", "1700000000"), ("00", "1700000000")]
    {
        let error = parse_webhook(&preset, &account, &call(signature, timestamp)).unwrap_err();
        assert_eq!(error, ReceiptError::Signature);
    }
    assert_eq!(webhook_answer(&preset), "");
}
