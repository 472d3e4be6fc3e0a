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

/// Ends a turn, and a text.
const END: &str = "<|im_end|>";

/// A chat template in the shape of the published ones: the reference's ids were made with theirs.
const TEMPLATE: &str = "
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
";

#[test]
fn final_prompts_and_token_numbers_are_those_of_the_reference() {
    for_each_folder("cosmos3", |dir| {
        let dir = dir.join("tokenizer");
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let read_tokens = || PromptTokens::new(&File::new("tokenizer.json", read("tokenizer.json")), 151_936, END);
        let tokens = read_tokens().expect("a tokenizer");
        let templated = read_tokens().and_then(|tokens| tokens.with_template("a template", TEMPLATE, END));
        let templated = templated.expect("a tokenizer");
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
            let ids = templated.of(&found, case.system.as_deref(), case.max_sequence_length).expect("tokens");
            assert_eq!(ids, case.ids, "{}, by a template", case.name);
            let ids = tokens.of(&found, case.system.as_deref(), case.max_sequence_length).expect("tokens");
            assert_eq!(ids, case.ids, "{}", case.name);
        }
    });
}
