//! Cosmos3's prompts: the final text and its token numbers.

use pipeline::cosmos3::prompt::{PromptTokens, Scene, final_prompt, system_prompt};
use pipeline::load::file::File;
use pipeline::world::Size;
use serde::Deserialize;

use super::for_each_folder;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

/// One prompt of `goldens.json`.
#[derive(Deserialize)]
struct Case {
    name: String,
    prompt: String,
    num_frames: usize,
    fps: f64,
    height: u32,
    width: u32,
    max_sequence_length: usize,
    system: Option<String>,
    use_duration_template: bool,
    final_prompt: String,
    ids: Vec<u32>,
}

#[test]
fn final_prompts_and_token_numbers_are_those_of_the_reference() {
    for_each_folder("cosmos3", |dir| {
        let dir = dir.join("tokenizer");
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let tokens = PromptTokens::new(&File::new("tokenizer.json", read("tokenizer.json")), 151_936, "<|im_end|>");
        let tokens = tokens.expect("a tokenizer");
        let goldens: Goldens = serde_json::from_slice(&read("goldens.json")).expect("cases");
        assert!(!goldens.cases.is_empty(), "goldens.json names no case");
        for case in goldens.cases {
            let size = Size { width: case.width, height: case.height };
            let scene = Scene { size, frames: case.num_frames, fps: case.fps };
            // A negative prompt goes as it is.
            let found = match case.name.starts_with("negative") {
                true => case.prompt.clone(),
                false => final_prompt(&case.prompt, &scene, case.use_duration_template),
            };
            assert_eq!(found, case.final_prompt, "{}", case.name);
            if let Some(system) = &case.system {
                assert_eq!(system, system_prompt(&scene), "{}", case.name);
            }
            let ids = tokens.of(&found, case.system.as_deref(), case.max_sequence_length).expect("tokens");
            assert_eq!(ids, case.ids, "{}", case.name);
        }
    });
}
