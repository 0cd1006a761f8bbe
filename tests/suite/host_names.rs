//! Host names: a run reaches what it has asked for by a name that its rules grant.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene, Upstream,
        run::Terms,
        scene::{PROBE, USERS},
        upstream::{address, alias},
        wait,
    },
    step::{Act, By, Call, Outcome, Protocol, Question, Step, Transport},
};
use anyhow::{Context as _, Result, ensure};
use hickory_proto::rr::Record;
use libc::{EACCES, ECONNREFUSED, EPERM};
use nix::sched::{CloneFlags, unshare};

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

/// P2: a name that is granted leads to its addresses, whichever server the run believes to ask, and whichever way.
#[test]
fn a_granted_name_grants_its_addresses_to_the_run_that_asked() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let _peers = [TcpListener::bind("127.1.0.1:20000")?, TcpListener::bind("[::1]:20000")?];
    for uid in USERS {
        let mut other = named(&daemon, uid)?;
        for server in
            ["192.0.2.53:53", "[2001:db8::53]:53", "[::ffff:192.0.2.53]:53", "127.0.0.53:53"]
        {
            for transport in Transport::ALL {
                let mut run = named(&daemon, uid)?;
                assert_eq!(reach(&mut run, "127.1.0.1:20000")?, EACCES);
                let server: SocketAddr = server.parse()?;
                let asked = Question { server, transport, ..question("Granted.Example") };
                let outcome = run.ask(&Step::Resolve(asked.clone()))?;
                let Outcome::Named { code, addresses, from, .. } = outcome else {
                    panic!("uid {uid}: {asked:?} gave {outcome:?}");
                };
                assert_eq!((code, addresses), (0, vec![ip("127.1.0.1")]), "{asked:?}");
                assert_eq!(from, server, "uid {uid}: {asked:?}: who seems to answer");
                assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0, "uid {uid}: {asked:?}");
                assert_eq!(reach(&mut run, "[::1]:20000")?, EACCES, "it was not asked for");
                let v6 = Question { v6: true, ..asked };
                assert_eq!(resolve(&mut run, v6)?.1, [ip("::1")]);
                assert_eq!(reach(&mut run, "[::1]:20000")?, 0);
                assert_eq!(reach(&mut run, "127.1.0.1:443")?, EACCES, "the port is not granted");
                assert_eq!(reach(&mut other, "127.1.0.1:20000")?, EACCES, "nobody else's");
            }
        }
    }
    assert!(upstream.heard().iter().all(|name| name == "granted.example."));
    Ok(())
}

/// P2: a run that asks again is told again what holds, although no server answers any more; another run is told nothing.
#[test]
fn an_answer_is_kept_for_the_run_that_had_it() -> Result<()> {
    let upstream = Upstream::start(vec![address("granted.example", 3600, ip("127.1.0.1"))])?;
    let daemon = daemon(&upstream, "", &[])?;
    let _peer = TcpListener::bind("127.1.0.1:20000")?;
    let mut runs = Vec::new();
    for uid in USERS {
        let mut run = named(&daemon, uid)?;
        assert_eq!(resolve(&mut run, question("granted.example"))?.0, 0);
        assert_eq!(resolve(&mut run, question("none.below.example"))?.0, NAME_THAT_IS_NONE);
        runs.push((uid, run, named(&daemon, uid)?));
    }
    drop(upstream);
    for (uid, run, other) in &mut runs {
        for transport in Transport::ALL {
            let asked = Question { transport, ..question("Granted.example") };
            assert_eq!(
                resolve(run, asked.clone())?.1,
                [ip("127.1.0.1")],
                "uid {uid}: {transport:?}"
            );
            let (code, addresses, _) = resolve(other, asked)?;
            assert_eq!((code, addresses), (FAILED, Vec::new()), "uid {uid}: {transport:?}");
        }
        assert_eq!(reach(run, "127.1.0.1:20000")?, 0);
        assert_eq!(reach(other, "127.1.0.1:20000")?, EACCES);
        // Nobody has said for how long there is none.
        assert_eq!(resolve(run, question("none.below.example"))?.0, FAILED, "uid {uid}");
    }
    Ok(())
}

