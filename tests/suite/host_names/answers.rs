//! What a run is answered, and what that grants.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use agentid_tests::{
    harness::{Run, Upstream, scene::USERS, upstream::address, wait},
    step::{Outcome, Protocol, Question, Step, Transport},
};
use anyhow::Result;
use libc::EACCES;

use super::{
    BLOCKED, FAILED, NAME_THAT_IS_NONE, PROHIBITED, daemon, ip, named, question, reach, records,
    resolve,
};

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
        }
        let (code, addresses, _) = resolve(other, question("granted.example"))?;
        assert_eq!((code, addresses), (FAILED, Vec::new()), "uid {uid}");
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
