//! The calls that were recorded at SGLang diffusion 0.5.23 with Cosmos3-Nano, made again: each is answered with the same
//! status and sentence, or stands in the table of `docs/videos-conformance.md` with what is answered here.

use anyhow::{Context, Result, ensure};
use pipeline::world::{ClipAsk, Size};
use serde_json::{Value, json};
use std::path::Path;
use tests::Server;
use tests::openai::{Answer, ask, cosmos3_card, form, send, until};
use tests::puppet::Puppet;

use crate::videos_create::{cosmos3, roomy};

/// What is answered otherwise here: the call, the status, and the beginning of what is said, where it is an error.
pub(crate) const DIFFERENT: [(&str, u16, &str); 21] = [
    ("content variant video", 200, ""),
    ("json no prompt", 400, "prompt is required"),
    ("json garbage", 400, "Invalid request body: it is not valid JSON"),
    ("json wrong type", 400, "Invalid request body: num_frames: must be a whole number"),
    ("json odd size", 400, "size: 721x481 is not drawn"),
    ("p:num_frames 2", 400, "num_frames: 2 to 4 frames cannot be drawn"),
    ("p:extra_params bad string", 400, "extra_params is not valid JSON"),
    ("extra_body bad string", 400, "extra_body is not valid JSON"),
    ("p:both guard", 400, "guardrails requested but not available"),
    ("p:sound true", 400, "Cosmos3 video-with-sound is not supported"),
    ("p:cond idx", 400, "Cosmos3 video-to-video conditioning is not supported"),
    ("action policy", 400, "Cosmos3 action generation is not supported"),
    ("action junk", 400, "Cosmos3 action generation is not supported"),
    ("upscaler url", 400, "upscaling_model_path is not supported by this server"),
    ("reference_url bad", 400, "Failed to process image source"),
    ("p:mp image as video", 400, "Cosmos3 video-to-video conditioning is not supported"),
    ("failed content", 404, "Video generation failed"),
    ("img bad size", 200, ""),
    ("sync route", 200, ""),
    ("p:profile", 400, "profiling is not enabled on this server"),
    ("image failing", 500, "Image generation failed"),
];

/// Requests of which the recording holds only the beginning.
const CUT: [&str; 5] = ["p:mp extra_body", "p:mp extra_params", "p:mp flag field", "p:mp image", "p:edits"];

/// Calls about a job that fails, and about one that takes long.
const FAILING: [&str; 4] = ["failing job", "failed get", "failed content", "image failing"];
const SLOW: [&str; 3] = ["slow job", "slow content", "slow delete"];

/// The content type and the bytes of a recorded request.
fn request(call: &Value) -> (String, Vec<u8>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(parts) = call["form"].as_array() {
        let owned: Vec<Vec<String>> =
            parts.iter().map(|part| part.as_array().into_iter().flatten().map(text).collect()).collect();
        let parts: Vec<_> = owned
            .iter()
            .map(|part| match &part[..] {
                [name, file, kind, bytes] => tests::openai::Part::File(name, file, kind, bytes.as_bytes()),
                part => tests::openai::Part::Text(&part[0], &part[1]),
            })
            .collect();
        return form(&parts);
    }
    let body = match (&call["json"], &call["text"]) {
        (Value::Null, Value::String(text)) => text.clone(),
        (Value::Null, _) => String::new(),
        (json, _) => json.to_string(),
    };
    ("application/json".to_owned(), body.into_bytes())
}

fn check(name: &str, call: &Value, answer: &Answer) -> Result<()> {
    let recorded = (call["status"].as_u64().context("a status")? as u16, call["detail"].as_str());
    let different = DIFFERENT.iter().find(|(different, ..)| *different == name);
    let status = different.map_or(recorded.0, |(_, status, _)| *status);
    ensure!(answer.status == status, "{name}: {} instead of {status}: {answer:?}", answer.status);
    if status < 400 {
        return Ok(());
    }
    let said = answer.error(status).with_context(|| name.to_owned())?;
    let (expected, whole) = match (different, recorded.1) {
        (Some((.., says)), _) => (*says, false),
        (None, Some(detail)) => (detail, true),
        (None, None) => return Ok(()),
    };
    ensure!(if whole { said == expected } else { said.starts_with(expected) }, "{name}: {said:?}, not {expected:?}");
    Ok(())
}