/// P2: what is reached by a name is reached by UDP as well, and each packet is judged.
#[test]
fn datagrams_go_where_a_name_leads() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let peer = UdpSocket::bind("127.1.0.1:20000")?;
    peer.set_read_timeout(Some(wait::SOON))?;
    for uid in USERS {
        let mut run = named(&daemon, uid)?;
        resolve(&mut run, question("granted.example"))?;
        let call = Step::Call { to: peer.local_addr()?, protocol: Protocol::Udp };
        assert_eq!(run.errno(&call)?, 0);
        assert_eq!(run.errno(&Step::Say)?, 0);
        assert_eq!(peer.recv(&mut [0; 8])?, 1, "uid {uid}");
    }
    Ok(())
}

/// P2, P7: any other name does not exist, nobody outside hears of it, and the record tells it.
#[test]
fn a_name_that_is_not_granted_does_not_exist_and_is_recorded() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let long = format!("{}.{}.below.example", "a".repeat(60), "b".repeat(60));
    for uid in USERS {
        let mut run = named(&daemon, uid)?;
        for name in
            ["other.example", "secret.below.example", "below.example", "example", long.as_str()]
        {
            for transport in Transport::ALL {
                let asked = Question { transport, ..question(name) };
                let answer = resolve(&mut run, asked)?;
                assert_eq!(answer, (NAME_THAT_IS_NONE, vec![], Some(PROHIBITED)), "{name}");
            }
        }
        let plain = Question { edns: false, ..question("other.example") };
        assert_eq!(resolve(&mut run, plain)?, (NAME_THAT_IS_NONE, vec![], None));
        assert_eq!(reach(&mut run, "127.1.0.3:20000")?, EACCES);
        let story = daemon.story(run.id())?;
        assert!(story.contains("name deny  A other.example  no_rule"), "{story}");
        let by_rule = "name deny  A secret.below.example  deny_rule  rule 3  (nobody's business)";
        assert!(story.contains(by_rule), "{story}");
        assert!(story.contains("long_name"), "{story}");
    }
    assert_eq!(upstream.heard(), [""; 0]);
    Ok(())
}

/// P2: an alias leads to the addresses behind it, for the name that is granted.
#[test]
fn aliases_lead_to_addresses() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let _peer = TcpListener::bind("127.1.0.5:20000")?;
    let mut run = named(&daemon, 1000)?;
    assert_eq!(resolve(&mut run, question("farther.example"))?.0, NAME_THAT_IS_NONE);
    assert_eq!(resolve(&mut run, question("alias.below.example"))?.1, [ip("127.1.0.5")]);
    assert_eq!(reach(&mut run, "127.1.0.5:20000")?, 0);
    let story = daemon.story(run.id())?;
    assert!(story.contains("name allow  A alias.below.example  127.1.0.5"), "{story}");
    Ok(())
}

/// P2: an answer that is too long for a datagram says so, and comes whole over TCP; a server's is asked for again likewise.
#[test]
fn a_long_answer_comes_over_tcp() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let mut run = named(&daemon, 1000)?;
    let asked = Question { edns: false, ..question("many.below.example") };
    let outcome = run.ask(&Step::Resolve(asked.clone()))?;
    let Outcome::Named { truncated, .. } = outcome else { panic!("{outcome:?}") };
    assert!(truncated);
    let whole = Question { transport: Transport::Tcp, ..asked };
    assert_eq!(resolve(&mut run, whole)?.1.len(), 200);
    // By UDP and then by TCP, each time; what is answered late is asked for once more.
    assert!(upstream.heard().len() >= 4, "a server was not asked over TCP");
    let _peer = TcpListener::bind("127.2.0.199:20000")?;
    assert_eq!(reach(&mut run, "127.2.0.199:20000")?, 0);
    Ok(())
}

