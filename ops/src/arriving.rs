//! Something that a device was asked for and that is on its way to main memory.

use std::fmt;

use crate::Result;
use crate::cuda::Arrival;

/// A value that is here already, or that a GPU still computes and copies. Dropping it waits for the copy.
pub struct Arriving<T>(Way<T>);

enum Way<T> {
    Here(T),
    /// The bytes, and what is made of them.
    Coming(Box<Arrival>, Made<T>),
}

type Made<T> = Box<dyn FnOnce(Arrival) -> Result<T> + Send>;

impl<T> Arriving<T> {
    pub(crate) fn here(value: T) -> Arriving<T> {
        Arriving(Way::Here(value))
    }

    pub(crate) fn of(arrival: Arrival, made: impl FnOnce(Arrival) -> Result<T> + Send + 'static) -> Arriving<T> {
        Arriving(Way::Coming(Box::new(arrival), Box::new(made)))
    }

    /// It need not be waited for.
    pub fn is_here(&self) -> bool {
        matches!(self.0, Way::Here(_))
    }

    /// Waits for it. What went wrong on the device until then is told here.
    pub fn wait(self) -> Result<T> {
        match self.0 {
            Way::Here(value) => Ok(value),
            Way::Coming(arrival, made) => made(*arrival),
        }
    }
}

impl<T> fmt::Debug for Arriving<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_here() { "Arriving(here)" } else { "Arriving(on its way)" })
    }
}
