//! Commands that ask a running gateway, or the database of one that is not running.

use super::heard::declarations;
use super::print::{self, Style};
use super::{Failure, block_on};
use anyhow::Context;
use kengele::app::control::{self, Question};
use kengele::app::{DATABASE, convert};
use kengele::store::Store;
use kengele::supervise::Tasks;
use serde_json::Value;
use std::path::Path;

/// Asks the running gateway; where none runs, the database is opened for this one question.
pub(crate) fn ask(config: &Path, question: Question) -> Result<Value, Failure> {
    let places = convert::places(config)?;
    let answer = block_on(async {
        if std::os::unix::net::UnixStream::connect(&places.socket).is_ok() {
            return control::ask(&places.socket, &question).await;
        }
        let path = places.data.join(DATABASE);
        if !path.exists() && !matches!(question, Question::PutPeople { .. }) {
            anyhow::bail!(
                "no gateway answers on {}, and there is no {}: start one with `kengele run`",
                places.socket.display(),
                path.display()
            );
        }
        kengele::app::make_data_folder(&places.data)?;
        let (store, writer) = Store::open(&path).await?;
        let mut tasks = Tasks::default();
        tasks.spawn("store", writer.run());
        let answer = control::answer_from_store(&store, question).await;
        drop(store);
        tasks.next_ended().await;
        answer
    })??;
    Ok(answer)
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

pub(crate) fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or(0)
}

fn rows<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn seconds(value: &Value, key: &str) -> String {
    print::span(value.get(key).and_then(Value::as_u64).unwrap_or(0))
}

pub(crate) fn status(config: &Path, style: Style) -> Result<(), Failure> {
    let status = ask(config, Question::Status)?;
    if style.json {
        print::json(&status);
        return Ok(());
    }
    let clock = status.get("clock").cloned().unwrap_or_default();
    print::line(&format!(
        "clock {} ({}), rules {}",
        print::clock(number(&clock, "unix_ms")),
        text(&clock, "quality"),
        text(&status, "rule_book")
    ));
    if status.pointer("/disk/works") == Some(&Value::Bool(false)) {
        print::line(
            &style.paint("1;31", "THE DISK FAILS: going on from memory, nothing is acknowledged"),
        );
    }
    disk(status.get("disk").unwrap_or(&Value::Null), style);
    archive(status.get("archive").unwrap_or(&Value::Null), style);
    uplink(status.get("uplink").unwrap_or(&Value::Null), style);
    let open: Vec<&Value> = rows(&status, "warnings").collect();
    print::line(&if open.is_empty() {
        "no open warnings".to_owned()
    } else {
        "open warnings:".to_owned()
    });
    for warning in open {
        print::line(&format!(
            "  #{} {} {} in {}, valid for {}",
            number(warning, "warning"),
            style.level(text(warning, "level")),
            text(warning, "hazard"),
            text(warning, "area"),
            seconds(warning, "valid_s")
        ));
    }
    let nodes: Vec<Vec<String>> = rows(&status, "nodes")
        .map(|node| {
            let silent = node.get("silent") == Some(&Value::Bool(true));
            let ago = node.get("heard_s_ago").and_then(Value::as_u64);
            let state = match ago {
                _ if silent => style.paint("33", "silent"),
                Some(_) => style.paint("32", "heard"),
                None => "awaited".to_owned(),
            };
            vec![
                text(node, "node").to_owned(),
                text(node, "place").to_owned(),
                state,
                ago.map_or("never".to_owned(), |ago| format!("{} ago", print::span(ago))),
            ]
        })
        .collect();
    print::table(&["node", "place", "state", "last heard"], &nodes);
    for broker in rows(&status, "brokers") {
        print::line(&format!("broker {}: {}", text(broker, "broker"), text(broker, "state")));
    }
    for modem in rows(&status, "modems") {
        let signal = modem
            .get("signal_dbm")
            .and_then(Value::as_i64)
            .map_or(String::new(), |dbm| format!(", {dbm} dBm"));
        print::line(&format!(
            "modem {}: {} ({} {}{signal})",
            text(modem, "modem"),
            text(modem, "state"),
            text(modem, "operator"),
            text(modem, "technology")
        ));
    }
    radio(&status);
    let outbox = status.get("outbox").cloned().unwrap_or_default();
    print::line(&format!(
        "outbox: {} queued, {} being written, {} submitted, {} unknown",
        number(&outbox, "queued"),
        number(&outbox, "writing"),
        number(&outbox, "submitted"),
        number(&outbox, "unknown")
    ));
    let cost = text(&outbox, "cost_today");
    print::line(&format!(
        "budget: {} of {} segments today{}",
        number(&outbox, "segments_today"),
        number(&outbox, "budget_per_day"),
        if cost.is_empty() { String::new() } else { format!(", about {cost}") }
    ));
    undecoded(&status);
    heard_but_not_declared(&status);
    Ok(())
}

