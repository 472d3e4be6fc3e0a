//! The invariants of the repository, as tests. Most are absences, and nothing but a test notices when one ends.
//!
//! They read the sources as text. That is crude and is meant to be: a rule that needs a parser is too clever for a rule.

mod layers;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer than this is two files, or has a reason in its head.
const LINES_MAX: usize = 400;

/// Folders of decisions: they are given values and the time. Tests in them may do as they like.
const SANS_IO: [&str; 8] = [
    "server/src/access/rules/",
    "server/src/admission/rules/",
    "server/src/cluster/rules/",
    "server/src/engine/turns/",
    "server/src/fetch/rules/",
    "server/src/openai/request/",
    "server/src/realtime/session/",
    "server/src/realtime/wire/",
];

/// Where a device, a file mapped into memory, or a pointer of a C program is touched.
const UNSAFE_ROOMS: [&str; 3] = ["clients/c/", "ops/src/", "pipeline/src/load/mapping.rs"];

struct Source {
    /// From the repository's root, with slashes.
    path: String,
    text: String,
}

impl Source {
    /// The file up to its unit tests.
    fn without_tests(&self) -> &str {
        self.text.split("#[cfg(test)]").next().expect("a split has a first part")
    }

    /// Numbered lines that are not comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        lines.filter(|(_, line)| !line.starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the repository")
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let sources = files(&[".rs"]);
    assert!(sources.len() > 20, "only {} Rust files found below {}", sources.len(), root().display());
    sources
}

/// Every file of the repository whose name ends so.
fn files(endings: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let entry = entry.expect("a folder's entry");
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && !matches!(&*name, "target" | "node_modules") {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let path = path.strip_prefix(root()).expect("found below the root");
                files.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// All at once, so that one run shows all there is to do.
fn none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

/// Names of the crates that a member's manifest asks for, its build and its tests included.
fn dependencies(member: &str) -> BTreeSet<String> {
    let path = root().join(member).join("Cargo.toml");
    let manifest = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            // `[dependencies]`, `[target.'cfg(..)'.dependencies]`, and `[dependencies.name]`, which has one name itself.
            let section = line.trim_matches(['[', ']']);
            inside = section.ends_with("dependencies");
            names.extend(section.rsplit_once("dependencies.").map(|(_, name)| name.to_owned()));
        } else if inside && let Some((name, _)) = line.split_once(['.', '=', ' ']) {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn the_crates_depend_on_each_other_in_one_direction() {
    let check = |member: &str, never: &[&str]| {
        let found = dependencies(member);
        assert!(!found.is_empty(), "{member} asks for nothing: this test no longer reads its manifest");
        let wrong: Vec<_> = never.iter().filter(|name| found.contains(**name)).collect();
        assert!(wrong.is_empty(), "{member} depends on {wrong:?}");
    };
    let transport = ["tokio", "axum", "tokio-tungstenite", "futures-util"];
    // What tensors are made of: asked for by `ops`, and by nobody else.
    let storage = ["candle-core", "gemm", "cudarc"];
    let model = ["kvcache", "ops", "safetensors", "tests"];
    check("server", &[&storage[..], &model].concat());
    check("tests", &storage);
    check("pipeline", &[&storage[..], &transport, &["server", "tests"]].concat());
    check("kvcache", &[&storage[..], &transport, &["pipeline", "server", "tests"]].concat());
    check("ops", &[&transport[..], &["kvcache", "pipeline", "safetensors", "server", "tests"]].concat());
}

#[test]
fn only_ops_knows_what_a_tensor_is_made_of() {
    // Put together here, so that this file is not found by its own search.
    let words = ["candle_", "gemm::", "cudarc::"].map(|word| word.replace('_', "_core"));
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with("ops/src/")) {
        for (line, text) in source.code().filter(|(_, text)| text.starts_with("use ") || text.contains("::")) {
            if words.iter().any(|word| text.contains(word.as_str())) && !text.contains('"') {
                offences.push(format!("{}:{line}: {text}", source.path));
            }
        }
    }
    none("tensors are those of ops", offences);
}

#[test]
fn a_device_is_chosen_where_a_model_is_loaded() {
    // Put together here, so that this file is not found by its own search.
    let word = ["Device::", "cpu()"].concat();
    // A check compares a device with the processor.
    let chosen_in = ["server/src/main/device.rs", "pipeline/src/check.rs"];
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| {
        let path = source.path.as_str();
        !path.starts_with("ops/")
            && !path.starts_with("tests/")
            && !path.ends_with("tests.rs")
            && !chosen_in.contains(&path)
    }) {
        let lines =
            source.without_tests().lines().filter(|line| line.contains(&word) && !line.trim().starts_with("//"));
        offences.extend(lines.map(|line| format!("{}: {}", source.path, line.trim())));
    }
    none("it is handed down from there", offences);
}

#[test]
fn no_tensor_crosses_the_boundary() {
    let sources = sources();
    let boundary = |path: &str| path == "pipeline/src/world.rs" || path.starts_with("pipeline/src/world/");
    let boundary: Vec<_> = sources.iter().filter(|source| boundary(&source.path)).collect();
    assert!(boundary.len() > 1, "the boundary is world.rs and the folder world/");
    let mut offences = Vec::new();
    for word in ["candle", "Tensor", "cudarc", "kvcache", "tokio"] {
        let named = |source: &&Source| source.code().any(|(_, text)| text.contains(word));
        offences.extend(boundary.iter().copied().filter(named).map(|source| format!("{}: {word}", source.path)));
    }
    none("no tensor crosses the boundary", offences);
    let server = sources.iter().filter(|source| source.path.starts_with("server/"));
    let offences = server.filter(|source| source.text.contains("candle_core")).map(|source| source.path.clone());
    none("the server moves bytes and integers", offences.collect());
}

#[test]
fn devices_and_unsafe_code_stay_in_their_rooms() {
    // Put together here, so that this file is not found by its own search.
    let words = [["feature = \"", "cuda\""].concat(), ["un", "safe "].concat()];
    let mut offences = Vec::new();
    for source in sources() {
        if UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
            continue;
        }
        for (line, text) in source.code() {
            for word in words.iter().filter(|word| text.contains(word.as_str())) {
                offences.push(format!("{}:{line}: {word}", source.path));
            }
        }
    }
    none("ops/src, pipeline/src/load/mapping.rs and clients/c are the only rooms for these", offences);
}

