//! What went wrong inside an operation, in words.

use std::fmt;

/// An operation that could not be done: shapes that do not fit each other, or weights that are no numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// What operations return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl fmt::Display) -> Error {
        Error(message.to_string())
    }

    /// An error of the storage, in its words, without the backtrace that it appends where backtraces are on.
    pub(crate) fn of_storage(error: candle_core::Error) -> Error {
        Error(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Leave the function with an error that says this.
macro_rules! bail {
    ($($message:tt)*) => { return Err($crate::Error::new(format_args!($($message)*))) };
}
pub(crate) use bail;