/// P2: an answer does not lead into the host's own networks, or to what is no other host, unless a rule says so.
#[test]
fn a_public_name_is_no_private_address() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    for uid in USERS {
        let mut run = named(&daemon, uid)?;
        assert_eq!(resolve(&mut run, question("public.example"))?.1, [ip("198.51.100.7")]);
        let v6 = Question { v6: true, ..question("public.example") };
        assert_eq!(resolve(&mut run, v6)?, (0, vec![], Some(BLOCKED)));
        for to in ["10.0.0.1:443", "127.0.0.1:443", "169.254.169.254:443", "[fd00::1]:443"] {
            assert_eq!(reach(&mut run, to)?, EACCES, "uid {uid}: {to}");
        }
        let story = daemon.story(run.id())?;
        let refused =
            "name deny  A public.example  10.0.0.1 127.0.0.1 169.254.169.254  special_address";
        assert!(story.contains(refused), "{story}");
    }
    Ok(())
}

/// P2: an address can be used until its time and no longer, unless the run asks again. What stands then goes on.
#[test]
fn an_address_ends_with_its_time() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "pin_at_least = \"2s\"\npin_at_most = \"2s\"\n", &[])?;
    let _peer = TcpListener::bind("127.1.0.1:20000")?;
    let mut run = named(&daemon, 1000)?;
    let call = Step::Call { to: "127.1.0.1:20000".parse()?, protocol: Protocol::Tcp };
    for _ in 0..2 {
        // The time may be over before the call.
        wait::until("it is called in time", wait::SOON, || {
            let outcome = run.ask(&Step::Resolve(question("granted.example")))?;
            let Outcome::Named { longest, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(longest, Some(2), "the run is told to ask again in time");
            match run.errno(&call)? {
                0 => Ok(Some(())),
                EACCES => Ok(None),
                errno => anyhow::bail!("the call gave {errno}"),
            }
        })?;
        let address = Step::Connect { to: "127.1.0.1:20000".parse()?, protocol: Protocol::Udp };
        wait::until("the address has come to its time", wait::SOON, || {
            Ok((run.errno(&address)? == EACCES).then_some(()))
        })?;
        assert_eq!(reach(&mut run, "127.1.0.1:20000")?, EACCES);
        assert_eq!(run.errno(&Step::Say)?, 0, "a conversation that stands goes on");
        assert!(!daemon.show_text(run.id())?.contains("granted.example"));
    }
    Ok(())
}

/// Elements of the table of pinned addresses.
fn pins(daemon: &Daemon) -> Result<u64> {
    let maps = daemon.status()?.maps;
    Ok(maps.iter().find(|map| map.name == "PINS").map_or(0, |map| map.entries))
}

/// P4: who is revoked or suspended is told nothing, and what names have led to is denied.
#[test]
fn names_end_with_the_run() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let _peer = TcpListener::bind("127.1.0.1:20000")?;
    for uid in USERS {
        let mut run = named(&daemon, uid)?;
        resolve(&mut run, question("granted.example"))?;
        assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0);
        daemon.revoke(run.id())?;
        for transport in Transport::ALL {
            let asked = Step::Resolve(Question { transport, ..question("granted.example") });
            assert_eq!(run.errno(&asked)?, EPERM, "uid {uid}: {transport:?}");
        }
        assert_eq!(reach(&mut run, "127.1.0.1:20000")?, EPERM);
    }
    wait::until("nothing is left of their names", wait::SOON, || {
        Ok((pins(&daemon)? == 0).then_some(()))
    })?;
    Ok(())
}

/// P9: another version of the policy keeps what it grants as well, and takes what it does not.
#[test]
fn names_follow_the_policy() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let _peers = [TcpListener::bind("127.1.0.1:20000")?, TcpListener::bind("127.1.0.2:20000")?];
    let mut run = named(&daemon, 1000)?;
    resolve(&mut run, question("granted.example"))?;
    resolve(&mut run, question("a.below.example"))?;
    let first = run.view(&daemon)?.policy;
    let without = policy("named", NAMES).replace("\"granted.example:20000-29999\", ", "");
    fs::write(daemon.scene().path().join("policies/named.toml"), without)?;
    daemon.reload()?;
    wait::until("the new version is in force", wait::SOON, || {
        Ok((run.view(&daemon)?.policy != first).then_some(()))
    })?;
    assert_eq!(reach(&mut run, "127.1.0.1:20000")?, EACCES);
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, 0);
    assert_eq!(resolve(&mut run, question("granted.example"))?.0, NAME_THAT_IS_NONE);
    Ok(())
}

