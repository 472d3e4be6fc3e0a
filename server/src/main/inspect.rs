//! `inspect`: what a model directory holds, and what it would take here, before anything is loaded.

use pipeline::inspect::OnGpu;
use pipeline::load::model_dir::ModelDir;
use server::config::flags::InspectArgs;
use server::pocket;
use server::say::say;

use super::device;

pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let dir = match &args.dir {
        Some(dir) => ModelDir::open(dir)?,
        None => pocket::dir(),
    };
    let members = device::of_team(&args.team, &args.device)?;
    let report = pipeline::inspect::inspect(&dir, members.first().compute(), args.size, args.window)?;
    let ranks = members.ranks();
    let on_ranks = if ranks > 1 && members.devices().len() == 1 { report.on_ranks(ranks)? } else { None };
    let mut fits = Vec::new();
    for (rank, device) in members.devices().iter().enumerate() {
        let (Some(about), Some(memory)) = (device.about(), device.memory()) else { continue };
        let Some(on_gpu) = report.on_gpu_of(rank, ranks)? else { continue };
        let (free, _) = memory?;
        fits.push((format!("{device}, {about}"), free, on_gpu));
    }
    if args.json {
        let mut told = report.to_json();
        let device = |(name, free, on_gpu): &(String, u64, OnGpu)| {
            let (OnGpu { weights, session, .. }, sessions) = (on_gpu, on_gpu.sessions(*free));
            serde_json::json!({
                "name": name, "free_bytes": free, "sessions": sessions, "weights_bytes": weights, "session_bytes": session
            })
        };
        match &fits[..] {
            [] => {}
            [one] => told["device"] = device(one),
            all => told["devices"] = all.iter().map(device).collect(),
        }
        if let Some(on_ranks) = on_ranks {
            told["ranks"] = on_ranks.to_json();
        }
        say(format_args!("{told:#}\n"))?;
    } else {
        say(format_args!("{report}\n"))?;
        for (device, free, on_gpu) in &fits {
            let (gib, fitting, unit) = (*free as f64 / f64::from(1 << 30), on_gpu.sessions(*free), on_gpu.unit);
            let of_it = if ranks > 1 { format!(" {on_gpu};") } else { String::new() };
            say(format_args!(
                "{device}:{of_it} {gib:.1} GiB are free; {fitting} such {unit}s fit beside the weights\n"
            ))?;
        }
        if let Some(on_ranks) = &on_ranks {
            say(format_args!("{on_ranks}\n"))?;
        }
    }
    // For scripts: the exit status says it, too.
    anyhow::ensure!(report.is_complete(), "{} is incomplete: it will not load", dir.name());
    Ok(())
}
