//! Templates: text with `{placeholders}`, filled in and escaped for the place where they stand.
//!
//! `{name}` is a value, `{name?a:b}` is `a` when the value is there or true and `b` otherwise, `{name?a}` leaves the whole
//! field out otherwise, `{{` and `}}` are braces. A filter may end a placeholder: `|url` percent-encodes it (a URL
//! inside a field), `|number` makes a JSON number of a JSON string that holds nothing else. A field that needs a value
//! that the account does not have is left out.

use super::account::Account;
use crate::domain::message::{Priority, Submission};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use thiserror::Error;

/// Where a value is put, which says how it is escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Escape {
    /// As it is: the format around it does the escaping, or has none.
    #[default]
    None,
    /// Percent-encoded but for the unreserved characters of RFC 3986 §2.3; right in a path, a query and a form.
    Url,
    /// Inside the quotes of a JSON string.
    Json,
    /// Text or attribute of XML.
    Xml,
}

/// Why a template cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A brace has no partner.
    #[error("cannot read template: a brace has no partner; write {{{{ or }}}} for a brace")]
    Brace,
    /// A placeholder has a name that means nothing.
    #[error("cannot read template: unknown placeholder {0:?}")]
    Name(String),
    /// A filter has a name that means nothing.
    #[error("cannot read template: unknown filter {0:?}; there are url and number")]
    Filter(String),
    /// The text is not JSON.
    #[error("cannot read JSON template: {0}")]
    Json(String),
}

/// A placeholder's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    To,
    ToDigits,
    ToNational,
    Text,
    From,
    FromDigits,
    Key,
    ValiditySeconds,
    ValidityMinutes,
    DlrUrl,
    Priority,
    Danger,
    Unicode,
    Flash,
    Reference,
    Token,
    Secret(String),
    Setting(String),
}

impl Name {
    /// Returns the table and key of a value that the account holds.
    pub(super) fn account_key(&self) -> Option<(&'static str, &str)> {
        if let Self::Secret(key) = self {
            Some(("secret", key))
        } else if let Self::Setting(key) = self {
            Some(("setting", key))
        } else {
            None
        }
    }

    fn read(word: &str) -> Result<Self, Error> {
        Ok(match word {
            "to" => Self::To,
            "to_digits" => Self::ToDigits,
            "to_national" => Self::ToNational,
            "text" => Self::Text,
            "from" => Self::From,
            "from_digits" => Self::FromDigits,
            "id" | "key" => Self::Key,
            "validity_seconds" => Self::ValiditySeconds,
            "validity_minutes" => Self::ValidityMinutes,
            "dlr_url" => Self::DlrUrl,
            "priority" => Self::Priority,
            "danger" => Self::Danger,
            "unicode" => Self::Unicode,
            "flash" => Self::Flash,
            "reference" => Self::Reference,
            "token" => Self::Token,
            _ => match word.split_once('.') {
                Some(("secret", name)) => Self::Secret(name.to_owned()),
                Some(("setting", name)) => Self::Setting(name.to_owned()),
                Some(_) | None => return Err(Error::Name(word.to_owned())),
            },
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    None,
    Url,
    Number,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Value { name: Name, filter: Filter },
    Choice { when: Name, yes: String, no: Option<String>, filter: Filter },
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    pieces: Vec<Piece>,
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let inside = from.strip_prefix('{').ok_or(Error::Brace)?;
                let (inside, after) = inside.split_once('}').ok_or(Error::Brace)?;
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(read_piece(inside)?);
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }
}

fn read_piece(inside: &str) -> Result<Piece, Error> {
    let (inside, filter) = match inside.rsplit_once('|') {
        None => (inside, Filter::None),
        Some((inside, "url")) => (inside, Filter::Url),
        Some((inside, "number")) => (inside, Filter::Number),
        Some((_, other)) => return Err(Error::Filter(other.to_owned())),
    };
    Ok(match inside.split_once('?') {
        None => Piece::Value { name: Name::read(inside)?, filter },
        Some((name, choice)) => {
            let (yes, no) = match choice.split_once(':') {
                Some((yes, no)) => (yes, Some(no.to_owned())),
                None => (choice, None),
            };
            Piece::Choice { when: Name::read(name)?, yes: yes.to_owned(), no, filter }
        }
    })
}

impl Template {
    /// Returns the filled-in text, or `None` when a value that it needs is not there.
    pub(super) fn render(&self, values: &Values<'_>, escape: Escape) -> Option<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Value { name, filter } => {
                    push(&mut text, &values.get(name)?, *filter, escape);
                }
                Piece::Choice { when, yes, no, filter } => {
                    let chosen = if values.holds(when) { yes } else { no.as_ref()? };
                    push(&mut text, chosen, *filter, escape);
                }
            }
        }
        Some(text)
    }

    /// Returns the filled-in URL: values are percent-encoded, but for the address that the operator gave for its start.
    pub(super) fn render_url(&self, values: &Values<'_>) -> Option<String> {
        let (first, rest) = self.pieces.split_first()?;
        let start = match first {
            Piece::Literal(literal) => Cow::Borrowed(literal.as_str()),
            Piece::Value { name, .. } | Piece::Choice { when: name, .. } => {
                Cow::Owned(values.get(name)?.trim_end_matches('/').to_owned())
            }
        };
        let rest = Self { pieces: rest.to_vec() }.render(values, Escape::Url)?;
        Some(start.into_owned() + &rest)
    }

    /// Returns the placeholders that occur.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Value { name, .. } | Piece::Choice { when: name, .. } => Some(name),
        })
    }

    fn is_number(&self) -> bool {
        matches!(
            self.pieces.as_slice(),
            [Piece::Value { filter: Filter::Number, .. }
                | Piece::Choice { filter: Filter::Number, .. }]
        )
    }
}

