use super::*;
use crate::domain::message::{Priority, ReceiptState, Submitted};
use std::time::Duration;

const MODEM: &str = "modem";
const HTTP: &str = "http";
const HOUR: Duration = Duration::from_hours(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(seconds)
}

fn settings() -> Settings {
    let lane = |name: &str| LaneSettings {
        name: name.into(),
        width: 1,
        segment_interval: Duration::ZERO,
        report_window: HOUR,
    };
    Settings { lanes: vec![lane(MODEM), lane(HTTP)], budget: None, deliveries_max: 100 }
}

fn outbox(settings: Settings) -> Outbox {
    Outbox::recover(settings, Stored::default(), BootId(1), at(0)).0
}

/// An alert of warning 1 to recipient `id`, by modem only, of one segment, for a day.
fn row(id: i64, priority: Priority) -> Delivery {
    let subject =
        Subject::Alert { warning: WarningId(1), number: 1, message_type: MessageType::Alert };
    Delivery {
        id: DeliveryId(id),
        subject,
        recipient: RecipientId(id),
        number: format!("+2557120000{id:02}").into(),
        text: "water".into(),
        segments: 1,
        priority,
        rank: 1,
        flash: false,
        idempotency_key: "key".into(),
        routes: vec![route(MODEM)],
        created: at(0),
        expires: at(86_400),
        state: DeliveryState::Queued,
        stop: None,
        attempts: 0,
        channel: None,
        reached: false,
        possible_duplicate: false,
        last_error: None,
        ended: None,
    }
}

fn route(channel: &str) -> Route {
    let step = u8::from(channel != MODEM);
    Route { channel: channel.into(), step, tries: 0, not_before: at(0), rejected: None }
}

fn about(row: Delivery, number: u32, message_type: MessageType) -> Delivery {
    Delivery { subject: Subject::Alert { warning: WarningId(1), number, message_type }, ..row }
}

/// Claims and begins what is next on `channel`.
fn send(outbox: &mut Outbox, channel: &str, now: Timestamp) -> Option<DeliveryId> {
    let claim = outbox.claim(channel, now)?;
    match outbox.begin(claim.delivery, now) {
        Begin::Send(submission) => Some(submission.delivery),
        Begin::CalledOff(_) => None,
    }
}

fn accepted(reference: &str) -> Submitted {
    Submitted::Accepted { references: vec![reference.to_owned()] }
}

fn unknown() -> Submitted {
    Submitted::Unknown { reason: "no answer".to_owned(), references: Vec::new() }
}

fn retry(after: Option<Duration>) -> Submitted {
    Submitted::Retry { reason: "busy".to_owned(), after }
}

fn delivered(reference: &str, id: i64) -> NetworkReceipt {
    let to = Some(format!("2557120000{id:02}"));
    NetworkReceipt { reference: reference.to_owned(), to, state: ReceiptState::Delivered }
}

fn end(outbox: &Outbox, id: i64) -> Option<End> {
    outbox.get(DeliveryId(id)).and_then(Delivery::end)
}

/// Sends `id`, which must be next on the modem, and passes on the answer.
fn exchange(outbox: &mut Outbox, id: i64, answer: Submitted, now: Timestamp) {
    assert_eq!(send(outbox, MODEM, now), Some(DeliveryId(id)));
    outbox.on_submitted(DeliveryId(id), MODEM, answer, now);
}

/// What the store holds after `changes` to an empty one.
fn stored(changes: &[Change]) -> Stored {
    let mut stored = Stored::default();
    for change in changes {
        match change {
            Change::Delivery(row) => {
                stored.deliveries.retain(|held| held.id != row.id);
                stored.deliveries.push(row.clone());
            }
            Change::Attempt(attempt) => {
                stored.attempts.retain(|held| held.id != attempt.id);
                stored.attempts.push(attempt.clone());
                stored.attempt_last = stored.attempt_last.max(attempt.id);
            }
        }
    }
    stored
}

