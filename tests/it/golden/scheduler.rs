//! Noise levels, and the arithmetic between noise and picture.

use std::path::Path;

use ops::flow::{clean_from_flow, renoise};
use ops::{Device, Tensor};
use pipeline::lingbot::schedule::Schedule;

use super::{Golden, assert_close};

#[test]
fn tables_and_steps_are_the_reference_s() {
    super::for_each_folder("lingbot", |dir| check_scheduler(&dir.join("scheduler.safetensors")));
}

fn check_scheduler(path: &Path) {
    let golden = Golden::open(path);
    let versions: std::collections::BTreeSet<_> = golden.tensors.keys().filter_map(|k| k.split('.').next()).collect();
    for version in versions {
        let sigmas = golden.raw(&format!("{version}.sigmas"));
        // sigma(s = 1/2) = shift / (1 + shift)
        let middle = sigmas.to_vec::<f32>().expect("levels")[500];
        let shift = f64::from(middle / (1.0 - middle)).round();
        let table = Schedule::table(shift);
        let column = |f: fn(&pipeline::lingbot::schedule::Level) -> f32| {
            Tensor::from_vec(table.iter().map(f).collect(), [table.len()], &Device::cpu()).expect("a column")
        };
        assert_close(&format!("{version}.sigmas (shift {shift})"), &column(|l| l.sigma), &sigmas, 1e-6);
        // One part in a million of 1000.
        assert_close(
            &format!("{version}.all_timesteps"),
            &column(|l| l.t),
            &golden.raw(&format!("{version}.all_timesteps")),
            1e-3,
        );

        // The file does not say which nominal steps were taken: they are found in the table, and must be there exactly.
        let t: Vec<f32> = golden.raw(&format!("{version}.timesteps")).to_vec().expect("steps");
        let steps: Vec<u32> = t
            .iter()
            .map(|t| 1000 - table.iter().position(|l| (l.t - t).abs() <= 1e-4).expect("a step of the table") as u32)
            .collect();
        println!("{version}: nominal steps {steps:?}");
        let levels = Schedule::new(shift, &steps).levels;
        for (dtype, tolerance) in [("float32", 1e-6), ("bfloat16", 1.0 / 128.0)] {
            for i in 0..golden.count(&format!("{version}.{dtype}."), ".xt") {
                let get = |name: &str| golden.raw(&format!("{version}.{dtype}.{i}.{name}"));
                // Rounding to bfloat16 costs half a unit in the eighth bit of the largest number.
                let scale = if dtype == "bfloat16" { 8.0 } else { 4.0 };
                let clean = clean_from_flow(&get("xt"), &get("flow"), levels[i].sigma).expect("x0");
                assert_close(&format!("{version}.{dtype}.{i}.x0"), &clean, &get("x0"), tolerance * scale);
                if i + 1 < levels.len() {
                    let noisy = renoise(&get("x0"), &get("noise"), levels[i + 1].sigma).expect("renoised");
                    assert_close(
                        &format!("{version}.{dtype}.{i}.renoised"),
                        &noisy,
                        &get("renoised"),
                        tolerance * scale,
                    );
                }
            }
        }
    }
}
