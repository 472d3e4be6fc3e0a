//! The server is a house with floors: no module imports one above it, and no two import each other.
//!
//! The graph is read from the paths in the sources (`use crate::…`, `super::…`, and paths in the code), without unit
//! tests: a test may look up. A module is a file; `mod.rs` is its folder.

use std::collections::{BTreeMap, BTreeSet};

use super::{none, sources};

/// From the ground up. A module belongs to the longest name here that its own begins with. It may import from the lines
/// below and from its own name, not from others on its line.
const FLOORS: [&[&str]; 18] = [
    &["browser", "phase", "pocket", "post", "rate", "recordings", "say", "scratch", "service", "whole_file"],
    &["observe"],
    &["media"],
    &["access::rules", "admission::rules", "fetch::rules", "guardrails::rules"],
    &["access", "admission", "fetch", "guardrails", "moving"],
    &["cluster::rules"],
    &["cluster"],
    &["engine::turns"],
    &["engine"],
    &["realtime::wire"],
    &["realtime::document"],
    &["realtime::session"],
    &["realtime::link"],
    &["offline"],
    &["openai::request"],
    &["openai"],
    &["config"],
    &["http"],
];

/// The modules that each module imports, by their names without `crate::`; the name of `lib.rs` is empty.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// `server/src/realtime/wire/mod.rs` is `realtime::wire`.
fn name_of(path: &str) -> String {
    let inside = path.trim_end_matches(".rs").trim_end_matches("lib");
    inside.strip_suffix("/mod").unwrap_or(inside).replace('/', "::")
}

/// Files by their path below `src`, and their text without unit tests.
fn graph(files: &[(&str, &str)]) -> Graph {
    let names: BTreeSet<String> = files.iter().map(|(path, _)| name_of(path)).collect();
    let imports = |module: &str, text: &str| {
        let code: Vec<&str> = text.lines().filter(|line| !line.trim().starts_with("//")).collect();
        let paths = paths_in(module, &code.join("\n"), &names);
        let modules = paths.into_iter().map(|path| module_of(&path, &names));
        modules.filter(|import| import != module).collect()
    };
    files.iter().map(|(path, text)| (name_of(path), imports(&name_of(path), text))).collect()
}

/// The longest part of a path that is a module's name: what follows is an item in it.
fn module_of(path: &str, names: &BTreeSet<String>) -> String {
    let mut module = path;
    while !module.is_empty() && !names.contains(module) {
        module = module.rsplit_once("::").map_or("", |(module, _item)| module);
    }
    module.to_owned()
}

fn inside(module: &str, path: &str) -> String {
    if module.is_empty() { path.to_owned() } else { format!("{module}::{path}") }
}

/// All paths to other modules: those that begin with `crate`, `self`, `super` or the name of a module inside this one.
/// They are told from the root on, and those in the braces of a `use` one by one.
fn paths_in(module: &str, code: &str, names: &BTreeSet<String>) -> Vec<String> {
    let children = names.iter().filter_map(|name| name.strip_prefix(&inside(module, "")));
    let children = children.filter(|child| !child.is_empty() && !child.contains("::"));
    let mut paths = Vec::new();
    for start in ["crate", "self", "super"].into_iter().chain(children) {
        for (at, _) in code.match_indices(&format!("{start}::")) {
            // `super::super::x` is found at its first `super`; `my_crate::x` is no path of ours.
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| c != ':' && c != '_' && !c.is_alphanumeric()) {
                expand("", &code[at..], &mut paths);
            }
        }
    }
    paths.iter().map(|path| from_the_root(module, path)).collect()
}

fn from_the_root(module: &str, path: &str) -> String {
    if let Some(path) = path.strip_prefix("crate::") {
        return path.to_owned();
    }
    let (mut base, mut rest) = (module, path.strip_prefix("self::").unwrap_or(path));
    while let Some(above) = rest.strip_prefix("super::") {
        (rest, base) = (above, base.rsplit_once("::").map_or("", |(parent, _)| parent));
    }
    inside(base, rest)
}

/// One path at the beginning of `text`, or all that its braces hold. Returns what follows.
fn expand<'a>(before: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (path, mut rest) = (format!("{before}{}", &text[..end]), &text[end..]);
    if !path.ends_with("::") || !rest.starts_with('{') {
        paths.push(path.trim_end_matches("::self").trim_end_matches(':').to_owned());
        return rest;
    }
    while let Some(inside) = rest.strip_prefix(['{', ',']) {
        let inside = inside.trim_start();
        rest = if inside.starts_with('}') { inside } else { expand(&path, inside, paths) };
        // A name after `as` is no path.
        rest = &rest[rest.find([',', '}']).unwrap_or(rest.len())..];
    }
    rest.strip_prefix('}').unwrap_or(rest)
}

