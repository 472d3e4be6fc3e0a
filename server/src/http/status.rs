//! Status: liveness, readiness, the world served, the running sessions, and metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pipeline::world::{Card, ClipCard, FrameRule, Held, Knob, Scale, Sizes};
use serde_json::{Value, json};

use crate::http::app::App;
use crate::observe::metrics::{CONTENT_TYPE, Levels};

/// Routes without a key: a load balancer has none.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/liveness", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/health", get(health))
        .route("/ready", get(health))
}

/// Routes that reveal other sessions: they need a key, if the server has keys.
pub(crate) fn inside() -> Router<App> {
    Router::new()
        .route("/server_info", get(server_info))
        .route("/model_info", get(model_info))
        .route("/v1/realtime_video/sessions", get(sessions))
        .route("/metrics", get(metrics))
}

/// The answer of a route that needs a world, while it loads.
pub(crate) fn loading() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "loading" }))).into_response()
}

/// Whether to send sessions here. A node that lost its cluster still takes what fits; a door without one can do nothing.
async fn health(State(app): State<App>) -> Response {
    let status = app.status();
    let cluster = app.realtime.cluster.as_ref().map(|cluster| if cluster.is_joined() { "joined" } else { "lost" });
    let is_useless = cluster == Some("lost") && app.limits.sessions == 0;
    let (status, code) = match status {
        "ok" if is_useless => ("cluster_lost", StatusCode::SERVICE_UNAVAILABLE),
        "ok" => ("ok", StatusCode::OK),
        other => (other, StatusCode::SERVICE_UNAVAILABLE),
    };
    let mut body = json!({ "status": status });
    cluster.into_iter().for_each(|cluster| body["cluster"] = cluster.into());
    (code, Json(body)).into_response()
}

/// What is served, in the words of another server's clients.
async fn model_info(State(app): State<App>) -> Response {
    let Some(card) = app.card() else { return loading() };
    let modes = modes(&card);
    Json(json!({
        "model_path": card.name,
        "is_generation": true,
        "model_type": "diffusion",
        "architectures": [card.clips.family],
        "task_type": modes.first().map(|mode| mode.to_ascii_uppercase()),
        "supported_task_types": modes.iter().map(|mode| mode.to_ascii_uppercase()).collect::<Vec<_>>(),
        "output_types": if card.clips.pictures { vec!["IMAGE", "VIDEO"] } else { vec!["VIDEO"] },
        "has_image_understanding": false,
        "has_audio_understanding": false,
        "is_image_gen": false,
    }))
    .into_response()
}

/// What a client of this world can choose.
pub(crate) fn choices(card: &Card) -> Value {
    let sizes = match &card.sizes {
        Sizes::Only(sizes) => json!({ "only": sizes.iter().map(ToString::to_string).collect::<Vec<_>>() }),
        Sizes::MultiplesOf { multiple, pixels_max } => json!({ "multiple": multiple, "pixels_max": pixels_max }),
    };
    json!({
        "sizes": sizes,
        "default_size": card.default_size.to_string(),
        "fps": card.fps,
        "chunk": card.chunk,
        "first_chunk": card.first_chunk,
        "sink": card.sink,
        "window": card.window,
        "window_is_fixed": card.window_is_fixed,
        "needs_first_frame": card.needs_first_frame,
        "presets": card.presets,
        "keys": if card.clips.steerable { Held::ALL.to_vec() } else { Vec::new() },
        "look_step": card.look_step.map(|step| json!({ "yaw_deg": step.yaw_deg, "pitch_deg": step.pitch_deg })),
        "steering": {
            "rates": card.steering.rates,
            "poses": card.steering.poses.map(Scale::name),
            "intrinsics": card.steering.intrinsics,
        },
        "realtime": card.clips.realtime,
        "clips": clips(card),
    })
}

/// What a request for a clip or a picture can choose: a page can build its form from it.
fn clips(card: &Card) -> Value {
    let ClipCard { frames, frames_max, side_min, picture_size, seconds, knobs, .. } = &card.clips;
    let modes = modes(card);
    let steps =
        knobs.num_inference_steps.map(|knob| json!({ "video": knob.usual.video, "picture": knob.usual.picture }));
    let number =
        |knob: Option<Knob<f64>>| knob.map(|knob| json!({ "video": knob.usual.video, "picture": knob.usual.picture }));
    let length = knobs.max_sequence_length.map(|knob| knob.usual.video);
    json!({
        "modes": modes,
        "frames": match frames {
            FrameRule::Any => "any",
            FrameRule::FourAndOne => "4k+1",
        },
        "frames_max": frames_max,
        "side_min": side_min,
        "picture_size": picture_size.to_string(),
        "seconds": seconds,
        "steerable": card.clips.steerable,
        "knobs": {
            "num_inference_steps": steps,
            "guidance_scale": number(knobs.guidance_scale),
            "flow_shift": number(knobs.flow_shift),
            "max_sequence_length": length,
            "negative_prompt": knobs.negative_prompt,
            "guidance_interval": knobs.guidance_interval.is_some(),
            "use_duration_template": knobs.use_duration_template,
            "use_resolution_template": knobs.use_resolution_template,
            "use_system_prompt": knobs.use_system_prompt,
        },
    })
}