fn push(text: &mut String, value: &str, filter: Filter, escape: Escape) {
    match filter {
        Filter::Url => escape_into(text, &escaped(value, Escape::Url), escape),
        Filter::None | Filter::Number => escape_into(text, value, escape),
    }
}

fn escape_into(text: &mut String, value: &str, escape: Escape) {
    text.push_str(&escaped(value, escape));
}

/// Returns `value` made safe for the place that `escape` names.
pub(super) fn escaped(value: &str, escape: Escape) -> Cow<'_, str> {
    match escape {
        Escape::None => Cow::Borrowed(value),
        Escape::Url => Cow::Owned(percent_encode(value)),
        Escape::Json => {
            let quoted = serde_json::Value::from(value).to_string();
            Cow::Owned(quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned())
        }
        Escape::Xml => Cow::Owned(xml_encode(value)),
    }
}

fn percent_encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    text
}

/// Escapes what XML 1.0 §2.4 asks for, and leaves out the characters that §2.2 does not allow at all.
fn xml_encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&apos;"),
            '\n' | '\t' => text.push(c),
            '\r' => text.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            other => text.push(other),
        }
    }
    text
}

/// A JSON document whose strings are templates, so that no text can break out of its place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum JsonTemplate {
    Text(Template),
    Fixed(serde_json::Value),
    Array(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

impl TryFrom<String> for JsonTemplate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let value = serde_json::from_str(&text).map_err(|error| Error::Json(error.to_string()))?;
        Self::read(value)
    }
}

impl JsonTemplate {
    fn read(value: serde_json::Value) -> Result<Self, Error> {
        use serde_json::Value;
        Ok(match value {
            Value::String(text) => Self::Text(Template::try_from(text)?),
            Value::Array(items) => {
                Self::Array(items.into_iter().map(Self::read).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| Ok((name, Self::read(value)?)));
                Self::Object(fields.collect::<Result<_, _>>()?)
            }
            fixed @ (Value::Null | Value::Bool(_) | Value::Number(_)) => Self::Fixed(fixed),
        })
    }

