//! Reads the files of a configuration: the one named, and `rules.d/*.toml` beside it.

use super::diagnostic::{Diagnostic, Severity, Source};
use std::io;
use std::path::{Path, PathBuf};

/// Folder with more rules, beside the main file.
const RULES_FOLDER: &str = "rules.d";

/// Most files in that folder.
const RULES_FILES_MAX: usize = 256;

/// Longest file.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Reads the configuration at `path` and the rules beside it, in the order of their names.
///
/// # Errors
///
/// Lists every file that cannot be read.
pub fn read_sources(path: &Path) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let mut paths = vec![path.to_owned()];
    let mut faults = Vec::new();
    let folder = path.parent().unwrap_or(Path::new("")).join(RULES_FOLDER);
    match rule_files(&folder) {
        Ok(files) if files.len() > RULES_FILES_MAX => faults.push(unreadable(
            &folder,
            format!("the folder has more than {RULES_FILES_MAX} files"),
            "join some of them",
        )),
        Ok(files) => paths.extend(files),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            faults.push(unreadable(&folder, format!("cannot list the folder: {error}"), ""));
        }
    }
    let mut sources = Vec::new();
    for path in paths {
        match source(&path, std::fs::read(&path)) {
            Ok(source) => sources.push(source),
            Err(fault) => faults.push(*fault),
        }
    }
    if faults.is_empty() { Ok(sources) } else { Err(faults) }
}

/// Reads one file, and nothing beside it.
pub(super) fn read_source(path: &Path) -> Result<Source, Box<Diagnostic>> {
    source(path, std::fs::read(path))
}

/// Returns the rule files of a folder by name; what editors leave behind is no rule file.
fn rule_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Makes a source of what was read.
fn source(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<Source, Box<Diagnostic>> {
    let bytes = bytes.map_err(|error| {
        let help = if error.kind() == io::ErrorKind::PermissionDenied {
            "let the user that runs kengele read it"
        } else if error.kind() == io::ErrorKind::NotFound {
            "name the configuration with -c FILE; deploy/kengele.toml is one to begin with"
        } else {
            ""
        };
        Box::new(unreadable(path, format!("cannot read the file: {error}"), help))
    })?;
    if bytes.len() > FILE_BYTES_MAX {
        let fault = unreadable(path, "the file is longer than 1 MiB".to_owned(), "split it");
        return Err(Box::new(fault));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let newlines = error.as_bytes().iter().take(good).filter(|b| **b == b'\n').count();
        let message = format!("line {} is not UTF-8", newlines + 1);
        Box::new(unreadable(path, message, "save the file as UTF-8"))
    })?;
    Ok(Source { name: path.display().to_string(), text })
}

fn unreadable(path: &Path, message: String, help: &str) -> Diagnostic {
    let help = (!help.is_empty()).then(|| help.to_owned());
    Diagnostic::of_file(&path.display().to_string(), Severity::Error, message, help)
}
