//! What the channel says of an attempt, beside what the network really got.

use super::{
    ANNA, BEN, DIALECTS, HOSTILE, PASSWORD, channel, kind, message, provider, reason, settings,
};
use kengele::channel::http_sms::{Error, HttpSms, Limit, Secret};
use kengele::domain::message::{Submission, Submitted};
use kengele::sim::provider::{Deliver, Fault, Plan, Taken};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

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
                    Submitted::Unknown { references, .. } => {
                        assert!(references.is_empty(), "{case}");
                    }
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
async fn an_address_that_is_none_stops_the_channel() {
    for base in ["", "provider.test", "ftp://provider.test", "http://"] {
        let outcome = channel("vonage", base).submit(&message(1, ANNA, "a")).await;
        assert_eq!(kind(&outcome), "down", "{base}: {outcome:?}");
    }
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
async fn what_arrives_is_handed_to_the_shared_network() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&arrivals);
    let deliver: Deliver =
        Arc::new(move |arrival| into.lock().unwrap().push((arrival.to, arrival.text)));
    let plan =
        Plan { deliver: Some(deliver), unreachable: [BEN.to_owned()].into(), ..Plan::default() };
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
    let hurried = quick.map(|fault| {
        let throttled = matches!(fault, Fault::Throttled { .. });
        if throttled { Fault::Throttled { retry_after_secs: 0 } } else { fault }
    });
    hurried.map(|fault| (fault, 30)).collect()
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