#[test]
fn decisions_read_no_clock_and_know_no_transport() {
    let words = [
        "Instant::now",
        "SystemTime",
        "Mutex",
        "RwLock",
        "Semaphore",
        "tokio",
        "axum",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "std::thread",
        "async ",
        ".await",
        "std::fs",
    ];
    let mut offences = Vec::new();
    for folder in SANS_IO {
        let sources = sources();
        let inside: Vec<_> = sources.iter().filter(|source| source.path.starts_with(folder)).collect();
        assert!(!inside.is_empty(), "{folder} is listed as a folder of decisions, and is not there");
        for source in
            inside.into_iter().filter(|source| !source.path.ends_with("/tests.rs") && !source.path.contains("/tests/"))
        {
            let code = source.without_tests().lines().enumerate();
            for (line, text) in code.filter(|(_, text)| !text.trim().starts_with("//")) {
                for word in words.iter().filter(|word| text.contains(**word)) {
                    offences.push(format!("{}:{}: {word}", source.path, line + 1));
                }
            }
        }
    }
    none("they are given values and the time, and return values", offences);
}

#[test]
fn only_the_configuration_reads_the_environment() {
    let word = ["env", "::var"].concat();
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with("tests/")) {
        let reads = |line: &&str| line.contains(&word) && !line.trim().starts_with("//");
        // A build is told its folder by cargo, in no other way.
        if source.path.ends_with("/build.rs") {
            continue;
        }
        if !source.path.starts_with("server/src/config/") && source.without_tests().lines().any(|line| reads(&line)) {
            offences.push(source.path.clone());
        }
    }
    none("an environment variable is read in server/src/config or not at all", offences);
}

#[test]
fn a_file_is_short_or_says_why_not() {
    let lines = |source: &Source| source.text.lines().count();
    let has_reason = |source: &Source| {
        let mut head = source.text.lines().take_while(|line| line.starts_with("//!"));
        head.any(|line| line.starts_with("//! Over 400 lines: "))
    };
    let long = sources().into_iter().filter(|source| lines(source) > LINES_MAX && !has_reason(source));
    none(
        "look again: two files in one, or a reason in its head (`//! Over 400 lines: …`)",
        long.map(|source| format!("{}: {} lines", source.path, lines(&source))).collect(),
    );
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! ")).map(|source| source.path);
    none("a file opens with //!", silent.collect());
}

#[test]
fn nothing_is_left_to_do_or_to_print() {
    let words = ["todo", "dbg", "unimplemented"].map(|name| format!("{name}!("));
    let mut offences = Vec::new();
    for source in sources() {
        for (line, text) in source.code() {
            if words.iter().any(|word| text.contains(word.as_str())) || text.contains(&[".unw", "rap()"].concat()) {
                offences.push(format!("{}:{line}: {text}", source.path));
            }
        }
    }
    none("finish it, or say what cannot happen with expect(..)", offences);
}

#[test]
fn nothing_of_a_merge_is_left() {
    let marks = ["<", "=", ">"].map(|mark| mark.repeat(7));
    let mut offences = Vec::new();
    for file in files(&[".rs", ".md", ".js", ".css", ".html", ".py", ".toml"]) {
        for (index, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line == mark.as_str() || line.starts_with(&format!("{mark} "))) {
                offences.push(format!("{}:{}: {line}", file.path, index + 1));
            }
        }
    }
    none("choose one side", offences);
}

