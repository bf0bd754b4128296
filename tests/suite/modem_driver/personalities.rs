//! Models as their manuals and captures show them: what each is asked for, and what it is spared.

use super::peer::{Peer, PeerState, Say, Script, ordinary, text};
use super::*;

/// A model: exact answers by command, everything else as usual.
fn model(answers: &'static [(&'static str, &'static str)], noise: &'static str) -> Script {
    Box::new(move |command: &str, state: &mut PeerState| {
        let own = answers.iter().find(|(asked, _)| *asked == command).map(|(_, said)| text(said));
        let mut said = own.unwrap_or_else(|| ordinary(command, state));
        if !noise.is_empty() {
            said.insert(0, Say::Text(noise.to_owned()));
        }
        Some(said)
    })
}

const SIM800: &[(&str, &str)] = &[
    ("AT+CGMI", "\r\nSIMCOM_Ltd\r\n\r\nOK\r\n"),
    ("AT+CGMM", "\r\nSIMCOM_SIM800C\r\n\r\nOK\r\n"),
    ("AT+CNMI=?", "\r\n+CNMI: (0-2),(0-3),(0,2),(0,1),(0,1)\r\n\r\nOK\r\n"),
    ("AT+CGREG?", "\r\n+CGREG: 0,0\r\n\r\nOK\r\n"),
    ("AT+CEREG?", "\r\nERROR\r\n"),
    ("AT+CEREG=1", "\r\nERROR\r\n"),
];

const SIM7600: &[(&str, &str)] = &[
    ("AT+CGMI", "\r\nSIMCOM INCORPORATED\r\n\r\nOK\r\n"),
    ("AT+CGMM", "\r\nSIMCOM_SIM7600E-H\r\n\r\nOK\r\n"),
    ("AT+CNMI=?", "\r\n+CNMI: (0,1,2),(0,1,2,3),(0,2),(0,1,2),(0,1)\r\n\r\nOK\r\n"),
    // On LTE the circuit-switched domain need not be registered.
    ("AT+CREG?", "\r\n+CREG: 1,2\r\n\r\nOK\r\n"),
    ("AT+CGREG?", "\r\n+CGREG: 1,0\r\n\r\nOK\r\n"),
    ("AT+CEREG?", "\r\n+CEREG: 1,1\r\n\r\nOK\r\n"),
    ("AT+COPS?", "\r\n+COPS: 0,0,\"Vodacom, CD\",7\r\n\r\nOK\r\n"),
];

const EC25: &[(&str, &str)] = &[
    ("AT+CGMI", "\r\nQuectel\r\n\r\nOK\r\n"),
    ("AT+CGMM", "\r\nEC25\r\n\r\nOK\r\n"),
    ("AT+CNMI=?", "\r\n+CNMI: (0-2),(0-3),(0,2,3),(0-2),(0,1)\r\n\r\nOK\r\n"),
    ("AT+CPMS?", "\r\n+CPMS: \"ME\",0,255,\"ME\",0,255,\"ME\",0,255\r\n\r\nOK\r\n"),
];

const HUAWEI: &[(&str, &str)] = &[
    ("AT+CGMI", "\r\nhuawei\r\n\r\nOK\r\n"),
    ("AT+CGMM", "\r\nE3372\r\n\r\nOK\r\n"),
    ("AT+CNMI=?", "\r\n+CNMI: (0,1,2),(0,1,2,3),(0,2),(0,1,2),(0,1)\r\n\r\nOK\r\n"),
    ("AT+CEREG?", "\r\nCOMMAND NOT SUPPORT\r\n"),
    ("AT+CUSD=2", "\r\nERROR\r\n"),
    (
        "AT+CUSD=1,\"AA180C3602\",15",
        "\r\nOK\r\n\r\n+CUSD: 0,\"00530061006C0064006F0020003700350030\",72\r\n",
    ),
];

#[tokio::test]
async fn each_model_is_known_set_up_its_way_and_sends() {
    let models = [
        ("sim800", SIM800, "", "AT+CNMI=2,1,0,1,0", "AT+CSCLK=0"),
        ("sim7600", SIM7600, "", "AT+CNMI=2,1,0,1,0", "AT+CGSMS=1"),
        ("ec25", EC25, "", "AT+CNMI=2,1,0,1,0", "AT+QURCCFG=\"urcport\",\"usbat\""),
        (
            "huawei",
            HUAWEI,
            "\r\n^RSSI:19\r\n\r\n^BOOT:29790318,0,0,0,72\r\n",
            "AT+CNMI=2,1,0,2,1",
            "AT^CURC=0",
        ),
    ];
    for (name, answers, noise, announce, own) in models {
        let peer = Peer::new(model(answers, noise));
        let rig = Rig::ready(settings(&peer.port)).await;
        assert_eq!(rig.line.health.borrow().quirks, name);
        assert!(peer.heard(announce) > 0, "{name}: {announce}");
        assert!(peer.heard(own) > 0, "{name}: {own}");
        assert_eq!(rig.submit(TO, "Bell").await, accepted(&["1"]), "{name}");
        assert_eq!(
            rig.submit(TO, &"river ".repeat(60)).await,
            accepted(&["2", "3", "4"]),
            "{name}"
        );
    }
}

