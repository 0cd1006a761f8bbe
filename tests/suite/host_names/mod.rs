//! Host names: a run reaches what it has asked for by a name that its rules grant.

mod answers;
mod askers;
mod life;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene, Upstream,
        run::Terms,
        upstream::{address, alias},
    },
    step::{Outcome, Protocol, Question, Step, Transport},
};
use anyhow::Result;
use hickory_proto::rr::Record;

/// Nobody is there; a run believes that it asks it.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), 53);
const FAILED: u16 = 2;
const NAME_THAT_IS_NONE: u16 = 3;
/// Extended errors (RFC 8914).
const BLOCKED: u16 = 15;
const PROHIBITED: u16 = 18;
/// What a run is answered that has asked too much.
const TOO_MANY: (u16, Option<u16>) = (5, Some(0));

/// What the policies add to the files of `fixture`. Loopback stands for the public network, which a guest has not.
const NAMES: &str = r#"
    [[net]]
    to = ["granted.example:20000-29999", "*.below.example:20000-29999"]
    resolves_to = ["127.0.0.0/8", "[::1]"]
    proto = ["tcp", "udp"]
    allow = ["connect"]
    because = "the work needs it"
    [[net]]
    to = ["public.example:443"]
    allow = ["connect"]
    [[net]]
    to = ["secret.below.example:*"]
    deny = "all"
    because = "nobody's business"
"#;

fn policy(name: &str, rules: &str) -> String {
    let files = Scene::POLICY.split("[[net]]").next().unwrap_or_default();
    files.replace("\"fixture\"", &format!("\"{name}\"")) + rules
}

/// An address that is one.
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn records() -> Vec<Record> {
    let mut records = vec![
        address("granted.example", 30, ip("127.1.0.1")),
        address("granted.example", 30, ip("::1")),
        address("a.below.example", 30, ip("127.1.0.2")),
        address("secret.below.example", 30, ip("127.1.0.3")),
        address("other.example", 30, ip("127.1.0.4")),
        alias("alias.below.example", 30, "far.example"),
        alias("far.example", 20, "farther.example"),
        address("farther.example", 3000, ip("127.1.0.5")),
        address("public.example", 30, ip("198.51.100.7")),
        address("public.example", 30, ip("10.0.0.1")),
        address("public.example", 30, ip("127.0.0.1")),
        address("public.example", 30, ip("169.254.169.254")),
        address("public.example", 30, ip("fd00::1")),
        address("public.example", 30, ip("::ffff:10.0.0.1")),
    ];
    let many = (0..200).map(|number| address("many.below.example", 30, [127, 2, 0, number].into()));
    records.extend(many);
    records
}

/// A daemon whose runs' names are answered by a server of these records.
fn daemon(upstream: &Upstream, lines: &str, more: &[(&str, &str)]) -> Result<Daemon> {
    let named = policy("named", NAMES);
    let fixture = Scene::POLICY.to_owned();
    let mut policies = vec![("named", named.as_str()), ("fixture", fixture.as_str())];
    policies.extend(more);
    let scene = Scene::with(&policies)?;
    let settings = fs::read_to_string(scene.settings())?;
    let servers = format!("name_servers = [\"{}\"]\n", upstream.address());
    fs::write(scene.settings(), settings + &servers + lines)?;
    Daemon::start_in(scene)
}

fn named(daemon: &Daemon, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy: "named", uid, ..Terms::default() })
}

fn question(name: &str) -> Question {
    Question {
        name: name.to_owned(),
        v6: false,
        server: SERVER,
        transport: Transport::Udp,
        edns: true,
    }
}

/// The addresses of a name, as a run is told them, and the extended error beside them.
fn resolve(run: &mut Run, question: Question) -> Result<(u16, Vec<IpAddr>, Option<u16>)> {
    match run.ask(&Step::Resolve(question.clone()))? {
        Outcome::Named { code, addresses, extended, .. } => Ok((code, addresses, extended)),
        other => anyhow::bail!("{question:?} gave {other:?}"),
    }
}

/// The errno of a connect to a port that `named` grants.
fn reach(run: &mut Run, to: &str) -> Result<i32> {
    run.errno(&Step::Connect { to: to.parse()?, protocol: Protocol::Tcp })
}
