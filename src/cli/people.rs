//! Recipients: list, add, remove, import, export.

use super::Failure;
use super::ask::ask;
use super::print::{self, Style};
use anyhow::Context;
use clap::Subcommand;
use kengele::app::control::{PersonRow, Question};
use kengele::app::convert;
use kengele::domain::recipient::Role;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum People {
    /// List everybody
    List,
    /// Add somebody, or change who has that number
    #[command(
        after_help = "Example:\n  kengele people add \"Amina Juma\" +255712345678 --role warden --language sw --areas bonde --consent"
    )]
    Add {
        /// What they are called
        name: String,
        /// Telephone number with country code
        number: String,
        /// What they do
        #[arg(long, default_value = "household")]
        role: String,
        /// Language of their texts
        #[arg(long, default_value = "en")]
        language: String,
        /// Areas that they are told about, separated by spaces; * is all
        #[arg(long, default_value = "*")]
        areas: String,
        /// They have agreed to be told; nobody is sent a text without
        #[arg(long)]
        consent: bool,
    },
    /// Remove somebody by number here or telephone number
    Remove {
        /// Who
        who: String,
    },
    /// Import a CSV file: name,number,role,language,areas,consent
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Print everybody as CSV, as import reads it
    Export,
}

const COLUMNS: [&str; 6] = ["name", "number", "role", "language", "areas", "consent"];

pub(crate) fn run(config: &Path, command: People, style: Style) -> Result<(), Failure> {
    match command {
        People::List => list(config, style),
        People::Add { name, number, role, language, areas, consent } => {
            let row = PersonRow { id: 0, name, number, role, language, areas, consent };
            row.checked().map_err(|error| Failure::Usage(error.to_string()))?;
            let declared = Declared::of(config);
            declared.check(&row).map_err(Failure::Usage)?;
            notes(&declared.unread(&[&row]), style);
            let answer = put(config, vec![row])?;
            told(&answer, style);
            Ok(())
        }
        People::Remove { who } => {
            let answer = ask(config, Question::RemovePerson { who: who.clone() })?;
            if answer.get("removed") != Some(&Value::Bool(true)) {
                return Err(anyhow::anyhow!("nobody is known as {who}").into());
            }
            if style.json {
                print::json(&answer);
            } else {
                print::line("removed");
            }
            Ok(())
        }
        People::Import { file } => import(config, &file, style),
        People::Export => export(config),
    }
}

pub(crate) fn everybody(config: &Path) -> Result<Vec<PersonRow>, Failure> {
    Ok(serde_json::from_value(ask(config, Question::People)?)?)
}

fn list(config: &Path, style: Style) -> Result<(), Failure> {
    let people = everybody(config)?;
    if style.json {
        print::json(&serde_json::to_value(&people)?);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = people
        .into_iter()
        .map(|p| {
            let consent =
                if p.consent { "yes".to_owned() } else { style.paint("33", "no: is not told") };
            vec![p.id.to_string(), p.name, p.number, p.role, p.language, p.areas, consent]
        })
        .collect();
    print::table(&["", "name", "number", "role", "language", "areas", "consent"], &rows);
    Ok(())
}

fn put(config: &Path, people: Vec<PersonRow>) -> Result<Value, Failure> {
    ask(config, Question::PutPeople { people })
}

fn told(answer: &Value, style: Style) {
    if style.json {
        print::json(answer);
    } else {
        let count = |key: &str| answer.get(key).and_then(Value::as_i64).unwrap_or(0);
        print::line(&format!(
            "{} new, {} changed, {} as before",
            count("new"),
            count("changed"),
            count("same")
        ));
    }
}

fn notes(notes: &[String], style: Style) {
    for note in notes {
        eprintln!("{} {note}", style.paint("33", "note:"));
    }
}

/// Imports what is right, and says of every line what is wrong with it. A second import of the same file changes nothing.
fn import(config: &Path, file: &Path, style: Style) -> Result<(), Failure> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    let declared = Declared::of(config);
    let (people, faults) = read_csv(&text, &declared);
    for fault in &faults {
        print::note(&format!("{}:{fault}", file.display()));
    }
    notes(&declared.unread(&people.iter().collect::<Vec<_>>()), style);
    let nobody = people.is_empty();
    let mut answer = if nobody {
        serde_json::json!({ "new": 0, "changed": 0, "same": 0 })
    } else {
        put(config, people)?
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("faults".to_owned(), faults.iter().map(String::as_str).collect());
    }
    if style.json || !nobody {
        told(&answer, style);
    }
    match faults.len() {
        0 => Ok(()),
        // The machine has read it above.
        _ if style.json => Err(Failure::Told),
        1 => Err(anyhow::anyhow!("1 line was not imported").into()),
        lines => Err(anyhow::anyhow!("{lines} lines were not imported").into()),
    }
}

