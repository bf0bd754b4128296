//! Patterns: topic templates, topic filters, and names with `*`.

use super::amount::{Complaint, complain};

/// One level of a topic template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level<'t> {
    Literal(&'t str),
    Node,
    Quantity,
    Any,
}

/// A topic template: `field/{node}/up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicTemplate<'t> {
    levels: Vec<Level<'t>>,
}

/// Longest topic: MQTT 5 §1.5.4, a length of two bytes.
const TOPIC_BYTES_MAX: usize = 65_535;

const TEMPLATE_HELP: &str = "write such as \"field/{node}/up\"";

impl<'t> TopicTemplate<'t> {
    /// Reads a template.
    pub(super) fn parse(written: &'t str) -> Result<Self, Complaint> {
        if written.len() > TOPIC_BYTES_MAX {
            return complain("the template is longer than any topic", TEMPLATE_HELP);
        }
        if written.starts_with('$') {
            return complain("topics that start with $ are the broker's own", TEMPLATE_HELP);
        }
        let levels = written.split('/').map(level).collect::<Result<Vec<_>, _>>()?;
        let template = Self { levels };
        match template.count(Level::Node) {
            0 => return complain("the template does not say where the node stands", TEMPLATE_HELP),
            1 => {}
            2.. => return complain("the template has {node} twice", TEMPLATE_HELP),
        }
        if template.count(Level::Quantity) > 1 {
            return complain("the template has {quantity} twice", TEMPLATE_HELP);
        }
        Ok(template)
    }

    fn count(&self, wanted: Level<'_>) -> usize {
        self.levels.iter().filter(|level| **level == wanted).count()
    }

    /// Returns whether topics say what is measured.
    pub(super) fn names_quantity(&self) -> bool {
        self.count(Level::Quantity) == 1
    }

    /// Returns a topic that both templates match, if there is one.
    pub(super) fn overlap(&self, other: &Self) -> Option<String> {
        if self.levels.len() != other.levels.len() {
            return None;
        }
        let levels = self.levels.iter().zip(&other.levels).map(|(a, b)| a.overlap(b));
        levels.collect::<Option<Vec<String>>>().map(|levels| levels.join("/"))
    }
}

impl Level<'_> {
    /// Returns a text that both match, if there is one.
    fn overlap(&self, other: &Self) -> Option<String> {
        match (*self, *other) {
            (Self::Literal(a), Self::Literal(b)) => (a == b).then(|| a.to_owned()),
            (Self::Literal(text), Self::Node | Self::Quantity | Self::Any)
            | (Self::Node | Self::Quantity | Self::Any, Self::Literal(text)) => {
                Some(text.to_owned())
            }
            (Self::Node | Self::Quantity | Self::Any, Self::Node | Self::Quantity | Self::Any) => {
                Some("x".to_owned())
            }
        }
    }
}

fn level(written: &str) -> Result<Level<'_>, Complaint> {
    match written {
        "" => complain("a level of the template is empty", TEMPLATE_HELP),
        "{node}" => Ok(Level::Node),
        "{quantity}" => Ok(Level::Quantity),
        "+" => Ok(Level::Any),
        text if text.contains(['{', '}', '+', '#', '\0']) => complain(
            format!("\"{text}\" cannot stand in a template"),
            "a level is plain text, {node}, {quantity}, or + for anything",
        ),
        text => Ok(Level::Literal(text)),
    }
}

/// Checks a topic filter: MQTT 5 §4.7.1.
pub(super) fn filter(written: &str) -> Result<(), Complaint> {
    let levels: Vec<&str> = written.split('/').collect();
    let last = levels.len().saturating_sub(1);
    let sound = levels.iter().enumerate().all(|(i, level)| match *level {
        "+" => true,
        "#" => i == last,
        other => !other.contains(['+', '#', '\0']),
    });
    if sound && !written.is_empty() && written.len() <= TOPIC_BYTES_MAX {
        return Ok(());
    }
    complain(
        format!("\"{written}\" is no topic filter"),
        "+ stands alone in a level, # alone in the last",
    )
}

/// Returns whether `name` fits `pattern`, in which `*` stands for any letters.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head) else { return false };
    let parts: Vec<&str> = tail.split('*').collect();
    let Some((end, middle)) = parts.split_last() else { return true };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, fits) in [
            ("mto-*", "mto-juu", true),
            ("*", "x", true),
            ("*-juu", "mto-juu", true),
            ("m*o*u", "mto-juu", true),
            ("m*m", "m", false),
            ("mto", "mto-juu", false),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn templates_overlap_when_one_topic_fits_both() {
        let overlap = |a, b| {
            let (a, b) = (TopicTemplate::parse(a).unwrap(), TopicTemplate::parse(b).unwrap());
            let both = a.overlap(&b);
            assert_eq!(both.is_some(), b.overlap(&a).is_some());
            both
        };
        assert_eq!(overlap("field/{node}/up", "+/{node}/up").as_deref(), Some("field/x/up"));
        assert_eq!(overlap("s/{node}/level", "s/{node}/rain"), None);
        assert_eq!(overlap("s/{node}/{quantity}", "s/+/{node}").as_deref(), Some("s/x/x"));
        assert_eq!(overlap("a/{node}/up", "a/b/{node}"), Some("a/b/up".into()));
        assert_eq!(overlap("a/{node}", "a/{node}/up"), None);
    }

    #[test]
    fn templates_and_filters_that_no_broker_takes_are_refused() {
        for bad in [
            "a/b",
            "{node}/{node}",
            "{node}/#",
            "a+/{node}",
            "{nod}/x",
            "{node",
            "$SYS/{node}",
            "/{node}",
        ] {
            assert!(TopicTemplate::parse(bad).is_err(), "{bad}");
        }
        assert!(filter("a/+/b/#").is_ok() && filter("#").is_ok());
        for bad in ["", "a/#/b", "a+", "a/b#"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
