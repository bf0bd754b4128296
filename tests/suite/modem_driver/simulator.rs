//! The virtual modem that the clients of others have qualified: each personality, and what only it can go wrong with.

use super::*;
use kengele::channel::modem::{Balance, Event, Pin, Settings};
use kengele::domain::message::ReceiptState;
use kengele::sim::carrier::Carrier;
use kengele::sim::modem::{self, Fault, Personality, VirtualModem};

const OWN: &str = "+46700000001";

fn virtual_modem(personality: Personality, carrier: &Carrier) -> VirtualModem {
    let settings = modem::Settings {
        personality,
        own_number: OWN.to_owned(),
        pin: Some("4321".to_owned()),
        report_delay: Duration::from_millis(50),
        ..modem::Settings::default()
    };
    VirtualModem::start(settings, carrier.clone()).expect("a pseudo-terminal")
}

fn driver(modem: &VirtualModem) -> Settings {
    Settings {
        pin: Pin::new("4321"),
        own_number: Some(OWN.to_owned()),
        balance: Some(Balance {
            code: "*100#".to_owned(),
            before: "balance is ".to_owned(),
            after: " ".to_owned(),
        }),
        ..settings(modem.path())
    }
}

impl Rig {
    async fn event(&mut self) -> Event {
        let event = timeout(PATIENCE, self.line.events.recv()).await.expect("an event in time");
        event.expect("the modem's task lives")
    }
}

fn inbox(carrier: &Carrier) -> Vec<String> {
    carrier.inbox(TO).into_iter().map(|received| received.text).collect()
}

#[tokio::test]
async fn every_personality_sends_reports_receives_and_is_asked_for_its_balance() {
    for personality in Personality::ALL {
        let carrier = Carrier::seeded(1);
        let modem = virtual_modem(personality, &carrier);
        let mut rig = Rig::ready(driver(&modem)).await;
        let long = "the river rises ".repeat(20);
        assert_eq!(rig.submit(TO, &long).await, accepted(&["0", "1", "2"]), "{personality:?}");
        assert_eq!(inbox(&carrier), [long]);
        for _ in 0..3 {
            let Event::Receipt(receipt) = rig.event().await else {
                panic!("{personality:?}: no receipt")
            };
            assert_eq!(receipt.taken().state, ReceiptState::Delivered, "{personality:?}");
        }
        assert!(carrier.send_from(TO, OWN, &"we are safe ".repeat(20)));
        let Event::Text(text) = rig.event().await else { panic!("{personality:?}: no text") };
        let text = text.taken();
        assert_eq!((text.from.as_str(), text.text), (TO, "we are safe ".repeat(20)));
        wait_for("stored messages are deleted", || modem.stored("SM") == 0).await;
        let balance = rig.ask(|reply| Request::Balance { reply }).await;
        assert_eq!(balance.as_deref(), Ok("12.50"), "{personality:?}");
        assert!(rig.ask(|reply| Request::SelfTest { reply }).await.is_ok(), "{personality:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_the_modem_lies_about_is_never_taken_for_refused() {
    let carrier = Carrier::seeded(2);
    let modem = virtual_modem(Personality::Ec25, &carrier);
    let rig = Rig::ready(driver(&modem)).await;
    modem.fail(Fault::ErrorAfterAccept);
    let submitted = rig.submit(TO, "one").await;
    assert_eq!(inbox(&carrier), ["one"]);
    assert!(matches!(submitted, Submitted::Unknown { .. }), "{submitted:?}");
}

#[tokio::test]
async fn it_comes_back_after_a_reset_and_sends() {
    let carrier = Carrier::seeded(3);
    let modem = virtual_modem(Personality::Sim800, &carrier);
    let mut rig = Rig::ready(driver(&modem)).await;
    modem.reset();
    rig.wait_state("noticed", |state| *state != State::Ready).await;
    rig.wait_state("ready", |state| *state == State::Ready).await;
    assert_eq!(rig.submit(TO, "again").await, accepted(&["0"]));
    assert_eq!(inbox(&carrier), ["again"]);
}

#[tokio::test]
async fn without_credit_the_text_is_refused_and_nobody_gets_it() {
    let carrier = Carrier::seeded(4);
    let modem = virtual_modem(Personality::E3372, &carrier);
    carrier.set_credit(OWN, 0);
    let rig = Rig::ready(driver(&modem)).await;
    let submitted = rig.submit(TO, "one").await;
    assert!(!matches!(submitted, Submitted::Accepted { .. }), "{submitted:?}");
    assert!(inbox(&carrier).is_empty());
}