#[test]
fn no_file_is_a_drawer_for_everything() {
    let drawers = ["utils.rs", "util.rs", "helpers.rs", "common.rs", "types.rs", "misc.rs"];
    let found = sources().into_iter().map(|source| source.path);
    none("name it after what is in it", found.filter(|path| drawers.iter().any(|name| path.ends_with(name))).collect());
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `docs/conformance.md`: a promise's number stands in the comment of the test that proves it, alone or with a sentence.
#[test]
fn every_line_of_the_conformance_list_has_a_test() {
    let list = page("docs/conformance.md");
    let lines = list.lines().filter_map(|line| line.strip_prefix("* C")?.split(' ').next()?.parse().ok());
    let promised: BTreeSet<u32> = lines.collect();
    // Three digits for what came later.
    assert!(promised.iter().copied().eq(1..=120), "the list has lost a line: {promised:?}");
    let sources = sources();
    let numbers = |digits| sources.iter().flat_map(move |source| numbers_of_tests(&source.text, 'C', digits));
    let proved: BTreeSet<u32> = numbers(2).chain(numbers(3)).collect();
    let named = |numbers: BTreeSet<u32>| numbers.into_iter().map(|number| format!("C{number:02}")).collect();
    none("no test's comment has this number", named(&promised - &proved));
    none("not in docs/conformance.md", named(&proved - &promised));
}

/// `docs/videos-conformance.md`: the same for clips and pictures. A line that is not built says so, and has no test; those of
/// OpenAI's SDK are in a script for it.
#[test]
fn every_line_of_the_videos_list_has_a_test_or_says_that_it_is_not_built() {
    let list = page("docs/videos-conformance.md");
    let lines = || list.lines().filter_map(|line| line.strip_prefix("* V")?.split_once(' '));
    let numbers = |keep: &dyn Fn(&str) -> bool| -> BTreeSet<u32> {
        lines().filter(|(_, sentence)| keep(sentence)).filter_map(|(number, _)| number.parse().ok()).collect()
    };
    let promised = numbers(&|_| true);
    assert!(promised.iter().copied().eq(1..=110), "the list has lost a line: {promised:?}");
    let not_built = numbers(&|sentence| sentence.contains("(not built: "));
    let script = page("tests/clients/openai_sdk.py");
    let checks = script.lines().filter_map(|line| line.strip_prefix("    (")?.split_once(", ")?.0.parse().ok());
    let of_the_sdk: BTreeSet<u32> = checks.collect();
    let proved: BTreeSet<u32> = sources().iter().flat_map(|source| numbers_of_tests(&source.text, 'V', 3)).collect();
    let named = |numbers: BTreeSet<u32>| numbers.into_iter().map(|number| format!("V{number:03}")).collect();
    none("no test's comment has this number", named(&(&(&promised - &not_built) - &of_the_sdk) - &proved));
    none("not in docs/videos-conformance.md, or said not to be built", named(&proved - &(&promised - &not_built)));
}

#[test]
fn every_test_that_the_list_of_flaws_names_is_there() {
    let flaws = page("docs/flaws.md");
    let rows = flaws.lines().filter(|line| line.starts_with("| F"));
    let named: BTreeSet<&str> =
        rows.filter_map(|row| row.split('|').nth(4)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 20, "{named:?}");
    let sources = sources();
    let there = |test: &&str| sources.iter().any(|source| source.text.contains(&format!("fn {test}()")));
    none("no such test", named.into_iter().filter(|test| !there(test)).map(str::to_owned).collect());
    let numbers = flaws.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(|word| word.strip_prefix('F'));
    let numbers: BTreeSet<u32> = numbers.filter_map(|digits| digits.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=45), "each flaw is answered, kept or owned to: {numbers:?}");
}

/// What stands in the doc comments of tests, and nowhere else.
fn numbers_of_tests(text: &str, letter: char, digits: usize) -> BTreeSet<u32> {
    let (mut numbers, mut comment) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            let words = words.split(|c: char| !c.is_ascii_alphanumeric());
            let numbered = words.filter_map(|word| word.strip_prefix(letter).filter(|number| number.len() == digits));
            comment.extend(numbered.filter_map(|digits| digits.parse::<u32>().ok()));
        } else {
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                numbers.extend(&comment);
            }
            comment.clear();
        }
    }
    numbers
}

#[test]
fn numbers_are_read_above_tests_only() {
    let text = "/// C01, and the second half of C38.\n#[test]\nfn a() {}\n/// C05\nfn no_test() {}\n//! C06\n\
                    /// C07: C8 or C100 are no numbers.\n    #[tokio::test]\n";
    assert_eq!(numbers_of_tests(text, 'C', 2), BTreeSet::from([1, 38, 7]));
}