/// The kinds of drawing that the world has, by the names of `task_type`.
pub(crate) fn modes(card: &Card) -> Vec<&'static str> {
    let ClipCard { from_text, from_picture, pictures, .. } = card.clips;
    let modes = [(from_text, "t2v"), (from_picture, "i2v"), (from_text && from_picture, "ti2v"), (pictures, "t2i")];
    modes.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
}

async fn server_info(State(app): State<App>) -> Json<Value> {
    let card = app.card();
    let (opening, running) = app.observer().sessions();
    let limits = &app.limits;
    let jobs = app.openai.levels();
    Json(json!({
        "server": "causeway",
        "version": env!("CARGO_PKG_VERSION"),
        "status": app.status(),
        "uptime_s": app.observer().started.elapsed().as_secs_f64(),
        "model": card.as_ref().map(|card| &card.name),
        "world": card.as_deref().map(choices),
        "guardrails": app.realtime.guardrails.described(),
        "sessions": running,
        "sessions_opening": opening,
        "sessions_waiting": app.realtime.queue.length(),
        "load": app.realtime.queue.load(),
        "jobs": { "running": jobs.drawing, "waiting": jobs.waiting, "kept": jobs.completed + jobs.failed },
        "connections": app.connections_open(),
        "viewers": app.realtime.audiences.room.viewers(),
        "memory_bytes_used": app.observer().rollout_bytes(),
        "limits": {
            "sessions": limits.sessions,
            "memory_bytes": limits.memory_bytes,
            "load": limits.load,
            "queue": limits.queue,
            "queue_wait_ms": limits.queue_wait.as_millis() as u64,
            "busy_wait_ms": limits.busy_wait.as_millis() as u64,
            "write_deadline_ms": limits.write_deadline.as_millis() as u64,
            "idle_timeout_ms": limits.stay.idle.map(|idle| idle.as_millis() as u64),
            "session_lifetime_ms": limits.stay.lifetime.map(|lifetime| lifetime.as_millis() as u64),
            "resume_grace_ms": limits.stay.grace.as_millis() as u64,
            "resume_bytes": limits.backlog_bytes,
            "viewers": limits.viewers,
            "viewers_per_session": limits.viewers_per_session,
            "viewer_bytes": limits.viewer_bytes,
            "ping_every_ms": limits.ping_every.as_millis() as u64,
            "pong_within_ms": limits.pong_within.as_millis() as u64,
            "connections": limits.connections,
            "message_bytes": limits.message_bytes,
            "job_queue": limits.jobs.queue,
            "jobs_per_account": limits.jobs.of_account,
            "job_ttl_ms": limits.jobs.ttl.as_millis() as u64,
            "job_bytes": limits.jobs.bytes,
            "job_timeout_ms": limits.jobs.timeout.as_millis() as u64,
            "video_sync_timeout_ms": limits.jobs.sync_timeout.as_millis() as u64,
            "clip_frames": limits.jobs.clip_frames,
        },
    }))
}

async fn sessions(State(app): State<App>) -> Json<Value> {
    Json(json!({
        "sessions": app.observer().directory(),
        "sessions_max": app.limits.sessions,
        "waiting": app.realtime.queue.directory(),
        "waiting_max": app.limits.queue,
    }))
}

async fn metrics(State(app): State<App>) -> Response {
    let jobs = app.openai.levels();
    let (opening, running) = app.observer().sessions();
    let levels = Levels {
        version: env!("CARGO_PKG_VERSION"),
        world: app.card().map(|card| card.name.clone()),
        started_unix: app.observer().started_unix,
        accepting: app.status() == "ok",
        connections: app.connections_open(),
        connections_max: app.limits.connections,
        waiting: app.realtime.queue.length(),
        queue_max: app.limits.queue,
        viewers: (app.realtime.audiences.room.viewers(), app.realtime.audiences.room.bytes()),
        viewers_max: app.limits.viewers,
        opening,
        running,
        sessions_max: app.limits.sessions,
        load: app.realtime.queue.load(),
        load_max: app.limits.load,
        rollout_bytes: app.observer().rollout_bytes(),
        kept_bytes: app.observer().kept_bytes(),
        inbound_bytes: app.entrance.inbound.bytes(),
        memory_bytes: app.limits.memory_bytes,
        resident_bytes: resident_bytes(),
        device_memory: app.realtime.queue.device_memory(),
        jobs: [
            ("queued", jobs.waiting),
            ("in_progress", jobs.drawing),
            ("completed", jobs.completed),
            ("failed", jobs.failed),
        ],
        job_bytes: jobs.bytes,
        cluster: app.realtime.cluster.as_ref().map(|cluster| cluster.now()),
        trace_lost: app.observer().trace.as_ref().map(|trace| trace.lost()),
    };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.observer().metrics.page(&levels)).into_response()
}

/// Resident bytes, on Linux. Reads `status`, since `statm` counts in pages without saying their size.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