#[test]
fn danger_goes_first_then_wardens_then_those_who_have_heard_nothing() {
    let mut outbox = outbox(settings());
    let warden = Delivery { rank: 0, ..row(3, Priority::Warning) };
    let rows = vec![row(1, Priority::Warning), row(2, Priority::Warning), warden];
    outbox.insert(rows, at(0));
    exchange(&mut outbox, 3, accepted("1"), at(0));
    exchange(&mut outbox, 1, accepted("2"), at(1));
    let again = |id: i64, of: i64, priority| Delivery {
        recipient: RecipientId(of),
        ..about(row(id, priority), 2, MessageType::Update)
    };
    let update = vec![
        again(11, 1, Priority::Warning),
        again(12, 2, Priority::Warning),
        again(13, 4, Priority::Danger),
    ];
    outbox.insert(update, at(2));
    assert_eq!(end(&outbox, 2), Some(End::Superseded));
    let order: Vec<_> = (0..3)
        .map(|n| {
            let id = send(&mut outbox, MODEM, at(3 + n)).unwrap();
            outbox.on_submitted(id, MODEM, accepted(&format!("1{n}")), at(3 + n));
            id.0
        })
        .collect();
    assert_eq!(order, [13, 12, 11]);
}

#[test]
fn a_lane_takes_one_text_at_a_time_and_keeps_its_pace() {
    let mut settings = settings();
    settings.lanes[0].segment_interval = Duration::from_secs(4);
    let mut outbox = outbox(settings);
    let long = Delivery { segments: 3, ..row(1, Priority::Danger) };
    outbox.insert(vec![long, row(2, Priority::Danger)], at(0));
    assert_eq!(send(&mut outbox, MODEM, at(0)), Some(DeliveryId(1)));
    assert_eq!(send(&mut outbox, MODEM, at(60)), None, "the first is still in flight");
    outbox.on_submitted(DeliveryId(1), MODEM, accepted("1"), at(5));
    assert_eq!(send(&mut outbox, MODEM, at(11)), None, "three segments take 12 s");
    assert_eq!(outbox.next_deadline(at(11)), Some(at(12)));
    assert_eq!(send(&mut outbox, MODEM, at(12)), Some(DeliveryId(2)));
}

#[test]
fn danger_of_unknown_fate_goes_once_more_and_advice_does_not() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Danger), row(2, Priority::Advice)], at(0));
    exchange(&mut outbox, 1, unknown(), at(0));
    exchange(&mut outbox, 2, unknown(), at(0));
    assert_eq!(outbox.next_deadline(at(0)), Some(at(90)));
    assert!(outbox.tick(at(89)).is_empty());
    outbox.tick(at(90));
    assert_eq!(end(&outbox, 2), Some(End::Unknown));
    assert!(outbox.get(DeliveryId(1)).unwrap().possible_duplicate);
    exchange(&mut outbox, 1, unknown(), at(90));
    outbox.tick(at(180));
    assert_eq!(end(&outbox, 1), Some(End::Unknown), "once more, and not for ever");
}

#[test]
fn a_restart_doubts_what_was_being_written_and_nothing_else() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Danger), row(2, Priority::Danger)], at(0));
    let claim = outbox.claim(MODEM, at(0)).unwrap();
    let kept = Stored { deliveries: vec![row(2, Priority::Danger)], ..Stored::default() };
    let mut kept_with_claim = stored(&claim.changes);
    kept_with_claim.deliveries.extend(kept.deliveries);
    let (again, _) = Outbox::recover(settings(), kept_with_claim, BootId(2), at(5));
    let state = |id| again.get(DeliveryId(id)).unwrap().state.clone();
    let decide_at = Some(at(95));
    assert_eq!(state(1), DeliveryState::Unknown { attempt: claim.attempt, decide_at });
    assert_eq!(state(2), DeliveryState::Queued);
}

