//! From an answer to what became of each message. Pure.
//!
//! A message counts as accepted only when a rule of the preset says so. What no rule covers is judged by the HTTP
//! status, and where that leaves it open whether the provider took the message, the outcome is unknown.

use super::path::Seen;
use super::preset::{Format, Id, Preset, Reply, Verdict};
use crate::domain::message::{Submission, Submitted};
use jiff::Timestamp as Instant;
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::Value;
use std::time::Duration;

/// Longest pause that a provider can ask for; a mistake of theirs must not silence the channel for a week.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Longest piece of a provider's own words that goes into a reason.
const WORDS_MAX: usize = 48;

/// A whole HTTP answer.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Returns what became of each of `messages`, in their order.
pub(super) fn judge(preset: &Preset, answer: &Answer, messages: &[&Submission]) -> Vec<Submitted> {
    let reply = &preset.reply;
    let body = String::from_utf8_lossy(&answer.body);
    let root: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let is_page = is_web_page(&body) || is_html_for_json(reply, answer, root.as_ref());
    if (200..300).contains(&answer.status) && is_page {
        let reason = "answered by a web page instead of the provider: a login page in between, \
                      or a wrong address";
        return messages.iter().map(|_| down(reason)).collect();
    }
    let root = root.unwrap_or(Value::Null);
    let seen = Seen { root: &root, item: &root, headers: &answer.headers, body: &body };
    let all: Option<Vec<&Value>> = reply.each.as_ref().map(|each| match each.find(&root, &root) {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(_) | None => Vec::new(),
    });
    let judge_one = |(place, message): (usize, &&Submission)| {
        let items = match &all {
            None => vec![&root],
            Some(items) => items_of(reply, &root, items, message, (place, messages.len())),
        };
        let items = if items.is_empty() { vec![&Value::Null] } else { items };
        let words = items.into_iter().map(|item| {
            let seen = Seen { item, ..seen };
            judge_item(reply, answer.status, &seen, &message.idempotency_key)
        });
        join(words.collect(), retry_after(&seen))
    };
    messages.iter().enumerate().map(judge_one).collect()
}

/// Returns the items of the answer that are about `message`: by number where items have one, else by place.
fn items_of<'v>(
    reply: &Reply,
    root: &Value,
    items: &[&'v Value],
    message: &Submission,
    (place, count): (usize, usize),
) -> Vec<&'v Value> {
    if let Some(to) = &reply.to {
        let about = |item: &&&Value| {
            to.text(root, item).is_some_and(|number| same_number(&number, &message.to))
        };
        let found: Vec<&Value> = items.iter().filter(about).copied().collect();
        if !found.is_empty() || count > 1 {
            return found;
        }
    }
    if count == 1 {
        items.to_vec()
    } else if items.len() == count {
        items.get(place).copied().into_iter().collect()
    } else {
        Vec::new()
    }
}

/// Returns whether two spellings mean one number: with or without `+`, spaces and dashes.
pub(super) fn same_number(a: &str, b: &str) -> bool {
    let digits = |number: &str| -> String { number.chars().filter(char::is_ascii_digit).collect() };
    digits(a) == digits(b)
}

/// What one item says: a verdict, the reference if accepted, the reason if not.
struct Word {
    verdict: Verdict,
    reference: String,
    reason: String,
}

fn judge_item(reply: &Reply, status: u16, seen: &Seen<'_>, key: &str) -> Word {
    let rule = reply.rule.iter().find(|rule| {
        let status_fits = rule.status.is_empty() || rule.status.contains(&status);
        status_fits && rule.conditions.iter().all(|condition| condition.fits(seen))
    });
    let (verdict, reason) = match rule {
        Some(rule) if rule.then == Verdict::Accepted && !is_whole(reply, seen) => {
            (Verdict::Unknown, "the answer is garbled")
        }
        Some(rule) => (rule.then, rule.reason.as_str()),
        None => by_status(status),
    };
    let reference = reply.id.as_ref().and_then(|id| find_id(id, seen));
    let code = reply.code.as_ref().and_then(|code| code.text(seen.root, seen.item));
    let reason = match code.map(|code| plain_words(&code)) {
        Some(code) if !code.is_empty() => format!("{reason} (HTTP {status}, code {code})"),
        Some(_) | None => format!("{reason} (HTTP {status})"),
    };
    let reason = reason.trim_start().to_owned();
    Word { verdict, reference: reference.unwrap_or_else(|| key.to_owned()), reason }
}

fn is_whole(reply: &Reply, seen: &Seen<'_>) -> bool {
    match reply.format {
        Format::Json => !seen.root.is_null(),
        Format::Text => true,
    }
}

/// Joins what the items about one message say. A message of which a part was taken has no certain outcome.
fn join(words: Vec<Word>, after: Option<Duration>) -> Submitted {
    let (taken, not): (Vec<Word>, Vec<Word>) =
        words.into_iter().partition(|word| word.verdict == Verdict::Accepted);
    let mut references: Vec<String> = taken.into_iter().map(|word| word.reference).collect();
    references.dedup();
    let open = not.iter().position(|word| word.verdict == Verdict::Unknown).unwrap_or(0);
    let Some(word) = not.into_iter().nth(open) else { return Submitted::Accepted { references } };
    let reason = word.reason;
    if !references.is_empty() {
        return Submitted::Unknown {
            reason: format!("only a part was taken: {reason}"),
            references,
        };
    }
    match word.verdict {
        Verdict::Retry => Submitted::Retry { reason, after },
        Verdict::Rejected => Submitted::Rejected { reason },
        Verdict::ChannelDown => Submitted::ChannelDown { reason },
        Verdict::Accepted | Verdict::Unknown => Submitted::Unknown { reason, references },
    }
}

