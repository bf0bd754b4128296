//! Paths into JSON, and conditions on an answer.

use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use thiserror::Error;

/// A path such as `messages[0].message-id`; `$.code` starts at the document even where an item is looked at, `$` is all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Path {
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Why a path or condition cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Error {
    #[error("cannot read path {0:?}; write it like messages[0].id")]
    Path(String),
    #[error(
        "cannot read condition; it has one of is, contains, prefix and present, and not both path and header"
    )]
    Condition,
}

impl TryFrom<String> for Path {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let bad = || Error::Path(text.clone());
        let (from_root, rest) = match text.strip_prefix('$') {
            Some(rest) => (true, rest.strip_prefix('.').unwrap_or(rest)),
            None => (false, text.as_str()),
        };
        let mut steps = Vec::new();
        for part in rest.split('.').filter(|_| !rest.is_empty()) {
            let (key, indices) = match part.split_once('[') {
                Some((key, indices)) => (key, Some(indices)),
                None => (part, None),
            };
            if !key.is_empty() {
                steps.push(Step::Key(key.to_owned()));
            } else if indices.is_none() {
                return Err(bad());
            }
            for index in indices.into_iter().flat_map(|indices| indices.split('[')) {
                let index = index.strip_suffix(']').and_then(|index| index.parse().ok());
                steps.push(Step::Index(index.ok_or_else(bad)?));
            }
        }
        Ok(Self { from_root, steps })
    }
}

impl Path {
    /// Returns what stands at the path, from `item` or from `root`.
    pub(super) fn find<'v>(&self, root: &'v Value, item: &'v Value) -> Option<&'v Value> {
        let start = if self.from_root { root } else { item };
        self.steps.iter().try_fold(start, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// Returns the scalar at the path as text.
    pub(super) fn text<'v>(&self, root: &'v Value, item: &'v Value) -> Option<Cow<'v, str>> {
        match self.find(root, item)? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    path: Option<Path>,
    header: Option<String>,
    is: Option<Vec<String>>,
    contains: Option<String>,
    prefix: Option<String>,
    present: Option<bool>,
}

/// A test of one value: at a path, in a header, or else of the whole body as text.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawCondition")]
pub(super) struct Condition {
    subject: Subject,
    test: Test,
}

#[derive(Clone, Debug)]
enum Subject {
    Path(Path),
    Header(String),
    Body,
}

#[derive(Clone, Debug)]
enum Test {
    Is(Vec<String>),
    Contains(String),
    Prefix(String),
    Present(bool),
}

impl TryFrom<RawCondition> for Condition {
    type Error = Error;

    fn try_from(raw: RawCondition) -> Result<Self, Error> {
        let subject = match (raw.path, raw.header) {
            (Some(path), None) => Subject::Path(path),
            (None, Some(header)) => Subject::Header(header.to_ascii_lowercase()),
            (None, None) => Subject::Body,
            (Some(_), Some(_)) => return Err(Error::Condition),
        };
        let test = match (raw.is, raw.contains, raw.prefix, raw.present) {
            (Some(words), None, None, None) => Test::Is(words),
            (None, Some(part), None, None) => Test::Contains(part),
            (None, None, Some(start), None) => Test::Prefix(start),
            (None, None, None, Some(there)) => Test::Present(there),
            _ => return Err(Error::Condition),
        };
        Ok(Self { subject, test })
    }
}

/// An answer, as conditions see it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) root: &'a Value,
    pub(super) item: &'a Value,
    pub(super) headers: &'a [(String, String)],
    pub(super) body: &'a str,
}

impl Seen<'_> {
    /// Returns the first value of the header `name`, which is given in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Condition {
    /// Returns whether the answer fits.
    pub(super) fn fits(&self, seen: &Seen<'_>) -> bool {
        let value = match &self.subject {
            Subject::Path(path) => path.text(seen.root, seen.item),
            Subject::Header(name) => seen.header(name).map(Cow::Borrowed),
            Subject::Body => Some(Cow::Borrowed(seen.body.trim())),
        };
        match &self.test {
            Test::Is(words) => value.is_some_and(|value| words.iter().any(|word| *word == value)),
            Test::Contains(part) => value.is_some_and(|value| value.contains(part.as_str())),
            Test::Prefix(start) => value.is_some_and(|value| value.starts_with(start.as_str())),
            Test::Present(there) => value.is_some_and(|value| !value.is_empty()) == *there,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(path: &str, root: &Value) -> Option<String> {
        Path::try_from(path.to_owned()).unwrap().text(root, root).map(Cow::into_owned)
    }

    #[test]
    fn a_path_finds_scalars_as_text() {
        let root = json!({"a": [{"b-c": 7}, {"b-c": true}], "d": {"e": "f"}, "n": null});
        assert_eq!(text("a[0].b-c", &root).as_deref(), Some("7"));
        assert_eq!(text("a[1].b-c", &root).as_deref(), Some("true"));
        assert_eq!(text("$.d.e", &root).as_deref(), Some("f"));
        assert_eq!(text("n", &root), None);
        assert_eq!(text("a", &root), None);
        assert_eq!(text("[1].x", &json!([0, {"x": 1.50}])).as_deref(), Some("1.5"));
        assert_eq!(text("a[9].b", &root), None);
    }

    #[test]
    fn a_broken_path_is_refused() {
        for path in ["a..b", ".a", "a.", "a[", "a[x]", "a[1", "a[1]]", "a[]"] {
            assert!(Path::try_from(path.to_owned()).is_err(), "{path}");
        }
    }

    #[test]
    fn a_condition_has_one_subject_and_one_test() {
        for text in ["path = 'a'", "path='a'\nheader='b'\npresent=true", "is=['a']\nprefix='b'"] {
            assert!(toml::from_str::<Condition>(text).is_err(), "{text}");
        }
    }
}
