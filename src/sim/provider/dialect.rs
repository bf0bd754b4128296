//! The languages of four providers, from their side. Written from their descriptions and not from our presets.

use super::Answer;
use super::report::Outgoing;
use crate::wire::http1::{Request, form};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::BTreeMap;

/// Letters of one segment when there are several: 3GPP TS 23.040 §9.2.3.24.1.
const SEGMENT_LETTERS: usize = 153;

/// The telephone's clock stands still: nobody here looks at it but the signature.
const TIMESTAMP: &str = "1700000000";

/// A provider whose language is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// Africa's Talking: form in, JSON out, 201 even when refused, comma lists.
    AfricasTalking,
    /// Vonage: form in, JSON out, 200 even when refused, one item a segment.
    Vonage,
    /// SMS Gateway for Android: JSON, the sender chooses the id, states can be asked for.
    Android,
    /// Kannel's smsbox: query in, a line of text out.
    Kannel,
}

/// One text to one number, as asked for.
pub(super) struct Asked {
    pub(super) to: String,
    pub(super) from: String,
    pub(super) text: String,
    pub(super) key: Option<String>,
    pub(super) callback: Option<String>,
}

/// The provider's word on one text.
pub(super) enum Word {
    Taken(String),
    /// The key is known: nothing new is taken.
    Repeated(String),
    Refused,
    NoCredit,
}

impl Dialect {
    /// Returns the language of a request, by its path.
    pub(super) fn of(request: &Request) -> Option<Self> {
        match request.path.as_str() {
            "/version1/messaging" | "/version1/user" => Some(Self::AfricasTalking),
            "/sms/json" => Some(Self::Vonage),
            "/cgi-bin/sendsms" => Some(Self::Kannel),
            path => {
                (path == "/messages" || path.starts_with("/messages/")).then_some(Self::Android)
            }
        }
    }

    /// Returns the answer to wrong credentials, if they are wrong.
    pub(super) fn refusal(self, request: &Request, password: &str) -> Option<Answer> {
        let fields = fields(request);
        let is = |name: &str, value: &str| fields.get(name).is_some_and(|found| found == value);
        let right = match self {
            Self::AfricasTalking => {
                request.header("apikey") == Some(password) && is("username", "kengele")
            }
            Self::Vonage => is("api_key", "kengele") && is("api_secret", password),
            Self::Android => {
                let expected =
                    format!("Basic {}", base64(format!("kengele:{password}").as_bytes()));
                request.header("authorization") == Some(expected.as_str())
            }
            Self::Kannel => is("username", "kengele") && is("password", password),
        };
        (!right).then(|| match self {
            Self::AfricasTalking => Answer::text(401, "The supplied authentication is invalid"),
            Self::Vonage => {
                let item = json!({"status": "4", "error-text": "Bad Credentials"});
                Answer::json(200, &json!({"message-count": "1", "messages": [item]}))
            }
            Self::Android => Answer::text(401, "Unauthorized"),
            Self::Kannel => Answer::text(403, "Authorization failed for sendsms"),
        })
    }

    /// Returns the reference that is asked after, when the request submits nothing.
    pub(super) fn question(self, request: &Request) -> Option<&str> {
        match self {
            Self::AfricasTalking => (request.path == "/version1/user").then_some(""),
            Self::Android => request.path.strip_prefix("/messages/"),
            Self::Vonage | Self::Kannel => None,
        }
    }

    /// Returns the answer to a question: what became of a message, or what is left on the account.
    pub(super) fn state(
        self,
        reference: &str,
        arrives: Option<bool>,
        credit: Option<u64>,
    ) -> Answer {
        match (self, arrives) {
            (Self::AfricasTalking, _) => {
                let balance = format!("KES {}.50", credit.unwrap_or(1785));
                Answer::json(200, &json!({"UserData": {"balance": balance}}))
            }
            (Self::Vonage | Self::Android | Self::Kannel, Some(arrives)) => {
                let state = if arrives { "Delivered" } else { "Failed" };
                let error = if arrives { Value::Null } else { json!("RESULT_ERROR_NO_SERVICE") };
                let recipients = json!([{"state": state, "error": error}]);
                Answer::json(
                    200,
                    &json!({"id": reference, "state": state, "recipients": recipients}),
                )
            }
            (Self::Vonage | Self::Android | Self::Kannel, None) => Answer::text(404, "not found"),
        }
    }

    /// Reads what is asked for; `None` when something is missing.
    pub(super) fn read(self, request: &Request) -> Option<Vec<Asked>> {
        if self == Self::Android {
            return read_android(request);
        }
        let fields = fields(request);
        let field = |name: &str| fields.get(name).cloned();
        let text = match self {
            Self::AfricasTalking => "message",
            Self::Vonage | Self::Android | Self::Kannel => "text",
        };
        let callback = match self {
            Self::Vonage => field("callback"),
            Self::Kannel => field("dlr-url"),
            Self::AfricasTalking | Self::Android => None,
        };
        let (to, text) = (field("to")?, field(text)?);
        let asked = to.split(',').map(|to| Asked {
            to: format!("+{}", to.trim_start_matches('+')),
            from: field("from").unwrap_or_default(),
            text: text.clone(),
            key: None,
            callback: callback.clone(),
        });
        Some(asked.collect())
    }

    /// Says what became of each text.
    pub(super) fn answer(self, words: &[(Asked, Word)]) -> Answer {
        match self {
            Self::AfricasTalking => answer_africas_talking(words),
            Self::Vonage => answer_vonage(words),
            Self::Android => answer_android(words),
            Self::Kannel => answer_kannel(words),
        }
    }

