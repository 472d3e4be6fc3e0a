//! `causeway check`: a GPU held to this machine's processor, operation by operation, as a table and as JSON.

use std::fmt;

use pipeline::Device;
use pipeline::check::{Row, Scale};
use serde_json::{Value, json};

/// What was found.
pub struct Report {
    /// `causeway` and its version.
    program: String,
    /// The device, as the driver describes it.
    device: String,
    rows: Vec<Row>,
}

impl Report {
    /// Runs every operation on `device`, a GPU. `tell` is given each line as soon as it is known.
    pub fn of(device: &Device, scale: Scale, program: String, mut tell: impl FnMut(&Row)) -> anyhow::Result<Report> {
        let rows = pipeline::check::check(device, scale, &mut tell).map_err(anyhow::Error::msg)?;
        let about = device.about().map(ToString::to_string).unwrap_or_default();
        Ok(Report { program, device: format!("{device}: {about}"), rows })
    }

    /// Does the device give what the processor gives, in every operation?
    pub fn agrees(&self) -> bool {
        self.rows.iter().all(Row::agrees)
    }

    /// What a maintainer needs.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "operation": row.operation,
                "shape": row.shape,
                "agrees": row.agrees(),
                // Infinity has no JSON: it stands for numbers that are none.
                "worst": row.worst.is_finite().then_some(row.worst),
                "ms": row.time.as_secs_f64() * 1e3,
                "operations": row.operations,
            })
        });
        json!({ "program": self.program, "device": self.device, "agrees": self.agrees(), "rows": rows.collect::<Vec<_>>() })
    }
}

/// The last line, below the rows.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agree = self.rows.iter().filter(|row| row.agrees()).count();
        write!(f, "{}\n{agree} of {} operations agree with the processor", self.device, self.rows.len())
    }
}