#[test]
fn a_row_reported_between_claim_and_begin_is_stored_as_writing() {
    let mut outbox = outbox(settings());
    let both = Delivery { routes: vec![route(MODEM), route(HTTP)], ..row(1, Priority::Danger) };
    outbox.insert(vec![both], at(0));
    exchange(
        &mut outbox,
        1,
        Submitted::Unknown { reason: String::new(), references: vec![] },
        at(0),
    );
    outbox.tick(at(90));
    let claim = outbox.claim(MODEM, at(90)).unwrap();
    let changes = outbox.opt_out(RecipientId(1), at(91));
    let Some(Change::Delivery(row)) = changes.last() else { panic!("no row: {changes:?}") };
    assert_eq!(row.state, DeliveryState::Writing { attempt: claim.attempt });
    assert!(matches!(outbox.begin(DeliveryId(1), at(92)), Begin::CalledOff(_)));
    assert_eq!(end(&outbox, 1), Some(End::Unknown), "its first attempt may have arrived");
}

#[test]
fn a_report_with_the_next_reference_settles_an_unknown_text() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Danger), row(2, Priority::Danger)], at(0));
    exchange(&mut outbox, 1, accepted("255"), at(0));
    exchange(&mut outbox, 2, unknown(), at(1));
    outbox.on_receipt(MODEM, &delivered("0", 1), at(2));
    outbox.on_receipt(MODEM, &delivered("1", 2), at(2));
    assert_eq!(end(&outbox, 2), None, "another number, another reference");
    outbox.on_receipt(MODEM, &delivered("0", 2), at(3));
    assert_eq!(end(&outbox, 2), Some(End::Delivered));
    assert_eq!(outbox.counters().receipts_unmatched, 2);
}

#[test]
fn a_reference_given_to_another_text_is_not_the_lost_one() {
    let mut outbox = outbox(settings());
    let same_person = Delivery {
        recipient: RecipientId(2),
        number: row(2, Priority::Danger).number,
        ..row(3, Priority::Danger)
    };
    outbox.insert(vec![row(1, Priority::Danger), row(2, Priority::Danger), same_person], at(0));
    exchange(&mut outbox, 1, accepted("6"), at(0));
    exchange(&mut outbox, 2, unknown(), at(1));
    exchange(&mut outbox, 3, accepted("7"), at(2));
    outbox.on_receipt(MODEM, &delivered("7", 2), at(3));
    outbox.on_receipt(MODEM, &delivered("7", 2), at(4));
    assert_eq!((end(&outbox, 3), end(&outbox, 2)), (Some(End::Delivered), None));
}

#[test]
fn equal_references_are_told_apart_by_number_and_a_doubtful_one_proves_nothing() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Danger), row(2, Priority::Danger)], at(0));
    exchange(&mut outbox, 1, accepted("7"), at(0));
    exchange(&mut outbox, 2, accepted("7"), at(1));
    let nobody = NetworkReceipt { to: None, ..delivered("7", 1) };
    assert!(outbox.on_receipt(MODEM, &nobody, at(2)).is_empty());
    assert_eq!(outbox.counters().receipts_ambiguous, 1);
    outbox.on_receipt(MODEM, &delivered("7", 2), at(3));
    assert_eq!((end(&outbox, 1), end(&outbox, 2)), (None, Some(End::Delivered)));
}

#[test]
fn a_receipt_that_overtakes_the_answer_is_kept_for_it() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Danger)], at(0));
    assert!(send(&mut outbox, MODEM, at(0)).is_some());
    assert!(outbox.on_receipt(MODEM, &delivered("9", 1), at(1)).is_empty());
    outbox.on_submitted(DeliveryId(1), MODEM, accepted("9"), at(2));
    assert_eq!(end(&outbox, 1), Some(End::Delivered));
}

