//! What goes wrong on a device, and what it costs: each fault ends with a sentence, and nothing is left behind.

use super::testing::{Counts, alone, counts, device, device_as_shipped, folder, set, there};
use crate::activation::silu;
use crate::attention::attention;
use crate::norm::rms_norm;
use crate::testing::{Weight, noise, ours};
use crate::{Blocks, DType, Device, Linear, Result, Stored, Tensor};

#[track_caller]
fn told<T>(result: Result<T>, parts: &[&str]) {
    let error = result.err().expect("an error").to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

/// A chunk in small: layers, history, attention. The result is read back.
fn chunk(layer: &Linear, x: &Tensor, history: &mut [Blocks; 2]) -> Result<Vec<f32>> {
    let gamma = Tensor::full(1.0, [x.dim(1)?], &x.device())?;
    let y = rms_norm(&silu(&layer.apply(x)?)?, &gamma, 1e-6)?;
    for (index, block) in history.iter_mut().enumerate() {
        block.write(0, &y.narrow(0, 0, 2)?)?;
        block.write(1, &y.narrow(0, 2, 2)?)?;
        assert!(index < 2);
    }
    let [keys, values] = &*history;
    let seen = attention(&y, &[keys.get(0), keys.get(1)], &[values.get(0), values.get(1)], 2)?;
    (x + seen)?.to_vec()
}

fn parts(gpu: &Device) -> Result<(Linear, Tensor, [Blocks; 2])> {
    let weight = Weight::of(&noise((24, 24), 1).expect("numbers"));
    let layer = Linear::new(&weight.stored(), None, gpu)?;
    let x = Tensor::from_vec(ours(&noise((4, 24), 2).expect("numbers")).to_vec::<f32>()?, [4, 24], gpu)?;
    Ok((layer, x, [Blocks::new(3), Blocks::new(3)]))
}

#[test]
fn a_second_chunk_allocates_nothing_and_waits_only_where_it_is_read() {
    let _alone = alone();
    let gpu = device_as_shipped(DType::BF16);
    let (layer, x, mut history) = parts(&gpu).expect("memory");
    let first = chunk(&layer, &x, &mut history).expect("the first");
    let before = counts();
    let second = chunk(&layer, &x, &mut history).expect("the second");
    let after = counts();
    assert_eq!(first, second, "the same numbers, whatever memory they lie in");
    assert_eq!(after.allocations, before.allocations);
    assert_eq!(after.waits - before.waits, 1, "the result is waited for, and nothing else");
    assert!(after.launches > before.launches);
}

#[test]
fn rehearsed_work_computes_nothing_and_allocates_nothing_in_earnest() {
    let _alone = alone();
    let gpu = device_as_shipped(DType::BF16);
    let (layer, x, _) = parts(&gpu).expect("memory");
    let fresh = || [Blocks::new(3), Blocks::new(3)];
    let before = counts();
    let mut read = Vec::new();
    gpu.rehearse(|| chunk(&layer, &x, &mut fresh()).map(|found| read = found)).expect("memory");
    let rehearsed = counts();
    assert_eq!((rehearsed.launches, rehearsed.copies), (before.launches, before.copies));
    assert!(rehearsed.allocations > before.allocations && read == [0.0; 4 * 24]);
    let found = chunk(&layer, &x, &mut fresh()).expect("in earnest");
    let after = counts();
    assert_eq!((after.allocations, after.host_allocations), (rehearsed.allocations, rehearsed.host_allocations));
    assert!(after.launches > rehearsed.launches && found.iter().all(|number| number.is_finite() && *number != 0.0));
    set(c"FAIL_COUNT", 2);
    set(c"FAIL_ALLOCATION", 1);
    told(gpu.rehearse(|| Tensor::zeros([1 << 16], &gpu).map(drop)), &["out of memory"]);
    silu(&x).expect("a device computes again").to_vec::<f32>().expect("f32");
}

#[test]
fn an_allocation_that_fails_anywhere_is_an_error_that_leaves_nothing_behind() {
    let _alone = alone();
    let start = counts().bytes;
    let mut failures = 0;
    for place in 1.. {
        let gpu = device(DType::BF16);
        set(c"FAIL_COUNT", 2);
        set(c"FAIL_ALLOCATION", place);
        let result = parts(&gpu).and_then(|(layer, x, mut history)| chunk(&layer, &x, &mut history));
        set(c"FAIL_ALLOCATION", 0);
        let held = gpu.held_bytes();
        drop(gpu);
        assert_eq!((held, counts().bytes), (Some(0), start), "everything is given back");
        match result {
            Ok(_) => break,
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("cuda:0 is out of memory") && error.contains("are free"), "{error}");
            }
        }
        failures += 1;
    }
    assert!(failures > 10, "{failures} allocations failed, one after the other");
}

