//! What the daemon knows, as JSON for the command line and for displays.

use crate::archive::{self, Page, ReadingRow};
use crate::channel::modem;
use crate::config::Sms;
use crate::dispatch::Standing;
use crate::domain::outbox::Delivery;
use crate::domain::recipient::PhoneNumber;
use crate::domain::time::Timestamp;
use crate::pipeline::SirenStatus;
use crate::source::{lora, mqtt, semtech_udp};
use crate::store::{DayRow, WarningRow};
use crate::uplink;
use serde_json::{Value, json};

pub(super) fn outbox(outbox: &Standing, sms: &Sms) -> Value {
    let count = |state: &str| outbox.open.iter().filter(|d| d.state.as_str() == state).count();
    json!({
        "queued": count("queued"), "writing": count("writing"),
        "submitted": count("submitted"), "unknown": count("unknown"),
        "segments_today": outbox.segments_today, "budget_per_day": sms.budget_per_day,
        "cost_today": sms.price_per_segment.as_ref().map(|price| price.of(outbox.segments_today)),
        "last_trouble": outbox.open.iter().rev().find_map(|d| d.last_error.clone()),
    })
}

pub(super) fn modem(name: &str, health: &modem::Health) -> Value {
    let state = match &health.state {
        modem::State::Starting => "starting".to_owned(),
        modem::State::Searching => "searching for a network".to_owned(),
        modem::State::Ready => "ready".to_owned(),
        modem::State::Down(reason) => format!("down: {reason}"),
    };
    json!({
        "modem": name, "state": state, "model": health.model, "registration": health.registration,
        "operator": health.operator, "technology": health.technology, "signal_dbm": health.signal_dbm,
        "balance": health.balance, "resets": health.counts.resets, "power_cycles": health.counts.power_cycles,
    })
}

pub(super) fn broker(handle: &mqtt::Handle) -> Value {
    let counters = handle.counters();
    let state = match handle.link() {
        mqtt::Link::Connecting => "connecting".to_owned(),
        mqtt::Link::Up => "heard".to_owned(),
        mqtt::Link::Down { error } => format!("not heard: {error}"),
    };
    json!({
        "broker": handle.name(), "state": state, "publications": counters.publications.get(),
        "retained": counters.retained.get(), "refused": counters.refused.get(),
        "published": counters.published.get(), "unpublished": counters.unpublished.get(),
    })
}

pub(super) fn listener(handle: &crate::source::broker::Handle) -> Value {
    use std::sync::atomic::Ordering::Relaxed;
    let counters = handle.counters();
    json!({
        "connections": counters.connections.load(Relaxed), "refused": counters.refused.load(Relaxed),
        "too_many": counters.too_many.load(Relaxed), "not_authorised": counters.not_authorised.load(Relaxed),
        "publications": counters.publications.load(Relaxed), "dropped": counters.dropped.load(Relaxed),
        "protocol_errors": counters.protocol_errors.load(Relaxed),
    })
}

pub(super) fn forwarders(counters: &semtech_udp::Counters, now: Timestamp) -> Value {
    let gateways = counters.gateways().into_iter().map(|(eui, state)| {
        let status = state.status.unwrap_or_default();
        json!({
            "gateway": eui.to_string(), "heard_s_ago": state.heard.map(|at| now.since(at).as_secs()),
            "reachable": state.reachable, "time": status.time, "received": status.received,
            "received_ok": status.received_ok, "forwarded": status.forwarded,
            "acknowledged_percent": status.acknowledged_percent, "transmitted": status.transmitted,
            "latitude": status.latitude, "longitude": status.longitude, "temperature_c": status.temperature_c,
        })
    });
    json!({
        "gateways": gateways.collect::<Vec<_>>(),
        "frames": counters.frames.get(), "copies": counters.copies.get(), "damaged": counters.damaged.get(),
        "refused": counters.refused.get(), "dropped": counters.dropped.get(),
        "downlinks": counters.downlinks.get(), "downlinks_late": counters.downlinks_late.get(),
        "downlinks_held": counters.downlinks_held.get(), "downlinks_refused": counters.downlinks_refused.get(),
    })
}

