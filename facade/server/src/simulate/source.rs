//! From an argument to a trace: a file, standard input, or a synthetic family.
//!
//! A name that begins with a family's is a family; write `./loop` for a file of that name. zstd is recognised by its
//! first bytes, the format by the file's name or else by its first line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::error::SimulateError;
use super::family::{self, Family};
use super::format::{self, Format, Options, Reading};
use super::trace::{Recorder, Trace};
use super::unzstd::{self, Unzstd};

/// The argument that means standard input.
pub(super) const STDIN: &str = "-";

/// Compressions that are recognised and not supported, with the program that undoes them.
const FOREIGN: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "gzip -dc"),
    (b"\xfd7zXZ\0", "xz", "xz -dc"),
    (b"BZh", "bzip2", "bzip2 -dc"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];

/// How traces are read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// A format for all traces, instead of recognition.
    pub(super) format: Option<Format>,
    /// Most requests taken of each trace.
    pub(super) limit: u64,
    pub(super) options: Options,
}

impl Source {
    /// Reads or generates the trace that `argument` names.
    pub(super) fn read(&self, argument: &str) -> Result<Trace, SimulateError> {
        let mut recorder = Recorder::new(self.limit, self.options.sizes);
        let mut notes = Vec::new();
        let (name, origin) = if argument == STDIN {
            let mut input = BufReader::with_capacity(64 * 1024, io::stdin().lock());
            if self.options.sizes && self.format == Some(Format::U64) {
                return Err(no_sizes(argument, "binary keys on standard input have no companion file"));
            }
            ("stdin".to_owned(), self.stream(argument, "", &mut input, &mut recorder, &mut notes)?)
        } else if family::is_named(argument) {
            self.synthetic(argument, &mut recorder)?
        } else {
            self.file(argument, &mut recorder, &mut notes)?
        };
        if recorder.len() == 0 {
            let detail = notes.first().map_or_else(String::new, |note| format!(" ({note})"));
            return Err(SimulateError::Empty { name: argument.to_owned(), detail });
        }
        Ok(recorder.finish(name, origin, notes))
    }

    fn synthetic(&self, text: &str, recorder: &mut Recorder) -> Result<(String, String), SimulateError> {
        let family = Family::parse(text)?;
        if self.options.sizes && !family.has_sizes() {
            return Err(no_sizes(text, "the objects of this family have no sizes; the family cdn has them"));
        }
        family.generate(recorder);
        Ok((family.name(), family.describe()))
    }

    fn file(
        &self,
        argument: &str,
        recorder: &mut Recorder,
        notes: &mut Vec<String>,
    ) -> Result<(String, String), SimulateError> {
        let path = Path::new(argument);
        let mut input = open(argument, path)?;
        let file_name =
            path.file_name().map_or_else(|| argument.to_owned(), |name| name.to_string_lossy().into_owned());
        let plain = strip_zst(&file_name);
        let origin = self.stream(argument, plain, &mut input, recorder, notes)?;
        let stem = match plain.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() && format::by_extension(plain).is_some() => stem,
            _ => plain,
        };
        let binary = self.format == Some(Format::U64)
            || (self.format.is_none() && format::by_extension(plain) == Some(Format::U64));
        if self.options.sizes && binary {
            recorder.set_sizes(companion(argument, path, stem, recorder)?);
        }
        Ok((stem.to_owned(), origin))
    }

    /// Reads a stream whose file is called `plain`; answers how it was understood.
    fn stream(
        &self,
        argument: &str,
        plain: &str,
        input: &mut dyn BufRead,
        recorder: &mut Recorder,
        notes: &mut Vec<String>,
    ) -> Result<String, SimulateError> {
        let start = peek(argument, input)?;
        if start.starts_with(&unzstd::MAGIC) || is_skippable(start) {
            let mut input = BufReader::with_capacity(64 * 1024, Unzstd::new(input));
            return self.plain(argument, plain, &mut input, recorder, notes);
        }
        if let Some((_, what, program)) = FOREIGN.iter().find(|(magic, ..)| start.starts_with(magic)) {
            return Err(SimulateError::Unreadable {
                name: argument.to_owned(),
                reason: format!("it is compressed with {what}, and only zstd is read"),
                remedy: format!("unpack it on the way: `{program} FILE | trimtab simulate -`"),
            });
        }
        self.plain(argument, plain, input, recorder, notes)
    }

    fn plain(
        &self,
        argument: &str,
        plain: &str,
        input: &mut dyn BufRead,
        recorder: &mut Recorder,
        notes: &mut Vec<String>,
    ) -> Result<String, SimulateError> {
        if Path::new(plain).extension().is_some_and(|extension| extension == "u32") && self.format.is_none() {
            return Err(SimulateError::Unreadable {
                name: argument.to_owned(),
                reason: "a .u32 file holds the sizes that belong to a trace, no keys".to_owned(),
                remedy: "name the .u64 file beside it, with --sizes".to_owned(),
            });
        }
        let announced = self.format.or_else(|| format::by_extension(plain));
        let format = match announced {
            Some(format) => format,
            None => format::by_content(peek(argument, input)?).ok_or_else(|| SimulateError::Unreadable {
                name: argument.to_owned(),
                reason: "its format is neither told by its name nor seen in its first bytes, which are no UTF-8 text"
                    .to_owned(),
                remedy: "name the format, for 64-bit keys with --format u64".to_owned(),
            })?,
        };
        Reading::new(argument, &self.options, recorder, notes).read(format, input)
    }
}

