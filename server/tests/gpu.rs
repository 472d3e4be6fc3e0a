//! The program with `--device cuda`. The driver is emulated (`ops/host`), and found as a user's driver is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, ensure};

/// The folder of the emulated driver, built if it is not there.
fn driver() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let built = Command::new("sh").arg(root.join("ops/host/emulated.sh")).arg(target).output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(PathBuf::from(String::from_utf8(built.stdout)?.trim()))
}

fn causeway(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(arguments).env_remove("RUST_LOG").env("CAUSEWAY_CUDA_LIBS", driver()?);
    Ok(command.envs(variables.iter().copied()).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Every operation once more, by the PTX that is shipped and not by the kernels' sources.
#[test]
fn the_shipped_code_computes_what_a_processor_computes() -> Result<()> {
    let output = causeway(&["check", "--small", "--device", "cuda"], &[("EMULATED_CUDA_PTX", "1")])?;
    ensure!(output.status.success() && said(&output).contains("agree with the processor"), "{}", said(&output));
    Ok(())
}

/// A kernel that does nothing ends it with status 1, and the table says which.
#[test]
fn checking_a_gpu_tells_right_from_wrong() -> Result<()> {
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check.json");
    let report_path = report.to_string_lossy().into_owned();
    let arguments = ["check", "--small", "--device", "cuda", "--report", &report_path];
    // Beside cuBLASLt, which is emulated, too: it is told which products it computes.
    let libraries = driver()?.join("with-blas");
    let output = causeway(&arguments, &[("CAUSEWAY_CUDA_LIBS", &libraries.to_string_lossy())])?;
    let plain = said(&output);
    ensure!(output.status.success() && plain.contains("agree with the processor"), "{plain}");
    ensure!(plain.contains("cuBLASLt 12.8.4 from ") && plain.contains("12x128 -> 72, GELU"), "{plain}");
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    ensure!(told["agrees"] == true && told["rows"].as_array().is_some_and(|rows| rows.len() > 15), "{told}");
    let products = told["products"].as_array().context("products")?;
    ensure!(products.len() == 12 && products.iter().all(|one| one["computed_by"] == "cuBLASLt"), "{told:#}");

    let output = causeway(&arguments, &[("EMULATED_CUDA_SKIP_LAUNCH", "2")])?;
    ensure!(output.status.code() == Some(1) && said(&output).contains("WRONG"), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    ensure!(told["agrees"] == false, "{told}");
    Ok(())
}

/// `serve` and `generate` hold the GPU to the processor before they draw. A wrong kernel that has no other ends them by its
/// operation's name; one that has is put aside.
#[test]
fn a_gpu_that_computes_wrongly_draws_nothing() -> Result<()> {
    let wrong = |kernel| [("EMULATED_CUDA_WRONG_KERNEL", kernel)];
    let output = causeway(&["serve", "--port", "0", "--device", "cuda"], &wrong("linear_bf16"))?;
    let told = said(&output);
    for part in ["cuda:0 computes wrongly and is not used: dense layer (error", "dense layer back", "--device cpu"] {
        ensure!(!output.status.success() && told.contains(part), "{part}: {told}");
    }
    let small = [("chunk", 2), ("window", 3), ("steps", 1)];
    let (world, film) =
        (small_world("wrong", 16, &small)?, Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong-kernel.mp4"));
    let (world, film) = (world.to_string_lossy(), film.to_string_lossy());
    let generate =
        ["generate", "--device", "cuda", "--model", &world, "--prompt", "a road", "--chunks", "1", "--force"];
    let generate = [&generate[..], &["--out", &film]].concat();
    let output = causeway(&generate, &wrong("attention_48_bf16"))?;
    let told = said(&output);
    let replaced = "attention_48_bf16 computes wrongly in attention of 48";
    ensure!(output.status.success() && told.contains(replaced) && told.contains("a slower kernel"), "{told}");
    Ok(())
}

/// Blocks of a checkpoint, then a chunk, and all of it in the report.
#[test]
fn checking_a_model_compares_its_blocks_and_draws_a_chunk() -> Result<()> {
    let small = [("chunk", 2), ("window", 3), ("steps", 1)];
    let (world, report) =
        (small_world("checked", 16, &small)?, Path::new(env!("CARGO_TARGET_TMPDIR")).join("check-model.json"));
    let (world, report_path) = (world.to_string_lossy(), report.to_string_lossy());
    let arguments = ["check", "--small", "--device", "cuda", "--model", &world, "--report", &report_path];
    let output = causeway(&arguments, &[])?;
    ensure!(output.status.success() && said(&output).contains("dB beside the processor's"), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    let blocks = told["model"]["blocks"].as_array().map_or(0, Vec::len);
    ensure!(told["agrees"] == true && blocks == 3 && told["model"]["chunk"]["frames"] == 8, "{told:#}");
    Ok(())
}

#[test]
fn a_gpu_that_is_not_there_is_told_before_anything_is_loaded() -> Result<()> {
    for command in [&["serve", "--port", "0"][..], &["bench"], &["inspect"], &["check"]] {
        let check = |variables: &[(&str, &str)], parts: &[&str]| -> Result<()> {
            let output = causeway(&[command, &["--device", "cuda:2"]].concat(), variables)?;
            let said = said(&output);
            ensure!(!output.status.success() && parts.iter().all(|part| said.contains(part)), "{command:?}: {said}");
            Ok(())
        };
        check(&[], &["--device cuda:2", "there is no device cuda:2", "sees 1"])?;
        check(&[("EMULATED_CUDA_DRIVER", "11070")], &["knows CUDA 11.7", "CUDA 11.8 or later is needed"])?;
        check(&[("EMULATED_CUDA_DEVICES", "0")], &["sees 0"])?;
    }
    let output = causeway(&["check"], &[])?;
    ensure!(!output.status.success() && said(&output).contains("--device cuda"), "{}", said(&output));
    let output = causeway(&["bench", "--device", "gpu"], &[])?;
    ensure!(said(&output).contains("auto, cpu, cuda, or cuda:N"), "{}", said(&output));
    let output = causeway(&["bench", "--world", "testcard", "--device", "cuda"], &[])?;
    ensure!(!output.status.success() && said(&output).contains("the test card has no weights"), "{}", said(&output));
    Ok(())
}

#[test]
fn what_fits_a_gpu_is_told_before_anything_is_loaded() -> Result<()> {
    let output = causeway(&["inspect", "--device", "cuda", "--json"], &[])?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
    let (free, weights) = (number(&told["device"]["free_bytes"]), number(&told["on_gpu"]["weights_bytes"]));
    let session = number(&told["on_gpu"]["session_bytes"]);
    ensure!(free == 8 << 30 && weights > 1 << 20 && session > 1 << 20, "{told}");
    ensure!(number(&told["device"]["sessions"]) == (free - weights) / session, "{told}");
    let plain = said(&causeway(&["inspect", "--device", "cuda"], &[])?);
    ensure!(plain.contains("emulated sm_80") && plain.contains("such sessions fit beside the weights"), "{plain}");
    Ok(())
}

/// Two GPUs as the command line names them: what each holds, and what keeps them from being used.
#[test]
fn several_gpus_are_told_apart_and_refused_by_name() -> Result<()> {
    let libraries = driver()?.join("with-nccl");
    let libraries = libraries.to_string_lossy();
    let with = |arguments: &[&str], gpus: &str, devices: &str, libraries: &str| {
        let arguments = [arguments, &["--gpus", gpus]].concat();
        causeway(&arguments, &[("EMULATED_CUDA_DEVICES", devices), ("CAUSEWAY_CUDA_LIBS", libraries)])
    };
    let output = with(&["inspect", "--json"], "0,1", "2", &libraries)?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    let number = |gpu: usize, what: &str| told["devices"][gpu][what].as_u64().unwrap_or_default();
    ensure!(number(1, "weights_bytes") > 0 && number(1, "weights_bytes") < number(0, "weights_bytes"), "{told:#}");
    ensure!(number(1, "session_bytes") > 0 && number(1, "session_bytes") < number(0, "session_bytes"), "{told:#}");
    ensure!(number(0, "free_bytes") == 8 << 30 && number(1, "sessions") > number(0, "sessions"), "{told:#}");
    let plain = said(&with(&["inspect"], "0,1", "2", &libraries)?);
    ensure!(plain.contains("cuda:0, emulated") && plain.contains("cuda:1, emulated"), "{plain}");

    let refused = |arguments: &[&str], gpus: &str, libraries: &str, parts: &[&str]| -> Result<()> {
        let output = with(arguments, gpus, "4", libraries)?;
        let told = said(&output);
        ensure!(!output.status.success() && parts.iter().all(|part| told.contains(part)), "{gpus}: {told}");
        Ok(())
    };
    refused(&["inspect"], "0,1,2", &libraries, &["3 ranks cannot share 4 heads", "1, 2 or 4 ranks"])?;
    refused(&["inspect"], "0,4", &libraries, &["there is no device cuda:4", "sees 4"])?;
    refused(&["inspect"], "one:0,two:0", &libraries, &["GPUs of several machines"])?;
    refused(&["bench", "--world", "testcard"], "0,1", &libraries, &["--gpus", "the test card has no heads"])?;
    let without = driver()?;
    let film = Path::new(env!("CARGO_TARGET_TMPDIR")).join("two-gpus.mp4");
    let film = film.to_string_lossy();
    let generate = ["generate", "--prompt", "a road", "--chunks", "1", "--force", "--out", &film];
    refused(&generate, "0,1", &without.to_string_lossy(), &["exchange numbers by NVIDIA's library NCCL", "not found"])
}

/// The pocket world, small and with these settings, in a folder of its own.
fn small_world(name: &str, side: u32, settings: &[(&str, u32)]) -> Result<PathBuf> {
    fn copy(from: &Path, to: &Path) -> Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let path = entry?.path();
            let target = to.join(path.file_name().context("a name")?);
            if path.is_dir() {
                copy(&path, &target)?;
            } else {
                std::fs::copy(&path, target)?;
            }
        }
        Ok(())
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("small-world-{name}"));
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights"), &folder)?;
    let recipe = folder.join("causeway.json");
    let mut changed: serde_json::Value = serde_json::from_slice(&std::fs::read(&recipe)?)?;
    changed["size"] = serde_json::json!([side, side]);
    changed.as_object_mut().context("an object")?.remove("quick_steps");
    changed["sampler"] = "renoise".into();
    for (key, value) in settings {
        changed[*key] = (*value).into();
    }
    std::fs::write(recipe, changed.to_string())?;
    Ok(folder)
}

/// What is launched for the last of so many chunks and all before it, a line each, sorted.
fn launched(world: &Path, chunks: usize) -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (log, out) = (folder.join(format!("launches-{chunks}.txt")), folder.join(format!("launches-{chunks}.webp")));
    if log.exists() {
        std::fs::remove_file(&log)?;
    }
    let (world, path, keys) = (world.to_string_lossy(), out.to_string_lossy(), format!("w*{}", 2 * chunks));
    let number = chunks.to_string();
    let arguments = ["generate", "--device", "cuda", "--model", &world, "--prompt", "a road", "--actions", &keys];
    let arguments = [&arguments[..], &["--chunks", &number, "--out", &path, "--force"]].concat();
    // The comparison with the processor comes first, and needs kernels that compute.
    let output = causeway(&arguments, &[("EMULATED_CUDA_LOG", &log.to_string_lossy()), ("EMULATED_CUDA_IDLE", "400")])?;
    ensure!(output.status.success(), "{}", said(&output));
    let mut lines: Vec<String> = std::fs::read_to_string(log)?.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

/// `ops/kernels/launches.py` says what a chunk launches; docs/gpu.md calculates an H200's time from it. Here it says so for a
/// small world, whose launches the emulated driver lists: kernels, grids, copies, and how many of each.
#[test]
fn the_calculated_time_of_a_chunk_counts_exactly_what_is_launched() -> Result<()> {
    let world = small_world("launches", 32, &[("chunk", 2), ("window", 6), ("steps", 3)])?;
    // A chunk whose window is full, and which is not the first to be decoded: the fifth, without the four before it.
    let mut expected = launched(&world, 5)?;
    for line in launched(&world, 4)? {
        let at =
            expected.binary_search(&line).map_err(|_| anyhow!("{line} is launched for four chunks, not for five"))?;
        expected.remove(at);
    }
    let model = r#"{"heads": 4, "head": 48, "layers": 6, "inner": 512, "chunk": 2, "window": 6, "steps": 3, "renoises": true,
        "text": 24, "size": [32, 32], "base": 24, "multiples": [1, 2, 4], "residuals": 1, "doubles_time": [true, true], "folded": 2}"#;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/kernels/chunk_time.py");
    let output = Command::new("python3").arg("-B").arg(script).args(["--launches", model]).output()?;
    ensure!(output.status.success(), "{}", said(&output));
    let mut counted: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    counted.sort();
    let without = |these: &[String], others: &[String]| {
        let mut left = these.to_vec();
        for other in others {
            if let Ok(at) = left.binary_search(other) {
                left.remove(at);
            }
        }
        left
    };
    ensure!(
        expected == counted,
        "launches.py must say what is launched, then docs/gpu.md and docs/measured.md what `make chunk-time` prints.\n\
         launched, and not in launches.py: {:?}\nin launches.py, and not launched: {:?}",
        without(&expected, &counted),
        without(&counted, &expected)
    );
    Ok(())
}
