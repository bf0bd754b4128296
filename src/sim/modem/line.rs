//! Command lines: 3GPP TS 27.007 §4 and ITU-T V.250 §5.

/// How a command is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `AT+CSQ`
    Run,
    /// `AT+CSQ?`
    Read,
    /// `AT+CSQ=?`
    Test,
    /// `AT+CSQ=1,2`: the parameters without their quotes.
    Set(Vec<String>),
}

impl Form {
    /// Returns the parameter at `place` of a setting, where it is given and not empty.
    pub(super) fn text(&self, place: usize) -> Option<&str> {
        match self {
            Self::Set(fields) => fields.get(place).map(String::as_str).filter(|s| !s.is_empty()),
            Self::Run | Self::Read | Self::Test => None,
        }
    }

    /// Returns the number at `place` of a setting.
    pub(super) fn number<N: std::str::FromStr>(&self, place: usize) -> Option<N> {
        self.text(place)?.trim().parse().ok()
    }
}

/// One command of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// In capitals, without `AT`: `+CSQ`, `E`, `&F`.
    pub(super) name: String,
    pub(super) form: Form,
}

/// Splits a line into its commands; `None` when it does not hold `AT`.
pub(super) fn commands(line: &str) -> Option<Vec<Command>> {
    let start = line
        .char_indices()
        .zip(line.chars().skip(1))
        .find(|((_, a), t)| a.eq_ignore_ascii_case(&'A') && t.eq_ignore_ascii_case(&'T'));
    let ((at, _), _) = start?;
    let mut rest = line.get(at + 2..)?.trim();
    let mut commands = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (command, behind) = match first {
            '+' | '^' | '$' | '#' | '*' | '%' => extended(rest),
            ';' | ' ' => (None, rest.get(1..).unwrap_or_default()),
            _letter => basic(rest),
        };
        commands.extend(command);
        rest = behind;
    }
    Some(commands)
}

fn extended(text: &str) -> (Option<Command>, &str) {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    let end = end.unwrap_or(text.len());
    let (command, rest) =
        (text.get(..end).unwrap_or_default(), text.get(end..).unwrap_or_default());
    let mark = command.find(['=', '?']).unwrap_or(command.len());
    let (name, form) =
        (command.get(..mark).unwrap_or_default(), command.get(mark..).unwrap_or_default());
    let form = match form {
        "" => Form::Run,
        "?" => Form::Read,
        "=?" => Form::Test,
        parameters => Form::Set(fields(parameters.strip_prefix('=').unwrap_or(parameters))),
    };
    (Some(Command { name: name.trim().to_ascii_uppercase(), form }), rest)
}

/// A letter, or `&` and a letter, with a number: `E0`, `&F`, `S3=13`, `S3?`.
fn basic(text: &str) -> (Option<Command>, &str) {
    let letters = if text.starts_with('&') { 2 } else { 1 };
    let name = text.chars().take(letters).collect::<String>();
    let rest = text.get(name.len()..).unwrap_or_default();
    let end = rest.find(|c: char| !(c.is_ascii_digit() || "=?".contains(c))).unwrap_or(rest.len());
    let (value, rest) = (rest.get(..end).unwrap_or_default(), rest.get(end..).unwrap_or_default());
    let form = if value.is_empty() { Form::Run } else { Form::Set(vec![value.to_owned()]) };
    (Some(Command { name: name.to_ascii_uppercase(), form }), rest)
}

/// Splits parameters at the commas outside quotes.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _other => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(fields: &[&str]) -> Form {
        Form::Set(fields.iter().map(|field| (*field).to_owned()).collect())
    }

    #[test]
    fn a_line_holds_several_commands() {
        let found = commands("ate0v1+cmee=2;+csca=\"+46;1\",145;+CSQ").expect("a line");
        let found: Vec<_> = found.into_iter().map(|c| (c.name, c.form)).collect();
        assert_eq!(
            found,
            [
                ("E".to_owned(), set(&["0"])),
                ("V".to_owned(), set(&["1"])),
                ("+CMEE".to_owned(), set(&["2"])),
                ("+CSCA".to_owned(), set(&["+46;1", "145"])),
                ("+CSQ".to_owned(), Form::Run),
            ]
        );
    }

    #[test]
    fn noise_before_the_attention_code_does_not_matter() {
        assert_eq!(commands("\u{1b}\u{ff}at+creg?").map(|found| found.len()), Some(1));
        assert_eq!(commands("hello"), None);
        assert_eq!(commands("AT"), Some(Vec::new()));
    }
}