/// The floor of a module, and which of the names there it belongs to.
fn floor<'a>(module: &str, floors: &[&[&'a str]]) -> Option<(usize, &'a str)> {
    let inside = |name: &str| module == name || module.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
    let rooms = floors.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |&room| (floor, room)));
    rooms.filter(|(_, room)| inside(room)).max_by_key(|(_, room)| room.len())
}

/// Imports that go up, or to another room on the same floor.
fn up(graph: &Graph, floors: &[&[&str]]) -> Vec<String> {
    let mut offences = Vec::new();
    for (module, imports) in graph {
        // The root and a folder that only holds others stand above all of them.
        let Some((own, room)) = floor(module, floors) else { continue };
        for import in imports {
            match floor(import, floors) {
                Some((other, its_room)) if other < own || its_room == room => {}
                _ => offences.push(format!("{module} imports {}", if import.is_empty() { "the root" } else { import })),
            }
        }
    }
    offences
}

/// Modules that import each other, round by round.
fn circles(graph: &Graph) -> Vec<String> {
    // Whoever imports nothing that is left is in no circle.
    let mut left = graph.clone();
    loop {
        let done: Vec<String> = left
            .iter()
            .filter(|(_, imports)| !imports.iter().any(|i| left.contains_key(i)))
            .map(|(m, _)| m.clone())
            .collect();
        if done.is_empty() {
            break;
        }
        left.retain(|module, _| !done.contains(module));
    }
    // Nor is what only stands above one.
    loop {
        let imported: BTreeSet<String> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|module, _| imported.contains(module));
        if left.len() == before {
            break;
        }
    }
    left.keys().cloned().collect()
}

#[test]
fn no_module_of_the_server_imports_one_above_it() {
    let sources = sources();
    let inside = sources.iter().filter_map(|source| Some((source.path.strip_prefix("server/src/")?, source)));
    let inside = inside.filter(|(path, _)| !path.starts_with("main") && !path.ends_with("tests.rs"));
    let files: Vec<_> = inside.map(|(path, source)| (path, source.without_tests())).collect();
    let graph = graph(&files);
    assert!(
        graph.len() > 40 && graph.values().map(BTreeSet::len).sum::<usize>() > 100,
        "the graph has holes: {graph:?}"
    );
    for room in FLOORS.concat() {
        assert!(graph.contains_key(room), "{room} is a floor, and no module of the server");
    }
    let homeless = graph.keys().filter(|module| floor(module, &FLOORS).is_none());
    let homeless: Vec<_> = homeless.filter(|module| !matches!(module.as_str(), "" | "realtime")).cloned().collect();
    none("these stand on no floor: name one in FLOORS", homeless);
    none("an import goes up, or across a floor", up(&graph, &FLOORS));
    none("these modules import each other", circles(&graph));
}

#[test]
fn an_import_that_goes_up_across_or_round_is_found() {
    let floors: [&[&str]; 3] = [&["low"], &["left", "right"], &["top"]];
    let check = |files: &[(&str, &str)], expected_up: &[&str], expected_circle: &[&str]| {
        let graph = graph(files);
        assert_eq!(up(&graph, &floors), expected_up, "{graph:?}");
        assert_eq!(circles(&graph), expected_circle, "{graph:?}");
    };
    let (low, a) = (("low/mod.rs", "pub mod a;"), ("low/a.rs", "use std::fmt;"));
    let (left, right) = (("left.rs", "use crate::low::a::{self, B};"), ("right.rs", "use super::low::a::B;"));
    let top = ("top/mod.rs", "use crate::{left::X, low::{a, b::C as D}};\nfn f() { crate::right::g(); }");
    let bare = |path| (path, "");
    check(&[low, a, left, right, top], &[], &[]);
    // Up: in a `use`, in the middle of the code, by `super`.
    let (uses, names, climbs) =
        ("use crate::{\n    top::T,\n};", "fn f() -> crate::top::T {}", "use super::super::top::T;");
    for wrong in [uses, names, climbs] {
        check(&[low, ("low/a.rs", wrong), bare("top/mod.rs")], &["low::a imports top"], &[]);
    }
    // Across.
    check(&[("left.rs", "use crate::right::R;"), bare("right.rs")], &["left imports right"], &[]);
    // To the root, which stands above all.
    check(&[("lib.rs", "pub use left::L;"), ("left.rs", "use crate::L;")], &["left imports the root"], &["", "left"]);
    // Round: two files of a room that a third imports, and a folder with what lies in it.
    let (b, c) = (("low/b.rs", "use super::c::C;"), ("low/c.rs", "use crate::low::b::B;"));
    check(&[low, b, c, ("top/mod.rs", "use crate::low::b::B;")], &[], &["low::b", "low::c"]);
    for child in ["use self::a::A;", "fn f() { a::g(); }"] {
        check(&[("low/mod.rs", child), ("low/a.rs", "use super::Low;")], &[], &["low", "low::a"]);
    }
    // What a comment says is no import.
    check(&[low, ("low/a.rs", "/// See crate::top::T.\nfn f() {}"), bare("top/mod.rs")], &[], &[]);
}