#[tokio::test]
async fn registration_on_lte_alone_is_enough_and_the_operator_is_named() {
    let peer = Peer::new(model(SIM7600, ""));
    let rig = Rig::ready(settings(&peer.port)).await;
    let health = rig.line.health.borrow().clone();
    assert_eq!((health.operator.as_str(), health.technology), ("Vodacom, CD", "LTE"));
    assert_eq!(health.signal_dbm, Some(-73));
    assert_eq!(health.service_centre, "+10000000");
    assert_eq!(health.model, "SIMCOM INCORPORATED SIMCOM_SIM7600E-H");
}

#[tokio::test]
async fn huawei_is_dialled_in_packed_digits_and_its_ucs2_answer_is_read() {
    let peer = Peer::new(model(HUAWEI, ""));
    let rig = Rig::ready(settings(&peer.port)).await;
    let code = "*100#".to_owned();
    assert_eq!(rig.ask(|reply| Request::Ussd { code, reply }).await, Ok("Saldo 750".to_owned()));
}

#[tokio::test]
async fn a_modem_that_answers_ok_alone_to_questions_still_sends() {
    let bare: Script = Box::new(|command, state| {
        let vague = ["AT+CFUN?", "AT+CREG=1", "AT+CPMS?", "AT+COPS?", "AT+CMGF?", "AT+CNMI=?"];
        let said = vague.contains(&command).then(|| text("\r\nOK\r\n"));
        said.or_else(|| Some(ordinary(command, state)))
    });
    let peer = Peer::new(bare);
    let mut settings = settings(&peer.port);
    settings.times.wake = Duration::from_millis(200);
    let rig = Rig::ready(settings).await;
    assert_eq!(rig.submit(TO, "Bell").await, accepted(&["1"]));
}

#[tokio::test]
async fn a_sim_without_a_service_centre_is_given_the_configured_one_or_told_about() {
    let script = || -> Script {
        let mut known = false;
        Box::new(move |command, _| {
            known |= command == "AT+CSCA=\"+243810000000\",145";
            (command == "AT+CSCA?" && !known).then(|| text("\r\n+CSCA: \"\",129\r\n\r\nOK\r\n"))
        })
    };
    let peer = Peer::new(script());
    let mut rig = Rig::start(settings(&peer.port));
    rig.wait_state("down", |state| matches!(state, State::Down(_))).await;
    assert!(matches!(
        rig.submit(TO, "Bell").await,
        Submitted::ChannelDown { .. } | Submitted::Retry { .. }
    ));
    let peer = Peer::new(script());
    let with =
        Settings { service_centre: Some("+243810000000".to_owned()), ..settings(&peer.port) };
    let rig = Rig::ready(with).await;
    assert_eq!(rig.submit(TO, "Bell").await, accepted(&["1"]));
}

#[tokio::test]
async fn a_locked_modem_that_is_busy_and_forgets_its_ok_comes_up_with_the_right_pin() {
    // As old Wavecom modems do.
    let (mut open, mut busy) = (false, 2);
    let peer = Peer::new(Box::new(move |command, _| {
        open |= command == "AT+CPIN=\"4321\"";
        match command {
            "AT+CPIN?" if !open => Some(text("\r\n+CPIN: SIM PIN\r\n")),
            "AT+CPIN?" if busy > 0 => {
                busy -= 1;
                Some(text("\r\n+CME ERROR: 14\r\n"))
            }
            "AT+CPIN?" => Some(text("\r\n+CPIN: READY\r\n")),
            "AT+CGMI" | "AT+CGMM" | "AT+CSQ" if !open => Some(text("\r\n+CME ERROR: 11\r\n")),
            _ => None,
        }
    }));
    let mut settings = settings(&peer.port);
    settings.pin = kengele::channel::modem::Pin::new("4321");
    settings.times.wake = Duration::from_millis(200);
    let rig = Rig::ready(settings).await;
    assert_eq!(rig.line.health.borrow().model, "Peer P1", "asked again once it is open");
    assert_eq!(rig.submit(TO, "Bell").await, accepted(&["1"]));
    assert_eq!(peer.heard("AT+CPIN=\"4321\""), 1);
}
