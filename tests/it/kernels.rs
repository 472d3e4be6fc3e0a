//! The kernels for GPUs, executed on this machine's CPU against their definitions: `ops/host/`. docs/gpu.md says what that
//! proves. `make test-gpu-emulated` runs all cases, these tests a bounded part.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

fn host() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?.join("ops/host"))
}

/// What the command says on both streams. An error, with all of it, if it fails.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    Ok(said)
}

/// The program that holds every kernel to its definition, built with `arguments`.
fn built(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels").join(name);
    run(Command::new(host()?.join("build.sh")).arg(&folder).args(arguments))?;
    Ok(folder.join("kernels-test"))
}

/// Threads as fibers under an unfair scheduler, the surroundings of every buffer watched.
#[test]
fn every_kernel_agrees_with_its_definition() -> Result<()> {
    let said = run(&mut Command::new(built("plain", &[])?))?;
    ensure!(said.contains("\n0 of "), "{said}");
    Ok(())
}

/// The same with AddressSanitizer.
#[test]
fn no_kernel_touches_memory_that_is_not_its_own() -> Result<()> {
    let checked = built("checked", &["checked"])?;
    let options = "detect_stack_use_after_return=0:detect_leaks=0";
    let said = run(Command::new(checked).env("ASAN_OPTIONS", options))?;
    ensure!(said.contains("\n0 of "), "{said}");
    Ok(())
}
