//! What comes in is kept until it is taken, and told once when it is.

use super::peer::{Peer, plain, text};
use super::*;
use kengele::channel::modem::{Balance, Event, Refused};
use kengele::domain::message::{InboundText, NetworkReceipt, ReceiptState};
use kengele::wire::segment::{Options, segments};
use kengele::wire::tpdu::{
    Address, Deliver, Reference, Status, StatusReport, UserData, to_hex, with_smsc,
};

fn deliver(from: &str, data: UserData) -> String {
    let deliver = Deliver {
        from: Address::parse(from).expect("a number"),
        protocol: 0,
        class: None,
        sent: None,
        more_to_come: false,
        receipt_wanted: false,
        reply_path: false,
        data,
    };
    to_hex(&with_smsc(None, &deliver.encode()))
}

fn report(reference: u8, status: Status) -> String {
    let report = StatusReport {
        reference,
        to: Address::parse(TO).expect("a number"),
        submitted: None,
        discharged: None,
        status,
        more_to_come: false,
        of_command: false,
    };
    to_hex(&with_smsc(None, &report.encode()))
}

fn short(text: &str) -> String {
    deliver(TO, UserData::text(text).expect("a short text"))
}

async fn event(rig: &mut Rig) -> Event {
    timeout(PATIENCE, rig.line.events.recv())
        .await
        .expect("an event in time")
        .expect("the task lives")
}

async fn text_in(rig: &mut Rig) -> InboundText {
    let text = match event(rig).await {
        Event::Text(text) => Some(text.taken()),
        Event::Receipt(_) => None,
    };
    text.expect("a text, not a receipt")
}

async fn receipt_in(rig: &mut Rig) -> NetworkReceipt {
    let receipt = match event(rig).await {
        Event::Receipt(receipt) => Some(receipt.taken()),
        Event::Text(_) => None,
    };
    receipt.expect("a receipt, not a text")
}

/// Settings that look at the SIM often.
fn sweeping(peer: &Peer) -> Settings {
    let mut settings = settings(&peer.port);
    settings.times.sweep = Duration::from_millis(50);
    settings
}

#[tokio::test]
async fn a_stored_text_is_deleted_only_after_it_was_taken() {
    let peer = Peer::new(plain());
    peer.state().stored.insert(3, (0, short("Hello")));
    let mut rig = Rig::ready(sweeping(&peer)).await;
    let Event::Text(first) = event(&mut rig).await else { panic!("a text") };
    assert_eq!((first.item.from.as_str(), first.item.text.as_str()), (TO, "Hello"));
    drop(first);
    let Event::Text(second) = event(&mut rig).await else { panic!("a text") };
    assert!(peer.state().stored.contains_key(&3), "nobody has taken it");
    assert_eq!(second.taken().text, "Hello");
    wait_for("the text is deleted", || peer.state().stored.is_empty()).await;
    let sweeps = peer.heard("AT+CMGL=4");
    wait_for("three more looks", || peer.heard("AT+CMGL=4") > sweeps + 3).await;
    assert!(rig.line.events.try_recv().is_err(), "told once");
}

#[tokio::test]
async fn an_announced_text_is_read_at_once() {
    let peer = Peer::new(plain());
    let mut rig = Rig::ready(settings(&peer.port)).await;
    peer.state().stored.insert(7, (0, short("STATUS")));
    peer.speak("\r\n+CMTI: \"SM\",7\r\n");
    assert_eq!(text_in(&mut rig).await.text, "STATUS");
    wait_for("the text is deleted", || peer.state().stored.is_empty()).await;
}

#[tokio::test]
async fn segments_are_joined_in_any_order_and_deleted_together() {
    let long = "Le niveau de la rivière à Kibali monte. ".repeat(9);
    let options = Options { reference: Reference::Wide(700), ..Options::default() };
    let parts = segments(&long, &options).expect("a few segments").segments;
    assert!(parts.len() >= 3);
    let peer = Peer::new(plain());
    for (place, part) in parts.iter().enumerate().skip(1).rev() {
        peer.state()
            .stored
            .insert(u16::try_from(place).expect("few"), (1, deliver(TO, part.data.clone())));
    }
    let mut rig = Rig::ready(sweeping(&peer)).await;
    let sweeps = peer.heard("AT+CMGL=4");
    wait_for("two looks without the first segment", || peer.heard("AT+CMGL=4") > sweeps + 2).await;
    assert_eq!(peer.state().stored.len(), parts.len() - 1, "kept while the first is awaited");
    peer.state().stored.insert(0, (0, deliver(TO, parts[0].data.clone())));
    assert_eq!(text_in(&mut rig).await.text, long);
    wait_for("all segments are deleted", || peer.state().stored.is_empty()).await;
}

#[tokio::test]
async fn a_direct_report_is_acknowledged_after_it_was_taken() {
    let peer = Peer::new(plain());
    let mut rig = Rig::ready(settings(&peer.port)).await;
    assert_eq!(rig.submit(TO, "Bell").await, accepted(&["1"]));
    peer.speak(&format!("\r\n+CDS: 25\r\n{}\r\n", report(1, Status::DELIVERED)));
    let Event::Receipt(receipt) = event(&mut rig).await else { panic!("a receipt") };
    assert_eq!(rig.submit(TO, "Bell").await, accepted(&["2"]), "the modem goes on meanwhile");
    assert_eq!(peer.heard("AT+CNMA"), 0);
    let receipt = receipt.taken();
    assert_eq!((receipt.reference.as_str(), receipt.to.as_deref()), ("1", Some(TO)));
    assert_eq!(receipt.state, ReceiptState::Delivered);
    wait_for("the report is acknowledged", || peer.heard("AT+CNMA") == 1).await;
}