/// The first bytes of a stream, without taking them.
fn peek<'a>(argument: &str, input: &'a mut dyn BufRead) -> Result<&'a [u8], SimulateError> {
    input.fill_buf().map_err(|error| format::broken(argument, "its first byte".to_owned(), &error))
}

fn is_skippable(start: &[u8]) -> bool {
    matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// An argument without the directories of the machine that it was typed on.
pub(super) fn short(argument: &str) -> String {
    Path::new(argument).file_name().map_or_else(|| argument.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn strip_zst(name: &str) -> &str {
    name.strip_suffix(".zst").or_else(|| name.strip_suffix(".zstd")).unwrap_or(name)
}

fn open(argument: &str, path: &Path) -> Result<BufReader<File>, SimulateError> {
    let unreadable =
        |reason: String, remedy: String| SimulateError::Unreadable { name: argument.to_owned(), reason, remedy };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            unreadable("there is no such file".to_owned(), format!("check the path; {}", family::suggestion(argument)))
        }
        io::ErrorKind::PermissionDenied => unreadable(error.to_string(), "make it readable for this user".to_owned()),
        _ => unreadable(error.to_string(), "check the path".to_owned()),
    })?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(unreadable(
            "it is a directory".to_owned(),
            format!("name the trace files in it: {argument}/*.u64.zst"),
        ));
    }
    Ok(BufReader::with_capacity(64 * 1024, file))
}

/// The sizes beside a binary trace: `NAME.u32.zst` or `NAME.u32`, one for each request.
fn companion(argument: &str, path: &Path, stem: &str, recorder: &Recorder) -> Result<Vec<u64>, SimulateError> {
    let beside: [PathBuf; 2] = ["u32.zst", "u32"].map(|extension| path.with_file_name(format!("{stem}.{extension}")));
    let Some(found) = beside.iter().find(|path| path.is_file()) else {
        return Err(no_sizes(
            argument,
            &format!("there is no file {} or {} beside it", beside[0].display(), beside[1].display()),
        ));
    };
    let name = found.to_string_lossy();
    let mut input = open(&name, found)?;
    let compressed = peek(&name, &mut input)?.starts_with(&unzstd::MAGIC);
    let mut unpacked;
    let input: &mut dyn BufRead = if compressed {
        unpacked = BufReader::with_capacity(64 * 1024, Unzstd::new(input));
        &mut unpacked
    } else {
        &mut input
    };
    // One more than the requests, so that a longer file shows, unless the trace itself was cut by the limit.
    let sizes = format::read_sizes(&name, input, recorder.len() + usize::from(!recorder.limited()))?;
    if sizes.len() != recorder.len() {
        return Err(SimulateError::Damaged {
            name: name.clone().into_owned(),
            place: format!("byte {}", 4 * sizes.len().min(recorder.len())),
            what: format!(
                "{} sizes for the {} requests of {argument:?}",
                if sizes.len() > recorder.len() { "more".to_owned() } else { sizes.len().to_string() },
                recorder.len()
            ),
            remedy: "the two files do not belong together: fetch both again, or leave --sizes out".to_owned(),
        });
    }
    Ok(sizes)
}

fn no_sizes(argument: &str, what: &str) -> SimulateError {
    SimulateError::Option {
        option: "--sizes",
        value: argument.to_owned(),
        what: what.to_owned(),
        remedy: "leave --sizes out for this trace".to_owned(),
    }
}