#[test]
fn a_long_text_is_delivered_with_its_last_segment() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![Delivery { segments: 2, ..row(1, Priority::Danger) }], at(0));
    let references = vec!["1".to_owned(), "2".to_owned()];
    exchange(&mut outbox, 1, Submitted::Accepted { references }, at(0));
    outbox.on_receipt(MODEM, &delivered("2", 1), at(1));
    outbox.on_receipt(MODEM, &delivered("2", 1), at(1));
    assert_eq!(end(&outbox, 1), None);
    outbox.on_receipt(MODEM, &delivered("1", 1), at(2));
    assert_eq!(end(&outbox, 1), Some(End::Delivered));
}

#[test]
fn without_a_receipt_it_ends_as_accepted_after_the_window() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Advice)], at(0));
    exchange(&mut outbox, 1, accepted("1"), at(10));
    assert_eq!(outbox.next_deadline(at(10)), Some(at(3610)));
    outbox.tick(at(3610));
    assert_eq!(end(&outbox, 1), Some(End::Accepted));
    outbox.on_receipt(MODEM, &delivered("1", 1), at(3611));
    assert_eq!(end(&outbox, 1), Some(End::Accepted), "an end is an end");
}

#[test]
fn the_next_channel_is_tried_when_the_first_has_failed_or_is_down_and_not_before() {
    let mut outbox = outbox(settings());
    let routes = || vec![route(MODEM), route(HTTP)];
    let rows = (1..=3).map(|id| Delivery { routes: routes(), ..row(id, Priority::Danger) });
    outbox.insert(rows.collect(), at(0));
    assert_eq!(send(&mut outbox, HTTP, at(0)), None, "the modem is preferred and works");
    exchange(&mut outbox, 1, Submitted::Rejected { reason: "barred".into() }, at(0));
    assert_eq!(send(&mut outbox, HTTP, at(0)), Some(DeliveryId(1)));
    let refused = Submitted::Rejected { reason: "no such number".into() };
    outbox.on_submitted(DeliveryId(1), HTTP, refused, at(1));
    let reason = "modem: barred; http: no such number".to_owned();
    assert_eq!(outbox.get(DeliveryId(1)).unwrap().state, DeliveryState::Failed { reason });

    exchange(&mut outbox, 2, Submitted::ChannelDown { reason: "no SIM".into() }, at(2));
    assert_eq!(outbox.down(MODEM), Some("no SIM"));
    assert_eq!(send(&mut outbox, MODEM, at(60)), None);
    assert_eq!(send(&mut outbox, HTTP, at(60)), Some(DeliveryId(2)));
    outbox.on_channel_up(MODEM);
    exchange(&mut outbox, 3, accepted("1"), at(61));
}

#[test]
fn a_failure_that_may_pass_is_tried_again_later_and_no_sooner_than_asked() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Danger)], at(0));
    exchange(&mut outbox, 1, retry(None), at(0));
    let due = outbox.next_deadline(at(0)).unwrap();
    assert_eq!(due, at(0) + retry_delay(DeliveryId(1), 1));
    exchange(&mut outbox, 1, retry(Some(HOUR)), due);
    assert_eq!(outbox.next_deadline(due), Some(due + HOUR));
    assert_eq!(outbox.segments_spent(due), 0, "what never left costs nothing");
}

#[test]
fn it_is_given_up_after_so_many_failures_but_not_because_a_channel_comes_and_goes() {
    let mut outbox = outbox(settings());
    let endless = Delivery { expires: at(1_000_000_000), ..row(1, Priority::Danger) };
    outbox.insert(vec![endless], at(0));
    let mut now = at(0);
    for _ in 0..2 * TRIES_MAX {
        exchange(&mut outbox, 1, Submitted::ChannelDown { reason: "no SIM".into() }, now);
        outbox.on_channel_up(MODEM);
        now = outbox.next_deadline(now).unwrap();
    }
    for _ in 0..TRIES_MAX {
        exchange(&mut outbox, 1, retry(None), now);
        now = outbox.next_deadline(now).unwrap_or(now);
    }
    let reason = "given up after 200 tries: modem: busy".to_owned();
    assert_eq!(outbox.get(DeliveryId(1)).unwrap().state, DeliveryState::Failed { reason });
}

