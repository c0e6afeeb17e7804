//! How the program ends when it cannot do what it was asked: a message for a person, and a status for a script.

use std::fmt::Display;
use std::io;

/// A failure with its exit status: 2 where the input needs mending, 1 otherwise.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) status: u8,
}

impl Failure {
    /// Settings, arguments or files that must be mended first.
    pub(crate) fn input(message: impl Display) -> Self {
        Self { message: message.to_string(), status: 2 }
    }

    /// Something that the machine would not do.
    pub(crate) fn machine(message: impl Display) -> Self {
        Self { message: message.to_string(), status: 1 }
    }

    /// Something that cannot happen unless the program is wrong.
    pub(crate) fn bug(message: impl Display) -> Self {
        Self::machine(format!("{message}; this is a bug, please report it with what you typed"))
    }
}

/// Writing the output failed. A reader that has gone away (`trimtab … | head`) is no failure of ours.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { message: String::new(), status: 0 }
        } else {
            Self::machine(format!("cannot write the output: {error}"))
        }
    }
}
