//! Ranks that are GPUs, emulated: devices, what computes on them, and what carries numbers between them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::attention::{Heads, grouped_attention};
use crate::cuda::testing::{alone, counts, folder, set, there};
use crate::testing::{noise, ours};

/// So many emulated GPUs, as users have them, that keep everything as `numbers`.
fn gpus(count: usize, numbers: DType) -> Vec<Device> {
    let folder = folder().join("with-nccl");
    counts();
    set(c"DEVICES", count as i64);
    let open = |number| match numbers {
        DType::BF16 => Device::cuda(number, Some(&folder)),
        _ => Device::cuda_in_f32(number, Some(&folder)),
    };
    let devices = (0..count).map(|number| open(number).expect("an emulated GPU")).collect();
    set(c"DEVICES", 1);
    devices
}

#[track_caller]
fn told<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let error = result.expect_err("an error").to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

/// Everything that ranks exchange: attention over heads and back, and all rows of all.
fn attend(team: &Team, devices: &[Device], rows: &[Tensor; 3], heads: Heads) -> Result<Vec<Tensor>> {
    let ranks = team.ranks();
    let on_first: Vec<Tensor> = rows.iter().map(|rows| there(rows, &devices[0])).collect();
    let tokens = on_first[0].dim(0)?;
    team.run(&mut vec![(); ranks], |rank, ()| {
        assert_eq!(rank.device().as_ref(), Some(&devices[rank.number()]));
        let own = rank.share(tokens);
        let own = |x: &Tensor| rank.spread(x)?.narrow(0, own.start, own.len());
        let [q, k, v] = rank.own_heads([&own(&on_first[0])?, &own(&on_first[1])?, &own(&on_first[2])?])?;
        let heads = Heads { queries: heads.queries / ranks, keys: heads.keys / ranks };
        let own = rank.own_tokens(grouped_attention(&q, &[&k], &[&v], heads)?)?;
        rank.gather(own)
    })
}

fn rows(tokens: usize, heads: Heads, dim: usize) -> [Tensor; 3] {
    let rows = |heads: usize, seed| ours(&noise((tokens, heads * dim), seed).expect("numbers"));
    [rows(heads.queries, 1), rows(heads.keys, 2), rows(heads.keys, 3)]
}

#[test]
fn attention_over_gpus_is_attention_of_one_bit_for_bit_for_uneven_tokens_and_grouped_heads() {
    let _alone = alone();
    // The last has the groups of Cosmos3 Nano: 32 heads of queries share 8 of keys.
    for (ranks, tokens, queries, keys, dim) in
        [(2, 7, 4, 4, 6), (3, 10, 6, 3, 8), (4, 9, 4, 4, 18), (4, 5, 4, 4, 4), (4, 33, 32, 8, 16)]
    {
        for numbers in [DType::F32, DType::BF16] {
            let (heads, devices) = (Heads { queries, keys }, gpus(ranks, numbers));
            let rows = rows(tokens, heads, dim);
            let [q, k, v] = rows.each_ref().map(|rows| there(rows, &devices[0]));
            let plain = grouped_attention(&q, &[&k], &[&v], heads).expect("fits").to_f64().expect("numbers");
            let team = Team::of_gpus(&devices).expect("a team");
            assert_eq!(team.ranks(), ranks);
            for (rank, attended) in attend(&team, &devices, &rows, heads).expect("attention").iter().enumerate() {
                assert_eq!(attended.device(), devices[rank]);
                assert_eq!(attended.to_f64().expect("numbers"), plain, "{ranks} GPUs, {tokens} tokens, {numbers}");
            }
        }
    }
}

#[test]
fn ranks_wait_for_no_device_and_a_second_exchange_allocates_nothing() {
    let _alone = alone();
    let (heads, devices) = (Heads { queries: 6, keys: 3 }, gpus(3, DType::F32));
    let rows = rows(10, heads, 8);
    let team = Team::of_gpus(&devices).expect("a team");
    let first = attend(&team, &devices, &rows, heads).expect("attention");
    drop(first);
    let before = counts();
    let second = attend(&team, &devices, &rows, heads).expect("attention");
    let after = counts();
    assert_eq!((after.waits, after.allocations), (before.waits, before.allocations));
    assert!(after.launches > before.launches, "something was asked for");
    drop(second);
    // A rehearsal asks for nothing but memory.
    let fresh = gpus(3, DType::F32);
    let team = Team::of_gpus(&fresh).expect("a team");
    let before = counts();
    team.rehearse(&fresh[0], || attend(&team, &fresh, &rows, heads).map(drop)).expect("memory");
    let rehearsed = counts();
    assert_eq!((rehearsed.launches, rehearsed.copies), (before.launches, before.copies));
    attend(&team, &fresh, &rows, heads).expect("attention");
    assert_eq!(counts().allocations, rehearsed.allocations);
}

