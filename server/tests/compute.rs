//! The program with `--compute`.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

fn causeway(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    Ok(command.envs(variables.iter().copied()).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// The hash that `replay` prints.
fn replayed(file: &str, more: &[&str]) -> Result<String> {
    let output = causeway(&[&["replay", file], more].concat(), &[])?;
    ensure!(output.status.success(), "{}", said(&output));
    let told = said(&output);
    let hash = told.split("sha256 of the frames: ").nth(1).context("a hash")?;
    Ok(hash.split_whitespace().next().context("a hash")?.to_owned())
}

#[test]
fn a_recording_is_drawn_again_in_its_own_type_and_in_no_other() -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compute");
    std::fs::create_dir_all(&folder)?;
    let mut hashes = Vec::new();
    for compute in ["f32", "bf16", "int8"] {
        let [out, record] = ["webp", "causeway"].map(|kind| folder.join(format!("{compute}.{kind}")));
        let (out, record) = (out.to_str().context("a path")?, record.to_str().context("a path")?);
        let _ = std::fs::remove_file(record);
        let arguments = ["--prompt", "a green meadow", "--chunks", "2", "--force", "--out", out, "--record", record];
        let output = causeway(&[&["generate", "--compute", compute], &arguments[..]].concat(), &[])?;
        ensure!(output.status.success(), "{compute}: {}", said(&output));
        let hash = replayed(record, &[])?;
        ensure!(hash == replayed(record, &["--compute", compute, "--threads", "1"])?, "{compute}");
        let other = if compute == "int8" { "f32" } else { "int8" };
        let refused = causeway(&["replay", record, "--compute", other], &[])?;
        let told = said(&refused);
        ensure!(!refused.status.success() && told.contains(&format!("computed in {compute}")), "{compute}: {told}");
        ensure!(told.contains(&format!("computed in {other}")), "{compute}: {told}");
        hashes.push(hash);
    }
    hashes.sort();
    hashes.dedup();
    ensure!(hashes.len() == 3, "each type draws its own pictures: {hashes:?}");
    Ok(())
}

#[test]
fn weights_are_accounted_for_in_the_type_that_is_asked_for() -> Result<()> {
    let load_bytes = |compute: &str| -> Result<u64> {
        let output = causeway(&["inspect", "--json"], &[("CAUSEWAY_COMPUTE", compute)])?;
        ensure!(output.status.success(), "{compute}: {}", said(&output));
        let told: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(told["compute"] == if compute == "auto" { "f32" } else { compute }, "{told}");
        told["networks"]["transformer"]["load_bytes"].as_u64().context("bytes")
    };
    let [auto, whole, half, bytes] = ["auto", "f32", "bf16", "int8"].map(load_bytes);
    let (whole, half, bytes) = (whole?, half?, bytes?);
    ensure!(auto? == whole && half < whole * 6 / 10 && bytes < whole * 45 / 100, "{whole} {half} {bytes}");
    Ok(())
}

#[test]
fn a_type_that_is_not_computed_in_is_refused_by_name() -> Result<()> {
    for (arguments, parts) in [
        (&["generate", "--compute", "f16", "--prompt", "a", "--out", "x.webp"][..], ["f16", "int8"]),
        (&["serve", "--port", "0", "--world", "testcard", "--compute", "bf16"], ["--compute bf16", "test card"]),
        (&["inspect", "--device", "cuda", "--compute", "int8"], ["--compute int8", "auto and bf16"]),
        (&["inspect", "--device", "cuda", "--compute", "f32"], ["--compute f32", "auto and bf16"]),
    ] {
        let output = causeway(arguments, &[])?;
        let told = said(&output);
        ensure!(!output.status.success() && parts.iter().all(|part| told.contains(part)), "{arguments:?}: {told}");
    }
    Ok(())
}
