//! What a command says on standard output and standard error. A reader that is gone, or a full disk under a log, is no
//! reason to panic.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};

use anyhow::Context;

/// Write `text` to standard output. A reader that went away had enough: `causeway inspect | head -1`.
///
/// # Errors
/// If it cannot be written for another reason, as on a full disk.
pub fn say(text: impl Display) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}

/// Write a line to standard error, if that can be written.
pub fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