#[tokio::test]
async fn each_status_is_told_as_what_it_means() {
    let peer = Peer::new(plain());
    let mut rig = Rig::ready(settings(&peer.port)).await;
    let failed = |reason: &str| ReceiptState::Failed { reason: reason.to_owned() };
    let cases = [
        (0x00, ReceiptState::Delivered),
        (0x01, ReceiptState::Pending),
        (0x22, ReceiptState::Pending),
        (0x46, ReceiptState::Expired),
        (0x43, failed("recipient not obtainable")),
        (0x61, failed("recipient busy, given up")),
    ];
    for (status, state) in cases {
        peer.speak(&format!("\r\n+CDS: 25\r\n{}\r\n", report(9, Status(status))));
        assert_eq!(receipt_in(&mut rig).await.state, state, "status {status:#04x}");
    }
}

#[tokio::test]
async fn a_report_in_a_memory_of_its_own_is_read_and_deleted_there() {
    let mut memory = "SM".to_owned();
    let kept = report(5, Status::DELIVERED);
    let peer = Peer::new(Box::new(move |command, _| {
        if let Some(wanted) = command.strip_prefix("AT+CPMS=\"") {
            wanted.split('"').next().unwrap_or_default().clone_into(&mut memory);
        }
        match (command, memory.as_str()) {
            ("AT+CMGR=4", "SR") => Some(text(&format!("\r\n+CMGR: 0,,25\r\n{kept}\r\n\r\nOK\r\n"))),
            ("AT+CMGD=4", "SR") => Some(text("\r\nOK\r\n")),
            ("AT+CMGR=4" | "AT+CMGD=4", _) => Some(text("\r\n+CMS ERROR: 321\r\n")),
            _ => None,
        }
    }));
    let mut rig = Rig::ready(settings(&peer.port)).await;
    peer.speak("\r\n+CDSI: \"SR\",4\r\n");
    assert_eq!(receipt_in(&mut rig).await.reference, "5");
    wait_for("it is deleted", || peer.heard("AT+CMGD=4") == 1).await;
}

#[tokio::test]
async fn when_nobody_takes_events_everything_stays_and_comes_later() {
    let peer = Peer::new(plain());
    for place in 0..100 {
        peer.state().stored.insert(place, (0, short(&format!("text {place}"))));
    }
    let mut rig = Rig::ready(sweeping(&peer)).await;
    wait_for("the queue is full", || rig.line.health.borrow().counts.handovers_refused > 0).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 100 {
        seen.insert(text_in(&mut rig).await.text);
    }
    wait_for("the SIM is empty", || peer.state().stored.is_empty()).await;
}

#[tokio::test]
async fn a_full_sim_is_relieved_of_what_is_no_message() {
    let peer = Peer::new(plain());
    for place in 0..10 {
        peer.state().stored.insert(place, (3, "0011000C91428301000010000000".to_owned()));
    }
    let rig = Rig::ready(sweeping(&peer)).await;
    wait_for("own copies are deleted", || peer.state().stored.is_empty()).await;
    drop(rig);
}

#[tokio::test]
async fn a_self_test_comes_back_and_is_nobody_elses_text() {
    let peer = Peer::new(plain());
    let settings = Settings { own_number: Some(TO.to_owned()), ..sweeping(&peer) };
    let mut rig = Rig::ready(settings).await;
    let requests = rig.line.requests.clone();
    let (reply, answer) = oneshot::channel();
    requests.send(Request::SelfTest { reply }).await.expect("the task lives");
    wait_for("the text goes out", || peer.state().took.len() == 1).await;
    let sent = peer.state().took[0].clone();
    let tpdu = kengele::wire::tpdu::from_hex(&sent).expect("digits");
    let submit = kengele::wire::tpdu::Submit::decode(&tpdu[1..]).expect("a SUBMIT");
    peer.state().stored.insert(1, (0, deliver(TO, submit.data)));
    let took = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    assert!(took.is_ok(), "{took:?}");
    wait_for("the text is deleted", || peer.state().stored.is_empty()).await;
    assert!(rig.line.events.try_recv().is_err());
}

#[tokio::test]
async fn the_balance_is_asked_and_found() {
    let peer = Peer::new(Box::new(|command, _| {
        let dialled = command == "AT+CUSD=1,\"*100#\",15";
        dialled.then(|| text("\r\nOK\r\n\r\n+CUSD: 0,\"Solde 12.50 F\",15\r\n"))
    }));
    let balance =
        Balance { code: "*100#".to_owned(), before: "Solde".to_owned(), after: "F".to_owned() };
    let rig = Rig::ready(Settings { balance: Some(balance), ..settings(&peer.port) }).await;
    assert_eq!(rig.ask(|reply| Request::Balance { reply }).await, Ok("12.50".to_owned()));
    assert_eq!(rig.line.health.borrow().balance.as_deref(), Some("12.50"));
    let code = "*100#\";+CFUN=0".to_owned();
    let refused = rig.ask(|reply| Request::Ussd { code, reply }).await;
    assert_eq!(refused, Err(Refused("a code holds digits, * and # alone".to_owned())));
}
