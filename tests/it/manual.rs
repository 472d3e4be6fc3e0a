//! The documents say what is so: their length, their links, and that no flag and no metric is missing in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;
use server::Limits;
use server::cluster::ClusterSettings;
use server::config::flags::Cli;
use tests::Server;
use tests::puppet::Puppet;
use tests::raw::Raw;

/// Documents that must stay short enough to be read whole: lines, characters. A bound on lines alone is met by longer lines.
const SHORT: [(&str, usize, usize); 2] = [("README.md", 100, 9_000), ("ARCHITECTURE.md", 160, 16_000)];

/// Folders at the repository's root whose files documents name by their whole path.
const TOPS: [&str; 10] =
    ["clients/", "dist/", "docs/", "kvcache/", "ops/", "pipeline/", "pocket/", "server/", "tests/", "webui/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the repository")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).context(path.to_owned())
}

/// Every Markdown file, with slashes, from the root.
fn documents() -> Result<Vec<String>> {
    let (mut documents, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            if root().join(&path).is_dir() {
                if !name.starts_with('.') && !["target", "node_modules"].contains(&&*name) {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                documents.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    ensure!(documents.len() > 8, "only {documents:?}");
    Ok(documents)
}

/// Those that a test runs, so that what a reader copies works.
#[test]
fn the_examples_of_clients_are_those_that_tests_run() -> Result<()> {
    let page = read("docs/clients.md")?;
    for example in ["clients/python/example.py", "clients/js/example.html"] {
        ensure!(page.contains(&read(example)?), "docs/clients.md and {example} differ");
    }
    Ok(())
}

#[test]
fn readme_and_architecture_are_short_in_lines_and_in_characters() -> Result<()> {
    for (path, lines_max, characters_max) in SHORT {
        let text = read(path)?;
        let (lines, characters) = (text.lines().count(), text.chars().count());
        ensure!(lines <= lines_max, "{path}: {lines} lines, at most {lines_max}");
        ensure!(characters <= characters_max, "{path}: {characters} characters, at most {characters_max}");
    }
    Ok(())
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_to_a_heading_of_it() -> Result<()> {
    let mut dead = Vec::new();
    for document in documents()? {
        let folder = Path::new(&document).parent().context("a file lies in a folder")?.to_owned();
        for link in links(&read(&document)?) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { PathBuf::from(&document) } else { folder.join(path) };
            let there = root().join(&target).exists();
            if !there || !heading.is_empty() && !headings(&read(&target.to_string_lossy())?).contains(heading) {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    ensure!(dead.is_empty(), "these lead nowhere:\n  {}", dead.join("\n  "));
    Ok(())
}

/// Targets of links and pictures that are no addresses of other sites.
fn links(text: &str) -> Vec<String> {
    let prose: String = outside_of_code(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let pictures = prose.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    targets.chain(pictures).filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The names by which the headings of a document can be linked to: lower case, spaces as hyphens, no punctuation.
fn headings(text: &str) -> BTreeSet<String> {
    let prose = outside_of_code(text);
    let titles = prose.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    let name = |title: &str| -> String {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect()
    };
    titles.map(name).collect()
}

fn outside_of_code(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

#[test]
fn every_path_that_a_document_names_is_there() -> Result<()> {
    let mut missing = Vec::new();
    for document in documents()? {
        for path in paths(&read(&document)?) {
            if !root().join(&path).exists() {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    ensure!(missing.is_empty(), "not in the repository:\n  {}", missing.join("\n  "));
    Ok(())
}

/// Words in backquotes that begin with a top folder of the repository: `server/src/lib.rs`.
fn paths(text: &str) -> BTreeSet<String> {
    let prose = outside_of_code(text);
    let quoted = prose.split('`').skip(1).step_by(2).filter(|word| TOPS.iter().any(|top| word.starts_with(top)));
    // Patterns and places in a file name more than a path.
    let quoted = quoted.filter(|word| !word.contains(['*', '{', '<', ' ', '…']) && !word.contains("::"));
    quoted.map(|word| word.split(['#', ':']).next().unwrap_or(word).trim_end_matches('/').to_owned()).collect()
}

#[test]
fn the_map_in_architecture_is_the_tree_on_disk() -> Result<()> {
    let text = read("ARCHITECTURE.md")?;
    let map = text.split("## Map\n\n```\n").nth(1).and_then(|rest| rest.split("```").next()).context("a map")?;
    let paths = paths_of_map(map);
    ensure!(paths.len() > 25, "only {paths:?}");
    let missing: Vec<_> = paths.into_iter().filter(|path| !root().join(path).exists()).collect();
    ensure!(missing.is_empty(), "on the map and not on disk: {missing:?}");
    Ok(())
}

/// The first column of the map: a folder from the root, or names inside the folder above.
fn paths_of_map(map: &str) -> Vec<String> {
    let (mut folder, mut paths) = (String::new(), Vec::new());
    for line in map.lines() {
        let indent = line.len() - line.trim_start().len();
        let column = line.trim_start().split("  ").next().unwrap_or_default();
        let names = column.split(' ').filter(|name| name.ends_with('/') || name.contains('.'));
        match indent {
            0 => names.for_each(|name| {
                name.clone_into(&mut folder);
                paths.push(folder.clone());
            }),
            2 => paths.extend(names.map(|name| format!("{folder}{name}"))),
            _ => {}
        }
    }
    paths
}

#[test]
fn the_first_column_of_a_map_is_paths() {
    let map = "a/src/    what b.rs is\n  b.rs c/  and d.rs\n           e.rs, too\nf/        docs\n";
    assert_eq!(paths_of_map(map), ["a/src/", "a/src/b.rs", "a/src/c/", "f/"]);
}

#[test]
fn paths_are_found_in_backquotes() {
    let text =
        "See `server/src/lib.rs`, `kvcache::Window`, `tests/it/*.rs`, `pipeline/src/noise.rs:12` and `ops/src/`.";
    let expected = ["ops/src", "pipeline/src/noise.rs", "server/src/lib.rs"].map(str::to_owned);
    assert_eq!(paths(text), BTreeSet::from(expected));
}

#[test]
fn a_heading_is_linked_to_by_its_words() {
    let text = "# Who gets a place?\n```sh\n# no heading [x](y)\n```\n## `init`, then [more](a.md#b)\n![p](q.png) <img src=\"r.webp\">\n";
    assert_eq!(headings(text), BTreeSet::from(["who-gets-a-place".into(), "init-then-moreamdb".into()]));
    assert_eq!(links(text), ["a.md#b", "q.png", "r.webp"]);
}

#[test]
fn every_dependency_has_its_reason_in_contributing() -> Result<()> {
    let manifest = read("Cargo.toml")?;
    let table = manifest.split("[workspace.dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    let lines = table.context("the workspace's dependencies")?.lines().filter(|line| !line.contains("path = "));
    let names: Vec<&str> = lines.filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    ensure!(names.len() > 30, "only {names:?}");
    let page = read("CONTRIBUTING.md")?;
    let reasons = page.split("## Dependencies").nth(1).context("the section on dependencies")?;
    let words: BTreeSet<&str> = reasons.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).collect();
    let untold: Vec<_> = names.iter().filter(|name| !words.contains(**name)).collect();
    ensure!(untold.is_empty(), "without a reason in CONTRIBUTING.md: {untold:?}");
    Ok(())
}

#[test]
fn every_flag_of_serve_is_explained_to_operators() -> Result<()> {
    let page = read("docs/operating.md")?;
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").context("the command serve")?;
    let flags: Vec<&str> = serve.get_arguments().filter_map(|argument| argument.get_long()).collect();
    ensure!(flags.len() > 20, "only {flags:?}");
    let missing: Vec<_> = flags.into_iter().filter(|flag| !page.contains(&format!("| `--{flag}"))).collect();
    ensure!(missing.is_empty(), "not in the table of docs/operating.md: {missing:?}");
    let documented = page.lines().filter_map(|line| line.strip_prefix("| `--")?.split(['`', ' ']).next());
    let gone: Vec<_> = documented.filter(|flag| *flag != "otlp-endpoint" && !has_flag(serve, flag)).collect();
    ensure!(gone.is_empty(), "no flags of `causeway serve` any more: {gone:?}");
    Ok(())
}

fn has_flag(command: &clap::Command, flag: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(flag))
}

#[tokio::test]
async fn every_metric_is_explained_to_operators() -> Result<()> {
    let trace = std::env::temp_dir().join(format!("causeway-manual-{}.json", std::process::id()));
    // Nobody listens there: the metrics of a cluster are there all the same.
    let (servers, credentials, advertise) = (vec!["nats://127.0.0.1:9".to_owned()], None, None);
    let cluster = Some(ClusterSettings { servers, credentials, advertise, journal: None });
    let limits = Limits { trace_file: Some(trace.clone()), cluster, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let (_, scraped) = Raw::get(server.address, "/metrics").await?;
    drop(server);
    fs::remove_file(trace)?;
    let families = |text: &str| -> BTreeSet<String> {
        let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        names.filter(|name| name.starts_with("causeway_") || name.starts_with("process_")).map(str::to_owned).collect()
    };
    let types: Vec<&str> = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    ensure!(types.len() > 20, "only {types:?}");
    let page = read("docs/operating.md")?;
    let table: String =
        page.lines().filter(|line| line.starts_with("| `causeway_") || line.starts_with("| `process_")).collect();
    let (told, there) = (families(&table), families(&types.join(" ")));
    ensure!(told.is_superset(&there), "not in the table of docs/operating.md: {:?}", &there - &told);
    // The world's name is known once it is loaded.
    let gone: BTreeSet<_> = (&told - &there).into_iter().filter(|name| name != "causeway_world_info").collect();
    ensure!(gone.is_empty(), "no metrics any more: {gone:?}");
    Ok(())
}
