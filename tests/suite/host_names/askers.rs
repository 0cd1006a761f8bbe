//! Who is answered, and who is not.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use agentid_tests::{
    harness::{
        Run, Upstream,
        run::Terms,
        scene::{PROBE, USERS},
        wait,
    },
    step::{Act, By, Call, Outcome, Question, Step, Transport},
};
use anyhow::{Context as _, Result, ensure};
use libc::{EACCES, ENETUNREACH, EPERM};
use nix::sched::{CloneFlags, unshare};

use super::{
    NAME_THAT_IS_NONE, NAMES, SERVER, TOO_MANY, daemon, ip, named, policy, question, reach,
    records, resolve,
};

/// What a program waits for an answer before it asks again, on no slow host.
const A_WHILE: Duration = Duration::from_secs(5);

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

/// What a question comes to that may not be asked: the message is denied. A socket that only takes the server for its peer
/// is not, and learns that no way leads there, where that is so.
fn refusal(transport: Transport, server: SocketAddr) -> i32 {
    if transport == Transport::Udp && server == SERVER { ENETUNREACH } else { EACCES }
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
                let expected = refusal(transport, server);
                assert_eq!(errno, expected, "uid {uid}: {transport:?} {server}");
            }
        }
    }
    assert_eq!(upstream.heard(), [""; 0]);
    Ok(())
}

/// P2: a run that gets to the resolver by a rule, and has no names, is not taken for the one that had its port before.
#[test]
fn no_run_is_answered_for_another() -> Result<()> {
    const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let upstream = Upstream::start(records())?;
    let nameless =
        "[[net]]\nto = [\"127.0.0.1:*\"]\nproto = [\"tcp\", \"udp\"]\nallow = [\"connect\"]\n";
    let nameless = policy("nameless", nameless);
    let daemon = daemon(&upstream, "", &[("nameless", &nameless)])?;
    let usual = fs::read_to_string(PORTS)?;
    let asked = (|| {
        let mut codes = Vec::new();
        for uid in USERS {
            let mut first = named(&daemon, uid)?;
            let mut second =
                Run::launch(&daemon, &Terms { policy: "nameless", uid, ..Terms::default() })?;
            let server = ([127, 0, 0, 1], resolver()?).into();
            fs::write(PORTS, "50000 50000")?;
            for transport in [Transport::Udp, Transport::UdpUnconnected] {
                assert_eq!(resolve(&mut first, question("granted.example"))?.1, [ip("127.1.0.1")]);
                let question = Question { server, transport, ..question("granted.example") };
                codes.push(resolve(&mut second, question)?);
            }
            fs::write(PORTS, &usual)?;
        }
        anyhow::Ok(codes)
    })();
    fs::write(PORTS, usual)?;
    for (code, addresses, _) in asked? {
        assert_ne!(code, 0);
        assert!(addresses.is_empty(), "{addresses:?}");
    }
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
        assert_eq!(run.errno(&asked)?, refusal(transport, SERVER), "{transport:?}");
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
    let many = Step::ResolveMany { question: question("other.example"), times: 160 };
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

/// P10: nor can it keep others from their names: not with datagrams, and not with connections.
#[test]
fn one_run_leaves_names_to_the_others() -> Result<()> {
    let upstream = Upstream::start(records())?;
    let daemon = daemon(&upstream, "", &[])?;
    let mut other = named(&daemon, 1000)?;
    let mut run = named(&daemon, 1000)?;
    assert_eq!(run.errno(&Step::AskMuch(question("other.example")))?, 0);
    let refused = || Ok(daemon.story(run.id())?.contains("crowded").then_some(()));
    wait::until("the run has more than its share", wait::SOON, refused)?;
    for _ in 0..8 {
        for transport in Transport::ALL {
            let begun = Instant::now();
            let asked = Question { transport, ..question("granted.example") };
            let (code, addresses, why) = resolve(&mut other, asked)?;
            assert_eq!(addresses, [ip("127.1.0.1")], "{transport:?}: {code} {why:?}");
            assert!(begun.elapsed() < A_WHILE, "{transport:?}: {:?}", begun.elapsed());
        }
    }
    let told = daemon.story(run.id())?.lines().filter(|line| line.contains("crowded")).count();
    assert_eq!(told, 1, "it is recorded once");
    assert_eq!(daemon.story(other.id())?.lines().filter(|it| it.contains("crowded")).count(), 0);
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