/// Shows what the archive keeps, once it has looked.
fn archive(archive: &Value, style: Style) {
    let Some(database) = archive.get("database_bytes").and_then(Value::as_u64) else { return };
    print::line(&format!(
        "archive: {} in {}, {} more not sealed yet; the database takes {}",
        print::count(number(archive, "readings"), "reading"),
        print::count(number(archive, "blocks"), "block"),
        number(archive, "unsealed"),
        print::bytes(database)
    ));
    if archive.get("over") == Some(&Value::Bool(true)) {
        let words = "the database takes more than [storage] size_max, and nothing may be removed";
        print::line(&style.paint("33", words));
    }
}

/// Shows how things stand with the hub, where there is one.
fn uplink(uplink: &Value, style: Style) {
    if uplink.is_null() {
        return;
    }
    let answered = uplink.get("answered_s_ago").and_then(Value::as_u64);
    let answered = answered.map_or_else(
        || "has not answered since the start".to_owned(),
        |ago| format!("answered {} ago", print::span(ago)),
    );
    print::line(&format!("hub: {answered}"));
    if uplink.get("suspended") == Some(&Value::Bool(true)) {
        let words = "the hub has suspended this gateway: it keeps nothing of what it is told";
        print::line(&style.paint("1;31", words));
    }
    let trouble = text(uplink, "trouble");
    if !trouble.is_empty() {
        print::line(&style.paint("33", &format!("  {trouble}")));
    }
}

/// Shows what is wrong with the disk, and what it is asked to bear.
fn disk(disk: &Value, style: Style) {
    for fault in rows(disk, "faults") {
        let words = format!("THE DATABASE IS DAMAGED: {}", fault.as_str().unwrap_or(""));
        print::line(&style.paint("1;31", &words));
    }
    if text(disk, "reserve") == "given up" {
        let words = "THE DISK WAS FULL: its reserve is used up; make room";
        print::line(&style.paint("1;31", words));
    }
    let bytes = |key: &str| disk.get(key).and_then(Value::as_u64).map(print::bytes);
    if let (Some(free), Some(written)) = (bytes("free_bytes"), bytes("written_bytes")) {
        let each = bytes("written_bytes_per_reading");
        let each = each.map_or_else(String::new, |each| format!(", {each} a reading"));
        print::line(&format!("disk: {free} free, {written} written since the start{each}"));
    }
}

/// Shows what the radio heard and refused, where there is one.
fn radio(status: &Value) {
    let of = |key: &str| status.pointer(key).filter(|radio| radio.is_object());
    if let Some(own) = of("/radio/own") {
        let share = |key: &str| own.get(key).and_then(Value::as_f64);
        let airtime = match (share("airtime_percent"), share("airtime_allowed_percent")) {
            (Some(sent), Some(allowed)) => {
                format!(", {sent:.2} of {allowed} % of the last hour on the air")
            }
            (_, _) => String::new(),
        };
        print::line(&format!(
            "own radio {}: {}, {} damaged, {} sent{airtime}",
            text(own, "state"),
            print::count(number(own, "frames"), "frame"),
            number(own, "damaged"),
            number(own, "sent")
        ));
    }
    if let Some(forwarders) = of("/radio/packet_forwarders") {
        packet_forwarders(forwarders);
    }
    let refused = status.pointer("/radio/refused").and_then(Value::as_object);
    for (reason, count) in refused.into_iter().flatten() {
        print::line(&format!("  {count} refused: {reason}"));
    }
}

fn packet_forwarders(forwarders: &Value) {
    print::line(&format!(
        "packet forwarders: {}, {}, {}",
        print::count(number(forwarders, "frames"), "frame"),
        print::count(number(forwarders, "downlinks"), "downlink"),
        print::count(number(forwarders, "refused"), "refused datagram")
    ));
    for gateway in rows(forwarders, "gateways") {
        let heard = match gateway.get("heard_s_ago").and_then(Value::as_u64) {
            Some(ago) => format!("heard {} ago", print::span(ago)),
            None => "not heard since the start".to_owned(),
        };
        let way = if gateway.get("reachable") == Some(&Value::Bool(true)) {
            ""
        } else {
            ", nothing can be sent by it"
        };
        print::line(&format!("  gateway {}: {heard}{way}", text(gateway, "gateway")));
    }
}

/// Shows why frames could not be read, where there are any.
fn undecoded(status: &Value) {
    let reasons = status.get("undecoded").and_then(Value::as_object);
    for (reason, count) in reasons.into_iter().flatten() {
        print::line(&format!("{count} not read: {reason}"));
    }
}

/// Shows undeclared nodes in the form in which they can be declared.
fn heard_but_not_declared(status: &Value) {
    let heard = declarations(status);
    if !heard.is_empty() {
        print::line("heard but not declared; to declare one, paste it into kengele.toml:");
    }
    for node in heard {
        print::line(&node);
    }
}

