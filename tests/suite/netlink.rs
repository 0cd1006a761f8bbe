//! A run reads the network's configuration, and changes nothing of it.

use agentid_tests::{
    harness::{
        Daemon, Run,
        scene::USERS,
        view::{Object, What},
        wait,
    },
    step::Step,
};
use anyhow::Result;
use libc::{
    EPERM, NETLINK_AUDIT, NETLINK_GENERIC, NETLINK_KOBJECT_UEVENT, NETLINK_NETFILTER,
    NETLINK_ROUTE, NETLINK_SOCK_DIAG, RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_GETADDR,
    RTM_GETLINK, RTM_GETNEIGH, RTM_GETROUTE, RTM_GETRULE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_NEWROUTE, RTM_NEWRULE, RTM_SETLINK,
};

/// The kind of a question about sockets (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;

fn route(kinds: &[u16]) -> Step {
    Step::Netlink { protocol: NETLINK_ROUTE, kinds: kinds.to_vec() }
}

/// P2: what the C library and `ip` read is free; the rest of netlink is denied, to root too.
#[test]
fn reads_the_network_and_changes_nothing() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        assert_eq!(run.errno(&Step::Interfaces)?, 0, "uid {uid}");
        for kind in [RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETRULE] {
            assert_eq!(run.errno(&route(&[kind]))?, 0, "uid {uid}: {kind}");
        }
        for kind in [
            RTM_NEWLINK,
            RTM_DELLINK,
            RTM_SETLINK,
            RTM_NEWADDR,
            RTM_DELADDR,
            RTM_NEWROUTE,
            RTM_DELROUTE,
            RTM_NEWNEIGH,
            RTM_NEWRULE,
        ] {
            assert_eq!(run.errno(&route(&[kind]))?, EPERM, "uid {uid}: {kind}");
        }
        for protocol in [
            NETLINK_SOCK_DIAG,
            NETLINK_AUDIT,
            NETLINK_KOBJECT_UEVENT,
            NETLINK_NETFILTER,
            NETLINK_GENERIC,
        ] {
            let step = Step::Netlink { protocol, kinds: vec![SOCK_DIAG_BY_FAMILY] };
            let errno = run.errno(&step)?;
            // A kernel without the protocol says so.
            assert!(
                [EPERM, libc::EPROTONOSUPPORT].contains(&errno),
                "uid {uid}: {protocol}: {errno}"
            );
        }
    }
    Ok(())
}

/// P2: of several messages in one call each is looked at, and what cannot be read is denied.
#[test]
fn looks_at_every_message_of_a_call() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        assert_eq!(run.errno(&route(&[RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE]))?, 0, "uid {uid}");
        for kinds in [
            vec![RTM_GETLINK, RTM_NEWROUTE],
            vec![RTM_GETLINK, RTM_GETADDR, RTM_DELLINK],
            [vec![RTM_GETLINK; 31], vec![RTM_SETLINK]].concat(),
            vec![RTM_GETLINK; 33],
        ] {
            let count = kinds.len();
            assert_eq!(run.errno(&route(&kinds))?, EPERM, "uid {uid}: {count} messages");
        }
        for length in [0, 15, 81, u32::MAX] {
            assert_eq!(run.errno(&Step::NetlinkTorn(length))?, EPERM, "uid {uid}: {length}");
        }
    }
    Ok(())
}

/// P4: a run that is over reads nothing either.
#[test]
fn asks_nothing_after_the_end() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        daemon.revoke(run.id())?;
        assert_eq!(run.errno(&route(&[RTM_GETLINK]))?, EPERM, "uid {uid}");
        assert_eq!(run.errno(&Step::Interfaces)?, EPERM, "uid {uid}");
    }
    Ok(())
}

/// P7: the record tells the protocol and the kind of the message.
#[test]
fn records_the_message() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut run = Run::of(&daemon, 0)?;
    assert_eq!(run.errno(&route(&[RTM_GETLINK, RTM_NEWROUTE]))?, EPERM);
    let shown = Object::Peer { address: None, port: RTM_NEWROUTE };
    wait::until("the record is there", wait::SOON, || {
        let found = daemon.events(run.id())?.into_iter().any(|event| match event.what {
            What::Access(access) => {
                access.hook == "netlink_send"
                    && access.reason.as_deref() == Some("netlink")
                    && access.object.as_ref() == Some(&shown)
            }
            What::Stopped(_) | What::Ended(_) | What::Other => false,
        });
        Ok(found.then_some(()))
    })
}
