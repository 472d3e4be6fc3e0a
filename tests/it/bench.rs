//! What `causeway bench` and the comparisons with PyTorch measure can be run, and counts its work.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipeline::Device;
use pipeline::testcard::Testcard;
use pipeline::world::{Peaks, WarmUp, Work};
use server::offline::bench::socket;
use server::{Limits, pocket};
use tests::Server;

#[test]
fn every_operation_of_the_world_that_ships_runs_and_has_a_name_of_its_own() -> Result<()> {
    let world = pipeline::load_world(&pocket::dir(), &Device::cpu())?;
    let mut operations = world.operations(&WarmUp::init(world.card()))?;
    for operation in &mut operations {
        operation.run(1).with_context(|| operation.name().to_owned())?;
    }
    let mut names: Vec<_> = operations.iter().map(|operation| operation.name()).collect();
    ensure!(names.len() > 25, "only {names:?}");
    for wanted in
        ["a pass", "decode", "encode a prompt", "encode a picture", "linear", "attention", "convolution", "rotation"]
    {
        ensure!(names.iter().any(|name| name.starts_with(wanted)), "no {wanted} in {names:?}");
    }
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    ensure!(names.len() == all, "two have one name: {names:?}");
    let counted = |operation: &&pipeline::world::Operation<'_>| matches!(operation.work(), Some(Work::Operations(_)));
    let pass = operations.iter().find(|operation| operation.name().starts_with("a pass")).context("a pass")?;
    // A pass is six blocks of 192 wide over 24 tokens: 6 · 2 · 24 · (6 · 192² + 2 · 192 · 512) and a little more.
    let Some(Work::Operations(count)) = pass.work() else { anyhow::bail!("a pass counts what it computes") };
    ensure!((120e6..200e6).contains(&count), "{count}");
    ensure!(operations.iter().filter(counted).count() > 12);
    Ok(())
}

#[test]
fn this_machine_has_a_unit_that_multiplies_and_memory_that_copies() -> Result<()> {
    let Peaks { mut units, mut copy } = Peaks::here();
    ensure!(units.first().is_some_and(|unit| unit.name().starts_with("f32")), "worlds compute in f32");
    for unit in units.iter_mut().chain([&mut copy]) {
        unit.run(1)?;
        ensure!(unit.work().is_some(), "{}", unit.name());
    }
    Ok(())
}

#[tokio::test]
async fn a_session_through_a_socket_takes_as_long_as_its_chunks_are_drawn() -> Result<()> {
    let world = || Ok(Box::new(Testcard::new(Duration::from_millis(60))) as _);
    let server = Server::start(Box::new(world), Limits::default())?;
    let rows = socket::through(&server.url(), Some("64x48".into()), None, 3).await?;
    let [first, chunk] = &rows[..] else { anyhow::bail!("two rows, not {rows:?}") };
    // The first of three latent frames comes after a third of the time.
    ensure!(first.count == 3 && (20.0..1000.0).contains(&first.median_ms), "{first:?}");
    ensure!(chunk.count > 3 && (55.0..1000.0).contains(&chunk.median_ms), "{chunk:?}");
    Ok(())
}

#[test]
fn our_side_of_the_comparison_draws_the_same_each_time() -> Result<()> {
    let pipe = Stdio::piped;
    let mut child = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["wide", "1", "f32", "small"])
        .stdin(pipe())
        .stdout(pipe())
        .spawn()?;
    child.stdin.take().context("a pipe")?.write_all(b"block\nblock\n")?;
    let told = String::from_utf8(child.wait_with_output()?.stdout)?;
    let sums: Vec<_> = told.lines().filter_map(|line| line.split_once(' ')).map(|(_, sum)| sum).collect();
    let [first, second] = sums[..] else { anyhow::bail!("two answers, not {told:?}") };
    ensure!(first == second && first.parse::<f64>()? != 0.0, "{told}");
    Ok(())
}