pub(crate) fn warnings(config: &Path, style: Style) -> Result<(), Failure> {
    let list = ask(config, Question::Warnings)?;
    if style.json {
        print::json(&list);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|w| {
            let ended = w.get("ended_unix_ms").and_then(Value::as_i64);
            vec![
                format!("#{}", number(w, "warning")),
                style.level(text(w, "level_max")),
                text(w, "hazard").to_owned(),
                text(w, "area").to_owned(),
                print::clock(number(w, "opened_unix_ms")),
                ended.map_or_else(
                    || "open".to_owned(),
                    |at| format!("{} {}", text(w, "ending"), print::clock(at)),
                ),
            ]
        })
        .collect();
    print::table(&["", "level", "hazard", "area", "raised", "ended"], &rows);
    Ok(())
}

pub(crate) fn why(config: &Path, warning: i64, style: Style) -> Result<(), Failure> {
    let answer = ask(config, Question::Why { warning })?;
    if style.json {
        print::json(&answer);
        return Ok(());
    }
    print::line(&format!(
        "warning #{}: {} in {}, highest level {}",
        number(&answer, "warning"),
        text(&answer, "hazard"),
        text(&answer, "area"),
        style.level(text(&answer, "level_max"))
    ));
    for alert in rows(&answer, "alerts") {
        print::line(&format!(
            "  {}  alert {} {} ({}) by rule {} of {}",
            print::clock(number(alert, "sent_unix_ms")),
            number(alert, "number"),
            style.level(text(alert, "level")),
            text(alert, "reason"),
            text(alert, "rule"),
            text(alert, "rule_book")
        ));
        for (signal, value) in
            alert.get("observed").and_then(Value::as_object).into_iter().flatten()
        {
            print::line(&format!("      because {signal} was {value}"));
        }
    }
    let deliveries: Vec<Vec<String>> =
        rows(&answer, "deliveries").map(|d| delivery_row(d, style)).collect();
    if !deliveries.is_empty() {
        print::table(DELIVERY_HEADINGS, &deliveries);
    }
    Ok(())
}

const DELIVERY_HEADINGS: &[&str] =
    &["delivery", "alert", "recipient", "number", "channel", "state", "segments", ""];

fn delivery_row(delivery: &Value, style: Style) -> Vec<String> {
    let state = text(delivery, "state");
    let colour = match state {
        "delivered" | "accepted" => "32",
        "failed" | "expired" | "unknown" => "31",
        _other => "0",
    };
    let duplicate = delivery.get("possible_duplicate") == Some(&Value::Bool(true));
    let alert = match (
        delivery.get("warning").and_then(Value::as_i64),
        delivery.get("alert").and_then(Value::as_i64),
    ) {
        (Some(warning), Some(alert)) => format!("#{warning}-{alert}"),
        _none => "-".to_owned(),
    };
    let mut notes = vec![text(delivery, "reason").to_owned()];
    if duplicate {
        notes.push("may be a second copy".to_owned());
    }
    notes.retain(|note| !note.is_empty());
    vec![
        number(delivery, "delivery").to_string(),
        alert,
        number(delivery, "recipient").to_string(),
        text(delivery, "number").to_owned(),
        text(delivery, "channel").to_owned(),
        style.paint(colour, state),
        number(delivery, "segments").to_string(),
        notes.join("; "),
    ]
}

pub(crate) fn deliveries(config: &Path, warning: Option<i64>, style: Style) -> Result<(), Failure> {
    let list = ask(config, Question::Deliveries { warning })?;
    if style.json {
        print::json(&list);
        return Ok(());
    }
    let rows: Vec<Vec<String>> =
        list.as_array().into_iter().flatten().map(|d| delivery_row(d, style)).collect();
    print::table(DELIVERY_HEADINGS, &rows);
    Ok(())
}

pub(crate) fn reload(config: &Path, style: Style) -> Result<(), Failure> {
    // Faults are told here, where they can be read, and not only to the daemon's log.
    convert::load(config).map_err(Failure::Wrong)?;
    let answer = ask(config, Question::Reload)?;
    if style.json {
        print::json(&answer);
    } else {
        print::line(&format!("rules {} are in force", text(&answer, "version")));
        let tables = answer.get("at_next_start").and_then(Value::as_array).into_iter().flatten();
        for table in tables.filter_map(Value::as_str) {
            print::line(&format!("[{table}] has changed: that holds after the next start only"));
        }
    }
    Ok(())
}

pub(crate) fn send_test(
    config: &Path,
    to: String,
    words: String,
    channel: Option<String>,
    style: Style,
) -> Result<(), Failure> {
    let answer = ask(config, Question::SendTest { to, text: words, channel })?;
    if style.json {
        print::json(&answer);
    } else {
        print::line(&format!(
            "delivery {} is queued ({}); see: kengele deliveries",
            number(&answer, "delivery"),
            print::count(number(&answer, "segments"), "segment")
        ));
    }
    Ok(())
}

pub(crate) fn balance(config: &Path, style: Style) -> Result<(), Failure> {
    let answer = ask(config, Question::Balance)?;
    if style.json {
        print::json(&answer);
        return Ok(());
    }
    let balances = answer.as_object().context("the gateway's answer is not understood")?;
    for (modem, answer) in balances {
        let words = if answer.get("error").is_some() {
            text(answer, "error")
        } else {
            text(answer, "balance")
        };
        print::line(&format!("{modem}: {words}"));
    }
    Ok(())
}
