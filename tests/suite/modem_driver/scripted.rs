//! What is claimed of a text is true wherever the exchange breaks off.

use super::peer::{Peer, PeerState, Say, Script, ordinary, plain, take, text};
use super::*;
use kengele::channel::modem::{Pin, Sim};

const BELL: &str = "0031000C9142830100001000000B04C2329B0D";

/// Answers texts with `answer`, which says whether the network takes them; everything else as usual.
fn answering(mut answer: impl FnMut(&str, &mut PeerState) -> Vec<Say> + Send + 'static) -> Script {
    Box::new(move |command, state| command.starts_with("SEND ").then(|| answer(command, state)))
}

/// `Accepted` means that the network has it, `Retry` and `Rejected` that it has nothing.
fn is_true(submitted: &Submitted, took: usize) -> bool {
    match submitted {
        Submitted::Accepted { references } => took == references.len(),
        Submitted::Retry { .. } | Submitted::Rejected { .. } | Submitted::ChannelDown { .. } => {
            took == 0
        }
        Submitted::Unknown { references, .. } => references.len() <= took,
    }
}

#[tokio::test]
async fn a_text_is_sent_with_its_validity_and_a_wish_for_a_report() {
    let peer = Peer::new(plain());
    let rig = Rig::ready(settings(&peer.port)).await;
    assert_eq!(rig.submit(TO, "Bell").await, accepted(&["1"]));
    // By hand after 3GPP TS 23.040 §9.2.2.2: no service centre; SUBMIT with relative validity and a report; +243810000001;
    // GSM letters; 11 is one hour; four septets.
    assert_eq!(peer.state().took, [BELL]);
    rig.stop().await;
}

/// A driver that has nothing to do: after a first text, which is forgotten, it waits for the next.
async fn idle(peer: &Peer) -> Rig {
    let rig = Rig::ready(settings(&peer.port)).await;
    assert_eq!(rig.submit(TO, "first").await, accepted(&["1"]));
    peer.state().took.clear();
    rig
}

#[tokio::test]
async fn wherever_the_modem_is_unplugged_the_claim_about_the_text_is_true() {
    // Bytes that the driver writes for one text: the question, the command, the PDU, Ctrl-Z.
    let whole = "AT+CMGF?\rAT+CMGS=18\r".len() + BELL.len() + 1;
    let (mut open, mut sent, mut stayed) = (0, 0, 0);
    for cut in 0..=whole + 1 {
        let peer = Peer::new(plain());
        let rig = idle(&peer).await;
        peer.state().cut_heard = Some(cut);
        let submitted = rig.submit(TO, "Bell").await;
        let took = peer.state().took.len();
        assert!(
            is_true(&submitted, took),
            "cut after {cut} bytes heard: {submitted:?}, network has {took}"
        );
        match submitted {
            Submitted::Accepted { .. } => sent += 1,
            Submitted::Unknown { .. } => open += 1,
            Submitted::Retry { .. }
            | Submitted::Rejected { .. }
            | Submitted::ChannelDown { .. } => stayed += 1,
        }
    }
    assert!(
        sent >= 1 && stayed >= 20,
        "{sent} sent, {stayed} stayed, {open} open: the cut reaches every part"
    );
}

#[tokio::test]
async fn wherever_the_answer_breaks_off_the_claim_about_the_text_is_true() {
    let whole = "\r\n+CMGF: 0\r\n\r\nOK\r\n\r\n> \r\n+CMGS: 2\r\n\r\nOK\r\n".len();
    let mut open = 0;
    for cut in 0..=whole + 1 {
        let peer = Peer::new(plain());
        let rig = idle(&peer).await;
        peer.state().cut_said = Some(cut);
        let submitted = rig.submit(TO, "Bell").await;
        let took = peer.state().took.len();
        assert!(
            is_true(&submitted, took),
            "cut after {cut} bytes said: {submitted:?}, network has {took}"
        );
        open += usize::from(matches!(submitted, Submitted::Unknown { .. }));
    }
    assert!(open >= 5, "{open} open: an answer that breaks off leaves it open");
}

#[tokio::test]
async fn a_silent_modem_leaves_the_outcome_open_and_works_again_afterwards() {
    let mut calls = 0;
    let peer = Peer::new(answering(move |command, state| {
        calls += 1;
        if calls == 1 { Vec::new() } else { ordinary(command, state) }
    }));
    let mut settings = settings(&peer.port);
    settings.times.result = Duration::from_millis(300);
    let mut rig = Rig::ready(settings).await;
    assert!(
        matches!(rig.submit(TO, "one").await, Submitted::Unknown { references, .. } if references.is_empty())
    );
    rig.wait_state("ready again", |state| *state == State::Ready).await;
    let second = submit_until_up(&rig, "two").await;
    assert_eq!(second, accepted(&["1"]));
}