    /// Returns the filled-in document; `repeat` names the top-level array whose one element is made once for each message.
    pub(super) fn render(
        &self,
        values: &Values<'_>,
        repeat: Option<&str>,
    ) -> Option<serde_json::Value> {
        use serde_json::Value;
        match self {
            Self::Text(template) if template.is_number() => {
                let digits = template.render(values, Escape::None)?;
                Some(serde_json::from_str(&digits).unwrap_or(Value::String(digits)))
            }
            Self::Text(template) => template.render(values, Escape::None).map(Value::String),
            Self::Fixed(value) => Some(value.clone()),
            Self::Array(items) => {
                let items: Vec<Value> =
                    items.iter().filter_map(|item| item.render(values, None)).collect();
                (!items.is_empty()).then_some(Value::Array(items))
            }
            Self::Object(fields) => {
                let fields = fields.iter().filter_map(|(name, field)| {
                    let value = match field {
                        Self::Array(items) if repeat == Some(name.as_str()) => {
                            Some(Value::Array(render_each(items, values)))
                        }
                        Self::Text(_) | Self::Fixed(_) | Self::Array(_) | Self::Object(_) => {
                            field.render(values, None)
                        }
                    };
                    value.map(|value| (name.clone(), value))
                });
                let fields: serde_json::Map<_, _> = fields.collect();
                (!fields.is_empty()).then_some(Value::Object(fields))
            }
        }
    }

    /// Returns the placeholders that occur, those inside the repeated array apart: `(outside, inside)`.
    pub(super) fn names(&self, repeat: Option<&str>) -> (Vec<&Name>, Vec<&Name>) {
        let mut split = (Vec::new(), Vec::new());
        match self {
            Self::Text(template) => split.0.extend(template.names()),
            Self::Fixed(_) => {}
            Self::Array(items) => split.0.extend(items.iter().flat_map(|item| item.names(None).0)),
            Self::Object(fields) => {
                for (name, field) in fields {
                    let names = field.names(None).0;
                    let side = if repeat == Some(name) { &mut split.1 } else { &mut split.0 };
                    side.extend(names);
                }
            }
        }
        split
    }
}

fn render_each(items: &[JsonTemplate], values: &Values<'_>) -> Vec<serde_json::Value> {
    let messages = values.messages.iter();
    messages
        .flat_map(|message| {
            let one = Values { messages: std::slice::from_ref(message), ..*values };
            items.iter().filter_map(move |item| item.render(&one, None))
        })
        .collect()
}

/// What placeholders stand for in one request.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    /// The account that pays.
    pub(super) account: &'a Account,
    /// The messages of the request. Of several, only their numbers may differ outside a repeated element.
    pub(super) messages: &'a [&'a Submission],
    /// The provider's id of the message that is asked after.
    pub(super) reference: Option<&'a str>,
    /// Token of the token step.
    pub(super) token: Option<&'a str>,
}

impl Values<'_> {
    /// Returns the value of `name`, if there is one.
    pub(super) fn value(&self, name: &Name) -> Option<String> {
        self.get(name).map(Cow::into_owned)
    }

    fn get(&self, name: &Name) -> Option<Cow<'_, str>> {
        let first = self.messages.first();
        let account = self.account;
        match name {
            Name::To => self.numbers(Some),
            Name::ToDigits => self.numbers(|to| to.strip_prefix('+')),
            Name::ToNational => self.numbers(|to| account.national(to)),
            Name::Text => first.map(|message| Cow::Borrowed(message.text.as_str())),
            Name::From => account.from.as_deref().map(Cow::Borrowed),
            Name::FromDigits => {
                account.from.as_deref().map(|from| Cow::Borrowed(from.trim_start_matches('+')))
            }
            Name::Key => first.map(|message| Cow::Borrowed(message.idempotency_key.as_str())),
            Name::ValiditySeconds => {
                first.map(|message| message.validity.as_secs().max(1).to_string().into())
            }
            Name::ValidityMinutes => first
                .map(|message| message.validity.as_secs().div_ceil(60).max(1).to_string().into()),
            Name::DlrUrl => account.dlr_url.as_deref().map(Cow::Borrowed),
            Name::Priority => first.map(|message| Cow::Borrowed(priority_word(message.priority))),
            Name::Danger | Name::Unicode | Name::Flash => {
                Some(Cow::Borrowed(if self.holds(name) { "true" } else { "false" }))
            }
            Name::Reference => self.reference.map(Cow::Borrowed),
            Name::Token => self.token.map(Cow::Borrowed),
            Name::Secret(name) => account.secrets.get(name).map(|secret| secret.reveal().into()),
            Name::Setting(name) => account.settings.get(name).map(|value| value.as_str().into()),
        }
    }

    fn holds(&self, name: &Name) -> bool {
        let first = self.messages.first();
        match name {
            Name::Danger => first.is_some_and(|message| message.priority == Priority::Danger),
            Name::Unicode => first.is_some_and(|message| !is_gsm7(&message.text)),
            Name::Flash => first.is_some_and(|message| message.flash),
            Name::To
            | Name::ToDigits
            | Name::ToNational
            | Name::Text
            | Name::From
            | Name::FromDigits
            | Name::Key
            | Name::ValiditySeconds
            | Name::ValidityMinutes
            | Name::DlrUrl
            | Name::Priority
            | Name::Reference
            | Name::Token
            | Name::Secret(_)
            | Name::Setting(_) => self.get(name).is_some(),
        }
    }

    fn numbers<'n>(&'n self, form: impl Fn(&'n str) -> Option<&'n str>) -> Option<Cow<'n, str>> {
        match self.messages {
            [] => None,
            [one] => form(&one.to).map(Cow::Borrowed),
            many => {
                let numbers: Option<Vec<&str>> =
                    many.iter().map(|message| form(&message.to)).collect();
                numbers.map(|numbers| Cow::Owned(numbers.join(",")))
            }
        }
    }
}

