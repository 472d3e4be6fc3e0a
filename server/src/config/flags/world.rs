//! Which world is meant, as flags.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct WorldArgs {
    /// A model directory; without one, the small model that is embedded.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// A world without a model directory.
    #[arg(long, value_enum, conflicts_with = "model")]
    world: Option<Named>,
    /// How long the test card takes for a chunk; 0: no longer than it must.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    chunk_ms: u64,
    /// Threads that compute; by default one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct DeviceArgs {
    /// What computes: cpu, cuda (an NVIDIA GPU; cuda:1 is the second one), or auto. `inspect` says what fits there.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// The type that dense layers are computed and held in on a processor. auto is f32, whose pictures are the reference's.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = ComputeChoice::Auto)]
    pub compute: ComputeChoice,
    /// A folder that the library of the NVIDIA driver is looked for in first.
    #[arg(long, value_name = "DIR")]
    pub cuda_libs: Option<PathBuf>,
}

/// The type that dense layers are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ComputeChoice {
    /// On a processor f32, on a GPU bf16.
    Auto,
    /// Exact: what the reference computes in.
    F32,
    /// Half the memory of the weights.
    Bf16,
    /// A quarter of the memory of the weights.
    Int8,
}

impl fmt::Display for ComputeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("every type can be asked for").get_name())
    }
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor, as long as no GPU has proved that it draws the same.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceChoice, String> {
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match text.split_once(':') {
            None if text == "auto" => Some(DeviceChoice::Auto),
            None if text == "cpu" => Some(DeviceChoice::Cpu),
            None if text == "cuda" => Some(DeviceChoice::Cuda(0)),
            Some(("cuda", place)) => number(place).map(DeviceChoice::Cuda),
            _ => None,
        }
        .ok_or_else(|| "a device is auto, cpu, cuda, or cuda:N with the number of a GPU, counted from 0".to_owned())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Named {
    /// No weights: draws its chunk index and the keys held.
    Testcard,
    /// The small model that is embedded.
    Pocket,
}

/// Where a world comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The test card.
    Testcard {
        /// How long it takes for a chunk.
        chunk_time: Duration,
    },
    /// A model directory.
    Directory(PathBuf),
    /// The model in the binary.
    Embedded,
}

impl WorldArgs {
    /// The world that is meant.
    pub fn source(&self) -> Source {
        match (&self.model, self.world) {
            (Some(dir), _) => Source::Directory(dir.clone()),
            (None, Some(Named::Testcard)) => Source::Testcard { chunk_time: Duration::from_millis(self.chunk_ms) },
            (None, Some(Named::Pocket) | None) => Source::Embedded,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn the_world_is_a_directory_or_a_name_or_the_embedded_one() {
        let source = |line: &[&str]| {
            let cli = Cli::try_parse_from([&["causeway", "serve"], line].concat()).ok()?;
            let Command::Serve(args) = cli.command else { return None };
            Some(args.world.source())
        };
        assert_eq!(source(&[]), Some(Source::Embedded));
        assert_eq!(source(&["--model", "dir"]), Some(Source::Directory("dir".into())));
        let chunk_time = Duration::from_millis(70);
        assert_eq!(source(&["--world", "testcard", "--chunk-ms", "70"]), Some(Source::Testcard { chunk_time }));
        assert_eq!(source(&["--world", "testcard", "--model", "dir"]), None);
        assert_eq!(source(&["--world", "nothing"]), None);
    }

    #[test]
    fn a_device_is_the_processor_or_a_gpu_by_its_number() {
        let check = |text: &str, expected| assert_eq!(text.parse::<DeviceChoice>().ok(), expected, "{text:?}");
        check("auto", Some(DeviceChoice::Auto));
        check("cpu", Some(DeviceChoice::Cpu));
        check("cuda", Some(DeviceChoice::Cuda(0)));
        check("cuda:3", Some(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda:1:2", "cpu:0", "rocm"] {
            check(wrong, None);
        }
    }
}
