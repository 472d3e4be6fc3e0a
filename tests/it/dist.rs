//! What is packed beside the program (`dist/`): it names flags and metrics that there are. `make dist` tries the packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;
use serde_json::Value;
use server::Limits;
use server::cluster::ClusterSettings;
use server::config::flags::Cli;
use tests::Server;
use tests::puppet::Puppet;
use tests::raw::Raw;

fn read(name: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?.join("dist");
    fs::read_to_string(folder.join(name)).with_context(|| format!("dist/{name}"))
}

/// Words of a text that begin so.
fn words<'a>(text: &'a str, prefixes: &[&str]) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())).collect()
}

/// What follows a metric's name in a query for it.
fn is_series(rest: &str) -> bool {
    ["", "_bucket", "_sum", "_count"].contains(&rest)
}

#[tokio::test]
async fn the_dashboard_shows_every_metric_and_alerts_name_only_metrics_that_there_are() -> Result<()> {
    let (servers, credentials, advertise) = (vec!["nats://127.0.0.1:9".to_owned()], None, None);
    let cluster = Some(ClusterSettings { servers, credentials, advertise, journal: None });
    let (server, _strings) = Server::limited(Puppet::default(), Limits { cluster, ..Limits::default() })?;
    let (_, scraped) = Raw::get(server.address, "/metrics").await?;
    drop(server);
    // Of a histogram, the three series that Prometheus keeps.
    let (mut there, mut families) = (BTreeSet::new(), BTreeSet::new());
    for (name, kind) in scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        families.insert(name);
        match kind {
            "histogram" => there.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
            _ => drop(there.insert(name.to_owned())),
        }
    }
    // The world's name is known once it is loaded.
    there.insert("causeway_world_info".to_owned());
    let dashboard: Value = serde_json::from_str(&read("grafana.json")?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: String =
        targets.filter_map(|target| target["expr"].as_str()).map(|query| format!("{query}\n")).collect();
    let alerts = read("alerts.yaml")?;
    let expressions: String = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .map(|query| format!("{query}\n"))
        .collect();
    let shown = words(&queries, &["causeway_", "process_"]);
    let is_shown = |family: &&str| shown.iter().any(|name| name.strip_prefix(family).is_some_and(is_series));
    let hidden: Vec<_> = families.into_iter().filter(|family| !is_shown(family)).collect();
    ensure!(hidden.is_empty(), "grafana.json shows nothing of {hidden:?}");
    for (file, queries) in [("grafana.json", &queries), ("alerts.yaml", &expressions)] {
        let named = words(queries, &["causeway_", "process_"]);
        ensure!(named.len() > 6, "{file} names only {named:?}");
        let gone: Vec<_> = named.into_iter().filter(|name| !there.contains(*name)).collect();
        ensure!(gone.is_empty(), "{file} names metrics that are not there: {gone:?}");
    }
    Ok(())
}

#[test]
fn service_and_container_name_only_variables_of_flags() -> Result<()> {
    let program = Cli::command();
    let serve = program.find_subcommand("serve").context("the command serve")?;
    let flags = serve.get_arguments().filter_map(|flag| flag.get_long());
    let variables: BTreeSet<String> =
        flags.map(|flag| format!("CAUSEWAY_{}", flag.to_uppercase().replace('-', "_"))).collect();
    for name in ["Dockerfile", "compose.yaml", "causeway.default", "causeway.service"] {
        let text = read(name)?;
        let named = words(&text, &["CAUSEWAY_"]);
        ensure!(!named.is_empty(), "{name} names no variable");
        let gone: Vec<_> = named.into_iter().filter(|name| !variables.contains(*name)).collect();
        ensure!(gone.is_empty(), "{name} names variables of no flag: {gone:?}");
    }
    Ok(())
}