const fn priority_word(priority: Priority) -> &'static str {
    match priority {
        Priority::Danger => "danger",
        Priority::Warning => "warning",
        Priority::Advice => "advice",
    }
}

/// The GSM 7-bit default alphabet and its extension, without control characters: 3GPP TS 23.038 §6.2.1.
const GSM7: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€";

/// Returns whether `text` needs no UCS-2.
fn is_gsm7(text: &str) -> bool {
    text.chars().all(|c| GSM7.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brace_without_a_partner_is_refused() {
        for text in ["{to", "to}", "{", "}", "a {b", "{to}}"] {
            assert!(Template::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert_eq!(
            Template::try_from("{nobody}".to_owned()),
            Err(Error::Name("nobody".to_owned()))
        );
        assert_eq!(
            Template::try_from("{to|loud}".to_owned()),
            Err(Error::Filter("loud".to_owned()))
        );
    }

    #[test]
    fn doubled_braces_are_braces() {
        let account = Account::default();
        let values = Values { account: &account, messages: &[], reference: Some("r"), token: None };
        let template = Template::try_from("{{{reference}}}".to_owned()).unwrap();
        assert_eq!(template.render(&values, Escape::None).as_deref(), Some("{r}"));
    }

    #[test]
    fn each_place_has_its_own_escaping() {
        let hostile = "\"&{}<>%+\n\u{1}';🌊 ماء";
        assert_eq!(escaped("a b/é~", Escape::Url), "a%20b%2F%C3%A9~");
        let json = format!("\"{}\"", escaped(hostile, Escape::Json));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
        let xml = escaped(hostile, Escape::Xml);
        assert_eq!(xml, "&quot;&amp;{}&lt;&gt;%+\n&apos;;🌊 ماء");
        let url = escaped(hostile, Escape::Url);
        assert_eq!(crate::wire::http1::percent_decode(&url), hostile);
    }

    #[test]
    fn a_missing_value_leaves_the_field_out() {
        let account = Account::default();
        let values = Values { account: &account, messages: &[], reference: None, token: None };
        let render =
            |text: &str| Template::try_from(text.to_owned()).unwrap().render(&values, Escape::None);
        assert_eq!(render("{dlr_url}"), None);
        assert_eq!(render("{dlr_url?27}"), None);
        assert_eq!(render("{dlr_url?27:0}").as_deref(), Some("0"));
    }

    #[test]
    fn a_value_inside_a_url_inside_a_field_is_encoded_for_both() {
        let account = Account { dlr_url: Some("http://h/x".to_owned()), ..Account::default() };
        let values =
            Values { account: &account, messages: &[], reference: Some("a&b"), token: None };
        let template = Template::try_from("{dlr_url}?id={reference|url}".to_owned()).unwrap();
        assert_eq!(template.render(&values, Escape::None).as_deref(), Some("http://h/x?id=a%26b"));
    }
}
