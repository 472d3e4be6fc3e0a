//! The program with `--device cuda`. The driver is emulated (`ops/host`), and found as a user's driver is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};

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
    let output = causeway(&arguments, &[])?;
    ensure!(output.status.success() && said(&output).contains("agree with the processor"), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    ensure!(told["agrees"] == true && told["rows"].as_array().is_some_and(|rows| rows.len() > 15), "{told}");

    let output = causeway(&arguments, &[("EMULATED_CUDA_SKIP_LAUNCH", "2")])?;
    ensure!(output.status.code() == Some(1) && said(&output).contains("WRONG"), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    ensure!(told["agrees"] == false, "{told}");
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
