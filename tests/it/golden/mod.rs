//! The pipeline against tensors of the reference.

mod camera;
mod file;
mod text;

use std::path::PathBuf;

#[test]
fn prompts_and_cameras_are_those_of_the_reference() {
    let folder = |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")));
    let (golden, model) = (folder("CAUSEWAY_GOLDEN_DIR"), folder("CAUSEWAY_POCKET_DIR"));
    text::check_prompt_cleaning(&golden.join("lingbot"));
    text::check_umt5(&golden.join("lingbot"));
    camera::check_camera(&golden.join("lingbot"));
    camera::check_pocket_camera(&golden.join("pocket-v0"));
    text::check_pocket_text(&golden.join("pocket-v0"), &model);
}
