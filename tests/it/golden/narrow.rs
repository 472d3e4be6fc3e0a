//! The same goldens with dense layers in bf16 and int8. What is allowed is a share of what is expected, or decibels: such numbers are
//! off everywhere by a little, and the largest difference of one tells less.
//!
//! Bounds are two to three times what a processor with AVX2 showed. That widens weights in bf16; one that multiplies bf16 itself rounds
//! activations by as much again: with `vdpbf16ps` the walk fell to 38.0 dB, and not to 46.1.

use ops::{Compute, Device};

use super::{cosmos3_dit, dit, pocket, text};

/// What is allowed in each type.
const NARROW: [Allowed; 2] = [
    Allowed { compute: Compute::Bf16, forward: 0.006, rollout: 0.006, velocity: 0.015, text: 0.015, walk_db: 36.0 },
    Allowed { compute: Compute::Int8, forward: 0.01, rollout: 0.015, velocity: 0.05, text: 0.015, walk_db: 30.0 },
];

struct Allowed {
    compute: Compute,
    /// One forward of the tiny transformer.
    forward: f64,
    /// A chunk of a tiny rollout, whose errors feed the chunks behind it.
    rollout: f64,
    /// A velocity of a tiny Cosmos3.
    velocity: f64,
    /// States of the tiny UMT5.
    text: f64,
    /// The least decibels of a pocket walk.
    walk_db: f64,
}

/// Every error is within `allowed`, and none is zero: that would be f32.
#[track_caller]
fn check(compute: Compute, what: &str, errors: &[f64], allowed: f64) {
    let worst = errors.iter().copied().fold(0.0, f64::max);
    println!("{compute} {what:<32} {worst:.2e} of {allowed}");
    assert!(!errors.is_empty() && errors.iter().all(|&error| error > 0.0 && error <= allowed), "{what}: {errors:?}");
}

#[test]
fn the_transformer_s_goldens_hold_in_narrow_types_within_their_bounds() {
    super::for_each_folder("lingbot", |dir| {
        for Allowed { compute, forward, rollout, .. } in NARROW {
            let device = Device::cpu_in(compute);
            check(compute, "one forward", &[dit::forward_error(dir, &device)], forward);
            for name in ["dit_rollout_v2", "dit_rollout_v1sched", "dit_rollout_prompt_switch"] {
                check(compute, name, &dit::rollout_errors(dir, name, &device), rollout);
            }
        }
    });
}

#[test]
fn cosmos3_s_velocities_hold_in_narrow_types_within_their_bounds() {
    super::for_each_folder("cosmos3", |dir| {
        for Allowed { compute, velocity, .. } in NARROW {
            for name in ["dit_nano", "dit_edge"] {
                let errors = cosmos3_dit::velocity_errors(&dir.join(name), &Device::cpu_in(compute));
                check(compute, name, &errors, velocity);
            }
        }
    });
}

#[test]
fn umt5_reads_in_bf16_whichever_narrow_type_is_asked_for() {
    super::for_each_folder("lingbot", |dir| {
        let errors = NARROW.map(|Allowed { compute, text, .. }| {
            let errors = text::umt5_errors(dir, &Device::cpu_in(compute));
            check(compute, "umt5", &errors, text);
            errors
        });
        assert_eq!(errors[0], errors[1], "int8 would be another error");
    });
}

#[test]
fn a_walk_through_the_pocket_world_costs_few_decibels_in_narrow_types() {
    for Allowed { compute, walk_db, .. } in NARROW {
        let decibels = pocket::decibels_of_the_walk(&Device::cpu_in(compute));
        let least = decibels.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{compute} walk: {decibels:.1?} dB, at least {walk_db}");
        assert!(least >= walk_db && least < 80.0, "{compute}: {decibels:?}");
    }
}