/// P6: without the daemon no name is told, what was pinned stays, and nothing opens up; the next daemon goes on.
#[test]
fn names_outlive_the_daemon() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let mut daemon = daemon(&upstream, "", &[])?;
    let _peers = [TcpListener::bind("127.1.0.1:20000")?, TcpListener::bind("127.1.0.2:20000")?];
    let mut run = named(&daemon, 1000)?;
    resolve(&mut run, question("granted.example"))?;
    let open = Step::Call { to: "192.0.2.53:53".parse()?, protocol: Protocol::Udp };
    assert_eq!(run.errno(&open)?, 0);
    daemon.kill9()?;
    for transport in [Transport::Udp, Transport::Tcp] {
        let asked = Step::Resolve(Question { transport, ..question("a.below.example") });
        assert_eq!(run.errno(&asked)?, ECONNREFUSED, "{transport:?}");
    }
    assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0);
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, EACCES);
    daemon.start_again()?;
    assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0);
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, EACCES);
    resolve(&mut run, question("a.below.example"))?;
    assert_eq!(reach(&mut run, "127.1.0.2:20000")?, 0);
    let shown = daemon.show_text(run.id())?;
    assert!(shown.contains("granted.example is 127.1.0.1 until"), "{shown}");
    Ok(())
}

/// P2: no packet of a run with names gets to a server of names, and nobody else's goes anywhere but there.
#[test]
fn only_runs_are_answered_by_the_daemon() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let (datagrams, listener) =
        (UdpSocket::bind("127.0.0.9:53")?, TcpListener::bind("127.0.0.9:53")?);
    for it in [datagrams.set_nonblocking(true), listener.set_nonblocking(true)] {
        it?;
    }
    for uid in USERS {
        let mut run = named(&daemon, uid)?;
        for transport in Transport::ALL {
            let server = "127.0.0.9:53".parse()?;
            let asked = Question { server, transport, ..question("granted.example") };
            assert_eq!(resolve(&mut run, asked)?.1, [ip("127.1.0.1")]);
        }
    }
    let would_block = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    assert!(datagrams.recv(&mut [0; 8]).is_err_and(would_block));
    assert!(listener.accept().is_err_and(would_block));

    let ours = UdpSocket::bind("127.0.0.1:0")?;
    ours.send_to(b"not for the daemon", "127.0.0.9:53")?;
    datagrams.set_nonblocking(false)?;
    datagrams.set_read_timeout(Some(wait::SOON))?;
    assert_eq!(datagrams.recv(&mut [0; 64])?, 18);
    // Who is no run is answered nothing at the daemon's own port.
    let port = resolver()?;
    let question = hickory_proto::op::Message::query().to_vec()?;
    let ours = UdpSocket::bind("127.0.0.1:0")?;
    ours.set_read_timeout(Some(wait::SOON))?;
    ours.send_to(&question, ("127.0.0.1", port))?;
    let mut room = [0; 512];
    let length = ours.recv(&mut room)?;
    let answer = hickory_proto::op::Message::from_vec(&room[..length])?;
    assert!(answer.answers.is_empty());
    assert_ne!(answer.metadata.response_code.low(), 0);
    Ok(())
}

/// The port of the daemon's resolver.
fn resolver() -> Result<u16> {
    let taken = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_err();
    (1002..1010).find(taken).context("the daemon has no resolver")
}

