//! What text is blocked, and what a classifier answered: values in, values out.

pub mod answer;
pub mod blocklist;
pub mod plain;
pub mod similarity;
