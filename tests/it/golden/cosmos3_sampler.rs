//! Cosmos3's samplers: noise levels, and where recorded flows lead.

use std::path::Path;

use ops::Tensor;
use ops::flow::weighted_sum;
use pipeline::cosmos3::schedule::{Schedule, StochasticEuler, UniPc};
use pipeline::cosmos3::solver::Solver;
use pipeline::noise::Noise;
use serde_json::Value;

use super::{Golden, assert_close, for_each_folder};

/// Of trajectories that the reference computes in f32 and we in f64.
const TRAJECTORY: f64 = 1e-5;

#[test]
fn flow_unipc_follows_the_reference_step_by_step() {
    for_each_folder("cosmos3", |dir| {
        let (golden, meta) = open(dir, "sched");
        let cases: Vec<_> = meta.iter().filter(|(name, _)| golden.has(&format!("{name}.traj"))).collect();
        assert!(!cases.is_empty(), "sched.json names no case that is recorded");
        for (name, case) in cases {
            let (steps, shift) = name.strip_prefix("steps").and_then(|rest| rest.split_once("_shift")).expect("a name");
            let (steps, shift) = (steps.parse().expect("steps"), shift.parse().expect("a shift"));
            check(&golden, name, case, Schedule::UniPc(UniPc::new(steps, shift)));
        }
    });
}

#[test]
fn stochastic_euler_follows_the_reference_with_its_noise() {
    for_each_folder("cosmos3", |dir| {
        let (golden, meta) = open(dir, "sched_sde");
        assert!(!meta.is_empty(), "sched_sde.json names no case");
        for (name, case) in &meta {
            check(&golden, name, case, Schedule::StochasticEuler(StochasticEuler::new(&numbers(&case["t_list"]))));
        }
    });
}

fn open(dir: &Path, name: &str) -> (Golden, serde_json::Map<String, Value>) {
    let json = std::fs::read(dir.join(format!("{name}.json"))).expect("the levels");
    let meta = serde_json::from_slice(&json).expect("an object");
    (Golden::open(&dir.join(format!("{name}.safetensors"))), meta)
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn check(golden: &Golden, name: &str, case: &Value, schedule: Schedule) {
    let timesteps = numbers(&case["timesteps"]);
    assert_eq!((0..schedule.steps()).map(|step| schedule.timestep(step)).collect::<Vec<_>>(), timesteps, "{name}");
    for (found, expected) in schedule.sigmas().iter().zip(numbers(&case["sigmas"])) {
        assert!((f64::from(*found) - expected).abs() <= 1e-7, "{name}: sigma {found}, expected {expected}");
    }
    let at = |part: &str, step: usize| {
        golden[&format!("{name}.{part}")].get(step).and_then(|x| x.squeeze(0)).expect("a step")
    };
    let noise: Vec<Tensor> = match golden.has(&format!("{name}.noise")) {
        true => (0..schedule.steps()).map(|step| at("noise", step)).collect(),
        false => Vec::new(),
    };
    let mut noise = Noise::recorded(noise);
    let mut solver = Solver::new(schedule, golden.get(&format!("{name}.x0")));
    for step in 0..solver.steps() {
        let flow = weighted_sum(&[(1.0, &at("v", step)), (0.1, solver.sample())]).expect("one shape");
        solver.advance(&flow, &mut noise).expect("a step");
        assert_close(&format!("{name}, step {step}"), solver.sample(), &at("traj", step), TRAJECTORY);
    }
}
