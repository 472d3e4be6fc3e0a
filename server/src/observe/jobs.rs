//! What is counted of clips and pictures that are asked for by HTTP.

/// What asked for a clip or a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    /// A job of `/v1/videos`.
    Video,
    /// A client that waits for a clip.
    Sync,
    /// A client that waits for pictures.
    Image,
}

/// How work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobOutcome {
    /// With its files.
    Completed,
    /// With an error.
    Failed,
    /// Its client left, deleted it, or had waited long enough.
    Cancelled,
    /// It was not taken.
    Refused,
}

/// The stages of a clip.
pub(crate) const JOB_STAGES: [&str; 5] = ["queue", "text", "denoise", "decode", "encode"];
