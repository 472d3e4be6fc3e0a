//! A load run as one page: nothing is fetched, and it is readable in the dark.

use std::fmt::Write;

use super::plot;
use super::report::{Deadline, Measure, Report, Round};

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fff; --ink: #1d2330; --dim: #667; --grid: #e3e6ec; --bar: #3566c8;
  --late: #c8352f; --mark: #b06a00; --box: #f5f7fa; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171e; --ink: #e6e9f0; --dim: #9aa3b5; --grid: #2a303c; --bar: #7aa5ff; --late: #ff7a70;
    --mark: #ffb955; --box: #1c212b; } }
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 1360px;
  margin: 0 auto; padding: 24px; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; } h3 { font-size: 15px; margin: 0; }
p { margin: 4px 0; } .dim { color: var(--dim); }
table { border-collapse: collapse; margin-top: 16px; font-variant-numeric: tabular-nums; }
td, th { padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid var(--grid); font-weight: normal; }
th { color: var(--dim); } td:first-child, th:first-child, td.dim { text-align: left; }
.wide { overflow-x: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; }
figure { margin: 0; background: var(--box); border-radius: 8px; padding: 12px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
.middle { text-anchor: middle; } .end { text-anchor: end; } svg .mark-word { fill: var(--mark); font-size: 10px; }
.grid { stroke: var(--grid); fill: none; } .bar { fill: var(--bar); } .late { fill: var(--late); }
.line { stroke: var(--bar); stroke-width: 2; fill: none; } .point { fill: var(--bar); }
.mark { stroke: var(--mark); stroke-dasharray: 3 3; fill: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
";

/// What each time is, for those who read the page alone.
const MEANINGS: [(&str, &str); 6] = [
    ("first frame", "from the first message of a session to its first frames"),
    ("chunk interval", "between the ends of neighbouring chunks"),
    ("chunk jitter", "how much an interval differs from what it should be"),
    ("chunk latency", "as the server says: from preparing a chunk to its last byte, without its pacing"),
    ("chunk delivery", "from a chunk's first message to its last"),
    ("action to frame", "from an action to the first frames whose header says that they show it"),
];

/// The page.
pub fn page(report: &Report) -> String {
    let mut html = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    let _ = write!(html, "<title>Load on {}</title>\n<style>{STYLE}</style></head><body>\n", escape(&report.plan.url));
    head(&mut html, report);
    if report.plan.ramp.is_some() {
        ramp(&mut html, report);
    }
    if let Some(round) = report.knee() {
        one(&mut html, round);
    }
    html += "</body></html>\n";
    html
}

fn head(html: &mut String, report: &Report) {
    let Report { program, began, machine, busy_threads, plan, .. } = report;
    let [before, after] =
        busy_threads.map(|threads| threads.map_or("unknown".to_owned(), |threads| threads.to_string()));
    let _ = write!(html, "<h1>Load on {}</h1>\n<dl>", escape(&plan.url));
    let rows = [
        ("when", began.clone()),
        ("asked for", plan.to_string()),
        ("a frame has in hand", format!("{} ms; a round holds with {} % on time", plan.buffer_ms, plan.share)),
        ("clients on", machine.to_string()),
        ("busy threads there", format!("{before} before, {after} after")),
        ("program", program.clone()),
    ];
    for (name, value) in rows {
        let _ = write!(html, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    *html += "</dl>\n";
}

fn ramp(html: &mut String, report: &Report) {
    let plan = &report.plan;
    let held = report.held_at(plan.buffer_ms);
    let _ = write!(
        html,
        "<h2>Clients that hold at a deadline of {} ms: {held}</h2>\n<div class=\"plots\">",
        plan.buffer_ms
    );
    let at_deadline: Vec<(f64, f64)> =
        plan.buffers_ms().into_iter().map(|ms| (f64::from(ms), report.held_at(ms) as f64)).collect();
    let most = report.rounds.iter().map(|round| round.clients).max().unwrap_or(1) as f64;
    let curve = plot::curve_of_magnitudes(
        "sessions held at a deadline",
        &at_deadline,
        ["deadline: milliseconds in hand", "sessions held"],
        most,
    );
    figure(html, "Sessions held at a deadline", "the largest round that was played and held", &curve);
    let mut on_time: Vec<(f64, f64)> =
        report.rounds.iter().map(|round| (round.clients as f64, own(report, round))).collect();
    on_time.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let lowest = on_time.iter().map(|(_, share)| *share).fold(99.0, f64::min);
    let curve = plot::curve("frames on time", &on_time, ["clients", "% on time"], [(lowest - 1.0).max(0.0), 100.0]);
    figure(html, "Frames on time", "at the deadline that was asked for", &curve);
    *html += "</div>\n<div class=\"wide\"><table><tr><th>clients<th>on time<th>holds<th>frames<th>first frame p95<th>\
              interval p95<th>action p95<th>ended early</tr>\n";
    for round in &report.rounds {
        let p95 = |name| round.measure(name).map_or("".to_owned(), |measure| format!("{:.1} ms", measure.p95_ms));
        let _ = writeln!(
            html,
            "<tr><td>{}<td>{:.3} %<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            round.clients,
            own(report, round),
            if round.holds { "yes" } else { "no" },
            round.frames,
            p95("first frame"),
            p95("chunk interval"),
            p95("action to frame"),
            round.failures.values().sum::<usize>(),
        );
    }
    *html += "</table></div>\n";
}

/// Frames on time at the plan's own deadline.
fn own(report: &Report, round: &Round) -> f64 {
    let deadline = round.deadlines.iter().find(|deadline| deadline.buffer_ms == report.plan.buffer_ms);
    deadline.map_or(0.0, |deadline| deadline.on_time)
}

fn one(html: &mut String, round: &Round) {
    let Round { clients, chunks, frames, bytes, took_ms, .. } = round;
    let (seconds, of) = (took_ms / 1000.0, |count: f64| count / (took_ms / 1000.0).max(f64::MIN_POSITIVE));
    let _ = write!(html, "<h2>Clients: {clients}</h2>\n<p>{chunks} chunks, {frames} frames in {seconds:.1} s: ");
    let _ = writeln!(html, "{:.1} frames/s and {:.2} MB/s in all.</p>", of(*frames as f64), of(*bytes as f64) / 1e6);
    for (reason, count) in &round.failures {
        let _ = writeln!(html, "<p>Clients that ended early: {count} of {clients}: {}</p>", escape(reason));
    }
    if round.unanswered > 0 {
        let _ = writeln!(html, "<p>Actions that no frame answered: {}</p>", round.unanswered);
    }
    *html += "<div class=\"wide\"><table><tr><th>time<th>count<th>p50<th>p95<th>p99<th>worst<th></tr>\n";
    for Measure { name, count, p50_ms, p95_ms, p99_ms, max_ms, .. } in &round.measures {
        let _ = write!(html, "<tr><td>{name}<td>{count}<td>{p50_ms:.1} ms<td>{p95_ms:.1} ms<td>{p99_ms:.1} ms");
        let _ = writeln!(html, "<td>{max_ms:.1} ms<td class=\"dim\">{}</tr>", meaning(name));
    }
    *html += "</table></div>\n<h2>Deadlines</h2>\n<div class=\"wide\"><table><tr><th>in hand<th>on time<th>underruns\
              <th>waited</tr>\n";
    for Deadline { buffer_ms, on_time, underruns, waited_ms } in &round.deadlines {
        let _ = write!(html, "<tr><td>{buffer_ms} ms<td>{on_time:.3} %<td>{underruns}<td>{waited_ms:.0} ms</tr>");
    }
    *html += "</table></div>\n<h2>Chunks as they came</h2>\n";
    let shown = "each bar from a chunk's first message to its last; red: a player had to wait for it";
    figure(html, "Timeline", shown, &plot::timeline(&round.timeline));
    *html += "<h2>Histograms</h2>\n<div class=\"plots\">";
    for measure in &round.measures {
        figure(html, &measure.name, meaning(&measure.name), &plot::histogram(measure));
    }
    *html += "</div>\n";
}

fn meaning(name: &str) -> &'static str {
    MEANINGS.iter().find(|(known, _)| *known == name).map_or("", |(_, meaning)| meaning)
}

fn figure(html: &mut String, title: &str, caption: &str, svg: &str) {
    let _ = writeln!(html, "<figure><h3>{title}</h3><p class=\"dim\">{caption}</p>{svg}</figure>");
}

/// What somebody typed, and what a server said, is text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
