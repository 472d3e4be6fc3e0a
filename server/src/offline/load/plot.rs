//! Plots of a load run as SVG that stands in a page: shapes and words, whose colours the page's style gives.

use std::fmt::Write;

use super::measures::Chunk;
use super::report::Measure;

/// Of the whole picture, in SVG's units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;

/// The timeline stands alone in its row.
const WIDE: f64 = 1320.0;

/// Room for words beside the axes.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// One axis: from where to where it goes, and where a value lies on it.
struct Axis {
    from: f64,
    to: f64,
    /// In the picture.
    places: [f64; 2],
}

impl Axis {
    fn across(from: f64, to: f64) -> Axis {
        Axis::new(from, to, [LEFT, WIDTH - RIGHT])
    }

    fn far_across(from: f64, to: f64) -> Axis {
        Axis::new(from, to, [LEFT, WIDE - RIGHT])
    }

    fn up(from: f64, to: f64, height: f64) -> Axis {
        Axis::new(from, to, [height - BOTTOM, TOP])
    }

    fn new(from: f64, to: f64, places: [f64; 2]) -> Axis {
        // An axis without length has no places on it.
        Axis { from, to: if to > from { to } else { from + 1.0 }, places }
    }

    fn place(&self, value: f64) -> f64 {
        let [first, last] = self.places;
        first + (last - first) * (value - self.from) / (self.to - self.from)
    }

    /// About five round numbers between its ends.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|of| of * power).find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step * 1.000_001).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }

    /// Where its round numbers lie, with their names.
    fn marks(&self) -> Vec<(f64, String)> {
        self.ticks().into_iter().map(|tick| (self.place(tick), short(tick))).collect()
    }

    /// Of these alone that are whole: what is counted has no halves.
    fn whole_marks(&self) -> Vec<(f64, String)> {
        let whole = self.ticks().into_iter().filter(|tick| tick.fract() == 0.0);
        whole.map(|tick| (self.place(tick), short(tick))).collect()
    }
}

/// A number as short as it can be understood.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The lines and words around what is shown.
struct Frame<'a> {
    /// Read to those who do not see it.
    title: &'a str,
    width: f64,
    height: f64,
    /// What is told across, and up.
    names: [&'a str; 2],
    across: Vec<(f64, String)>,
    up: Vec<(f64, String)>,
}

