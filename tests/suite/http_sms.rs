//! The HTTP channel against the virtual provider, which keeps the truth of what its network really got.

use kengele::channel::http_sms::{
    Account, BUILTIN, Error, HttpSms, Limit, Preset, ReceiptError, Reported, Route, Secret,
    Settings, Timeouts, Webhooks, parse_webhook, webhook_answer,
};
use kengele::domain::message::{
    DeliveryId, NetworkReceipt, Priority, ReceiptState, Submission, Submitted,
};
use kengele::sim::provider::{Fault, Plan, Report, Taken, VirtualProvider};
use kengele::wire::http1;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

const ANNA: &str = "+254711000111";
const BEN: &str = "+254722000222";
const PASSWORD: &str = "s3cret & more";

/// What breaks out of a quote, a field, a tag, a template and a terminal, and letters beyond GSM-7.
const HOSTILE: &str = "\"&{}<>%+;=\\'\r\n\t{to}%0d%0aX-Evil: 1 🌊 ماء נהר\u{202e}";

const DIALECTS: [&str; 4] = ["africastalking", "vonage", "sms-gateway-android", "kannel"];

fn message(id: i64, to: &str, text: &str) -> Submission {
    Submission {
        delivery: DeliveryId(id),
        to: to.to_owned(),
        text: text.to_owned(),
        validity: Duration::from_mins(90),
        priority: Priority::Danger,
        idempotency_key: format!("key-{id}"),
        flash: false,
    }
}

/// Returns an account that has everything that any preset may ask for.
fn account(preset: &Preset, base: &str) -> Account {
    let settings = preset.settings.keys().map(|key| {
        let value = match key.as_str() {
            "base" => base.to_owned(),
            "username" | "account_sid" => "kengele".to_owned(),
            "sim" => "2".to_owned(),
            other => format!("{other}-setting"),
        };
        (key.clone(), value)
    });
    let secrets = preset.secrets.keys().map(|key| {
        let user = key == "api_key" && preset.secrets.contains_key("api_secret");
        (key.clone(), Secret::new(if user { "kengele" } else { PASSWORD }))
    });
    Account {
        from: Some("+KENGELE".to_owned()),
        settings: settings.collect(),
        secrets: secrets.collect(),
        dlr_url: None,
        country_code: Some("254".to_owned()),
    }
}

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    answer: Duration::from_millis(500),
    idle: Duration::from_secs(1),
    turn: Duration::from_secs(1),
};

fn settings(id: &str, base: &str) -> Settings {
    let preset = Preset::builtin(id).unwrap();
    let account = account(&preset, base);
    Settings { preset, account, limit: None, timeouts: TIMEOUTS, extra_roots_pem: None }
}

fn channel(id: &str, base: &str) -> HttpSms {
    HttpSms::new(settings(id, base)).unwrap()
}

async fn provider(plan: Plan) -> VirtualProvider {
    VirtualProvider::start(Plan { password: Some(PASSWORD.to_owned()), ..plan }).await.unwrap()
}

/// Waits at most ten seconds until `state` holds.
async fn wait_for(what: &str, mut state: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if state() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

fn kind(outcome: &Submitted) -> &'static str {
    match outcome {
        Submitted::Accepted { .. } => "accepted",
        Submitted::Retry { .. } => "retry",
        Submitted::Rejected { .. } => "rejected",
        Submitted::ChannelDown { .. } => "down",
        Submitted::Unknown { .. } => "unknown",
    }
}

fn reason(outcome: &Submitted) -> &str {
    match outcome {
        Submitted::Accepted { .. } => "",
        Submitted::Retry { reason, .. }
        | Submitted::Rejected { reason }
        | Submitted::ChannelDown { reason }
        | Submitted::Unknown { reason, .. } => reason,
    }
}

#[test]
fn every_preset_loads_and_says_what_it_needs() {
    for (id, text) in BUILTIN {
        let preset = Preset::parse(text).unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert!(!preset.name.is_empty() && !preset.source.is_empty(), "{id}");
        assert!(preset.verified || !preset.note.is_empty(), "{id}: what is not verified?");
    }
    assert!(Preset::builtin("nobody").is_err());
}

