//! A walk with a node: what is heard of it, place by place, as a table and as a picture.

mod picture;

use super::ask::ask;
use super::print::{self, Style};
use super::typed::typed;
use super::{Failure, block_on};
use anyhow::{Context, anyhow};
use kengele::app::control::Question;
use kengele::domain::survey::{Heard, Mark, Row, Verdict, table};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const HELP: &str = "\
One walks with a node that reports often (`kengele node interval NODE \"30 s\"`), one sits at the gateway:
  kengele survey record mto-chini walk.csv     type the name of each place and Enter; Ctrl-C ends
  kengele survey report walk.csv --svg walk.svg

Every file of this form can be reported: unix_ms,place,counter,rssi_dbm,snr_db,spreading_factor, and node if there is
one; a line without numbers begins a place, one without a place as well is a pause.";

/// How often the gateway is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The place before the first name.
const BEGINNING: &str = "start";
/// Columns of the file; the last may be missing.
const COLUMNS: [&str; 7] =
    ["unix_ms", "place", "counter", "rssi_dbm", "snr_db", "spreading_factor", NODE];
const NODE: &str = "node";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Survey {
    /// Write down how a node is heard, and from where; an existing file is gone on with
    Record {
        /// The node that is carried
        node: String,
        /// Where it is written
        file: PathBuf,
    },
    /// Show what each place is worth
    Report {
        /// What was recorded
        file: PathBuf,
        /// Draw it, too
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
}

pub(crate) fn run(config: &Path, command: Survey, style: Style) -> Result<(), Failure> {
    match command {
        Survey::Record { node, file } => {
            record(config, &node, &file, style)?;
            report(&file, None, style)
        }
        Survey::Report { file, svg } => report(&file, svg.as_deref(), style),
    }
}

/// Writes hearings and places down until it is interrupted.
fn record(config: &Path, node: &str, path: &Path, style: Style) -> Result<(), Failure> {
    let is_new = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
    if !is_new && let Some(other) = read(path)?.node.filter(|other| other != node) {
        return Err(Failure::Usage(format!(
            "{} is of a walk with {other}: record {node} in a file of its own",
            path.display()
        )));
    }
    let file = File::options().create(true).append(true).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    if is_new {
        writeln!(file, "{}", COLUMNS.join(","))?;
    } else {
        // Nobody has listened until now.
        mark(&mut file, "")?;
    }
    // What was heard before the walk began is not part of it.
    let mut behind = 0;
    for heard in hearings(config, node, 0)? {
        behind = heard.0.max(behind);
    }
    let mut place = BEGINNING.to_owned();
    let mut typed = typed();
    mark(&mut file, &place)?;
    block_on(async {
        let mut beat = tokio::time::interval(ASK_EVERY);
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut answers = true;
        loop {
            tokio::select! {
                _ = &mut interrupted => break mark(&mut file, "").map_err(Failure::from),
                Some(line) = typed.recv() => {
                    let name = line.trim();
                    if !name.is_empty() {
                        name.clone_into(&mut place);
                        mark(&mut file, &place)?;
                        note(&format!("now at {place}"), style);
                    }
                }
                _ = beat.tick() => {
                    let heard = tokio::task::block_in_place(|| hearings(config, node, behind));
                    if heard.is_ok() != answers {
                        answers = heard.is_ok();
                        note(if answers { "the gateway answers again" } else { "the gateway does not answer" }, style);
                    }
                    for (number, heard) in heard.unwrap_or_default() {
                        behind = behind.max(number);
                        write(&mut file, node, &place, &heard)?;
                        note(&format!(
                            "{}  {place}: {:.0} dBm, SNR {:.1} dB, SF{}",
                            print::clock(heard.at_ms), heard.rssi_dbm, heard.snr_db, heard.spreading_factor
                        ), style);
                    }
                }
            }
        }
    })?
}

fn note(words: &str, style: Style) {
    if !style.json {
        print::line(words);
    }
}

fn hearings(config: &Path, node: &str, behind: u64) -> Result<Vec<(u64, Heard)>, Failure> {
    let answer = ask(config, Question::Hearings { node: node.to_owned(), behind })?;
    let one = |heard: &Value| {
        let real = |key: &str| heard.get(key).and_then(Value::as_f64);
        let whole = |key: &str| heard.get(key).and_then(Value::as_u64);
        Some((
            whole("number")?,
            Heard {
                at_ms: heard.get("unix_ms").and_then(Value::as_i64)?,
                counter: u32::try_from(whole("counter")?).ok()?,
                rssi_dbm: real("rssi_dbm")?,
                snr_db: real("snr_db")?,
                spreading_factor: u8::try_from(whole("spreading_factor")?).ok()?,
            },
        ))
    };
    Ok(answer.as_array().into_iter().flatten().filter_map(one).collect())
}

fn write(file: &mut File, node: &str, place: &str, heard: &Heard) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(file);
    csv.write_record([
        heard.at_ms.to_string(),
        place.to_owned(),
        heard.counter.to_string(),
        heard.rssi_dbm.to_string(),
        heard.snr_db.to_string(),
        heard.spreading_factor.to_string(),
        node.to_owned(),
    ])?;
    Ok(csv.flush()?)
}

fn mark(file: &mut File, place: &str) -> anyhow::Result<()> {
    let now_ms = jiff::Timestamp::now().as_millisecond().to_string();
    let mut csv = csv::Writer::from_writer(file);
    csv.write_record([now_ms.as_str(), place, "", "", "", "", ""])?;
    Ok(csv.flush()?)
}