/// Every value that was recorded as decided is decided here.
fn check_decided(name: &str, recorded: &Value, ask: &ClipAsk) -> Result<()> {
    let settings = &ask.settings;
    let decided = json!({
        "prompt": ask.init.prompt, "negative_prompt": settings.negative_prompt, "num_frames": ask.frames,
        "fps": settings.fps, "width": ask.init.size.width, "height": ask.init.size.height, "seed": ask.init.seed,
        "num_inference_steps": settings.num_inference_steps, "guidance_scale": settings.guidance_scale,
        "guidance_interval": settings.guidance_interval, "flow_shift": settings.flow_shift,
        "max_sequence_length": settings.max_sequence_length, "use_duration_template": settings.use_duration_template,
        "use_resolution_template": settings.use_resolution_template, "use_system_prompt": settings.use_system_prompt,
    });
    for (field, value) in recorded.as_object().context("an object")? {
        let ours = &decided[field];
        let same = match (value.as_f64(), ours.as_f64()) {
            (Some(value), Some(ours)) => value == ours,
            _ if field == "guidance_interval" => {
                value.to_string().replace(".0", "") == ours.to_string().replace(".0", "")
            }
            _ => value == ours,
        };
        // What was left to the model then is decided here already.
        ensure!(same || value.is_null() || field == "num_outputs_per_prompt", "{name}: {field} is {ours}, not {value}");
    }
    Ok(())
}

#[tokio::test]
async fn the_recorded_calls_are_answered_the_same_or_as_the_table_says() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let calls: Vec<Value> = serde_json::from_slice(&std::fs::read(root.join("golden/openai/observed.json"))?)?;
    ensure!(calls.len() == 79, "{} calls", calls.len());
    let small = |puppet: Puppet| {
        let mut card = cosmos3_card();
        (card.default_size, card.clips.picture_size) = (Size { width: 64, height: 64 }, Size { width: 64, height: 64 });
        Server::limited(Puppet { card, ..puppet }, roomy())
    };
    let (living, _strings) = small(Puppet::default())?;
    let (failing, _more) = small(Puppet { fails: Some((0, "on purpose".into())), ..Puppet::default() })?;
    let (slow, _slowly) = small(Puppet::on_strings())?;
    let (mut ids, mut sampled, mut cut) = (Vec::<(String, String)>::new(), 0, Vec::new());
    for call in &calls {
        let name = call["name"].as_str().context("a name")?;
        if call["cut"] == true {
            cut.push(name);
            continue;
        }
        let (kind, body) = request(call);
        let mut line = call["call"].as_str().context("a call")?.to_owned();
        let made = line == "POST /v1/videos";
        for (of, id) in &ids {
            line = line.replace(&format!("{{{of}}}"), id);
        }
        let (never, mut asked_of) = cosmos3()?;
        let lives = name == "json default" || !made;
        let server = match name {
            name if FAILING.contains(&name) => &failing,
            name if SLOW.contains(&name) => &slow,
            _ if lives => &living,
            // What is decided for it is looked at; drawing all of it would take minutes.
            _ => &never,
        };
        let answer = ask(server.address, &line, &[("Content-Type", &kind)], &body).await?;
        check(name, call, &answer)?;
        let job = if made && answer.status == 200 { Some(answer.json()?) } else { None };
        if let Some(job) = &job {
            ids.push((name.to_owned(), job["id"].as_str().context("an id")?.to_owned()));
        }
        match (name, &job) {
            ("json default", Some(job)) => drop(until(server, job, "completed").await?),
            ("failing job", Some(job)) => drop(until(server, job, "failed").await?),
            ("slow job", Some(job)) => drop(until(server, job, "in_progress").await?),
            _ => {}
        }
        let is_different = DIFFERENT.iter().any(|(different, ..)| *different == name);
        if !call["sampling"].is_null() && !is_different && !FAILING.contains(&name) && !SLOW.contains(&name) {
            let asked = match lives {
                true => Some(send(never.address, &line, &[("Content-Type", &kind)], &body).await?),
                false => None,
            };
            check_decided(name, &call["sampling"], &asked_of.asked().await?)?;
            if let Some(job) = job.filter(|_| !lives) {
                ensure!(
                    job["size"] == call["body"]["size"] && job["seconds"] == call["body"]["seconds"],
                    "{name}: {job}"
                );
            }
            drop(asked);
            sampled += 1;
        }
    }
    ensure!(cut == CUT, "{cut:?}");
    ensure!(sampled >= 20, "only {sampled} of them were decided");
    let page = std::fs::read_to_string(root.join("../docs/videos-conformance.md"))?;
    for name in DIFFERENT.iter().map(|(name, ..)| *name).chain(CUT) {
        ensure!(page.contains(&format!("`{name}`")), "{name} is not in docs/videos-conformance.md");
    }
    Ok(())
}
