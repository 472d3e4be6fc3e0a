//! A parser of Prometheus' text format. It is stricter than `promtool check metrics`: what is loosely allowed there is an
//! error here.

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics that keeps every rule.
#[derive(Debug, Default)]
pub struct Exposition {
    /// The type of each family.
    pub families: BTreeMap<String, String>,
    /// The value of each series, by `name{labels}` as it is written.
    series: BTreeMap<String, f64>,
}

/// Label → value.
type Labels = BTreeMap<String, String>;

impl Exposition {
    pub fn parse(page: &str) -> Result<Exposition> {
        ensure!(page.ends_with('\n'), "the last line has no end");
        let mut exposition = Exposition::default();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        let mut buckets: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        let mut counts: BTreeMap<(String, Labels), f64> = BTreeMap::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').context("a HELP without a text")?;
                ensure!(!help.is_empty() && helped.insert(name.to_owned()), "a second or empty HELP: {line}");
                name.clone_into(&mut family);
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').context("a TYPE without a type")?;
                ensure!(name == family, "the TYPE of {name} after the HELP of {family}");
                ensure!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
                ensure!(
                    (kind == "counter") == name.ends_with("_total"),
                    "counters and only they end in _total: {line}"
                );
                let earlier = exposition.families.insert(name.to_owned(), kind.to_owned());
                ensure!(earlier.is_none(), "a second TYPE: {line}");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
            let value: f64 = value.parse().with_context(|| format!("not a number: {line}"))?;
            ensure!(value.is_finite() && value >= 0.0, "{line}");
            ensure!(exposition.series.insert(series.to_owned(), value).is_none(), "a second {series}");
            let (name, mut labels) = split(series)?;
            let kind = exposition.families.get(&family).with_context(|| format!("before any TYPE: {line}"))?;
            if kind != "histogram" {
                ensure!(name == family, "{name} among the samples of {family}");
                ensure!(!labels.contains_key("le"), "only a bucket has a bound: {line}");
                continue;
            }
            let ending = name.strip_prefix(&family).with_context(|| format!("{name} among those of {family}"))?;
            match (ending, labels.remove("le")) {
                ("_bucket", Some(bound)) => {
                    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
                    buckets.entry((family.clone(), labels)).or_default().push((bound, value));
                }
                ("_count", None) => drop(counts.insert((family.clone(), labels), value)),
                ("_sum", None) => {}
                _ => bail!("not of a histogram: {line}"),
            }
        }
        ensure!(helped.iter().eq(exposition.families.keys()), "HELP and TYPE do not come in pairs");
        ensure!(buckets.keys().eq(counts.keys()), "histograms without buckets or without a count");
        for (key, buckets) in &buckets {
            let rising = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
            ensure!(rising, "the buckets of {key:?} do not rise: {buckets:?}");
            let last = *buckets.last().expect("an entry begins with a bucket");
            ensure!(last == (f64::INFINITY, counts[key]), "{key:?} counts {}, and its buckets {last:?}", counts[key]);
        }
        Ok(exposition)
    }

    /// The value of a series, with its labels as they are written.
    pub fn get(&self, series: &str) -> Result<f64> {
        self.series.get(series).copied().with_context(|| format!("no {series} in {:#?}", self.series))
    }
}

/// `name{label="value",…}` taken apart.
fn split(series: &str) -> Result<(&str, Labels)> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let Some((name, rest)) = series.split_once('{') else {
        ensure!(is_name(series), "{series} is not a name");
        return Ok((series, Labels::new()));
    };
    ensure!(is_name(name), "{name} is not a name");
    let mut rest = rest.strip_suffix('}').context("labels without an end")?;
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").with_context(|| format!("not a label: {rest}"))?;
        ensure!(is_name(label), "{label} is not a label");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().context("a value without an end")? {
                (end, '"') => break end,
                (_, '\\') => match chars.next().context("a value without an end")?.1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => bail!("\\{other} in {series}"),
                },
                (_, other) => value.push(other),
            }
        };
        ensure!(labels.insert(label.to_owned(), value).is_none(), "{label} twice in {series}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Ok((name, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1, \\\"2\\\"\",y=\"\"} 3\na_total 0.5\n\
                        # HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"0.1\"} 1\n\
                        h_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 0.3\nh_seconds_count 2\n";

    #[test]
    fn a_good_page_is_read() {
        let page = Exposition::parse(GOOD).expect("a good page");
        assert_eq!(page.get("a_total{x=\"1, \\\"2\\\"\",y=\"\"}").expect("it is there"), 3.0);
        assert!(page.get("a_total{x=\"1\"}").is_err());
        assert_eq!(page.families.len(), 2);
    }

    #[test]
    fn each_broken_rule_is_caught() {
        for (good, bad) in [
            ("a_total 0.5", "a_total{x=\"1, \\\"2\\\"\",y=\"\"} 0.5"),
            ("a_total", "a"),
            ("# TYPE a_total counter", "# TYPE a_total gauge"),
            ("# TYPE a_total counter\n", ""),
            ("# HELP a_total A.\n", ""),
            ("# HELP h_seconds H.", "# HELP a_total H."),
            ("a_total 0.5", "a_total NaN"),
            ("a_total 0.5", "a_total"),
            ("a_total 0.5", "b_total 0.5"),
            ("y=\"\"", "x=\"\""),
            ("_bucket{le=\"0.1\"} 1", "_bucket{le=\"0.1\"} 3"),
            ("_bucket{le=\"+Inf\"} 2", "_bucket{le=\"+Inf\"} 1"),
            ("h_seconds_count 2", "h_seconds_count 3"),
            ("h_seconds_count 2\n", ""),
            ("h_seconds_bucket{le=\"+Inf\"} 2\n", ""),
            ("h_seconds_sum 0.3", "h_seconds_total 0.3"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            assert!(Exposition::parse(&GOOD.replace(good, bad)).is_err(), "{good:?} as {bad:?} went through");
        }
    }
}
