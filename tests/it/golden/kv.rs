//! Which latent frames the reference's cache holds and shows, chunk by chunk.

use std::collections::BTreeSet;
use std::path::Path;

use kvcache::Window;
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    chunk: usize,
    global_end: usize,
    local_end: usize,
    visible: Vec<usize>,
    buffer: Vec<usize>,
}

#[test]
fn every_recorded_trace_is_reproduced() {
    super::for_each_folder("lingbot", |dir| check_traces(&dir.join("kv_traces.json")));
}

fn check_traces(path: &Path) {
    let text = std::fs::read_to_string(path).expect("traces");
    let traces: std::collections::BTreeMap<String, Vec<Row>> = serde_json::from_str(&text).expect("traces");
    for (name, rows) in traces {
        // `size18_sink9_chunk3_recent12`; a growing cache's size is what it grew to.
        let field = |key: &str| name.split('_').find_map(|part| part.strip_prefix(key)?.parse::<usize>().ok());
        let chunk = rows[0].global_end;
        let total = field("size").unwrap_or_else(|| rows.iter().map(|row| row.buffer.len()).max().expect("rows"));
        let mut window =
            Window::new(total, field("sink").unwrap_or(0), field("chunk").unwrap_or(chunk)).expect("possible");
        for row in &rows {
            while window.current().start < row.chunk * chunk {
                window.advance();
            }
            assert_eq!(window.current().end, row.global_end, "{name}, chunk {}", row.chunk);
            assert_eq!(window.visible(field("recent")).collect::<Vec<_>>(), row.visible, "{name}, chunk {}", row.chunk);
            // Ours is another order of the same frames, each in a slot of its own.
            let kept: Vec<_> = window.visible(None).collect();
            assert_eq!(kept, row.buffer[..row.local_end], "{name}, chunk {}", row.chunk);
            let slots: BTreeSet<_> = kept.iter().map(|&frame| window.slot(frame)).collect();
            assert_eq!(slots, (0..row.local_end).collect(), "{name}, chunk {}", row.chunk);
        }
        println!("{name}: {} rows", rows.len());
    }
}