/// Submits again while the modem is being set up.
async fn submit_until_up(rig: &Rig, text: &str) -> Submitted {
    let until = Instant::now() + PATIENCE;
    loop {
        let submitted = rig.submit(TO, text).await;
        let absent = matches!(submitted, Submitted::Retry { .. } | Submitted::ChannelDown { .. });
        if !absent || Instant::now() >= until {
            return submitted;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_the_next_text() {
    // The first text's answer comes after it was given up; the second text is swallowed without a word.
    let mut calls = 0;
    let peer = Peer::new(answering(move |command, state| {
        calls += 1;
        if calls > 1 {
            return Vec::new();
        }
        let reference = take(command, state);
        vec![
            Say::Later(Duration::from_millis(600)),
            Say::Text(format!("\r\n+CMGS: {reference}\r\n\r\nOK\r\n")),
        ]
    }));
    let mut settings = settings(&peer.port);
    settings.times.result = Duration::from_millis(200);
    let rig = Rig::ready(settings).await;
    assert!(matches!(rig.submit(TO, "one").await, Submitted::Unknown { .. }));
    assert!(matches!(submit_until_up(&rig, "two").await, Submitted::Unknown { .. }));
    assert!(rig.line.health.borrow().counts.late_answers >= 1);
}

#[tokio::test]
async fn an_answer_that_is_late_but_in_time_counts() {
    let peer = Peer::new(answering(|command, state| {
        let mut said = vec![Say::Later(Duration::from_millis(350))];
        said.extend(ordinary(command, state));
        said
    }));
    let mut settings = settings(&peer.port);
    (settings.times.result, settings.times.late) =
        (Duration::from_millis(200), Duration::from_secs(5));
    let rig = Rig::ready(settings).await;
    assert_eq!(rig.submit(TO, "one").await, accepted(&["1"]));
}

#[tokio::test]
async fn an_ok_without_a_reference_leaves_the_outcome_open() {
    let peer = Peer::new(answering(|_, _| text("\r\nOK\r\n")));
    let rig = Rig::ready(settings(&peer.port)).await;
    assert!(matches!(rig.submit(TO, "one").await, Submitted::Unknown { .. }));
}

#[tokio::test]
async fn a_restart_in_the_middle_leaves_the_outcome_open_before_the_time_is_over() {
    let peer = Peer::new(answering(|_, state| {
        (state.echo, state.text_mode) = (true, true);
        text("\r\nRDY\r\n")
    }));
    let rig = Rig::ready(settings(&peer.port)).await;
    let start = Instant::now();
    assert!(matches!(rig.submit(TO, "one").await, Submitted::Unknown { .. }));
    assert!(start.elapsed() < times().result / 2);
}

#[tokio::test]
async fn errors_are_told_apart_by_what_helps() {
    let cases = [
        ("+CMS ERROR: 38", "retry"),
        ("+CMS ERROR: 208", "retry"),
        ("+CMS ERROR: 28", "rejected"),
        ("+CMS ERROR: 304", "rejected"),
        ("+CMS ERROR: 330", "down"),
        ("+CMS ERROR: 10", "down"),
        ("+CMS ERROR: 332", "unknown"),
        ("+CMS ERROR: 500", "unknown"),
        ("ERROR", "unknown"),
    ];
    for (error, wanted) in cases {
        let peer = Peer::new(answering(move |_, _| text(&format!("\r\n{error}\r\n"))));
        let rig = Rig::ready(settings(&peer.port)).await;
        let word = match rig.submit(TO, "one").await {
            Submitted::Accepted { .. } => "accepted",
            Submitted::Retry { .. } => "retry",
            Submitted::Rejected { .. } => "rejected",
            Submitted::ChannelDown { .. } => "down",
            Submitted::Unknown { .. } => "unknown",
        };
        assert_eq!(word, wanted, "{error}");
    }
}

#[tokio::test]
async fn a_later_segment_is_tried_again_and_what_left_is_named_when_it_fails() {
    let mut calls = 0;
    let peer = Peer::new(answering(move |command, state| {
        calls += 1;
        if calls == 2 { text("\r\n+CMS ERROR: 42\r\n") } else { ordinary(command, state) }
    }));
    let rig = Rig::ready(settings(&peer.port)).await;
    let long = "river ".repeat(50);
    assert_eq!(rig.submit(TO, &long).await, accepted(&["1", "2"]));

    let mut calls = 0;
    let peer = Peer::new(answering(move |command, state| {
        calls += 1;
        if calls == 2 { text("\r\n+CMS ERROR: 28\r\n") } else { ordinary(command, state) }
    }));
    let rig = Rig::ready(settings(&peer.port)).await;
    let Submitted::Unknown { references, reason } = rig.submit(TO, &long).await else {
        panic!("part of it is out")
    };
    assert_eq!(references, ["1"]);
    assert_eq!(reason, "segment 2 of 2: unidentified subscriber (CMS 28)");
}

#[tokio::test]
async fn a_modem_that_forgot_its_settings_unheard_is_set_up_before_anything_goes_out() {
    let peer = Peer::new(plain());
    let rig = Rig::ready(settings(&peer.port)).await;
    (peer.state().echo, peer.state().text_mode) = (true, true);
    assert!(matches!(rig.submit(TO, "one").await, Submitted::Retry { .. }));
    assert_eq!(peer.state().took.len(), 0);
    assert_eq!(submit_until_up(&rig, "one").await, accepted(&["1"]));
}

#[tokio::test]
async fn a_modem_left_at_the_prompt_with_half_a_text_comes_up_and_sends_nothing_of_it() {
    let peer = Peer::new(plain());
    peer.state().at_prompt = true;
    let rig = Rig::ready(settings(&peer.port)).await;
    assert_eq!(peer.state().took.len(), 0);
    assert_eq!(rig.submit(TO, "one").await, accepted(&["1"]));
}

#[tokio::test]
async fn a_modem_in_a_data_connection_is_hung_up() {
    let mut connected = true;
    let peer = Peer::new(Box::new(move |command, _| {
        // The plus signs stand before whatever comes next, for they have no line end of their own.
        if connected && command.starts_with("+++") {
            connected = false;
            return Some(text("\r\nNO CARRIER\r\n\r\nOK\r\n"));
        }
        connected.then(Vec::new)
    }));
    let mut settings = settings(&peer.port);
    settings.times.wake = Duration::from_millis(100);
    Rig::ready(settings).await;
}

#[tokio::test]
async fn a_wrong_pin_is_given_once() {
    let peer = Peer::new(Box::new(|command, _| match command {
        "AT+CPIN?" => Some(text("\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n")),
        _ if command.starts_with("AT+CPIN=") => Some(text("\r\n+CME ERROR: 16\r\n")),
        _ => None,
    }));
    let mut rig = Rig::start(Settings { pin: Pin::new("1234"), ..settings(&peer.port) });
    rig.wait_state("down", |state| matches!(state, State::Down(_))).await;
    let asked =
        |peer: &Peer| peer.state().commands.iter().filter(|command| *command == "AT+CPIN?").count();
    wait_for("the modem is set up four times more", || asked(&peer) >= 5).await;
    assert_eq!(rig.line.health.borrow().sim, Sim::PinRefused);
    let given =
        peer.state().commands.iter().filter(|command| command.starts_with("AT+CPIN=")).count();
    assert_eq!(given, 1);
}

#[tokio::test]
async fn an_unplugged_modem_is_found_again_under_its_name() {
    let peer = Peer::new(plain());
    let mut rig = Rig::ready(settings(&peer.port)).await;
    peer.state().cut_heard = Some(0);
    let submitted = rig.submit(TO, "one").await;
    assert!(is_true(&submitted, 0), "{submitted:?}");
    rig.wait_state("down", |state| matches!(state, State::Down(_))).await;
    wait_for("the port is gone", || peer.is_unplugged()).await;
    peer.plug();
    rig.wait_state("ready", |state| *state == State::Ready).await;
    assert_eq!(rig.submit(TO, "two").await, accepted(&["1"]));
}

#[tokio::test]
async fn a_deaf_modem_is_restarted_then_its_power_is_cut_then_somebody_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mark = folder.path().join("cut");
    let peer = Peer::new(Box::new(|_, _| Some(Vec::new())));
    let mut settings = settings(&peer.port);
    settings.power_cycle = vec!["touch".to_owned(), mark.display().to_string()];
    (settings.times.wake, settings.times.boot) =
        (Duration::from_millis(50), Duration::from_millis(20));
    settings.bauds = vec![115_200];
    let rig = Rig::start(settings);
    wait_for("the power is cut", || mark.exists()).await;
    let restarts =
        peer.state().commands.iter().filter(|command| command.contains("AT+CFUN=1,1")).count();
    assert_eq!(restarts, 1, "told to restart once before");
    let told = rig.submit(TO, "one").await;
    assert!(matches!(told, Submitted::ChannelDown { .. } | Submitted::Retry { .. }), "{told:?}");
}

#[tokio::test]
async fn two_modems_work_side_by_side_and_one_that_fails_does_not_hold_the_other() {
    let silent = Peer::new(answering(|_, _| Vec::new()));
    let sound = Peer::new(plain());
    let (one, two) =
        (Rig::ready(settings(&silent.port)).await, Rig::ready(settings(&sound.port)).await);
    let stuck = one.submit(TO, "never answered");
    let through = async {
        for count in 1..=20_u8 {
            let reference = count.to_string();
            assert_eq!(two.submit(TO, "Bell").await, accepted(&[&reference]));
        }
    };
    tokio::select! {
        () = through => {}
        submitted = stuck => panic!("the silent modem answered first: {submitted:?}"),
    }
    assert_eq!(sound.state().took.len(), 20);
}

#[tokio::test]
async fn noise_and_news_all_around_do_not_change_the_outcome() {
    let peer = Peer::new(Box::new(|command, state| {
        let mut said = vec![
            Say::Bytes(b"\xff\x00\xfe".to_vec()),
            Say::Text("\r\n^RSSI:19\r\n\r\n+CREG: 1\r\nxkcd\r\n".to_owned()),
        ];
        said.extend(ordinary(command, state));
        said.push(Say::Text("\r\n+CMTI: \"SM\",200\r\n^HCSQ:\"LTE\",1\r\n".to_owned()));
        Some(said)
    }));
    let rig = Rig::ready(settings(&peer.port)).await;
    for count in 1..=5_u8 {
        assert_eq!(rig.submit(TO, "Bell").await, accepted(&[&count.to_string()]));
    }
}

#[tokio::test]
async fn texts_keep_the_pace_that_the_operator_allows() {
    let peer = Peer::new(plain());
    let rig = Rig::ready(Settings { texts_per_minute: 300, ..settings(&peer.port) }).await;
    let start = Instant::now();
    for _ in 0..3 {
        rig.submit(TO, "Bell").await;
    }
    // 200 ms a text: the third goes out after two of them.
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
}

#[tokio::test]
async fn without_a_network_nothing_goes_out_and_the_modem_is_restarted_after_a_while() {
    let peer = Peer::new(Box::new(|command, _| match command {
        "AT+CREG?" => Some(text("\r\n+CREG: 1,3\r\n\r\nOK\r\n")),
        "AT+CGREG?" => Some(text("\r\n+CME ERROR: 4\r\n")),
        _ => None,
    }));
    let mut settings = settings(&peer.port);
    settings.times.registration = Duration::from_millis(400);
    let mut rig = Rig::start(settings);
    rig.wait_state("searching", |state| *state == State::Searching).await;
    let told = rig.submit(TO, "Bell").await;
    assert!(matches!(told, Submitted::Retry { .. }), "{told:?}");
    assert_eq!(rig.line.health.borrow().registration, "the network refuses this SIM");
    wait_for("the modem is restarted", || peer.heard("AT+CFUN=1,1") == 1).await;
    assert_eq!(peer.state().took.len(), 0);
}

#[tokio::test]
async fn a_flash_text_has_class_0_and_a_text_beyond_gsm_letters_is_ucs2() {
    let peer = Peer::new(plain());
    let rig = Rig::ready(settings(&peer.port)).await;
    let submission = Submission { flash: true, ..submission(TO, "Наводнение") };
    let submitted = rig.ask(|reply| Request::Submit { submission, reply }).await;
    assert_eq!(submitted, accepted(&["1"]));
    let took = peer.state().took[0].clone();
    let tpdu = kengele::wire::tpdu::from_hex(&took).expect("digits");
    let submit = kengele::wire::tpdu::Submit::decode(&tpdu[1..]).expect("a SUBMIT");
    assert_eq!(submit.class, Some(kengele::wire::tpdu::Class::Flash));
    assert_eq!(submit.data.to_text().as_deref(), Some("Наводнение"));
}

#[tokio::test]
async fn a_number_that_is_none_is_rejected_and_the_next_text_goes() {
    let peer = Peer::new(plain());
    let rig = Rig::ready(settings(&peer.port)).await;
    assert!(matches!(rig.submit("", "Bell").await, Submitted::Rejected { .. }));
    assert_eq!(rig.submit(TO, "Bell").await, accepted(&["1"]));
}