/// What a file holds.
struct Walk {
    heard: Vec<Heard>,
    marks: Vec<Mark>,
    /// Who was carried, if the file says so.
    node: Option<String>,
}

/// Reads a file of hearings and places.
fn read(path: &Path) -> Result<Walk, Failure> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let headings = reader.headers().map_err(anyhow::Error::from)?.clone();
    let written: Vec<&str> = headings.iter().map(str::trim).collect();
    if !COLUMNS.starts_with(&written) || written.len() + 1 < COLUMNS.len() {
        return Err(Failure::Usage(format!(
            "{}:1: the columns are not {}",
            path.display(),
            COLUMNS.join(",")
        )));
    }
    let mut walk = Walk { heard: Vec::new(), marks: Vec::new(), node: None };
    for (row, line) in reader.records().zip(2..) {
        let read = row.map_err(|error| error.to_string()).and_then(|row| line_of(&row));
        let told = |words: String| Failure::Usage(format!("{}:{line}: {words}", path.display()));
        let Line { at_ms, place, heard, node } = read.map_err(told)?;
        if walk.marks.last().is_none_or(|mark| mark.place != place) {
            walk.marks.push(Mark { at_ms, place });
        }
        walk.heard.extend(heard);
        match (&walk.node, node) {
            (Some(known), Some(node)) if *known != node => {
                let words = "one walk is with one node: their counters are not one another's";
                return Err(told(format!(
                    "of {node}, and the lines above are of {known}; {words}"
                )));
            }
            (_, None) => {}
            (_, node) => walk.node = node,
        }
    }
    Ok(walk)
}

/// A line of the file.
struct Line {
    at_ms: i64,
    place: Option<String>,
    heard: Option<Heard>,
    node: Option<String>,
}

fn line_of(row: &csv::StringRecord) -> Result<Line, String> {
    let cell = |place: usize| row.get(place).unwrap_or_default().trim();
    let number = |place: usize| -> Result<f64, String> {
        let name = COLUMNS.get(place).copied().unwrap_or_default();
        let value: Option<f64> = cell(place).parse().ok();
        value
            .filter(|v| v.is_finite())
            .ok_or_else(|| format!("{name} is {:?}, no number", cell(place)))
    };
    let at_ms = cell(0).parse().map_err(|_| format!("unix_ms is {:?}, no number", cell(0)))?;
    let word = |place| Some(cell(place).to_owned()).filter(|word| !word.is_empty());
    let place = word(1);
    if (2..COLUMNS.len()).all(|column| cell(column).is_empty()) {
        return Ok(Line { at_ms, place, heard: None, node: None });
    }
    if place.is_none() {
        return Err("the place has no name".to_owned());
    }
    let spreading_factor = cell(5).parse().ok().filter(|factor| (7..=12).contains(factor));
    let heard = Heard {
        at_ms,
        counter: cell(2).parse().map_err(|_| format!("counter is {:?}, no number", cell(2)))?,
        rssi_dbm: number(3)?,
        snr_db: number(4)?,
        spreading_factor: spreading_factor
            .ok_or_else(|| format!("spreading_factor is {:?}, not 7 to 12", cell(5)))?,
    };
    Ok(Line { at_ms, place, heard: Some(heard), node: word(6) })
}

fn report(path: &Path, svg: Option<&Path>, style: Style) -> Result<(), Failure> {
    let Walk { heard, marks, .. } = read(path)?;
    if heard.is_empty() {
        return Err(Failure::Failed(anyhow!("{}: nothing was heard", path.display())));
    }
    let rows = table(&heard, &marks);
    if let Some(svg) = svg {
        std::fs::write(svg, picture::draw(&rows))
            .with_context(|| format!("cannot write {}", svg.display()))?;
    }
    if style.json {
        print::json(&rows.iter().map(as_json).collect());
        return Ok(());
    }
    let cells: Vec<Vec<String>> = rows.iter().map(|row| cells(row, style)).collect();
    let headings = ["place", "heard", "lost", "RSSI dBm", "SNR dB", "in hand", "enough", "worth"];
    print::table(&headings, &cells);
    if let Some(svg) = svg {
        print::line(&format!("drawn: {}", svg.display()));
    }
    Ok(())
}

fn cells(row: &Row, style: Style) -> Vec<String> {
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let colour = match row.verdict {
        Verdict::Good => "32",
        Verdict::Fair | Verdict::TooFew => "33",
        Verdict::Poor | Verdict::Unheard => "31",
    };
    vec![
        row.place.clone(),
        row.heard.to_string(),
        format!("{} ({:.0} %)", row.lost, row.loss_percent()),
        or(row.rssi_dbm.map(|[low, mid, high]| format!("{mid:.0} ({low:.0} to {high:.0})"))),
        or(row.snr_db.map(|[worst, median]| format!("{median:.1} (worst {worst:.1})"))),
        or(row.margin_db.map(|margin| format!("{margin:.1} dB"))),
        or(row.spreading_factor.map(|factor| format!("SF{factor}"))),
        style.paint(colour, row.verdict.as_str()),
    ]
}

fn as_json(row: &Row) -> Value {
    json!({
        "place": row.place, "heard": row.heard, "lost": row.lost, "loss_percent": row.loss_percent(),
        "rssi_dbm": row.rssi_dbm.map(|[min, median, max]| json!({ "min": min, "median": median, "max": max })),
        "snr_db": row.snr_db.map(|[min, median]| json!({ "min": min, "median": median })),
        "margin_db": row.margin_db, "spreading_factor": row.spreading_factor, "verdict": row.verdict.as_str(),
    })
}