#[test]
fn every_preset_renders_as_recorded() {
    let mut seen = String::new();
    for (id, text) in BUILTIN {
        let preset = Preset::parse(text).unwrap();
        let mut account = account(&preset, "http://provider.test/");
        for (key, need) in &preset.settings {
            if let Some(default) = &need.default {
                account.settings.insert(key.clone(), default.clone());
            }
        }
        account.dlr_url = Some("http://gateway.test/path-secret".to_owned());
        let anna = message(1, ANNA, "Mto unapanda: 2.4 m. Hama sasa!");
        let ben = Submission { priority: Priority::Advice, ..message(2, BEN, "Mto 🌊 & more") };
        let mut cases = vec![vec![&anna], vec![&ben]];
        let anna_too = Submission { to: BEN.to_owned(), ..anna.clone() };
        if preset.batch_max() > 1 {
            cases.push(vec![&anna, &anna_too]);
        }
        for messages in cases {
            let request = preset.render(&account, &messages, Some("token-1")).unwrap();
            let mut lines = vec![format!("## {id}\n{} {}", request.method, request.url)];
            lines.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}")));
            lines.extend(request.basic.map(|(user, password)| format!("basic: {user} / {password}")));
            lines.extend(request.body.map(|body| String::from_utf8(body).unwrap()));
            seen.push_str(&(lines.join("\n") + "\n\n"));
        }
    }
    insta::assert_snapshot!("requests", seen);
}

#[test]
fn hostile_texts_stay_in_their_place() {
    for (id, text) in BUILTIN {
        let preset = Preset::parse(text).unwrap();
        let account = account(&preset, "http://provider.test");
        let hostile = message(1, ANNA, HOSTILE);
        let request = preset.render(&account, &[&hostile], Some("token-1")).unwrap();
        let plain = message(1, ANNA, "plain \u{16a0}");
        let expected = preset.render(&account, &[&plain], Some("token-1")).unwrap();
        assert_eq!(request.headers, expected.headers, "{id}");
        let parts = |request: &kengele::channel::http_sms::Request| {
            let (_, query) = request.url.split_once('?').unwrap_or_default();
            let mut parts: BTreeMap<String, String> = http1::form(query).into_iter().collect();
            let body = String::from_utf8(request.body.clone().unwrap_or_default()).unwrap();
            if body.starts_with('{') {
                flatten("", &serde_json::from_str(&body).unwrap(), &mut parts);
            } else {
                parts.extend(http1::form(&body));
            }
            parts
        };
        let (got, expected) = (parts(&request), parts(&expected));
        assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{id}");
        let changed: Vec<&String> =
            got.iter().filter(|(name, value)| expected.get(*name) != Some(value)).map(|p| p.1).collect();
        assert_eq!(changed, [HOSTILE], "{id}");
    }
}

fn flatten(path: &str, value: &serde_json::Value, into: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{path}/{name}"), value, into);
            }
        }
        serde_json::Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                flatten(&format!("{path}/{place}"), value, into);
            }
        }
        serde_json::Value::String(text) => {
            into.insert(path.to_owned(), text.clone());
        }
        other => {
            into.insert(path.to_owned(), other.to_string());
        }
    }
}

#[test]
fn an_operators_xml_preset_is_escaped_as_xml() {
    let preset = Preset::parse(
        r#"
        name = "XML"
        verified = false
        source = "test"
        [secrets.key]
        about = "key"
        [send]
        method = "POST"
        url = "http://provider.test/{key}"
        [send.raw]
        template = "<sms to='{to_digits}' key='{secret.key}'>{text}</sms>"
        content_type = "text/xml"
        escape = "xml"
        [reply]
        format = "text"
        [[reply.rule]]
        status = [200]
        where = [{ contains = "<ok/>" }]
        then = "accepted"
        "#,
    )
    .unwrap();
    let account = account(&preset, "");
    let mut hostile = message(1, ANNA, "<b>'&\u{0}\"");
    hostile.idempotency_key = "a/../b?c".to_owned();
    let request = preset.render(&account, &[&hostile], None).unwrap();
    assert_eq!(request.url, "http://provider.test/a%2F..%2Fb%3Fc");
    assert_eq!(
        String::from_utf8(request.body.unwrap()).unwrap(),
        "<sms to='254711000111' key='s3cret &amp; more'>&lt;b&gt;&apos;&amp;&quot;</sms>"
    );
}