#[test]
fn retry_delays_double_to_their_bound_and_scatter_by_a_quarter() {
    for id in 0..200 {
        for tries in 1..40 {
            let delay = retry_delay(DeliveryId(id), tries);
            let middle = (RETRY_DELAY_MIN * 2u32.pow((tries - 1).min(10))).min(RETRY_DELAY_MAX);
            assert!(delay >= middle * 3 / 4 && delay <= middle * 5 / 4, "{id} {tries} {delay:?}");
        }
    }
    assert_ne!(retry_delay(DeliveryId(1), 1), retry_delay(DeliveryId(2), 1));
}

#[test]
fn the_budget_stops_advice_lets_warnings_into_the_reserve_and_never_stops_danger_or_an_all_clear() {
    let mut settings = settings();
    settings.budget = Some(Budget { segments_per_day: 2, warning_reserve: 1 });
    let mut outbox = outbox(settings);
    let first = vec![row(1, Priority::Advice), row(2, Priority::Advice), row(3, Priority::Advice)];
    outbox.insert(first, at(0));
    exchange(&mut outbox, 1, accepted("1"), at(0));
    exchange(&mut outbox, 2, accepted("2"), at(1));
    assert_eq!(send(&mut outbox, MODEM, at(2)), None);
    let other = |row: Delivery| Delivery { subject: Subject::Test, ..row };
    let more = [4, 5].map(|id| other(row(id, Priority::Warning)));
    outbox.insert(more.to_vec(), at(2));
    exchange(&mut outbox, 4, accepted("4"), at(2));
    assert_eq!(send(&mut outbox, MODEM, at(3)), None);
    outbox.insert(vec![other(row(6, Priority::Danger))], at(3));
    exchange(&mut outbox, 6, accepted("6"), at(3));
    let clear = Delivery { recipient: RecipientId(1), ..row(7, Priority::Advice) };
    outbox.insert(vec![about(clear, 2, MessageType::Cancel)], at(4));
    exchange(&mut outbox, 7, accepted("7"), at(4));
    assert_eq!(outbox.segments_spent(at(4)), 5);
    outbox.tick(at(86_399));
    assert_eq!(outbox.next_deadline(at(86_399)), Some(at(86_400)));
}

#[test]
fn an_all_clear_goes_to_those_who_may_have_heard_and_waits_for_an_answer_that_decides() {
    let mut outbox = outbox(settings());
    outbox.insert(
        vec![row(1, Priority::Danger), row(2, Priority::Danger), row(3, Priority::Danger)],
        at(0),
    );
    exchange(&mut outbox, 1, accepted("1"), at(0));
    assert_eq!(send(&mut outbox, MODEM, at(1)), Some(DeliveryId(2)));
    let clear = |id: i64| Delivery {
        recipient: RecipientId(id),
        routes: vec![route(HTTP)],
        ..about(row(10 + id, Priority::Advice), 2, MessageType::Cancel)
    };
    outbox.insert(vec![clear(1), clear(2), clear(3)], at(2));
    outbox.tick(at(2));
    assert_eq!(end(&outbox, 3), Some(End::Superseded));
    assert_eq!(end(&outbox, 13), Some(End::Superseded), "never told");
    assert!(outbox.was_told(WarningId(1), RecipientId(1)));
    assert_eq!(send(&mut outbox, HTTP, at(3)), Some(DeliveryId(11)));
    outbox.on_submitted(DeliveryId(11), HTTP, accepted("a"), at(3));
    assert_eq!(send(&mut outbox, HTTP, at(4)), None, "whether 2 heard is not known yet");
    outbox.on_submitted(DeliveryId(2), MODEM, retry(None), at(5));
    assert_eq!((end(&outbox, 2), end(&outbox, 12)), (Some(End::Superseded), Some(End::Superseded)));
}