/// What a status means where the preset is silent: RFC 9110 §15, RFC 6585.
const fn by_status(status: u16) -> (Verdict, &'static str) {
    match status {
        301 | 302 | 307 | 308 | 511 => {
            (Verdict::ChannelDown, "redirected: a login page in between, or a wrong address")
        }
        400 | 413 | 414 | 415 | 422 => (Verdict::Rejected, "the provider refuses the request"),
        401 | 403 | 407 => (Verdict::ChannelDown, "the provider refuses the credentials"),
        402 => (Verdict::ChannelDown, "the account has no credit"),
        404 | 405 | 406 | 410 => (Verdict::ChannelDown, "the provider's address is wrong"),
        429 => (Verdict::Retry, "the provider asks for a slower pace"),
        503 => (Verdict::Retry, "the provider is out of service for a while"),
        200..=299 => (Verdict::Unknown, "the answer means nothing to the preset"),
        _ => (Verdict::Unknown, "the provider failed, perhaps after taking the message"),
    }
}

fn down(reason: &str) -> Submitted {
    Submitted::ChannelDown { reason: reason.to_owned() }
}

fn is_web_page(body: &str) -> bool {
    let start: String = body.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// Kannel calls its plain text `text/html` as well, so the header counts only where JSON was to come and did not.
fn is_html_for_json(reply: &Reply, answer: &Answer, root: Option<&Value>) -> bool {
    let html = |(name, value): &(String, String)| {
        name == "content-type" && value.to_ascii_lowercase().starts_with("text/html")
    };
    reply.format == Format::Json && root.is_none() && answer.headers.iter().any(html)
}

fn find_id(id: &Id, seen: &Seen<'_>) -> Option<String> {
    let found = match id {
        Id::Path(path) => path.text(seen.root, seen.item).map(std::borrow::Cow::into_owned),
        Id::Between(before, after) => {
            let rest = seen.body.split_once(before.as_str()).map(|(_, rest)| rest);
            let found = rest.and_then(|rest| rest.split_once(after.as_str()));
            found.map(|(found, _)| found.to_owned())
        }
        Id::Header(name) => seen.header(&name.to_ascii_lowercase()).map(str::to_owned),
    };
    found.filter(|found| !found.is_empty())
}

/// Returns a provider's word fit for a log: short, plain, and without anything that could be a telephone number.
pub(super) fn plain_words(said: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || " _-.:/".contains(*c);
    let short: String = said.chars().filter(plain).take(WORDS_MAX).collect();
    let digits = short.chars().filter(char::is_ascii_digit).count();
    if digits > 6 { String::new() } else { short.trim().to_owned() }
}

/// Returns the pause that `Retry-After` asks for: RFC 9110 §10.2.3, in seconds or until a date.
///
/// A date is taken relative to the answer's own `Date`, because a gateway without a clock battery may not know the
/// year; without `Date` it is ignored.
fn retry_after(seen: &Seen<'_>) -> Option<Duration> {
    let said = seen.header("retry-after")?.trim();
    let pause = match said.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => until(said, seen.header("date")?)?,
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

fn until(then: &str, now: &str) -> Option<Duration> {
    let parser = DateTimeParser::new();
    let then: Instant = parser.parse_timestamp(then).ok()?;
    let now: Instant = parser.parse_timestamp(now.trim()).ok()?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(headers: &[(&str, &str)]) -> Option<Duration> {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        retry_after(&Seen { root: &Value::Null, item: &Value::Null, headers: &headers, body: "" })
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_as_a_date() {
        let date = ("date", "Mon, 01 Jan 2029 08:49:37 GMT");
        let later = "Mon, 01 Jan 2029 08:50:07 GMT";
        assert_eq!(pause(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(pause(&[("retry-after", later), date]), Some(Duration::from_secs(30)));
        assert_eq!(pause(&[("retry-after", later)]), None);
        assert_eq!(pause(&[("retry-after", date.1), ("date", later)]), Some(Duration::ZERO));
        assert_eq!(pause(&[("retry-after", "soon"), date]), None);
        assert_eq!(pause(&[("retry-after", "99999999")]), Some(RETRY_AFTER_MAX));
        assert_eq!(pause(&[]), None);
    }

    #[test]
    fn a_providers_words_cannot_carry_a_number_into_a_log() {
        assert_eq!(plain_words("21211"), "21211");
        assert_eq!(plain_words("The 'To' number +254711000111 is bad"), "");
        assert_eq!(plain_words("a\nb\u{1b}[31m"), "ab31m");
    }

    #[test]
    fn one_number_has_many_spellings() {
        assert!(same_number("+254 711-000111", "254711000111"));
        assert!(!same_number("+254711000111", "+254711000112"));
    }
}
