//! The kernels for GPUs, executed on this machine's CPU against their definitions: `ops/host/`. docs/gpu.md says what that
//! proves. `make test-gpu-emulated` runs all cases, these tests a bounded part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

fn host() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?.join("ops/host"))
}

fn kernels() -> Result<PathBuf> {
    Ok(host()?.with_file_name("kernels"))
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

/// Threads as fibers under an unfair scheduler, the surroundings of every buffer watched; then the PTX that ships, executed by
/// an interpreter. A few mistakes are planted afterwards, which the same tests must find.
#[test]
fn every_kernel_agrees_with_its_definition_and_planted_mistakes_are_found() -> Result<()> {
    let plain = built("plain", &[&tests::emulated::cuda_folder().to_string_lossy()])?;
    let said = run(&mut Command::new(&plain))?;
    ensure!(said.contains("\n0 of "), "{said}");
    let said = run(Command::new(&plain).arg("--ptx").arg(kernels()?.join("built")))?;
    ensure!(said.contains("\n0 of "), "{said}");
    let folder = plain.parent().and_then(Path::parent).context("a folder of builds")?;
    let said = run(Command::new("python3").arg(host()?.join("mutants.py")).arg(folder).arg("--bounded"))?;
    ensure!(said.contains("5 of 5 mistakes found"), "{said}");
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

/// `make kernels` makes the PTX again. `make test-gpu-emulated` compiles, and compares more than the hash.
#[test]
fn the_ptx_that_ships_was_made_of_these_sources() -> Result<()> {
    let mut modules = 0;
    for entry in fs::read_dir(kernels()?)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "cu") {
            continue;
        }
        let ptx = path.parent().context("a folder")?.join("built").join(path.file_name().context("a name")?);
        let ptx = fs::read_to_string(ptx.with_extension("ptx"))?;
        let found = ptx.lines().next().unwrap_or_default();
        let expected = format!("// source sha256: {}", hash_of_sources(&path)?);
        ensure!(found == expected, "{} changed after its PTX was made: run `make kernels`", path.display());
        modules += 1;
    }
    ensure!(modules == 6, "{modules} modules");
    Ok(())
}

/// What stands behind the calculated time of a chunk in docs/gpu.md. `server/tests/gpu.rs` compares its launches.
#[test]
fn machine_code_is_counted_by_its_shortest_way_and_operations_as_models_are_published() -> Result<()> {
    let said = run(Command::new("python3").args(["-B", "-m", "unittest", "test_chunk_time"]).current_dir(kernels()?))?;
    ensure!(said.contains("Ran 4 tests"), "{said}");
    Ok(())
}

/// Over the texts of a file and of those that it includes, in order, one after the other: as `ops/kernels/build.py` has it.
fn hash_of_sources(path: &Path) -> Result<String> {
    let mut names = vec![path.file_name().context("a name")?.to_string_lossy().into_owned()];
    let mut hash = Sha256::new();
    let mut next = 0;
    while let Some(name) = names.get(next) {
        let text = fs::read_to_string(path.with_file_name(name))?;
        hash.update(&text);
        let included = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
        for name in included.filter(|name| !name.contains('/')) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        next += 1;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