#[test]
fn memory_that_is_kept_for_later_is_given_up_before_an_allocation_fails() {
    let _alone = alone();
    let gpu = device_as_shipped(DType::F32);
    set(c"MEMORY", (counts().bytes + (1 << 20)) as i64);
    let large = |bytes: usize| Tensor::zeros([bytes / 4], &gpu);
    drop(large(600 << 10).expect("there is room"));
    let other = large(700 << 10).expect("what was kept is given back");
    told(large(512 << 10), &["cuda:0 is out of memory: 524288 bytes were asked for", "are free"]);
    drop(other);
    set(c"MEMORY", 8 << 30);
    large(512 << 10).expect("an error of memory passes");
}

#[test]
fn a_launch_that_fails_names_its_kernel() {
    let _alone = alone();
    let gpu = device(DType::F32);
    let x = Tensor::zeros([3, 4], &gpu).expect("memory");
    set(c"FAIL_LAUNCH", 1);
    told(silu(&x), &["launching activation_f32", "CUDA_ERROR_LAUNCH_FAILED"]);
    silu(&x).expect("the next one runs");
}

#[test]
fn work_that_failed_is_told_where_it_is_waited_for() {
    let _alone = alone();
    let gpu = device(DType::F32);
    let x = Tensor::zeros([3, 4], &gpu).expect("memory");
    set(c"FAIL_WAIT", 1);
    told(silu(&x).expect("queued").to_vec::<f32>(), &["waiting for the device", "CUDA_ERROR_LAUNCH_FAILED"]);
    assert_eq!(silu(&x).expect("queued").to_vec::<f32>(), Ok(vec![0.0; 12]));
}

#[test]
fn a_driver_that_refuses_the_kernels_or_main_memory_is_told() {
    let _alone = alone();
    let start = counts();
    set(c"FAIL_MODULE", 3);
    let refused = Device::cuda(0, Some(folder()));
    told(refused, &["compiling the kernels of elementwise for this device", "CUDA_ERROR_INVALID_IMAGE"]);
    let gpu = device(DType::F32);
    let x = Tensor::zeros([3, 4], &gpu).expect("memory");
    set(c"FAIL_HOST_ALLOCATION", 1);
    told(x.to_vec::<f32>(), &["pinning 4096 bytes of main memory", "CUDA_ERROR_OUT_OF_MEMORY"]);
    assert_eq!(x.to_vec::<f32>(), Ok(vec![0.0; 12]));
    drop((x, gpu));
    assert_eq!(counts().bytes, start.bytes);
}

