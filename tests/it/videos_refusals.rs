//! Modes that do not exist are refused, and knobs that do not exist are named. Lines V031 to V038 of the list.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::Server;
use tests::openai::{Part, asking, get, job, post, post_form, until};

use crate::videos_create::{cosmos3, testcard};

async fn refused(server: &Server, body: Value, says: &str) -> Result<()> {
    let shown = body.to_string();
    let message = post(server.address, "/v1/videos", asking(body)).await?.error(400).context(shown.clone())?;
    ensure!(message.contains(says), "{shown}: {message}");
    Ok(())
}

/// V031. V034.
#[tokio::test]
async fn sound_is_refused_if_it_is_asked_for_and_before_anything_else() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let sound =
        "Cosmos3 video-with-sound is not supported by Causeway yet; omit generate_sound for video-only generation.";
    for truthy in [json!(true), json!("true"), json!(1)] {
        refused(&server, json!({ "generate_sound": truthy }), sound).await?;
    }
    refused(&server, json!({ "sound_duration": 2.5 }), sound).await?;
    refused(&server, json!({ "generate_sound": true, "action": [1] }), sound).await?;
    for falsy in [json!(false), json!(""), json!(0), json!(null), json!("false"), json!([]), json!({})] {
        let job = job(&server, asking(json!({ "generate_sound": falsy }))).await?;
        ensure!(job["ignored"] == json!([]), "{job}");
    }
    job(&server, asking(json!({ "sound_duration": 0.0 }))).await?;
    Ok(())
}

/// V032.
#[tokio::test]
async fn actions_are_refused_if_they_are_asked_for() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    refused(&server, json!({ "action_mode": "policy" }), "Cosmos3 action generation is not supported by Causeway yet.")
        .await?;
    refused(&server, json!({ "control_path": "/a" }), "Cosmos3 control transfer is not supported by Causeway yet.")
        .await?;
    job(&server, asking(json!({ "action_mode": "", "control_path": "none" }))).await?;
    Ok(())
}

/// V033.
#[tokio::test]
async fn a_video_to_start_from_is_refused_however_it_comes() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let video = "Cosmos3 video-to-video conditioning is not supported by Causeway yet.";
    refused(&server, json!({ "condition_frame_indexes_vision": [0, 1] }), video).await?;
    refused(&server, json!({ "condition_video_keep": "first" }), video).await?;
    for falsy in [json!([]), json!("[]")] {
        job(&server, asking(json!({ "condition_frame_indexes_vision": falsy }))).await?;
    }
    let mp4 = b"\0\0\0\x20ftypisom\0\0\0\0";
    for file in [
        Part::File("input_reference", "a", "video/mp4", b"xx"),
        Part::File("input_reference", "a.mp4", "application/octet-stream", b"xx"),
        Part::File("input_reference", "a.png", "image/png", mp4),
        Part::File("video_reference", "a", "", b"xx"),
    ] {
        let message = post_form(server.address, "/v1/videos", &[Part::Text("prompt", "a"), file]).await?.error(400)?;
        ensure!(message == video, "{message}");
    }
    Ok(())
}

/// V035.
#[tokio::test]
async fn a_refused_request_leaves_no_job_no_file_and_no_place() -> Result<()> {
    let (server, mut strings) = cosmos3()?;
    for body in [json!({ "generate_sound": true }), json!({ "size": "1x1" }), json!({ "num_frames": 3 })] {
        refused(&server, body, "").await?;
    }
    let page = get(server.address, "GET /v1/videos").await?.expect(200)?;
    ensure!(page["data"] == json!([]), "{page}");
    let info = get(server.address, "GET /server_info").await?.expect(200)?;
    ensure!(info["jobs"] == json!({ "running": 0, "waiting": 0, "kept": 0 }), "{info}");
    ensure!(strings.so_far().is_empty(), "the world heard of it");
    Ok(())
}

/// V036. The world is the test card, which has no knobs as the shipped one has none; every field of Cosmos3 is sent to it.
#[tokio::test]
async fn a_knob_that_a_world_lacks_is_named_and_nothing_breaks() -> Result<()> {
    let server = testcard()?;
    let knobs = json!({
        "flow_shift": 5, "guidance_scale": 3, "negative_prompt": "blur", "num_inference_steps": 4,
        "num_frames": 5, "size": "64x64",
    });
    let queued = job(&server, asking(knobs)).await?;
    ensure!(
        queued["ignored"] == json!(["num_inference_steps", "guidance_scale", "negative_prompt", "flow_shift"]),
        "{queued}"
    );
    until(&server, &queued, "completed").await?;
    let all = json!({
        "guidance_interval": [1, 2], "max_sequence_length": 64, "use_duration_template": true,
        "use_resolution_template": true, "use_system_prompt": true, "profile": false, "task_type": "t2v",
        "condition_video_keep": "", "quality": "hd", "num_frames": 5, "size": "64x64",
    });
    until(&server, &job(&server, asking(all)).await?, "completed").await?;
    let (server, _strings) = cosmos3()?;
    let steered = json!({ "condition_inputs": { "camera_actions": [], "other": 1 }, "prompts": "" });
    ensure!(job(&server, asking(steered)).await?["ignored"] == json!(["condition_inputs.other"]));
    Ok(())
}

/// V037.
#[tokio::test]
async fn where_files_go_is_not_for_a_client_to_say() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    refused(&server, json!({ "output_path": "/etc" }), "output_path: where files go is for the operator to say")
        .await?;
    refused(&server, json!({ "perf_dump_path": "/etc" }), "perf_dump_path").await
}

/// V038.
#[tokio::test]
async fn a_world_without_keys_cannot_be_steered() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    refused(&server, json!({ "camera_actions": "w*4" }), "camera_actions: Cosmos3-Nano cannot be steered").await?;
    refused(&server, json!({ "condition_inputs": { "camera_actions": [["w"]] } }), "cannot be steered").await?;
    refused(&server, json!({ "prompts": ["1:b"] }), "prompts: ").await?;
    for falsy in [json!(""), json!([])] {
        job(&server, asking(json!({ "camera_actions": falsy }))).await?;
    }
    Ok(())
}