/// The roles, areas and languages of the configuration: whoever has another role or area is told nothing, and whoever has
/// another language is told in one that he may not read, without anybody noticing.
struct Declared(Option<Names>);

struct Names {
    roles: BTreeSet<String>,
    areas: Vec<String>,
    /// Those that some text is written in.
    languages: BTreeSet<String>,
}

impl Declared {
    /// Reads them. Of a configuration with faults they are not known, and everything passes.
    fn of(config: &Path) -> Self {
        Self(convert::load(config).ok().map(|loaded| {
            let roles = loaded.config.roles.iter().map(|role| role.role.0.clone());
            Names {
                roles: roles.chain([Role::TECHNICIAN.to_owned()]).collect(),
                areas: loaded.config.areas.iter().map(|area| area.name.clone()).collect(),
                languages: loaded.texts.iter().map(|text| text.language.clone()).collect(),
            }
        }))
    }

    /// Says of each language that somebody has and no text is written in how many will be told in another one.
    fn unread(&self, people: &[&PersonRow]) -> Vec<String> {
        let Some(Names { languages, .. }) = &self.0 else { return Vec::new() };
        let mut unread: BTreeMap<&str, usize> = BTreeMap::new();
        for person in people {
            let without_region = person.language.split('-').next().unwrap_or_default();
            let is_written =
                languages.contains(&person.language) || languages.contains(without_region);
            // The technician is told in our words and not by a rule's text.
            if !languages.is_empty() && !is_written && person.role != Role::TECHNICIAN {
                *unread.entry(&person.language).or_default() += 1;
            }
        }
        let known = languages.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let note = |(language, count): (&str, usize)| {
            let who =
                if count == 1 { "1 person is".to_owned() } else { format!("{count} people are") };
            format!(
                "no text is written in {language:?}: {who} told in another language; there are: {known}"
            )
        };
        unread.into_iter().map(note).collect()
    }

    fn check(&self, row: &PersonRow) -> Result<(), String> {
        let Some(Names { roles, areas, .. }) = &self.0 else { return Ok(()) };
        let unknown = |what: &str, name: &str, known: String| {
            Err(format!("{what} {name:?} is not in the configuration; there are: {known}"))
        };
        if !roles.contains(&row.role) {
            let known = roles.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return unknown("role", &row.role, known);
        }
        let is_known = |area: &&str| *area == "*" || areas.iter().any(|known| known == area);
        match row.areas.split_whitespace().find(|area| !is_known(area)) {
            Some(area) => unknown("area", area, areas.join(", ")),
            None => Ok(()),
        }
    }
}

