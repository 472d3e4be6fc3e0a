//! Parts of a world's work that can be measured one by one, and the most that this machine can do.

use ops::Compute;
pub use ops::probe::Work;

use super::WorldError;

/// Something that can be done again and again.
pub struct Operation<'a> {
    name: String,
    work: Option<Work>,
    compute: Compute,
    run: Box<dyn FnMut(usize) -> Result<(), WorldError> + 'a>,
}

/// What this machine can do at most, on the threads that compute.
pub struct Peaks {
    /// Multiply-adds of each unit of the processor, that for f32 first.
    pub units: Vec<Operation<'static>>,
    /// A copy from memory to memory.
    pub copy: Operation<'static>,
}

impl<'a> Operation<'a> {
    /// `run` does `work`; `None` where its work is not counted.
    pub fn new(
        name: impl Into<String>,
        work: Option<Work>,
        mut run: impl FnMut() -> Result<(), WorldError> + 'a,
    ) -> Operation<'a> {
        let run = Box::new(move |times| (0..times).try_for_each(|_| run()));
        Operation { name: name.into(), work, compute: Compute::F32, run }
    }

    /// What it is, with its shape.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The work of one run.
    pub fn work(&self) -> Option<Work> {
        self.work
    }

    /// The type that its multiply-adds are in, most of them: what it is to be compared with.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Do it so many times.
    ///
    /// # Errors
    /// If the world cannot.
    pub fn run(&mut self, times: usize) -> Result<(), WorldError> {
        (self.run)(times)
    }
}

impl From<ops::probe::Probe> for Operation<'static> {
    fn from(mut probe: ops::probe::Probe) -> Self {
        let (name, work, compute) = (probe.name().to_owned(), Some(probe.work()), probe.compute());
        Operation { name, work, compute, run: Box::new(move |times| Ok(probe.run(times)?)) }
    }
}

impl Peaks {
    /// Of this machine.
    pub fn here() -> Peaks {
        let units = ops::peak::units().into_iter().map(Operation::from).collect();
        Peaks { units, copy: ops::peak::copy().into() }
    }
}
