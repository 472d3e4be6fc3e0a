//! What is drawn for what was asked, by the test card. What has Cosmos3's values is tested over a socket.

use std::time::Duration;

use bytes::Bytes;
use pipeline::testcard::Testcard;
use pipeline::world::World;
use serde_json::{Value, json};

use super::super::Body;
use super::*;

fn resolve(mut fields: Value) -> Result<Resolved, String> {
    let testcard = Testcard::new(Duration::ZERO);
    fields["prompt"] = json!("p");
    let body = Body::read(None, &Bytes::from(fields.to_string())).map_err(|invalid| invalid.message)?;
    let ask = Ask::read(body, Route::Video, testcard.card()).map_err(|invalid| invalid.message)?;
    Resolved::new(ask, testcard.card(), Rules { clip_frames: 481 }).map_err(|invalid| invalid.message)
}

#[test]
fn frames_are_what_was_asked_or_seconds_at_the_rate() {
    let frames = |fields: Value| resolve(fields).map(|resolved| (resolved.frames, resolved.seconds()));
    assert_eq!(frames(json!({})), Ok((64, "4".into())));
    assert_eq!(frames(json!({ "seconds": "4.5" })), Ok((72, "4".into())));
    assert_eq!(frames(json!({ "seconds": 8, "fps": 8 })), Ok((64, "8".into())));
    assert_eq!(frames(json!({ "num_frames": 10, "seconds": 8 })), Ok((10, "1".into())));
    assert_eq!(frames(json!({ "num_frames": 481 })).map(|(frames, _)| frames), Ok(481));
    for bad in [
        json!({ "num_frames": 482 }),
        json!({ "seconds": 31 }),
        json!({ "seconds": 1e300 }),
        json!({ "seconds": 0.01 }),
    ] {
        assert!(frames(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_size_may_be_given_by_its_sides() {
    let size = |fields: Value| resolve(fields).map(|resolved| resolved.size.to_string());
    assert_eq!(size(json!({ "size": "832x480", "width": 640 })), Ok("640x480".into()));
    assert_eq!(size(json!({ "height": 64, "width": "96" })), Ok("96x64".into()));
    assert_eq!(size(json!({ "height": 64 })), Ok("832x64".into()));
    assert!(size(json!({ "width": 4000, "height": 4000 })).is_err_and(|message| message.contains("size: ")));
}

#[test]
fn each_output_has_a_seed() {
    let seeds = |fields: Value| resolve(fields).map(|resolved| resolved.seeds);
    assert_eq!(seeds(json!({})), Ok(vec![42]));
    assert_eq!(seeds(json!({ "n": 3, "seed": 7 })), Ok(vec![7, 8, 9]));
    assert_eq!(seeds(json!({ "n": 2, "seed": [5, "1"] })), Ok(vec![5, 1]));
    assert_eq!(seeds(json!({ "n": 50 })).map(|seeds| seeds.len()), Ok(10));
    assert_eq!(seeds(json!({ "n": 0 })).map(|seeds| seeds.len()), Ok(1));
    assert_eq!(seeds(json!({ "n": 9, "num_outputs_per_prompt": 2 })).map(|seeds| seeds.len()), Ok(2));
    assert_eq!(seeds(json!({ "n": 2, "seed": u64::MAX })), Ok(vec![u64::MAX, 0]));
    for bad in
        [json!({ "n": 3, "seed": [1, 2] }), json!({ "seed": -1 }), json!({ "seed": 1.5 }), json!({ "seed": [1.5] })]
    {
        assert!(seeds(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn what_is_given_and_not_used_is_named() {
    let given = json!({
        "flow_shift": 3, "guidance_scale": 2, "negative_prompt": "x", "num_inference_steps": 4, "zzz": 1,
        "guidance_interval": [1, 2], "use_system_prompt": true, "camera_actions": "w*30", "num_frames": 9,
        "prompts": ["1:a", "2:b"], "user": "u",
    });
    let ignored = resolve(given).expect("it is drawn").ignored;
    let expected = [
        "zzz",
        "num_inference_steps",
        "guidance_scale",
        "guidance_interval",
        "negative_prompt",
        "flow_shift",
        "use_system_prompt",
        "camera_actions[3..]",
        "prompts[0..]",
    ];
    assert_eq!(ignored, expected);
    let many: serde_json::Map<_, _> = (0..100).map(|i| (format!("{i:0>3}{}", "é".repeat(100)), json!(1))).collect();
    let ignored = resolve(Value::Object(many)).expect("it is drawn").ignored;
    assert!(ignored.len() == 32 && ignored.iter().all(|name| name.len() <= 64));
}

#[test]
fn a_script_steers_the_latent_frames_of_the_clip_and_nothing_is_held_after_it() {
    let resolved =
        resolve(json!({ "camera_actions": "w*4,l", "prompts": ["1:night"], "num_frames": 33 })).expect("drawn");
    let clip = resolved.clip(Testcard::new(Duration::ZERO).card(), 0, None);
    let held = |input: &ChunkInput| {
        input.controls.as_ref().expect("a script").iter().map(|c| format!("{:?}", c.held())).collect::<String>()
    };
    assert_eq!(clip.inputs.iter().map(held).collect::<Vec<_>>(), ["[w][w][w]", "[w][l][]", "[][][]"]);
    let prompts: Vec<_> = clip.inputs.iter().map(|input| input.prompt.as_deref()).collect();
    assert_eq!(prompts, [None, Some("night"), None]);
    assert_eq!((clip.frames, clip.init.seed), (33, 42));
    let free = resolve(json!({ "num_frames": 33 })).expect("drawn").clip(Testcard::new(Duration::ZERO).card(), 0, None);
    assert!(free.inputs.iter().all(|input| input.controls.is_none()), "no control is ever given");
}

#[test]
fn a_task_agrees_with_what_is_given() {
    let frames = |fields: Value| resolve(fields).map(|resolved| resolved.frames);
    assert_eq!(frames(json!({ "task_type": "T2V" })), Ok(64));
    assert_eq!(frames(json!({ "task_type": "t2i" })), Ok(1));
    for bad in [
        json!({ "task_type": "i2v" }),
        json!({ "task_type": "t2i", "num_frames": 5 }),
        json!({ "task_type": "v2v" }),
        json!({ "task_type": "t2v", "num_frames": 1 }),
        json!({ "task_type": "t2v", "reference_url": "data:," }),
    ] {
        assert!(frames(bad.clone()).is_err(), "{bad}");
    }
}
