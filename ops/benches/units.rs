//! What products, convolutions and attention reach of the peak of the unit that computes them, on this processor.
//!
//!     cargo bench -p ops --bench units -- [THREADS] [WORD...]
//!
//! Each round measures the peak of a unit and then the operation, both so briefly that most rounds are not interrupted. A line
//! tells the best rate of each, and their ratio: what else runs on a machine makes rounds slower, and none faster. Where words
//! are given, only lines that hold one of them.

use std::time::Instant;

use ops::probe::{Convolution, Probe, Work};
use ops::{Compute, Result};

/// Rounds of a line, and how long each side of one takes at least, in seconds.
const ROUNDS: usize = 60;
const SIDE_S: f64 = 0.0005;
/// A slow line takes so long in all, in seconds.
const LINE_S: f64 = 1.5;

/// Rows, inputs and outputs: the pocket world's layers, those of the 1.3 B shape, and some of Cosmos3.
const LINEAR: [[usize; 3]; 9] = [
    [24, 192, 192],
    [24, 192, 512],
    [24, 512, 192],
    [96, 384, 1536],
    [96, 1536, 1536],
    [256, 192, 192],
    [256, 1536, 1536],
    [1024, 1536, 8960],
    [1024, 8960, 1536],
];

/// Queries, keys, keys of a block; heads, and their width: the pocket world's, its text, and the 1.3 B shape's.
const ATTENTION: [([usize; 3], [usize; 2]); 3] =
    [([24, 216, 24], [4, 48]), ([96, 1152, 96], [4, 48]), ([1560, 28_080, 1560], [12, 128])];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (threads, words) = match words.split_first().map(|(first, rest)| (first.parse::<usize>(), rest)) {
        Some((Ok(threads), rest)) => (threads, rest.to_vec()),
        _ => (1, words.clone()),
    };
    ops::threads::set_count(threads).expect("asked for once");
    let mut peaks = ops::peak::units();
    for peak in &mut peaks {
        println!("{:60} {:8.1} Gop/s", peak.name().to_owned(), rate(peak, 40));
    }
    for (name, make) in cases() {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let mut probe = make().expect("a shape that is right");
        let of_type = peaks.iter().position(|peak| peak.compute() == probe.compute()).unwrap_or(0);
        let mut best = [0.0, 0.0, 0.0];
        let rounds = ((LINE_S / seconds_once(&mut probe)) as usize).clamp(3, ROUNDS);
        for _ in 0..rounds {
            let found = [rate(&mut probe, 1), rate(&mut peaks[of_type], 1), rate(&mut peaks[0], 1)];
            best.iter_mut().zip(found).for_each(|(best, found)| *best = f64::max(*best, found));
        }
        let [found, peak, f32_peak] = best;
        let (share, of_f32) = (found / peak, found / f32_peak);
        println!("{:60} {found:8.1} Gop/s  {share:5.2} of its peak  {of_f32:5.2} of f32's", probe.name().to_owned());
    }
}

/// A name to choose a line by, and what makes its probe: a large one takes a while.
type Case = (String, Box<dyn FnOnce() -> Result<Probe>>);

fn cases() -> Vec<Case> {
    let narrow = [Compute::F32, Compute::Bf16];
    let case = |name: String, make: Box<dyn FnOnce() -> Result<Probe>>| (name, make);
    let mut cases: Vec<Case> = Vec::new();
    for shape in LINEAR {
        let of_type =
            |compute| case(format!("linear {shape:?} {compute}"), Box::new(move || Probe::linear(shape, compute)));
        cases.extend(Compute::ALL.map(of_type));
    }
    for shape in convolutions() {
        let name = format!("convolution {}x{}", shape.width, shape.height);
        let of_type = |compute| case(format!("{name} {compute}"), Box::new(move || Probe::convolution(shape, compute)));
        cases.extend(narrow.map(of_type));
    }
    for (rows, heads) in ATTENTION {
        let name = format!("attention {rows:?} {heads:?}");
        let of_type =
            |compute| case(format!("{name} {compute}"), Box::new(move || Probe::attention(rows, heads, compute)));
        cases.extend(narrow.map(of_type));
    }
    cases
}

/// Of the pocket world's decoder, and of Wan's at 832x480.
fn convolutions() -> impl Iterator<Item = Convolution> {
    let shapes = [
        (8, 12, 96, 96, 3, 3),
        (32, 48, 48, 48, 3, 3),
        (64, 96, 24, 24, 3, 3),
        (64, 96, 24, 3, 3, 3),
        (60, 104, 384, 384, 3, 3),
        (240, 416, 192, 192, 3, 3),
        (64, 96, 48, 24, 1, 1),
    ];
    let shape =
        |(height, width, inputs, outputs, frames, side)| Convolution { height, width, inputs, outputs, frames, side };
    shapes.into_iter().map(shape)
}

/// Operations in a nanosecond, the best of `rounds`.
fn rate(probe: &mut Probe, rounds: usize) -> f64 {
    let Work::Operations(operations) = probe.work() else { unreachable!("all of them multiply") };
    let once = seconds_once(probe);
    let times = (SIDE_S / once).ceil().max(1.0) as usize;
    let rates = (0..rounds).map(|_| {
        let began = Instant::now();
        probe.run(times).expect("it ran once");
        operations * times as f64 / began.elapsed().as_secs_f64() / 1e9
    });
    rates.fold(0.0, f64::max)
}

/// Seconds of one run.
fn seconds_once(probe: &mut Probe) -> f64 {
    let began = Instant::now();
    probe.run(1).expect("a shape that is right");
    began.elapsed().as_secs_f64()
}