impl Frame<'_> {
    /// An SVG that is begun.
    fn begin(self) -> String {
        let Frame { title, width, height, names: [across, up], across: right, up: left } = self;
        let (bottom, end, middle) = (height - BOTTOM, width - RIGHT, (LEFT + width - RIGHT) / 2.0);
        let mut svg = format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">"#);
        for (place, label) in left {
            let _ = write!(svg, r#"<path class="grid" d="M{LEFT} {place:.1}H{end}"/>"#);
            let _ = write!(svg, r#"<text x="{:.1}" y="{:.1}" class="end">{label}</text>"#, LEFT - 6.0, place + 4.0);
        }
        for (place, label) in right {
            let _ = write!(svg, r#"<path class="grid" d="M{place:.1} {TOP}V{bottom}"/>"#);
            let _ = write!(svg, r#"<text x="{place:.1}" y="{:.1}" class="middle">{label}</text>"#, bottom + 15.0);
        }
        let _ = write!(svg, r#"<text x="{middle}" y="{:.1}" class="middle name">{across}</text>"#, height - 6.0);
        let upright = (TOP + bottom) / 2.0;
        let turned = format!("rotate(-90 12 {upright})");
        let _ = write!(svg, r#"<text x="12" y="{upright}" class="middle name" transform="{turned}">{up}</text>"#);
        svg
    }
}

/// How often each time came, with the median and the 95th and 99th percentile.
pub(super) fn histogram(measure: &Measure) -> String {
    let Measure { name, bins, bins_from_ms, bin_ms, p50_ms, p95_ms, p99_ms, .. } = measure;
    let x = Axis::across(*bins_from_ms, bins_from_ms + bin_ms * bins.len() as f64);
    let most = bins.iter().max().copied().unwrap_or_default();
    let y = Axis::up(0.0, f64::from(most), HEIGHT);
    let title = format!("histogram of {name}");
    let (across, up) = (x.marks(), y.whole_marks());
    let frame = Frame { title: &title, width: WIDTH, height: HEIGHT, names: ["ms", "count"], across, up };
    let mut svg = frame.begin();
    for (index, &count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let left = x.place(bins_from_ms + bin_ms * index as f64);
        let right = x.place(bins_from_ms + bin_ms * (index + 1) as f64);
        let (top, bottom) = (y.place(f64::from(count)), y.place(0.0));
        let (width, height) = ((right - left - 1.0).max(0.5), bottom - top);
        let _ = write!(svg, r#"<rect class="bar" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}">"#);
        let _ = write!(svg, "<title>{count} from {:.2} ms</title></rect>", bins_from_ms + bin_ms * index as f64);
    }
    // Words that would lie on each other stand side by side.
    let mut words: Vec<(f64, String)> = Vec::new();
    for (word, value) in [("p50", p50_ms), ("p95", p95_ms), ("p99", p99_ms)] {
        let place = x.place(value.min(x.to));
        let _ = write!(svg, r#"<path class="mark {word}" d="M{place:.1} {TOP}V{:.1}"/>"#, HEIGHT - BOTTOM);
        match words.last_mut() {
            Some((last, words)) if place - *last < 28.0 => *words += &format!(" {word}"),
            _ => words.push((place, word.to_owned())),
        }
    }
    for (place, words) in words {
        // Three words reach 40 to each side.
        let place = place.min(WIDTH - RIGHT - 14.0 * (words.len() as f64 / 4.0).round());
        let _ = write!(svg, r#"<text x="{place:.1}" y="{:.1}" class="middle mark-word">{words}</text>"#, TOP - 3.0);
    }
    svg + "</svg>"
}

/// One row a client: each chunk from its first message to its last.
pub(super) fn timeline(clients: &[Vec<Chunk>]) -> String {
    const ROW: f64 = 14.0;
    let height = TOP + BOTTOM + ROW * clients.len() as f64;
    let chunks = || clients.iter().flatten();
    let from = chunks().map(|chunk| chunk.first_ms).fold(f64::INFINITY, f64::min).min(1e12);
    let to = chunks().map(|chunk| chunk.last_ms).fold(from, f64::max);
    let x = Axis::far_across(from / 1000.0, to / 1000.0);
    let names = ["seconds of the round", "client"];
    let frame = Frame { title: "timeline of chunks", width: WIDE, height, names, across: x.marks(), up: Vec::new() };
    let mut svg = frame.begin();
    for (row, chunks) in clients.iter().enumerate() {
        let top = TOP + ROW * row as f64 + 2.0;
        let _ = write!(svg, r#"<text x="{:.1}" y="{:.1}" class="end">{row}</text>"#, LEFT - 6.0, top + 9.0);
        for Chunk { first_ms, last_ms, is_late } in chunks {
            let (left, right) = (x.place(first_ms / 1000.0), x.place(last_ms / 1000.0));
            let (class, width) = (if *is_late { "late" } else { "bar" }, (right - left).max(1.5));
            let _ = write!(svg, r#"<rect class="{class}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="10"/>"#);
        }
    }
    svg + "</svg>"
}

/// Points joined by a line; `names` of what is across, and up.
pub(super) fn curve(title: &str, points: &[(f64, f64)], names: [&str; 2], up: [f64; 2]) -> String {
    let largest = points.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    let (x, y) = (Axis::across(0.0, largest * 1.04), Axis::up(up[0], up[1], HEIGHT));
    let frame = Frame { title, width: WIDTH, height: HEIGHT, names, across: x.whole_marks(), up: y.marks() };
    let places: Vec<_> = points.iter().map(|point| x.place(point.0)).collect();
    plot(frame, points, &places, &y)
}

/// The same with an axis across on which each tenfold is as long, with a mark at each point; up from 0.
pub(super) fn curve_of_magnitudes(title: &str, points: &[(f64, f64)], names: [&str; 2], up_to: f64) -> String {
    let log = |x: f64| x.max(1.0).log10();
    let logs = || points.iter().map(|(x, _)| log(*x));
    let (from, to) = (logs().fold(f64::INFINITY, f64::min), logs().fold(0.0, f64::max));
    let (x, y) = (Axis::across(from.min(to) - 0.1, to + 0.1), Axis::up(0.0, up_to, HEIGHT));
    let places: Vec<_> = points.iter().map(|point| x.place(log(point.0))).collect();
    let across = places.iter().zip(points).map(|(place, point)| (*place, short(point.0))).collect();
    let frame = Frame { title, width: WIDTH, height: HEIGHT, names, across, up: y.whole_marks() };
    plot(frame, points, &places, &y)
}

/// `places`: of the points, across.
fn plot(frame: Frame<'_>, points: &[(f64, f64)], places: &[f64], y: &Axis) -> String {
    let mut svg = frame.begin();
    let tops: Vec<_> = points.iter().map(|(_, up)| y.place(up.clamp(y.from, y.to))).collect();
    let line: Vec<_> = places.iter().zip(&tops).map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let _ = write!(svg, r#"<path class="line" d="M{}"/>"#, line.join("L"));
    for ((left, top), (across, up)) in places.iter().zip(&tops).zip(points) {
        let (across, up) = (short(*across), short(*up));
        let _ = write!(svg, r#"<circle class="point" cx="{left:.1}" cy="{top:.1}" r="4">"#);
        let _ = write!(svg, "<title>{across}: {up}</title></circle>");
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_numbers_and_is_never_without_length() {
        let check = |from: f64, to: f64, expected: &[f64]| assert_eq!(Axis::across(from, to).ticks(), expected);
        check(0.0, 100.0, &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        check(3.0, 17.0, &[5.0, 10.0, 15.0]);
        check(5.0, 5.0, &[5.0, 5.2, 5.4, 5.6000000000000005, 5.800000000000001, 6.0]);
        let axis = Axis::across(0.0, 10.0);
        assert_eq!((axis.place(0.0), axis.place(10.0)), (LEFT, WIDTH - RIGHT));
        assert_eq!(
            (short(0.5), short(100.0), short(-0.0), short(1.0 / 3.0)),
            ("0.5".into(), "100".into(), "0".into(), "0.333".into())
        );
    }

    #[test]
    fn a_plot_has_a_shape_for_each_thing_that_was_measured() {
        let measure = Measure::of("x", vec![1.0, 2.0, 2.0, 9.0]).expect("samples");
        assert_eq!(histogram(&measure).matches("<rect").count(), 3);
        let chunk = |at: f64, is_late| Chunk { first_ms: at, last_ms: at + 5.0, is_late };
        let drawn = timeline(&[vec![chunk(0.0, false), chunk(50.0, true)], vec![]]);
        assert_eq!((drawn.matches("class=\"bar\"").count(), drawn.matches("class=\"late\"").count()), (1, 1));
        for svg in [
            curve("x", &[(1.0, 99.0), (2.0, 50.0)], ["a", "b"], [0.0, 100.0]),
            curve_of_magnitudes("x", &[(10.0, 1.0), (1000.0, 4.0)], ["a", "b"], 4.0),
        ] {
            assert_eq!(svg.matches("<circle").count(), 2);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(!timeline(&[]).contains("NaN") && !timeline(&[]).contains("inf"), "{}", timeline(&[]));
    }
}
