//! `--all DIR`: every trace of a directory and the seven reference families, so that one command makes the whole table.

use std::path::Path;

use super::error::SimulateError;
use super::format;

/// The synthetic families that the figures of the documentation stand on.
pub(super) const FAMILIES: [&str; 7] = ["zipf:0.7", "zipf:0.9", "zipf:1.1", "zipf+scan", "loop", "shift", "cdn"];

/// The traces in `directory` by name, then the reference families.
///
/// Traces are the files whose names tell their format, compressed or not; what is beside them (sizes, notes) is passed by.
pub(super) fn traces(directory: &Path) -> Result<Vec<String>, SimulateError> {
    let unreadable = |reason: String, remedy: &str| SimulateError::Unreadable {
        name: directory.to_string_lossy().into_owned(),
        reason,
        remedy: remedy.to_owned(),
    };
    let entries = std::fs::read_dir(directory)
        .map_err(|error| unreadable(error.to_string(), "give --all a directory that this user may read"))?;
    let mut found: Vec<String> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && is_trace(path))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    if found.is_empty() {
        return Err(unreadable(
            "no file in it has the name of a trace".to_owned(),
            "traces end in .u64, .csv, .tsv, .keys, .lis or .log, with .zst behind it if they are compressed",
        ));
    }
    found.sort();
    found.extend(FAMILIES.map(str::to_owned));
    Ok(found)
}

fn is_trace(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = name.strip_suffix(".zst").or_else(|| name.strip_suffix(".zstd")).unwrap_or(&name);
    // Notes are text too, but a text file in a directory is rather a note than a trace.
    !std::path::Path::new(plain).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
        && format::by_extension(plain).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::family::Family;
    use super::*;

    #[test]
    fn traces_come_by_name_before_the_families_and_what_is_beside_them_is_passed_by() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.u64.zst", "b.u32.zst", "a.csv", "README.md", "notes.txt"] {
            std::fs::write(directory.path().join(name), "x").unwrap();
        }
        let found = traces(directory.path()).unwrap();
        assert_eq!(found.len(), 2 + FAMILIES.len());
        assert!(found[0].ends_with("a.csv") && found[1].ends_with("b.u64.zst"), "{found:?}");
        assert_eq!(found[2..], FAMILIES);
    }

    #[test]
    fn a_directory_without_traces_is_named_with_a_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let error = traces(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&*directory.path().to_string_lossy()) && error.contains(".u64"), "{error}");
        assert!(traces(Path::new("/nonexistent/traces")).is_err());
    }

    #[test]
    fn every_reference_family_is_one() {
        assert!(FAMILIES.iter().all(|family| Family::parse(family).is_ok()));
    }
}