    /// Returns the report on a message; `None` when `url` cannot be reached by plain HTTP.
    pub(super) fn report(
        self,
        url: &str,
        reference: &str,
        (to, arrives): (&str, bool),
        signing_key: Option<&str>,
    ) -> Option<Outgoing> {
        let digits = to.trim_start_matches('+');
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        match self {
            Self::AfricasTalking => {
                let (status, reason) =
                    if arrives { ("Success", "") } else { ("Failed", "AbsentSubscriber") };
                let body = format!(
                    "id={reference}&status={status}&phoneNumber=%2B{digits}&networkCode=63902&failureReason={reason}"
                );
                Outgoing::new("POST", url, &form, &body)
            }
            Self::Vonage => {
                let status = if arrives { "delivered&err-code=0" } else { "failed&err-code=1" };
                let query = format!("messageId={reference}&msisdn={digits}&status={status}");
                Outgoing::new("GET", &format!("{url}?{query}"), &[], "")
            }
            Self::Android => {
                let event = if arrives { "sms:delivered" } else { "sms:failed" };
                let payload =
                    json!({"messageId": reference, "phoneNumber": to, "reason": "no service"});
                let body =
                    json!({"deviceId": "sim", "event": event, "id": "e", "payload": payload});
                let body = body.to_string();
                let signature = signing_key.map(|key| signature(key, &body)).unwrap_or_default();
                let headers = [
                    ("Content-Type", "application/json"),
                    ("X-Timestamp", TIMESTAMP),
                    ("X-Signature", signature.as_str()),
                ];
                Outgoing::new("POST", url, &headers, &body)
            }
            Self::Kannel => {
                let url = url.replace("%d", if arrives { "1" } else { "2" });
                // A report is a message from the recipient to the sender: Kannel 1.4.5, seen.
                let url = url.replace("%p", &format!("%2B{digits}")).replace("%P", "sender");
                Outgoing::new("GET", &url, &[], "")
            }
        }
    }
}

fn fields(request: &Request) -> BTreeMap<String, String> {
    let body = String::from_utf8_lossy(&request.body);
    form(&request.query).into_iter().chain(form(&body)).collect()
}

fn read_android(request: &Request) -> Option<Vec<Asked>> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let text = body.get("textMessage")?.get("text")?.as_str()?;
    let key = body.get("id").and_then(Value::as_str).map(str::to_owned);
    let numbers = body.get("phoneNumbers")?.as_array()?.iter().filter_map(Value::as_str);
    let asked = numbers.map(|to| Asked {
        to: to.to_owned(),
        from: String::new(),
        text: text.to_owned(),
        key: key.clone(),
        callback: None,
    });
    Some(asked.collect())
}

fn answer_africas_talking(words: &[(Asked, Word)]) -> Answer {
    // The order of the answer is not promised to be that of the list.
    let recipients: Vec<Value> = words
        .iter()
        .rev()
        .map(|(asked, word)| {
            let (code, status, id) = match word {
                Word::Taken(id) | Word::Repeated(id) => (101, "Success", id.as_str()),
                Word::Refused => (403, "InvalidPhoneNumber", "None"),
                Word::NoCredit => (405, "InsufficientBalance", "None"),
            };
            json!({"statusCode": code, "status": status, "number": asked.to, "messageId": id, "cost": "KES 0.8000"})
        })
        .collect();
    let data = json!({"Message": "Sent", "Recipients": recipients});
    Answer::json(201, &json!({"SMSMessageData": data}))
}

fn answer_vonage(words: &[(Asked, Word)]) -> Answer {
    let items = words.iter().flat_map(|(asked, word)| {
        let segments = asked.text.chars().count().div_ceil(SEGMENT_LETTERS).max(1);
        match word {
            Word::Taken(id) | Word::Repeated(id) => (0..segments)
                .map(|segment| {
                    let id = if segment == 0 { id.clone() } else { format!("{id}-{segment}") };
                    json!({"status": "0", "message-id": id, "to": asked.to.trim_start_matches('+')})
                })
                .collect(),
            Word::Refused => vec![json!({"status": "3", "error-text": "Invalid to"})],
            Word::NoCredit => vec![json!({"status": "9", "error-text": "Partner quota violation"})],
        }
    });
    let items: Vec<Value> = items.collect();
    Answer::json(200, &json!({"message-count": items.len().to_string(), "messages": items}))
}

fn answer_android(words: &[(Asked, Word)]) -> Answer {
    match words.first() {
        Some((_, Word::Taken(id))) => {
            Answer::json(202, &json!({"id": id, "state": "Pending", "recipients": []}))
        }
        Some((_, Word::Repeated(_))) => Answer::json(409, &json!({"message": "duplicate id"})),
        Some((_, Word::Refused | Word::NoCredit)) | None => {
            Answer::json(400, &json!({"message": "invalid phone number"}))
        }
    }
}

fn answer_kannel(words: &[(Asked, Word)]) -> Answer {
    match words.first() {
        Some((_, Word::Taken(_) | Word::Repeated(_))) => {
            Answer::text(202, "0: Accepted for delivery")
        }
        Some((_, Word::Refused | Word::NoCredit)) | None => {
            Answer::text(400, "Number not in white-list")
        }
    }
}

/// HMAC-SHA256 over body and timestamp in hexadecimal, as the application signs its webhooks.
fn signature(key: &str, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    mac.update(TIMESTAMP.as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}

/// Base64 with padding: RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS.get(word >> (18 - 6 * place) & 63);
            let letter = letter.filter(|_| place <= chunk.len()).copied().unwrap_or(b'=');
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648 §10.
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, expected) in vectors.into_iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), expected);
        }
    }
}