fn read_csv(text: &str, declared: &Declared) -> (Vec<PersonRow>, Vec<String>) {
    let (mut people, mut faults) = (Vec::new(), Vec::new());
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let headings = reader.headers().cloned().unwrap_or_default();
    let place = |name: &str| {
        headings.iter().position(|h| h.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name))
    };
    for name in ["name", "number"] {
        if place(name).is_none() {
            faults.push(format!(
                "1: there is no column {name}; the first line names the columns: {}",
                COLUMNS.join(",")
            ));
        }
    }
    if !faults.is_empty() {
        return (people, faults);
    }
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                faults
                    .push(format!("{}: {error}", error.position().map_or(0, csv::Position::line)));
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        let field = |name: &str, fallback: &str| {
            let found =
                place(name).and_then(|place| record.get(place)).filter(|field| !field.is_empty());
            found.unwrap_or(fallback).to_owned()
        };
        let consent = match field("consent", "no").to_lowercase().as_str() {
            "yes" | "true" | "1" | "y" | "ndiyo" => Ok(true),
            "no" | "false" | "0" | "n" | "hapana" => Ok(false),
            other => Err(format!("consent {other:?} is neither yes nor no")),
        };
        let row = PersonRow {
            id: 0,
            name: field("name", ""),
            number: field("number", ""),
            role: field("role", "household"),
            language: field("language", "en"),
            areas: field("areas", "*"),
            consent: *consent.as_ref().unwrap_or(&false),
        };
        let checked = consent
            .and_then(|_| row.checked().map(drop).map_err(|error| error.to_string()))
            .and_then(|()| declared.check(&row));
        match checked {
            Ok(()) => people.push(row),
            Err(words) => faults.push(format!("{line}: {words}")),
        }
    }
    (people, faults)
}

fn export(config: &Path) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(print::Output);
    writer.write_record(COLUMNS)?;
    for person in everybody(config)? {
        let consent = if person.consent { "yes" } else { "no" };
        writer.write_record([
            &person.name,
            &person.number,
            &person.role,
            &person.language,
            &person.areas,
            consent,
        ])?;
    }
    writer.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Declared, Names, read_csv};

    fn declared() -> Declared {
        Declared(Some(Names {
            roles: ["warden".into()].into(),
            areas: vec!["bonde".into()],
            languages: ["en".into(), "sw".into()].into(),
        }))
    }

    #[test]
    fn good_lines_are_read_and_every_bad_one_is_named() {
        let (people, faults) = read_csv(
            "name,number,role,language,areas,consent\nAmina,+255 712 345 678,warden,sw,bonde,yes\n\
             Juma,0712345678,,,,yes\n,+255712345679,,,,yes\nNeema,+255712345670,household,sw,bonde juu,maybe\n",
            &Declared(None),
        );
        assert_eq!(people.len(), 1);
        assert_eq!(people[0].role, "warden");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("3: ") && faults[0].contains("country code"), "{faults:?}");
        assert!(faults[1].starts_with("4: the name"), "{faults:?}");
        assert!(faults[2].starts_with("5: consent"), "{faults:?}");
    }

    #[test]
    fn a_file_without_headings_is_refused_with_the_columns_it_needs() {
        let (people, faults) = read_csv("Amina,+255712345678\n", &Declared(None));
        assert!(people.is_empty() && faults[0].contains("name,number,role"), "{faults:?}");
    }

    #[test]
    fn a_role_or_area_that_nobody_is_told_by_is_refused_with_the_ones_there_are() {
        let declared = declared();
        let csv = "name,number,role,areas\nA,+255712345678,warden,bonde\nB,+255712345679,wardn,*\n\
                   C,+255712345670,warden,bnode\n";
        let (people, faults) = read_csv(csv, &declared);
        assert_eq!(people.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["A"]);
        assert_eq!(
            faults,
            [
                "3: role \"wardn\" is not in the configuration; there are: warden",
                "4: area \"bnode\" is not in the configuration; there are: bonde",
            ]
        );
    }
    #[test]
    fn a_language_that_nothing_is_written_in_is_pointed_out_once_with_how_many_have_it() {
        let csv = "name,number,role,language\nA,+255712345678,warden,swa\nB,+255712345679,warden,swa\n\
                   C,+255712345670,warden,sw-KE\nD,+255712345671,warden,en\n";
        let (people, faults) = read_csv(csv, &declared());
        assert_eq!((people.len(), faults.len()), (4, 0), "{faults:?}");
        let notes = declared().unread(&people.iter().collect::<Vec<_>>());
        assert_eq!(
            notes,
            [
                "no text is written in \"swa\": 2 people are told in another language; there are: en, sw"
            ]
        );
    }
}
