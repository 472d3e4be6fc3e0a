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
    #[command(flatten)]
    pub team: TeamArgs,
}

#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct TeamArgs {
    /// Ranks that draw one world together on the processor: each takes a share of a chunk's tokens, and of the heads. They draw
    /// the same bits as one, and are a proof of how several GPUs would share a world, not a speed-up.
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks: Ranks,
    /// GPUs that draw one world together, by their numbers: 0,1. They exchange numbers by NVIDIA's library NCCL.
    #[arg(long, value_name = "LIST", conflicts_with_all = ["device", "ranks"])]
    pub gpus: Option<Gpus>,
}

/// A number of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranks(pub usize);

/// No published model has more heads than half of it: it bounds the threads that are started.
const RANKS_MAX: usize = 128;

impl FromStr for Ranks {
    type Err = String;

    fn from_str(text: &str) -> Result<Ranks, String> {
        match text.parse() {
            Ok(ranks @ 1..=RANKS_MAX) => Ok(Ranks(ranks)),
            _ if text.to_lowercase().contains("ring") => {
                Err("a ring of ranks is not built: ranks exchange heads, so give their number, as in 2".to_owned())
            }
            _ => Err(format!("ranks are a number from 1 to {RANKS_MAX}")),
        }
    }
}

/// The numbers of GPUs of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus(pub Vec<usize>);

impl FromStr for Gpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Gpus, String> {
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let numbers: Option<Vec<usize>> = text.split(',').map(|text| number(text.trim())).collect();
        match numbers {
            Some(numbers) if numbers.iter().all(|one| numbers.iter().filter(|other| *other == one).count() == 1) => {
                Ok(Gpus(numbers))
            }
            Some(_) => Err("a GPU is named twice".to_owned()),
            None if text.contains([':', '@', '/']) => {
                Err("GPUs of several machines cannot draw one world: name those of this machine, as in 0,1".to_owned())
            }
            None => Err("GPUs are numbers of this machine, counted from 0, with commas between them: 0,1".to_owned()),
        }
    }
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
    /// A folder in which the library of the NVIDIA driver is looked for first, and cuBLASLt and NCCL alone.
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
    fn ranks_are_a_number_and_a_ring_or_gpus_of_several_machines_are_refused_by_name() {
        let ranks = |text: &str| text.parse::<Ranks>().map(|ranks| ranks.0);
        assert_eq!((ranks("1"), ranks("40")), (Ok(1), Ok(40)));
        for wrong in ["0", "-1", "129", "", "two"] {
            assert!(ranks(wrong).expect_err("no number of ranks").contains("from 1 to 128"), "{wrong:?}");
        }
        assert!(ranks("ring:2").expect_err("a ring").contains("a ring of ranks is not built"));
        let gpus = |text: &str| text.parse::<Gpus>().map(|gpus| gpus.0);
        assert_eq!((gpus("3"), gpus("0,1, 2")), (Ok(vec![3]), Ok(vec![0, 1, 2])));
        assert!(gpus("left:0,right:0").expect_err("two machines").contains("GPUs of several machines"));
        assert!(gpus("1,1").expect_err("one GPU").contains("named twice"));
        for wrong in ["", "0,", "all", "+1"] {
            assert!(gpus(wrong).expect_err("no numbers").contains("counted from 0"), "{wrong:?}");
        }
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
