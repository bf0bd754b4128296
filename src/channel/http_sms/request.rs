//! From a preset and messages to HTTP requests. Pure.

use super::account::Account;
use super::preset::{Auth, Call, Method, Preset};
use super::template::{Escape, Name, Template, Values};
use crate::domain::message::Submission;
use std::fmt;
use thiserror::Error;

/// A filled-in request. It holds secrets, numbers and texts, and has no readable form.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Address with its query.
    pub url: String,
    /// Header lines, `Content-Type` included.
    pub headers: Vec<(String, String)>,
    /// User and password of HTTP basic authentication.
    pub basic: Option<(String, String)>,
    /// Body.
    pub body: Option<Vec<u8>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Why a request cannot be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The address, a password or the like needs a value that the account does not have.
    #[error("cannot fill in the {0} of the request: a setting or secret is missing")]
    Missing(&'static str),
    /// The address is not one of HTTP.
    #[error("cannot use the provider's address: it must begin with https:// or http:// and a host")]
    Address,
    /// A value cannot stand in a header: control characters, or letters that are not ASCII.
    #[error("cannot put a value with control or non-ASCII characters into header {0}")]
    Header(String),
}

/// Content type of HTML forms, as providers expect it.
const FORM: &str = "application/x-www-form-urlencoded";

impl Preset {
    /// Returns the request that submits `messages`, which the channel found fit to share one.
    ///
    /// # Errors
    ///
    /// See [`enum@Error`].
    pub fn render(
        &self,
        account: &Account,
        messages: &[&Submission],
        token: Option<&str>,
    ) -> Result<Request, Error> {
        let values = Values { account, messages, reference: None, token };
        let repeat = self.batch.as_ref().and_then(|batch| batch.repeat.as_deref());
        render(&self.send, &self.auth, &values, repeat)
    }
}

/// Fills in `call`.
pub(super) fn render(
    call: &Call,
    auth: &Auth,
    values: &Values<'_>,
    repeat: Option<&str>,
) -> Result<Request, Error> {
    let mut url = call.url.render_url(values).ok_or(Error::Missing("address"))?;
    // The parser alone would take `http:/path` for a host named path, and send it our secrets.
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let names_host = rest.is_some_and(|rest| !rest.starts_with('/'));
    if !names_host || reqwest::Url::parse(&url).is_err() {
        return Err(Error::Address);
    }
    let query = pairs(call.query.iter(), values);
    if !query.is_empty() {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&query);
    }
    let mut headers = Vec::new();
    for (name, template) in &call.headers {
        if let Some(value) = template.render(values, Escape::None) {
            headers.push((name.clone(), value));
        }
    }
    if let Some(bearer) = &auth.bearer {
        let token = bearer.render(values, Escape::None).ok_or(Error::Missing("token"))?;
        headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
    }
    let (content_type, body) = body(call, values, repeat)?;
    headers.extend(content_type.map(|value| ("Content-Type".to_owned(), value)));
    let printable = |value: &str| value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if let Some((name, _)) = headers.iter().find(|(_, value)| !printable(value)) {
        return Err(Error::Header(name.clone()));
    }
    let basic = auth.basic.as_ref().map(|basic| {
        let user = basic.user.render(values, Escape::None);
        let password = basic.password.render(values, Escape::None);
        user.zip(password).ok_or(Error::Missing("user or password"))
    });
    let method = match call.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    Ok(Request { method, url, headers, basic: basic.transpose()?, body })
}

fn pairs<'t>(
    fields: impl Iterator<Item = (&'t String, &'t Template)>,
    values: &Values<'_>,
) -> String {
    let pairs: Vec<String> = fields
        .filter_map(|(name, template)| {
            let value = template.render(values, Escape::None)?;
            let name = super::template::escaped(name, Escape::Url);
            let value = super::template::escaped(&value, Escape::Url);
            Some(format!("{name}={value}"))
        })
        .collect();
    pairs.join("&")
}

type Body = (Option<String>, Option<Vec<u8>>);

fn body(call: &Call, values: &Values<'_>, repeat: Option<&str>) -> Result<Body, Error> {
    let missing = Error::Missing("body");
    let (content_type, body) = if let Some(form) = &call.form {
        (FORM.to_owned(), pairs(form.iter(), values))
    } else if let Some(json) = &call.json {
        let document = json.render(values, repeat).ok_or(missing)?;
        ("application/json".to_owned(), document.to_string())
    } else if let Some(raw) = &call.raw {
        (raw.content_type.clone(), raw.template.render(values, raw.escape).ok_or(missing)?)
    } else {
        return Ok((None, None));
    };
    Ok((Some(content_type), Some(body.into_bytes())))
}

/// Puts messages that can share a request together: places in `messages`, in their order.
///
/// Two messages share a request when everything outside the repeated element reads the same for both, and their
/// numbers differ, so that the answer tells them apart.
pub(super) fn plan(
    preset: &Preset,
    account: &Account,
    messages: &[&Submission],
) -> Vec<Vec<usize>> {
    let repeat = preset.batch.as_ref().and_then(|batch| batch.repeat.as_deref());
    let shared = preset.send.names_once(repeat);
    let numbers_listed = repeat.is_none();
    let shared: Vec<&Name> = shared
        .into_iter()
        .filter(|name| {
            let number = matches!(name, Name::To | Name::ToDigits | Name::ToNational);
            !(number && numbers_listed)
        })
        .collect();
    let reads = |message: &&Submission| -> Vec<Option<String>> {
        let message: &Submission = message;
        let values = Values { account, messages: &[message], reference: None, token: None };
        shared.iter().map(|name| values.value(name)).collect()
    };
    let mut groups: Vec<(Vec<Option<String>>, Vec<usize>)> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let read = reads(message);
        let takes = |(known, places): &&mut (Vec<Option<String>>, Vec<usize>)| {
            let to = |place: &usize| messages.get(*place).map(|message| message.to.as_str());
            *known == read
                && places.len() < preset.batch_max()
                && places.iter().all(|place| to(place) != Some(message.to.as_str()))
        };
        match groups.iter_mut().find(takes) {
            Some((_, places)) => places.push(place),
            None => groups.push((read, vec![place])),
        }
    }
    groups.into_iter().map(|(_, places)| places).collect()
}
