use std::{collections::BTreeSet, env, fs, net::SocketAddr, path::Path, time::Duration};

use agentid_common::{
    counter,
    verdict::{Hook, Reason, Verdict},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::{
    http::{Server, Texts},
    kernel::Reading,
    series::Metrics,
};
use crate::supervisor::{command::Scrape, run::labels};

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

/// More than there may be at once.
const MANY: usize = 20;
/// Less than anybody may take to ask.
const SOON: Duration = Duration::from_secs(3);
const ASK: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Answers each with the number of those before it, and so many letters.
async fn count(mut scrapes: mpsc::Receiver<Scrape>, letters: usize) {
    let mut number = 0;
    while let Some(scrape) = scrapes.recv().await {
        scrape.send(Ok(format!("{number}{}", "x".repeat(letters)))).unwrap();
        number += 1;
    }
}

/// Somebody who connects, and says this.
async fn come(address: SocketAddr, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    stream
}

/// Whether somebody is answered while many others have said this, and read nothing.
async fn is_answered_beside(others: &[u8], letters: usize) -> bool {
    let (scrapes, waiting) = mpsc::channel(4);
    let server = Server::bind(([127, 0, 0, 1], 0).into(), scrapes).await.unwrap();
    let address = server.address();
    let mut beside = tokio::task::JoinSet::new();
    beside.spawn(server.serve());
    beside.spawn(count(waiting, letters));
    let mut others_held = Vec::new();
    for _ in 0..MANY {
        others_held.push(come(address, others).await);
    }
    let mut answer = Vec::new();
    let mut scraper = come(address, ASK).await;
    let read = timeout(SOON, scraper.read_to_end(&mut answer)).await;
    drop(others_held);
    matches!(read, Ok(Ok(_))) && answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_from_the_metrics() {
    assert!(is_answered_beside(b"", 1).await);
    assert!(is_answered_beside(b"GET /metrics HTTP/1.1\r\n", 1).await);
}

#[tokio::test]
async fn who_reads_nothing_keeps_nobody_from_the_metrics() {
    // More than a connection holds.
    assert!(is_answered_beside(ASK, 16 << 20).await);
}

#[tokio::test]
async fn a_text_is_told_again_for_a_while() {
    for (keep, second) in [(Duration::MAX, "0x"), (Duration::ZERO, "1x")] {
        let (scrapes, waiting) = mpsc::channel(4);
        let counting = tokio::spawn(count(waiting, 1));
        let texts = Texts::new(scrapes, keep);
        assert_eq!(texts.text().await.unwrap(), "0x");
        assert_eq!(texts.text().await.unwrap(), second);
        counting.abort();
    }
}