#[test]
fn a_machine_that_cannot_compute_says_what_it_lacks() {
    let _alone = alone();
    let open = |number: usize| Device::cuda(number, Some(folder()));
    open(0).expect("the emulated device");
    told(open(1), &["there is no device cuda:1", "the NVIDIA driver sees 1"]);
    set(c"DRIVER", 11070);
    told(open(0), &["the NVIDIA driver knows CUDA 11.7", "CUDA 11.8 or later is needed"]);
    set(c"DRIVER", 11080);
    assert_eq!(Device::cuda_count(Some(folder())), Ok(1));
    set(c"CAPABILITY", 75);
    told(open(0), &["is sm_75", "needs sm_80"]);
    set(c"CAPABILITY", 120);
    assert_eq!(open(0).expect("a newer one").arithmetic(), "bf16 on sm_120");
    set(c"CAPABILITY", 80);
    set(c"DEVICES", 0);
    assert_eq!(Device::cuda_count(Some(folder())), Ok(0));
    told(open(0), &["there is no device cuda:0", "the NVIDIA driver sees 0"]);
    set(c"DEVICES", 1);
}

#[test]
fn tensors_of_two_devices_do_not_meet() {
    let _alone = alone();
    let gpu = device(DType::F32);
    let (here, far) =
        (Tensor::zeros([2, 4], &Device::cpu()).expect("zeros"), Tensor::zeros([2, 4], &gpu).expect("zeros"));
    told(&here + &far, &["adding", "one tensor lies on cpu, another on cuda:0"]);
    told(attention(&far, &[&here], &[&far], 1), &["attention", "cuda:0", "cpu"]);
    told(Tensor::cat(&[&far, &here], 0), &["joining", "cuda:0", "cpu"]);
    let weight = Weight::new(&[0.0; 8], &[2, 4]);
    let layer = Linear::new(&weight.stored(), None, &gpu).expect("a layer");
    told(layer.apply(&here), &["a dense layer on cuda:0 was given a tensor on cpu"]);
    told(Tensor::from_vec(vec![1u32, 2], [2], &gpu), &["made of f32, not of U32"]);
}

/// Larger than both halves of the staging memory, into memory that queued work still reads.
#[test]
fn a_large_weight_arrives_whole_and_after_what_was_there_is_read() {
    let _alone = alone();
    let gpu = device_as_shipped(DType::F32);
    let (rows, width) = (2500, 4096);
    let old = there(&Tensor::full(1.0, [rows, width], &Device::cpu()).expect("ones"), &gpu);
    gpu.as_cuda().expect("there").wait().expect("done");
    let sum = (&old + &old).expect("queued");
    let allocations = counts().allocations;
    drop(old);
    let numbers: Vec<f32> = (0..rows * width).map(|i| (i % 8191) as f32).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let stored = Stored::new("weight", DType::F32, &[rows, width], &bytes).expect("a weight");
    let layer = Linear::new(&stored, None, &gpu).expect("a layer");
    assert_eq!(counts().allocations, allocations, "it lies where the old one lay");
    let one =
        Tensor::from_vec((0..width).map(|i| f32::from(u8::from(i == 7))).collect(), [1, width], &gpu).expect("a row");
    let found = layer.apply(&one).expect("a product").to_vec::<f32>().expect("f32");
    assert!(found.iter().enumerate().all(|(row, found)| *found == numbers[row * width + 7]));
    assert!(sum.to_vec::<f32>().expect("f32").iter().all(|&sum| sum == 2.0), "the old numbers were read first");
}

#[test]
fn a_damaged_weight_is_told_by_its_name() {
    let _alone = alone();
    let gpu = device(DType::BF16);
    let mut numbers = vec![0.5f32; 3000];
    numbers[1234] = f32::NAN;
    let weight = Weight::new(&numbers, &[3, 1000]);
    told(Linear::new(&weight.stored(), None, &gpu), &["weight holds NaN at place 1234 of 3000"]);
}

#[test]
fn a_device_that_is_dropped_gives_everything_back() {
    let _alone = alone();
    let before: Counts = counts();
    let gpu = device_as_shipped(DType::BF16);
    let (layer, x, mut history) = parts(&gpu).expect("memory");
    chunk(&layer, &x, &mut history).expect("a chunk");
    drop((layer, x, history, gpu));
    let after = counts();
    assert_eq!(after.bytes, before.bytes);
    assert_eq!(after.allocations - before.allocations, after.frees - before.frees);
}