pub(super) fn radio(radio: &lora::Counters, now: Timestamp) -> Value {
    let state = match radio.state() {
        lora::State::Starting => "starting".to_owned(),
        lora::State::Listening => "listening".to_owned(),
        lora::State::Down(reason) => format!("down: {reason}"),
    };
    let share = radio.share();
    json!({
        "state": state, "heard_s_ago": radio.heard().map(|at| now.since(at).as_secs()),
        "airtime_percent": share.map(|(sent, _)| sent * 100.0),
        "airtime_allowed_percent": share.map(|(_, allowed)| allowed * 100.0),
        "frames": radio.frames.get(), "damaged": radio.damaged.get(), "dropped": radio.dropped.get(),
        "sent": radio.sent.get(), "late": radio.late.get(), "held": radio.held.get(), "busy": radio.busy.get(),
        "resets": radio.resets.get(),
    })
}

pub(super) fn siren(siren: &SirenStatus) -> Value {
    json!({
        "siren": siren.name, "node": siren.node, "desired": siren.desired.as_str(), "confirmed": siren.confirmed,
        "attempts": siren.attempts, "given_up": siren.given_up, "refused": siren.refused,
    })
}

pub(super) fn warning(warning: &WarningRow) -> Value {
    json!({
        "warning": warning.id, "hazard": warning.hazard, "area": warning.area, "level_max": warning.level_max,
        "status": if warning.ended.is_some() { "ended" } else { "open" },
        "opened_unix_ms": warning.opened_unix_ms,
        "ended_unix_ms": warning.ended.as_ref().map(|(at, _)| at),
        "ending": warning.ended.as_ref().map(|(_, how)| how),
        "alerts": warning.alerts.iter().map(|alert| json!({
            "number": alert.number, "message_type": alert.message_type, "reason": alert.reason, "level": alert.level,
            "rule": alert.rule, "rule_book": alert.rule_book, "sent_unix_ms": alert.sent_unix_ms,
            "expires_unix_ms": alert.expires_unix_ms,
            "observed": serde_json::from_str::<Value>(&alert.observed).unwrap_or_default(),
        })).collect::<Vec<_>>(),
    })
}

pub(super) fn readings(page: &Page) -> Value {
    json!({
        "readings": page.rows.iter().map(reading).collect::<Vec<_>>(),
        "next": page.next, "unreadable": page.unreadable,
    })
}

pub(super) fn day(row: &DayRow) -> Value {
    let (day, quantity) = (&row.of, row.quantity);
    json!({
        "day": row.day, "node": row.node, "quantity": quantity.name(), "unit": quantity.symbol(),
        "readings": day.readings, "low": day.low, "mean": day.total / day.readings as f64, "high": day.high,
    })
}

pub(super) fn uplink(report: &uplink::Report, now: Timestamp) -> Value {
    let (standing, counters) = (report.standing(), &report.counters);
    json!({
        "answered_s_ago": standing.answered.map(|at| now.since(at).as_secs()),
        "trouble": standing.trouble, "suspended": standing.suspended,
        "packets": counters.packets.get(), "answered": counters.answered.get(), "failed": counters.failed.get(),
        "refused": counters.refused.get(),
    })
}

pub(super) fn archive(standing: &archive::Standing) -> Value {
    let (kept, size) = (&standing.kept, &standing.size);
    json!({
        "blocks": kept.blocks, "readings": kept.readings, "block_bytes": kept.bytes, "unsealed": kept.unsealed,
        "removed": kept.removed,
        "database_bytes": size.file_bytes, "free_bytes": size.free_bytes, "over": standing.over,
    })
}

fn reading(reading: &ReadingRow) -> Value {
    json!({
        "unix_ms": reading.unix_ms, "clock": reading.clock.as_str(), "node": reading.node,
        "quantity": reading.quantity.name(), "unit": reading.quantity.symbol(),
        "value": if reading.value.is_nan() { Value::Null } else { json!(reading.value) },
        "quality": reading.quality.as_str(),
    })
}

pub(super) fn delivery(delivery: &Delivery) -> Value {
    json!({
        "delivery": delivery.id.0,
        "warning": delivery.alert().map(|(warning, _)| warning.0),
        "alert": delivery.alert().map(|(_, number)| number),
        "recipient": delivery.recipient.0,
        "number": PhoneNumber::parse(&delivery.number).map_or_else(|_| "?".to_owned(), |n| n.masked()),
        "channel": delivery.channel.as_deref(),
        "segments": delivery.segments,
        "state": delivery.state.as_str(),
        "attempts": delivery.attempts,
        "possible_duplicate": delivery.possible_duplicate,
        "reason": delivery.last_error,
        "created_ms": delivery.created.as_millis(),
        "ended_ms": delivery.ended.map(Timestamp::as_millis),
    })
}