#[test]
fn a_preset_that_contradicts_itself_is_refused() {
    let head = "name='x'\nverified=false\nsource='x'\n[send]\nmethod='POST'\nurl='http://x/{setting.a}'\n";
    let declared = "[settings.a]\nabout='a'\n";
    let accepted = "[reply]\nformat='json'\n[[reply.rule]]\nstatus=[200]\nthen='accepted'\n";
    let faults = [
        (format!("{head}{accepted}"), "does not declare \"a\""),
        (format!("{head}{declared}[reply]\nformat='json'\nrule=[]"), "no rule says when"),
        (format!("{head}form={{a='b'}}\njson='{{}}'\n{declared}{accepted}"), "more than one of"),
        (
            format!("{head}{declared}[reply]\nformat='json'\neach='m'\n[[reply.rule]]\nstatus=[200]\nthen='accepted'"),
            "must look at the item",
        ),
        (format!("{head}{declared}[reply]\nformat='json'\n[[reply.rule]]\nthen='accepted'"), "HTTP statuses"),
        (format!("{head}form={{i='{{key}}'}}\n{declared}[batch]\nmax=9\n{accepted}"), "{key}"),
        (format!("{head}colour='red'\n{declared}{accepted}"), "unknown field"),
        (format!("{head}form={{i='{{nobody}}'}}\n{declared}{accepted}"), "nobody"),
    ];
    for (text, expected) in faults {
        let error = Preset::parse(&text).unwrap_err();
        let words = kengele::supervise::chain(&error);
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

#[test]
fn what_is_missing_from_an_account_is_named() {
    let mut bare = settings("sms-gateway-android", "http://x");
    bare.account = Account::default();
    let error = HttpSms::new(bare).err().unwrap();
    assert!(error.to_string().ends_with("setting.username, secret.password missing"), "{error}");
    let telesom = settings("telesom", "http://x");
    assert!(matches!(HttpSms::new(telesom), Err(Error::Unsupported { .. })));
}

#[test]
fn secrets_numbers_and_texts_have_no_readable_form() {
    let mut settings = settings("vonage", "http://provider.test");
    settings.account.dlr_url = Some("http://gateway.test/path-secret".to_owned());
    let request = settings.preset.render(&settings.account, &[&message(1, ANNA, "text!")], None);
    let words = format!("{settings:?} {request:?} {:?}", settings.account.secrets);
    for word in [PASSWORD, "path-secret", "711000111", "text!"] {
        assert!(!words.contains(word), "{word}");
    }
}

/// What the channel must say of each fault; `lies` where the provider's own words are false.
const FAULTS: [(Fault, &str); 21] = [
    (Fault::None, "accepted"),
    (Fault::Silence(Taken::Yes), "unknown"),
    (Fault::Silence(Taken::No), "unknown"),
    (Fault::ResetBeforeReading, "unknown"),
    (Fault::Reset(Taken::Yes), "unknown"),
    (Fault::Reset(Taken::No), "unknown"),
    (Fault::Garbage(Taken::Yes), "unknown"),
    (Fault::Garbage(Taken::No), "unknown"),
    (Fault::Error(Taken::Yes), "unknown"),
    (Fault::Error(Taken::No), "unknown"),
    (Fault::Unavailable, "retry"),
    (Fault::Throttled { retry_after_secs: 7 }, "retry"),
    (Fault::LoginPage, "down"),
    (Fault::Redirect, "down"),
    (Fault::CutAnswer, "unknown"),
    (Fault::SlowAnswer, "unknown"),
    (Fault::Refuse, "rejected"),
    (Fault::RefuseButTake, "rejected"),
    (Fault::AcceptButLose, "accepted"),
    (Fault::Silence(Taken::Yes), "unknown"),
    (Fault::None, "accepted"),
];

/// Returns whether the provider's own words contradict what it did.
fn lies(fault: Fault) -> bool {
    matches!(fault, Fault::RefuseButTake | Fault::AcceptButLose)
}

#[tokio::test]
async fn only_what_is_certain_is_said_under_every_fault_in_every_dialect() {
    let mut cases = JoinSet::new();
    for id in DIALECTS {
        for (fault, expected) in FAULTS {
            cases.spawn(async move {
                let provider = provider(Plan { script: vec![fault], ..Plan::default() }).await;
                let channel = channel(id, &provider.base());
                let outcome = channel.submit(&message(1, ANNA, HOSTILE)).await;
                let case = format!("{id} {fault:?}: {outcome:?}");
                assert_eq!(kind(&outcome), expected, "{case}");
                let copies = provider.inbox(ANNA);
                assert!(copies.is_empty() || copies == [HOSTILE], "{case}");
                match &outcome {
                    Submitted::Accepted { references } => {
                        assert_eq!(references.len(), 1, "{case}");
                        assert!(copies.len() == 1 || lies(fault), "{case}");
                    }
                    Submitted::Retry { .. }
                    | Submitted::Rejected { .. }
                    | Submitted::ChannelDown { .. } => {
                        assert!(copies.is_empty() || lies(fault), "{case}");
                    }
                    Submitted::Unknown { references, .. } => assert!(references.is_empty(), "{case}"),
                }
                for word in ["711000111", PASSWORD, "X-Evil", "127.0.0.1"] {
                    assert!(!reason(&outcome).contains(word), "{case}");
                }
            });
        }
    }
    cases.join_all().await;
}

#[tokio::test]
async fn an_account_without_credit_or_with_a_wrong_password_stops_the_channel() {
    for id in ["africastalking", "vonage"] {
        let provider = provider(Plan { credit: Some(1), ..Plan::default() }).await;
        let channel = channel(id, &provider.base());
        assert_eq!(kind(&channel.submit(&message(1, ANNA, "a")).await), "accepted");
        let outcome = channel.submit(&message(2, ANNA, "b")).await;
        assert!(kind(&outcome) == "down" && reason(&outcome).contains("credit"), "{outcome:?}");
        assert_eq!(provider.inbox(ANNA), ["a"]);
    }
    for id in DIALECTS {
        let provider = provider(Plan::default()).await;
        let mut settings = settings(id, &provider.base());
        for secret in settings.account.secrets.values_mut() {
            *secret = Secret::new("wrong");
        }
        let outcome = HttpSms::new(settings).unwrap().submit(&message(1, ANNA, "a")).await;
        assert_eq!(kind(&outcome), "down", "{id}: {outcome:?}");
        assert_eq!(provider.submissions(), []);
    }
}

#[tokio::test]
async fn before_a_connection_stands_nothing_can_have_gone_out() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    let plain = provider(Plan::default()).await;
    let tls_to_plain = plain.base().replace("http://", "https://");
    drop(free);
    for base in
        [format!("http://127.0.0.1:{port}"), "http://no-such-host.invalid".to_owned(), tls_to_plain]
    {
        let outcome = channel("vonage", &base).submit(&message(1, ANNA, "a")).await;
        assert_eq!(kind(&outcome), "retry", "{base}: {outcome:?}");
    }
    assert_eq!(plain.submissions(), []);
}

#[tokio::test]
async fn a_batch_has_an_outcome_for_each_recipient() {
    let plan = Plan { refused: [BEN.to_owned()].into(), ..Plan::default() };
    let provider = provider(plan).await;
    let channel = channel("africastalking", &provider.base());
    let messages = [
        message(1, ANNA, "one"),
        message(2, BEN, "one"),
        message(3, "0711", "one"),
        message(4, "+254733000333", "one"),
        message(5, ANNA, "two"),
        message(6, ANNA, "one"),
        message(7, "+254711000111,+254799999999", "one"),
    ];
    let outcomes = channel.submit_batch(&messages).await;
    let kinds: Vec<_> = outcomes.iter().map(kind).collect();
    assert_eq!(
        kinds,
        ["accepted", "rejected", "rejected", "accepted", "accepted", "accepted", "rejected"]
    );
    // One list for the first text, one for the second, and one for the number that was in the list already.
    assert_eq!(provider.requests(), 3);
    assert_eq!(provider.inbox(ANNA), ["one", "two", "one"]);
    assert_eq!(provider.inbox("+254733000333"), ["one"]);
    assert_eq!(provider.submissions().len(), 4);
}

#[tokio::test]
async fn every_segment_has_its_reference() {
    let provider = provider(Plan::default()).await;
    let channel = channel("vonage", &provider.base());
    let long = "x".repeat(400);
    let outcome = channel.submit(&message(1, ANNA, &long)).await;
    let expected = ["sim-000001", "sim-000001-1", "sim-000001-2"].map(str::to_owned).to_vec();
    assert_eq!(outcome, Submitted::Accepted { references: expected });
}

#[tokio::test]
async fn a_repetition_after_a_lost_answer_is_dropped_where_the_provider_knows_our_key() {
    let provider = provider(Plan { script: vec![Fault::CutAnswer], ..Plan::default() }).await;
    let channel = channel("sms-gateway-android", &provider.base());
    let text = message(1, ANNA, "a");
    assert_eq!(kind(&channel.submit(&text).await), "unknown");
    let again = channel.submit(&text).await;
    assert_eq!(again, Submitted::Accepted { references: vec!["key-1".to_owned()] });
    assert_eq!(provider.inbox(ANNA), ["a"]);
}

#[tokio::test]
async fn a_pause_that_the_provider_asks_for_is_kept() {
    let plan = Plan { script: vec![Fault::Throttled { retry_after_secs: 1 }], ..Plan::default() };
    let provider = provider(plan).await;
    let channel = channel("kannel", &provider.base());
    let text = message(1, ANNA, "a");
    let Submitted::Retry { after, .. } = channel.submit(&text).await else { panic!("no retry") };
    assert_eq!(after, Some(Duration::from_secs(1)));
    let Submitted::Retry { after: Some(left), .. } = channel.submit(&text).await else {
        panic!("no retry")
    };
    assert!(left <= Duration::from_secs(1));
    assert_eq!(provider.requests(), 1);
    tokio::time::sleep(left).await;
    assert_eq!(kind(&channel.submit(&text).await), "accepted");
}

#[tokio::test]
async fn requests_keep_to_the_rate_limit() {
    let provider = provider(Plan::default()).await;
    let mut settings = settings("kannel", &provider.base());
    settings.limit = Some(Limit { per_second: 20.0, burst: 1 });
    settings.timeouts.turn = Duration::from_millis(60);
    let channel = HttpSms::new(settings).unwrap();
    let start = tokio::time::Instant::now();
    for id in 0..4 {
        assert_eq!(kind(&channel.submit(&message(id, ANNA, "a")).await), "accepted");
    }
    assert!(start.elapsed() >= Duration::from_millis(140), "{:?}", start.elapsed());
    let texts: Vec<Submission> = (10..13).map(|id| message(id, ANNA, &format!("{id}"))).collect();
    let together = tokio::join!(
        channel.submit(&texts[0]),
        channel.submit(&texts[1]),
        channel.submit(&texts[2])
    );
    let put_off = [&together.0, &together.1, &together.2];
    assert!(put_off.iter().any(|outcome| kind(outcome) == "retry"), "{together:?}");
}

#[tokio::test]
async fn the_balance_is_read_with_its_currency() {
    let provider = provider(Plan { credit: Some(42), ..Plan::default() }).await;
    let balance = channel("africastalking", &provider.base()).balance().await.unwrap();
    assert_eq!((balance.said.as_str(), balance.amount), ("KES 42.50", Some(42.5)));
    let error = channel("kannel", &provider.base()).balance().await.unwrap_err();
    assert!(matches!(error, Error::NoQuestion { .. }));
}

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

type Kept = Arc<Mutex<Vec<NetworkReceipt>>>;

/// Starts a receiver of reports for `id`; each report is kept by `keep`, or refused.
async fn receiver(
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
            reports: vec![Report::Twice, Report::Late(Duration::from_millis(100)), Report::Missing],
            ..Plan::default()
        };
        let provider = provider(plan).await;
        let (url, kept, _tasks) = receiver(id, |_| true).await;
        let mut settings = settings(id, &provider.base());
        // The signing key of the virtual telephone is not set, so its reports are not signed.
        settings.account.secrets.remove("signing_key");
        settings.account.dlr_url = Some(url.clone());
        provider.set_webhook(&url);
        let channel = HttpSms::new(settings).unwrap();
        let mut references = Vec::new();
        for (number, to) in [(1, ANNA), (2, BEN), (3, ANNA)] {
            match channel.submit(&message(number, to, "a")).await {
                Submitted::Accepted { references: mut new } => references.append(&mut new),
                other => panic!("{id}: {other:?}"),
            }
        }
        if id == "sms-gateway-android" {
            // Its receiver's account has the signing key: unsigned reports must not be believed.
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(*kept.lock().unwrap(), []);
            continue;
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

#[test]
fn a_report_is_believed_only_with_the_right_signature() {
    let preset = Preset::builtin("sms-gateway-android").unwrap();
    let mut account = account(&preset, "");
    account.secrets.insert("signing_key".to_owned(), Secret::new("key"));
    let body = br#"{"event":"sms:delivered","payload":{"messageId":"m1","phoneNumber":"+254711000111"}}"#;
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
    assert!(requests[0].contains("Password=s3cret%20%26%20more&Username=kengele&grant_type=password"));
}

#[tokio::test]
async fn a_telephone_on_the_lan_is_trusted_by_its_own_certificate() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der());
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
    settings.extra_roots_pem = Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".into());
    assert!(HttpSms::new(settings).is_err());
}