#[test]
fn nothing_goes_after_it_expired_not_even_when_its_row_took_long_to_store() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![Delivery { expires: at(10), ..row(1, Priority::Danger) }], at(0));
    let claim = outbox.claim(MODEM, at(9)).unwrap();
    assert!(matches!(outbox.begin(claim.delivery, at(10)), Begin::CalledOff(_)));
    assert_eq!(end(&outbox, 1), Some(End::Expired));
}

#[test]
fn the_foremost_stay_when_the_outbox_is_full() {
    let mut outbox = outbox(Settings { deliveries_max: 2, ..settings() });
    outbox.insert(vec![row(1, Priority::Advice), row(2, Priority::Warning)], at(0));
    outbox.insert(vec![Delivery { subject: Subject::Test, ..row(3, Priority::Danger) }], at(1));
    let ends: Vec<_> = (1..=3).map(|id| end(&outbox, id)).collect();
    assert_eq!(ends, [Some(End::Failed), None, None]);
    assert_eq!(outbox.counters().turned_away, 1);
}

#[test]
fn what_the_store_refuses_goes_back_into_the_queue() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Advice)], at(0));
    let claim = outbox.claim(MODEM, at(0)).unwrap();
    let undone = outbox.disarm(claim.delivery, at(0));
    let state = |change: &Change| match change {
        Change::Delivery(row) => row.state == DeliveryState::Queued,
        Change::Attempt(attempt) => attempt.outcome == Outcome::CalledOff,
    };
    assert!(undone.len() == 2 && undone.iter().all(state), "{undone:?}");
    exchange(&mut outbox, 1, accepted("1"), at(1));
}

#[test]
fn a_lost_answer_leaves_its_text_unknown_and_evidence_settles_it() {
    let mut outbox = outbox(settings());
    for (id, start, evidence) in
        [(1, 0, Evidence::NeverLeft), (2, 10, Evidence::Left { references: vec!["5".to_owned()] })]
    {
        outbox.insert(vec![row(id, Priority::Advice)], at(start));
        assert_eq!(send(&mut outbox, MODEM, at(start)), Some(DeliveryId(id)));
        outbox.on_submitted(DeliveryId(id), MODEM, unknown(), at(start + 1));
        assert!(outbox.get(DeliveryId(id)).unwrap().reached);
        outbox.on_evidence(DeliveryId(id), evidence, at(start + 2));
        if id == 1 {
            exchange(&mut outbox, 1, accepted("4"), at(start + 2));
        }
    }
    outbox.on_receipt(MODEM, &delivered("5", 2), at(20));
    assert_eq!(end(&outbox, 2), Some(End::Delivered));
}

#[test]
fn what_has_ended_is_let_go_once_stored_and_a_tally_counts_it_before() {
    let mut outbox = outbox(settings());
    outbox.insert(vec![row(1, Priority::Danger), row(2, Priority::Danger)], at(0));
    exchange(&mut outbox, 1, accepted("1"), at(0));
    let changes = outbox.on_receipt(MODEM, &delivered("1", 1), at(7));
    let tallies = tally(outbox.deliveries());
    let counted = Tally {
        queued: 1,
        ends: BTreeMap::from([(End::Delivered, 1)]),
        ended: Some((at(7), at(7))),
        ..Tally::default()
    };
    assert_eq!(tallies, BTreeMap::from([((WarningId(1), 1), counted)]));
    outbox.stored(&changes);
    assert_eq!(outbox.get(DeliveryId(1)), None);
    assert!(outbox.by_reference.is_empty() && outbox.was_told(WarningId(1), RecipientId(1)));
}
