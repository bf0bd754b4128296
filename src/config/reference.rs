//! The reference of every key, as data: what `docs/configuration.md` is compared with.

use super::amount::list_text;
use super::keys::{HUB, Key, Kind, Otherwise, ROOT, Table};

/// One table of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReference {
    /// How its header is written, such as `[node.NAME]`.
    pub header: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, without those that are tables themselves.
    pub keys: Vec<KeyReference>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// As written.
    pub name: &'static str,
    /// What its value is.
    pub kind: String,
    /// The value that holds when it is not written, as it would be written.
    pub default: Option<&'static str>,
    /// What holds when it is not written, in words.
    pub otherwise: String,
    /// What it means.
    pub doc: &'static str,
}

/// Returns every table in the order of the file.
#[must_use]
pub fn reference() -> Vec<TableReference> {
    let mut tables = Vec::new();
    walk(&ROOT, &mut tables);
    tables.into_iter().map(table_reference).collect()
}

/// Returns every table of a hub's file, without those that are as in a gateway's.
#[must_use]
pub fn hub_reference() -> Vec<TableReference> {
    let (mut tables, mut gateway) = (Vec::new(), Vec::new());
    walk(&HUB, &mut tables);
    walk(&ROOT, &mut gateway);
    tables.retain(|table| !gateway.iter().any(|known| std::ptr::eq(*known, *table)));
    tables.into_iter().map(table_reference).collect()
}

/// Collects the tables below `table`, each once: conditions hold conditions.
fn walk(table: &'static Table, found: &mut Vec<&'static Table>) {
    for key in table.keys {
        if let Kind::Table(below) | Kind::Named(below) | Kind::Tables(below) = &key.kind
            && !found.iter().any(|known| std::ptr::eq(*known, *below))
        {
            found.push(below);
            walk(below, found);
            if let Some(also) =
                below.also.filter(|also| !found.iter().any(|k| std::ptr::eq(*k, *also)))
            {
                found.push(also);
            }
        }
    }
}

fn table_reference(table: &'static Table) -> TableReference {
    let keys = table.keys.iter().map(key_reference).collect();
    TableReference { header: table.header, doc: table.doc, keys }
}

fn key_reference(key: &'static Key) -> KeyReference {
    let (default, otherwise) = match key.otherwise {
        Otherwise::Required => (None, "required".to_owned()),
        Otherwise::Absent => (None, "none".to_owned()),
        Otherwise::Default(written) => (Some(written), format!("`{written}`")),
        Otherwise::Derived(words) => (None, words.to_owned()),
    };
    KeyReference { name: key.name, kind: kind_text(&key.kind), default, otherwise, doc: key.doc }
}

fn kind_text(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Name => "name".to_owned(),
        Kind::Language => "language".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Whole(low, high) => format!("{low} to {high}"),
        Kind::Number => "number".to_owned(),
        Kind::Duration | Kind::Span => "duration".to_owned(),
        Kind::Rate => "rate".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Address => "address".to_owned(),
        Kind::Amount => "amount".to_owned(),
        Kind::Band => "two amounts".to_owned(),
        Kind::Price => "price".to_owned(),
        Kind::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            list_text(&words, "or")
        }
        Kind::List(of) => format!("list of {}", kind_text(of)),
        Kind::Texts => "text by language".to_owned(),
        Kind::Settings => "text by name".to_owned(),
        Kind::Paths => "path by name".to_owned(),
        Kind::Table(_) => "table".to_owned(),
        Kind::Named(_) => "tables by name".to_owned(),
        Kind::Tables(_) => "list of tables".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::section::default_is_sound;

    #[test]
    fn every_default_is_a_value_of_its_kind_and_every_key_is_explained() {
        let mut tables = vec![&ROOT];
        walk(&ROOT, &mut tables);
        for table in tables {
            for key in table.keys {
                assert!(default_is_sound(key), "{} {}", table.header, key.name);
                assert!(key.doc.ends_with(['.', '`']), "{} {}", table.header, key.name);
            }
        }
    }
}
