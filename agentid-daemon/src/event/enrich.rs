//! A record and what the daemon knows of the run, to an event.

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv6Addr},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use agentid_common::{
    capability,
    file::Rights,
    net::{Address, ICMP, TCP, UDP, Verb},
    record::ABSTRACT,
    verdict::{Fault, Hook, Reason},
};

use uuid::Uuid;

use super::{
    decode::{self, Body, Record, Script},
    event::{self, Access, Event, Object, Process, RunName, What},
    sight::{Sight, seen},
};
use crate::instance::Run;

/// `AF_INET` of Linux.
const INET: u16 = 2;
/// `AF_INET6` of Linux.
const INET6: u16 = 10;

/// What enriching needs beside the record.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    /// The run that the record names.
    pub run: Option<&'a Run>,
    /// The run above whose policy says so, if it is not the run's own.
    pub by: Option<Uuid>,
    /// What the rule's author said of it.
    pub because: Option<&'a str>,
    /// Where filesystems can be seen.
    pub sights: &'a [Sight],
    /// Milliseconds since 1970 at which the boot clock stood at 0.
    pub boot_ms: u64,
}

/// The event that a record of an access becomes, without its number; `None` for the record of an empty run, which the daemon acts upon.
pub fn enrich(record: &Record, context: &Context<'_>) -> Option<Event> {
    let mut execution = None;
    let object = match &record.body {
        Body::Empty => return None,
        Body::Plain => None,
        Body::File { want, path: Some(path), filesystem: 0 } if path.first() == Some(&ABSTRACT) => {
            let name = String::from_utf8_lossy(path.get(1..).unwrap_or_default()).into_owned();
            Some(Object::AbstractSocket { name, want: abstract_rights(*want) })
        }
        Body::File { want, path, filesystem } => Some(Object::File {
            path: path.as_ref().map(|path| shown(context.sights, *filesystem, path)),
            want: rights(*want),
        }),
        Body::Exec { path, execution: told } => {
            execution = Some(Box::new(executed(told)));
            let path = path.as_ref().map(|path| shown(context.sights, 0, path));
            Some(Object::File { path, want: rights(Rights::EXEC) })
        }
        Body::Peer { port, level, .. } if record.hook == Hook::SocketSetsockopt => {
            Some(Object::SocketOption { level: *level, option: *port })
        }
        Body::Peer { port, .. } if record.hook == Hook::Capable => Some(Object::Capability {
            name: capability::name(u32::from(*port))
                .map_or_else(|| port.to_string(), ToOwned::to_owned),
        }),
        Body::Peer { family, protocol, .. } if record.hook == Hook::SocketCreate => {
            Some(Object::Socket { family: *family, protocol: *protocol })
        }
        Body::Peer { address, family, port, protocol, verb, level: _ } => Some(Object::Peer {
            address: matches!(*family, INET | INET6).then(|| ip(address).to_string()),
            port: *port,
            protocol: protocol_name(*protocol),
            family: *family,
            verb: Verb::from_u8(*verb).map(|verb| verb.name().to_owned()),
        }),
    };
    let access = Access {
        sequence: record.sequence,
        hook: record.hook.name().to_owned(),
        verdict: record.verdict.name().to_owned(),
        reason: (record.reason != Reason::None).then(|| record.reason.name().to_owned()),
        fault: (record.fault != Fault::None).then(|| record.fault.name().to_owned()),
        rule: (record.rule != 0).then_some(record.rule.into()),
        by: context.by,
        because: context.because.map(ToOwned::to_owned),
        process: Process {
            tgid: record.tgid,
            tid: record.tid,
            uid: record.uid,
            comm: comm(&record.comm),
        },
        object,
        execution,
    };
    Some(Event {
        seq: 0,
        time_ms: context.boot_ms + record.time / 1_000_000,
        run: context.run.map(name),
        what: What::Access(access),
    })
}

fn executed(told: &decode::Execution) -> event::Execution {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let script = match &told.script {
        Script::Named(name) => Some(text(name)),
        Script::None | Script::Nameless => None,
    };
    event::Execution {
        interprets: told.script != Script::None,
        script,
        argument_count: told.count,
        arguments: told.arguments.iter().map(text).collect(),
        left_out: told.left_out.name().map(ToOwned::to_owned),
    }
}

fn shown(sights: &[Sight], filesystem: u64, path: &[u8]) -> String {
    let path = Path::new(OsStr::from_bytes(path));
    if filesystem == 0 {
        return path.to_string_lossy().into_owned();
    }
    seen(sights, filesystem, path).to_string_lossy().into_owned()
}

/// The run as events name it.
pub fn name(run: &Run) -> RunName {
    RunName {
        id: run.id,
        agent: run.agent.clone(),
        owner: run.owner.clone(),
        task: run.task.clone(),
        policy: run.policy.to_string(),
        above: run.above.clone(),
    }
}

/// The names of a set of rights.
pub fn rights(set: Rights) -> Vec<String> {
    Rights::NAMES
        .iter()
        .filter(|(right, _)| set.contains(*right))
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// The same of what is asked of an abstract name: to take it is to listen by it.
pub fn abstract_rights(set: Rights) -> Vec<String> {
    [(Rights::CONNECT, "connect"), (Rights::CREATE, "listen")]
        .into_iter()
        .filter(|(right, _)| set.contains(*right))
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// An address as people write it: a mapped one is the IPv4 address.
pub fn ip(address: &Address) -> IpAddr {
    Ipv6Addr::from(address.0).to_canonical()
}

/// The name of a protocol that rules can speak of, or the number of another.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        other => other.to_string(),
    }
}

fn comm(bytes: &[u8; 16]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