/// P6: the resolver's port is no run's, with the daemon or without.
#[test]
fn no_run_takes_the_place_of_the_daemon() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let listening = NAMES.to_owned()
        + "[[net]]\non = [\"127.0.0.1:*\"]\nproto = [\"tcp\", \"udp\"]\nallow = [\"listen\"]\n";
    let listening = policy("listening", &listening);
    let mut daemon = daemon(&upstream, "", &[("listening", &listening)])?;
    let mut run = Run::launch(&daemon, &Terms { policy: "listening", ..Terms::default() })?;
    let port = resolver()?;
    daemon.kill9()?;
    let bind = |port: u16, kind| {
        let at: SocketAddr = ([127, 0, 0, 1], port).into();
        let make = Act::Make { family: libc::AF_INET, kind, protocol: 0, by: By::Call };
        vec![Call { on: 0, what: make }, Call { on: 0, what: Act::Bind(at.into()) }]
    };
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        assert_eq!(run.last_call(bind(port, kind))?, EPERM);
        assert_eq!(run.last_call(bind(port + 100, kind))?, 0);
    }
    Ok(())
}

/// P2: without names in its policy a run asks no server, the daemon's included.
#[test]
fn a_run_without_names_asks_nobody() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let _others = named(&daemon, 0)?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for transport in Transport::ALL {
            for server in [SERVER, ([127, 0, 0, 1], resolver()?).into()] {
                let asked = Question { server, transport, ..question("granted.example") };
                let errno = run.errno(&Step::Resolve(asked))?;
                assert_eq!(errno, EACCES, "uid {uid}: {transport:?} {server}");
            }
        }
    }
    assert_eq!(upstream.heard(), [""; 0]);
    Ok(())
}

/// P2: a run below another is told what both are granted, and nothing else.
#[test]
fn a_run_below_another_knows_the_names_of_both() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let delegate = "[delegate]\nto = [\"narrower\"]\n";
    // In audit mode, so that what it executes on the way needs no rule.
    let wider = policy("wider", NAMES).replace("on_end", "mode = \"audit\"\n        on_end");
    let wider = wider + delegate;
    let narrower = policy(
        "narrower",
        &NAMES.replace("\"*.below.example:20000-29999\"", "\"other.example:20000-29999\""),
    );
    let daemon = daemon(&upstream, "", &[("wider", &wider), ("narrower", &narrower)])?;
    let _peer = TcpListener::bind("127.1.0.1:20000")?;
    for uid in USERS {
        let mut run = Run::delegated(&daemon, uid, &["wider", "narrower"], "spawn")?;
        for name in ["other.example", "a.below.example"] {
            assert_eq!(resolve(&mut run, question(name))?.0, NAME_THAT_IS_NONE, "{name}");
        }
        assert_eq!(resolve(&mut run, question("granted.example"))?.1, [ip("127.1.0.1")]);
        assert_eq!(reach(&mut run, "127.1.0.1:20000")?, 0, "uid {uid}");
    }
    Ok(())
}

/// P2: in another network namespace the daemon cannot be asked, and what listens there in its place is not.
#[test]
fn another_network_has_no_names() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    let mut command = daemon.agentid();
    command.args(["run", "--policy", "named", "--agent", "probe", "--owner", "suite"]);
    command.args(["--task", "test", "--param", &workspace, "--", PROBE]);
    // SAFETY: between fork and exec nothing but a system call is made.
    unsafe {
        command.pre_exec(|| unshare(CloneFlags::CLONE_NEWNET).map_err(Into::into));
    }
    let mut run = Run::start(&daemon, command, 0, Stdio::piped())?;
    for transport in Transport::ALL {
        let asked = Step::Resolve(Question { transport, ..question("granted.example") });
        assert_eq!(run.errno(&asked)?, EACCES, "{transport:?}");
    }
    Ok(())
}