#[test]
fn a_gpu_that_fails_ends_the_others_and_says_why_and_the_team_goes_on() {
    let _alone = alone();
    let (heads, devices) = (Heads { queries: 6, keys: 3 }, gpus(3, DType::F32));
    let rows = rows(10, heads, 8);
    let team = Team::of_gpus(&devices).expect("a team");
    let expected = attend(&team, &devices, &rows, heads).expect("attention").remove(0).to_f64().expect("numbers");
    for place in [1, 4, 9] {
        set(c"FAIL_LAUNCH", place);
        told(attend(&team, &devices, &rows, heads), &["launching ", "CUDA_ERROR_LAUNCH_FAILED"]);
        set(c"FAIL_LAUNCH", 0);
    }
    for failing in 0..3 {
        let run = || {
            team.run(&mut [(), (), ()], |rank, ()| -> Result<Tensor> {
                let device = rank.device().expect("a GPU");
                let gathered = rank.gather(Tensor::zeros([2, 6], &device)?)?;
                if rank.number() == failing {
                    panic!("a planted panic");
                }
                rank.gather(gathered)
            })
        };
        catch_unwind(AssertUnwindSafe(run)).expect_err("one panicked");
    }
    let found = attend(&team, &devices, &rows, heads).expect("the team goes on").remove(2);
    assert_eq!(found.to_f64().expect("numbers"), expected);
}

#[test]
fn an_error_of_the_library_is_told_from_then_on_and_nobody_hangs() {
    let _alone = alone();
    let (heads, mut cut) = (Heads { queries: 4, keys: 2 }, 0);
    let rows = rows(5, heads, 8);
    for (fault, words) in
        [(c"NCCL_FAIL", "unhandled system error"), (c"NCCL_ASYNC", "in the background: remote process")]
    {
        let start = counts().bytes;
        let devices = gpus(2, DType::F32);
        let team = Team::of_gpus(&devices).expect("a team");
        set(fault, if cut == 0 { 3 } else { 1 });
        told(attend(&team, &devices, &rows, heads), &["NCCL 2.20.5", words, "start it again"]);
        set(fault, 0);
        told(attend(&team, &devices, &rows, heads), &[words, "cannot draw over several GPUs any more"]);
        // What was queued ends, so that nothing is left behind.
        devices.iter().for_each(|device| device.wait().expect("no work waits for another GPU"));
        drop((team, devices));
        assert_eq!(counts().bytes, start);
        cut += 1;
    }
}

/// The others would wait for it without end.
#[test]
fn a_gpu_that_is_lost_is_told_where_another_is_waited_for() {
    let _alone = alone();
    let (heads, devices) = (Heads { queries: 4, keys: 2 }, gpus(2, DType::F32));
    let team = Team::of_gpus(&devices).expect("a team");
    let attended = attend(&team, &devices, &rows(5, heads, 8), heads).expect("asked for");
    set(c"LOST", 1);
    let words = ["the work of cuda:1: CUDA_ERROR_LAUNCH_FAILED", "start it again"];
    told(attended[0].to_vec::<f32>(), &words);
    set(c"LOST", -1);
    told(attend(&team, &devices, &rows(5, heads, 8), heads), &words);
}

#[test]
fn what_cannot_be_linked_is_refused_by_name() {
    let _alone = alone();
    let devices = gpus(2, DType::F32);
    told(Team::of_gpus(&[]), &["at least one rank"]);
    assert_eq!(Team::of_gpus(&devices[..1]).expect("one alone").ranks(), 1);
    told(Team::of_gpus(&[devices[0].clone(), Device::cpu()]), &["was given cpu"]);
    set(c"NCCL_VERSION", 2708);
    told(Team::of_gpus(&devices), &["libnccl.so.2 is not used", "version 2.7.8", "2.10 or a later 2 is needed"]);
    set(c"NCCL_VERSION", 30001);
    told(Team::of_gpus(&devices), &["version 3.0.1"]);
    set(c"NCCL_VERSION", 22005);
    set(c"NCCL_START", 1);
    told(Team::of_gpus(&devices), &["linking the GPUs", "unhandled cuda error"]);
    set(c"NCCL_START", 0);
    set(c"NCCL_WRONG", 2);
    told(Team::of_gpus(&devices), &["NCCL 2.20.5", "other numbers than were sent"]);
    set(c"NCCL_WRONG", 0);
    drop(devices);
    set(c"DEVICES", 2);
    let without: Vec<_> = (0..2).map(|number| Device::cuda_in_f32(number, Some(folder())).expect("a GPU")).collect();
    told(Team::of_gpus(&without), &["libnccl.so.2 was looked for in", "not found"]);
    set(c"CAPABILITY", 90);
    let newer = Device::cuda_in_f32(1, Some(folder())).expect("a GPU");
    set(c"CAPABILITY", 80);
    set(c"DEVICES", 1);
    told(Team::of_gpus(&[without[0].clone(), newer]), &["of one kind", "cuda:0 is", "sm_80", "cuda:1 is", "sm_90"]);
}