#[tokio::test]
async fn what_arrives_is_handed_to_the_shared_network() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&arrivals);
    let deliver: kengele::sim::provider::Deliver =
        Arc::new(move |arrival| into.lock().unwrap().push((arrival.to, arrival.text)));
    let plan = Plan {
        deliver: Some(deliver),
        unreachable: [BEN.to_owned()].into(),
        ..Plan::default()
    };
    let provider = provider(plan).await;
    let channel = channel("kannel", &provider.base());
    for (id, to) in [(1, ANNA), (2, BEN)] {
        assert_eq!(kind(&channel.submit(&message(id, to, "a")).await), "accepted");
    }
    assert_eq!(*arrivals.lock().unwrap(), [(ANNA.to_owned(), "a".to_owned())]);
}

/// Every fault whose answer is honest, together in four of ten requests.
fn honest_faults() -> Vec<(Fault, u32)> {
    let honest = FAULTS.iter().map(|(fault, _)| *fault);
    let quick = honest.filter(|fault| {
        // Those that end in our timeout are in the matrix above; here they would only take time.
        let slow = matches!(fault, Fault::Silence(_) | Fault::SlowAnswer);
        !slow && !lies(*fault) && *fault != Fault::None
    });
    let throttled = |fault| match fault {
        Fault::Throttled { .. } => Fault::Throttled { retry_after_secs: 0 },
        other => other,
    };
    quick.map(|fault| (throttled(fault), 30)).collect()
}

#[tokio::test]
async fn copies_equal_what_was_said_for_as_long_as_the_provider_does_not_lie() {
    for seed in 0..4 {
        for id in DIALECTS {
            let plan = Plan { seed, rates: honest_faults(), ..Plan::default() };
            let provider = provider(plan).await;
            let channel = channel(id, &provider.base());
            let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
            for number in 0..60 {
                let text = format!("{id} {number}");
                let before = provider.submissions().len();
                let outcome = channel.submit(&message(number, ANNA, &text)).await;
                let taken = provider.submissions().len() - before;
                *kinds.entry(kind(&outcome)).or_default() += 1;
                let fits = match kind(&outcome) {
                    "accepted" => taken == 1,
                    "unknown" => taken <= 1,
                    _ => taken == 0,
                };
                assert!(fits, "seed {seed}, {id}, message {number}: {taken} taken, {outcome:?}");
            }
            assert_eq!(kinds.len(), 5, "seed {seed}, {id}: not every outcome was met: {kinds:?}");
        }
    }
}