/// P7: one run cannot fill the records, or the daemon's time, with questions.
#[test]
fn too_many_questions_are_refused() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let mut other = named(&daemon, 1000)?;
    let begun = Instant::now();
    let mut run = named(&daemon, 1000)?;
    // Many before an answer is read, or each second gives back what is asked in it.
    let many = Step::ResolveMany { question: question("other.example"), times: 50 };
    wait::until("a question is refused", wait::SOON, || {
        let outcome = run.ask(&many)?;
        let Outcome::Answers(answers) = outcome else { panic!("{outcome:?}") };
        ensure!(answers.iter().all(|(code, _)| *code != 0), "{answers:?}");
        Ok(answers.contains(&TOO_MANY).then_some(()))
    })?;
    // What the daemon gives a run: 200 records at once, and 5 more in each second.
    let most = 200 + 5 * (begun.elapsed().as_secs() + 1);
    assert_eq!(resolve(&mut other, question("granted.example"))?.1, [ip("127.1.0.1")]);
    let story = daemon.story(run.id())?;
    let told = story.lines().filter(|line| line.contains("other.example")).count();
    assert!((200..=most).contains(&u64::try_from(told)?), "{told} records, at most {most}");
    Ok(())
}

/// P8: `why` and `show` tell names: which, what they stand for, until when.
#[test]
fn why_explains_names() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let mut run = named(&daemon, 1000)?;
    let why = |run: &Run, whom: &str| daemon.why_text(run.id(), &["--connect", whom]);
    let text = why(&run, "granted.example:20000")?;
    assert!(
        text.contains("allow: rule 1 allows it, once the run has asked for the name"),
        "{text}"
    );
    assert!(text.contains("rule 1: allow connect to granted.example:20000-29999"), "{text}");
    assert!(text.contains("because: the work needs it"), "{text}");
    let text = why(&run, "granted.example:443")?;
    assert!(text.contains("deny: no rule: missing grant connect to granted.example:443"), "{text}");
    let text = why(&run, "other.example:20000")?;
    assert!(text.contains("deny: no rule: missing grant connect to other.example:20000"), "{text}");
    let text = why(&run, "secret.below.example:20000")?;
    assert!(text.contains("deny: rule 3 denies it"), "{text}");
    let text = why(&run, "192.0.2.53:53")?;
    assert!(text.contains("allow: the daemon answers it"), "{text}");
    resolve(&mut run, question("granted.example"))?;
    let text = why(&run, "Granted.Example:20000")?;
    assert!(text.contains("allow: rule 1 allows it: granted.example is 127.1.0.1"), "{text}");
    assert!(text.contains("granted.example is 127.1.0.1 until"), "{text}");
    let text = why(&run, "127.1.0.1:20000")?;
    assert!(text.contains("allow: rule 1 allows it"), "{text}");
    let shown = daemon.show_text(run.id())?;
    assert!(shown.contains("granted.example is 127.1.0.1 until"), "{shown}");
    Ok(())
}

/// P9: the daemon begins where there is room, and says so where there is none.
#[test]
fn a_port_that_is_taken_is_left_alone() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let _taken = UdpSocket::bind("127.0.0.1:1002")?;
    let mut daemon = daemon(&upstream, "", &[])?;
    let mut run = named(&daemon, 1000)?;
    assert_eq!(resolve(&mut run, question("granted.example"))?.1, [ip("127.1.0.1")]);
    daemon.stop()?;
    let all = (1003..1010).map(|port| UdpSocket::bind(("127.0.0.1", port)));
    let all = all.collect::<std::io::Result<Vec<_>>>()?;
    let said = daemon.scene().refused_start()?;
    assert!(said.contains("at a port from 1002 to 1009"), "{said}");
    drop(all);
    daemon.start_again()?;
    assert_eq!(resolve(&mut run, question("granted.example"))?.1, [ip("127.1.0.1")]);
    Ok(())
}

/// P3: servers that do not answer take no longer than they may, and the run is told that nothing came of it.
#[test]
fn a_silent_server_is_a_failure() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let mut run = named(&daemon, 1000)?;
    drop(upstream);
    let answer = run.ask_within(
        &Step::Resolve(question("granted.example")),
        wait::SOON + Duration::from_secs(30),
    )?;
    let Outcome::Named { code, extended, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((code, extended), (2, Some(22)));
    Ok(())
}
