//! Errors of a model directory: which file, and why.

use std::fmt::Display;

/// An error of a model directory: which file, and why. Every message begins with the file, its folder included.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file that cannot be read, or does not hold what it should.
    #[error("{file}: {reason}")]
    File {
        /// Its name, with its folder.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration that says something impossible.
    #[error("{file}: {key} is {value}; it must be {allowed}")]
    Config {
        /// Its name, with its folder.
        file: String,
        /// Where in the file.
        key: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        allowed: String,
    },
    /// A tensor that the network has and the file has not.
    #[error("{file}: tensor {tensor} is missing; expected shape {expected:?}")]
    Missing {
        /// The file or folder that should hold it.
        file: String,
        /// Its published name.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the configuration says.
    #[error("{file}: tensor {tensor} has shape {found:?}; expected {expected:?}")]
    Shape {
        /// The file that holds it.
        file: String,
        /// Its published name, and the stored one where that differs.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A tensor of numbers that no weight is made of.
    #[error("{file}: tensor {tensor} is stored as {found}; it must be F32, F16 or BF16")]
    Type {
        /// The file that holds it.
        file: String,
        /// Its published name, and the stored one where that differs.
        tensor: String,
        /// The type it has.
        found: String,
    },
    /// A tensor that the network does not have.
    #[error("{file}: tensor {tensor} (shape {found:?}) is not part of this model")]
    Extra {
        /// The file that holds it.
        file: String,
        /// Its published name, and the stored one where that differs.
        tensor: String,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// Weights that cannot be computed with: they are not finite, say.
    #[error(transparent)]
    Weights(#[from] ops::Error),
}

impl LoadError {
    pub(crate) fn file(file: impl Into<String>, reason: impl Display) -> LoadError {
        LoadError::File { file: file.into(), reason: reason.to_string() }
    }
}
