use std::{collections::BTreeSet, env, fs, path::Path};

use agentid_common::{
    counter,
    verdict::{Hook, Reason, Verdict},
};

use super::{kernel::Reading, series::Metrics};
use crate::supervisor::run::labels;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/metrics.txt");

fn metrics() -> Metrics {
    Metrics::new(&labels(), "0.0.0", 1).unwrap()
}

/// One line a family: name, type, labels with their values, help.
fn list(metrics: &Metrics) -> String {
    let fill = vec![("EXAMPLE", 1, 2)];
    let hooks = vec![("example", true)];
    metrics.kernel.observe(&Reading { counter: &|_| 0, hooks, fill });
    let mut text = String::new();
    for family in metrics.registry().gather() {
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        text += &format!("{} {kind}\n  {}\n", family.name(), family.help());
        let mut labels: Vec<(String, BTreeSet<String>)> = Vec::new();
        for pair in family.get_metric().iter().flat_map(|metric| metric.get_label()) {
            match labels.iter_mut().find(|(name, _)| name == pair.name()) {
                Some((_, values)) => drop(values.insert(pair.value().to_owned())),
                None => labels.push((pair.name().to_owned(), [pair.value().to_owned()].into())),
            }
        }
        for (name, values) in labels {
            text += &format!("  {name}: {}\n", Vec::from_iter(values).join(" "));
        }
    }
    text
}

#[test]
fn the_list_of_series_is_the_golden_one() {
    let list = list(&metrics());
    if env::var_os("AGENTID_BLESS").is_some() {
        fs::create_dir_all(Path::new(GOLDEN).parent().unwrap()).unwrap();
        fs::write(GOLDEN, &list).unwrap();
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    assert_eq!(list, golden, "AGENTID_BLESS=1 rewrites {GOLDEN}");
}

#[test]
fn every_closed_label_is_there_from_the_start() {
    let text = metrics().text().unwrap();
    for hook in Hook::ALL {
        for verdict in Verdict::ALL {
            let series = format!(
                "agentid_verdicts_total{{hook=\"{}\",verdict=\"{}\"}} 0\n",
                hook.name(),
                verdict.name()
            );
            assert!(text.contains(&series), "{series}");
        }
    }
    assert!(text.contains("agentid_launches_total{result=\"refused\"} 0\n"));
    assert!(text.contains("agentid_build_info{abi=\"1\",version=\"0.0.0\"} 1\n"));
}

#[test]
fn a_scrape_shows_what_the_kernel_has_counted() {
    let metrics = metrics();
    let denied = counter::denial(Hook::FileOpen, Reason::NoRule);
    let series = "agentid_denials_total{hook=\"file_open\",reason=\"no_rule\"}";
    for value in [7, 9] {
        let counter = |index| if index == denied { value } else { 0 };
        let hooks = vec![("file_open", true), ("socket_connect", false)];
        let fill = vec![("NODES", 3, 10)];
        metrics.kernel.observe(&Reading { counter: &counter, hooks, fill });
        let text = metrics.text().unwrap();
        assert!(text.contains(&format!("{series} {value}\n")));
        assert!(text.contains("agentid_hooks_attached{hook=\"file_open\"} 1\n"));
        assert!(text.contains("agentid_hooks_attached{hook=\"socket_connect\"} 0\n"));
        assert!(text.contains("agentid_map_entries{map=\"NODES\"} 3\n"));
        assert!(text.contains("agentid_map_capacity{map=\"NODES\"} 10\n"));
    }
}
