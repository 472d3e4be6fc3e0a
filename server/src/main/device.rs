//! The device that a command computes on. `auto` is the processor: the path for GPUs was executed in emulation and has met none
//! yet, so a GPU is used where somebody asks for it, and held to the processor before it draws.

use anyhow::Context;
use pipeline::check::{Row, Start, at_start};
use pipeline::team::Members;
use pipeline::{Compute, Device};
use server::config::flags::{ComputeChoice, DeviceArgs, DeviceChoice, Gpus, Ranks, Source, TeamArgs, WorldArgs};

/// The device that was asked for. An error in words if it is not there.
pub(crate) fn of(DeviceArgs { device, compute, cuda_libs }: &DeviceArgs) -> anyhow::Result<Device> {
    match device {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Device::cpu_in(match compute {
            // The rule of `auto`: bf16 and int8 draw other pictures, and the units that make them faster are not yet timed.
            ComputeChoice::Auto | ComputeChoice::F32 => Compute::F32,
            ComputeChoice::Bf16 => Compute::Bf16,
            ComputeChoice::Int8 => Compute::Int8,
        })),
        DeviceChoice::Cuda(number) => {
            if matches!(compute, ComputeChoice::F32 | ComputeChoice::Int8) {
                anyhow::bail!("--compute {compute}: a GPU computes in bf16; allowed here are auto and bf16");
            }
            Device::cuda(*number, cuda_libs.as_deref()).with_context(|| format!("--device cuda:{number}"))
        }
    }
}

/// Who draws, as a team.
pub(crate) fn of_team(team: &TeamArgs, device: &DeviceArgs) -> anyhow::Result<Members> {
    let Ranks(ranks) = team.ranks;
    let Some(Gpus(numbers)) = &team.gpus else { return Ok(Members::of(&of(device)?, ranks)) };
    let gpu = |&number: &usize| of(&DeviceArgs { device: DeviceChoice::Cuda(number), ..device.clone() });
    Ok(Members::gpus(numbers.iter().map(gpu).collect::<anyhow::Result<_>>()?)?)
}

/// Who is to draw `source`, which is told. GPUs have shown that they compute what the processor does.
pub(crate) fn for_world(args: &WorldArgs, source: &Source) -> anyhow::Result<Members> {
    let members = of_team(&args.team, &args.device)?;
    let (ranks, device) = (members.ranks(), members.first());
    if ranks > 1 {
        if matches!(source, Source::Testcard { .. }) {
            let flag = if members.devices().len() > 1 { "--gpus" } else { "--ranks" };
            anyhow::bail!("{flag}: the test card has no heads that {ranks} ranks could share");
        }
        match members.devices() {
            [_] => tracing::info!(ranks, "ranks share each chunk on the processor"),
            gpus => {
                let library = members.try_links().context("--gpus")?.unwrap_or_default();
                tracing::info!(?gpus, "GPUs share each chunk, and exchange numbers by {library}");
            }
        }
    }
    if device.compute() != Compute::F32 {
        if matches!(source, Source::Testcard { .. }) {
            anyhow::bail!("--compute {}: the test card has no weights; allowed here is auto", device.compute());
        }
        tracing::info!("dense layers are computed in {}", device.arithmetic());
    }
    for device in members.devices() {
        let Some(about) = device.about() else { continue };
        if matches!(source, Source::Testcard { .. }) {
            anyhow::bail!("--device {device}: the test card has no weights, so it is drawn on the processor");
        }
        let driver = about.driver_path.as_ref().map(|path| path.display().to_string());
        tracing::info!(%device, driver, "{about}");
        tracing::info!("{}", device.libraries().unwrap_or_default());
        tracing::warn!("the path for GPUs was executed in emulation and not yet on a GPU: compare with --device cpu");
        trust(device)?;
    }
    Ok(members)
}

/// Compare every operation with the processor, which takes seconds. An error names those that disagree.
fn trust(device: &Device) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let Start { wrong, replaced, count } =
        at_start(device).with_context(|| format!("{device} was compared with the processor"))?;
    let off = |row: &Row| format!("{} (error {:.3} of what is allowed)", row.operation, row.worst);
    for (row, kernel) in &replaced {
        tracing::warn!("{device}: {kernel} computes wrongly in {}; a slower kernel is used in its place", off(row));
    }
    if !wrong.is_empty() {
        let names: Vec<String> = wrong.iter().map(off).collect();
        anyhow::bail!(
            "{device} computes wrongly and is not used: {}. Draw with --device cpu, and report what `causeway check \
             --device {device} --report FILE` writes",
            names.join(", ")
        );
    }
    tracing::info!(operations = count, took = ?began.elapsed(), "{device} computes what the processor does");
    Ok(())
}

/// What computes each shape of a loaded world's products, where there was a choice.
pub(crate) fn tell_products(device: &Device) {
    let choices = device.products();
    if choices.is_empty() {
        return;
    }
    for choice in &choices {
        tracing::debug!("{choice}");
    }
    let by_library = choices.iter().filter(|choice| choice.is_library()).count();
    tracing::info!(by_library, tried = choices.len(), "{device}: shapes of products that cuBLASLt computes");
    // The same fault shows in many shapes: the first one is told.
    if let Some(wrong) = choices.iter().find(|choice| choice.library.is_err()) {
        tracing::warn!("{device}: {wrong}");
    }
}
