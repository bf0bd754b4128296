//! Patterns: topic templates, topic filters, and names with `*`.

use super::amount::{Complaint, complain};

/// One level of a topic template.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Level<'t> {
    before: &'t str,
    fill: Option<Fill>,
    after: &'t str,
}

/// What stands for itself in no level of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
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
        match template.count(Fill::Node) {
            0 => return complain("the template does not say where the node stands", TEMPLATE_HELP),
            1 => {}
            2.. => return complain("the template has {node} twice", TEMPLATE_HELP),
        }
        if template.count(Fill::Quantity) > 1 {
            return complain("the template has {quantity} twice", TEMPLATE_HELP);
        }
        Ok(template)
    }

    fn count(&self, fill: Fill) -> usize {
        self.levels.iter().filter(|level| level.fill == Some(fill)).count()
    }

    /// Returns whether topics say what is measured.
    pub(super) fn names_quantity(&self) -> bool {
        self.count(Fill::Quantity) == 1
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
        let (a, b) = if self.fill.is_none() { (other, self) } else { (self, other) };
        match (a.fill, b.fill) {
            (None, _) => (a.before == b.before).then(|| a.before.to_owned()),
            (Some(_), None) => {
                let middle = b.before.strip_prefix(a.before)?.strip_suffix(a.after)?;
                (!middle.is_empty()).then(|| b.before.to_owned())
            }
            (Some(_), Some(_)) => {
                let before = longer(a.before, b.before, |long, short| long.starts_with(short))?;
                let after = longer(a.after, b.after, |long, short| long.ends_with(short))?;
                Some(format!("{before}x{after}"))
            }
        }
    }
}

fn longer<'t>(a: &'t str, b: &'t str, fits: fn(&str, &str) -> bool) -> Option<&'t str> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    fits(long, short).then_some(long)
}

fn level(written: &str) -> Result<Level<'_>, Complaint> {
    if written.is_empty() {
        return complain("a level of the template is empty", TEMPLATE_HELP);
    }
    if written == "+" {
        return Ok(Level { before: "", fill: Some(Fill::Any), after: "" });
    }
    if written.contains(['+', '#']) {
        return complain(
            format!("\"{written}\" cannot stand in a template"),
            "+ stands alone in a level, and # has no place: write a + for each level",
        );
    }
    let Some((before, rest)) = written.split_once('{') else {
        if written.contains('}') {
            return complain("a brace without its partner", TEMPLATE_HELP);
        }
        return Ok(Level { before: written, fill: None, after: "" });
    };
    let Some((word, after)) = rest.split_once('}') else {
        return complain("a brace without its partner", TEMPLATE_HELP);
    };
    let fill = match word {
        "node" => Fill::Node,
        "quantity" => Fill::Quantity,
        other => {
            return complain(
                format!("unknown placeholder {{{other}}}"),
                "a template knows {node} and {quantity}",
            );
        }
    };
    if before.contains('}') || after.contains(['{', '}']) {
        return complain("a level has one placeholder at most", TEMPLATE_HELP);
    }
    Ok(Level { before, fill: Some(fill), after })
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
        assert_eq!(overlap("s/{node}_level/state", "s/{node}_rain/state"), None);
        assert_eq!(
            overlap("s/{node}/state", "s/{node}_rain/state").as_deref(),
            Some("s/x_rain/state")
        );
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
