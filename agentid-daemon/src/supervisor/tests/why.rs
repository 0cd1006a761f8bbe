use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use agentid_common::{
    file::{AnchorKey, Rights},
    instance::{Instance, NO_SLOT, State as SlotState},
    name::{self, NameKey},
    net::Verb,
    tag::InvocationId,
};

use super::{id, launch};
use crate::{
    control::api::{Code, Endpoint, Protocol, WhyReply},
    image::{Folder, HostPlace, Image, Level, MapOp, Mount, Terrain},
    instance::{Run, run::PolicyVersion},
    policy,
    supervisor::{
        rules::Rules,
        why::{self, Question},
    },
};

const EXT4: u64 = 0xef53;
const KEY: NameKey = NameKey { k0: 1, k1: 2 };

const POLICY: &str = r#"
    name = "p"
    ttl = "30m"
    max_ttl = "1h"
    params = ["workspace"]
    capabilities = ["net_raw"]

    [[file]]
    paths = ["/usr/**"]
    allow = ["read", "exec"]

    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read", "write"]

    [[file]]
    paths = ["**/.env"]
    deny = "all"
    because = "secrets are not part of it"

    [[net]]
    to = ["10.1.0.0/16:5432"]
    allow = ["connect"]

    [[net]]
    to = ["10.1.0.53:53"]
    proto = "udp"
    allow = ["connect", "send"]

    [[net]]
    on = ["127.0.0.1:8000-8009", "[::]:8080"]
    allow = ["listen"]

    [[net]]
    to = ["10.1.0.53:53"]
    deny = ["connect"]
    because = "names are asked for elsewhere"
"#;

fn key(path: &Path) -> AnchorKey {
    let inode = name::hash(&NameKey::default(), path.as_os_str().as_encoded_bytes());
    AnchorKey { filesystem: 1, inode, generation: 0, kind: 0 }
}

/// One filesystem, on which every path that is asked for is a folder.
fn terrain(folders: Vec<PathBuf>) -> Terrain {
    let folder = |path: PathBuf| Folder {
        asked: path.clone(),
        resolved: path.clone(),
        missing: Vec::new(),
        anchors: vec![(path.clone(), key(&path))],
    };
    let root = Mount {
        point: "/".into(),
        root: "/".into(),
        device: "8:1".to_owned(),
        magic: EXT4,
        devices: false,
        anchor: Some(key(Path::new("/"))),
    };
    Terrain { mounts: vec![root], folders: folders.into_iter().map(folder).collect() }
}

fn place(path: &str) -> HostPlace {
    let level = |path: &Path| {
        let name = path.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
        Level::new(key(path), name, &KEY)
    };
    HostPlace {
        levels: Path::new(path).ancestors().map(level).collect(),
        magic: EXT4,
        folds: false,
        foreign_device: false,
    }
}

/// A run of the policy on slot 3.
struct Host {
    rules: Rules,
    run: Run,
}

fn host() -> Host {
    let version = PolicyVersion { name: "p".to_owned(), digest: "0".to_owned() };
    let mut run = launch(1).run;
    run.place.slot = 3;
    run.params = [("workspace".to_owned(), PathBuf::from("/home/alice/work"))].into();
    let (mut rules, leftover) = Rules::new(KEY, Image::default(), 1);
    let rest = rules.release(leftover);
    rules.applied(&rest);
    rules.load(version.clone(), policy::parse("p.toml", POLICY).unwrap(), POLICY.to_owned());
    let terrain = terrain(rules.folders(&version, &run.params));
    let ops = rules.compile(&version, &terrain).unwrap();
    rules.applied(&ops);
    assert!(rules.compile(&version, &terrain).unwrap().is_empty());
    let (bond, ops, bound) =
        rules.bind(&version, &run.params, &Default::default(), &terrain).unwrap();
    assert!(rules.keep(run.id, bound).is_none());
    rules.applied(&ops);
    let instance = Instance {
        generation: run.place.generation,
        deadline: run.place.deadline,
        capabilities: bond.capabilities,
        parent: NO_SLOT,
        state: SlotState::ACTIVE,
        invocation: InvocationId(id(1).into_bytes()),
        ..Instance::default()
    };
    let instance = instance.bound_to(bond.policy_scope, bond.params_scope);
    rules.applied(&[MapOp::SetInstance(3, instance)]);
    Host { rules, run }
}

impl Host {
    fn open(&self, path: &str, want: Rights) -> WhyReply {
        let policy = self.rules.document(&self.run.policy).map(|document| &document.policy);
        let question = Question { run: (&self.run).into(), texts: policy.into(), object: path };
        question.file(&self.rules.at(1), &place(path), want)
    }

    fn end(&self, verb: Verb, address: &str, protocol: Protocol) -> WhyReply {
        let end: std::net::SocketAddr = address.parse().unwrap();
        let end = Endpoint { address: end.ip(), port: end.port(), protocol };
        let policy = self.rules.document(&self.run.policy).map(|document| &document.policy);
        why::end(&self.rules.at(1), &self.run, policy, verb, &end)
    }

    fn capability(&self, name: &str) -> Result<WhyReply, crate::control::api::ErrorReply> {
        why::capability(&self.rules.at(1), &self.run, None, name)
    }

    fn connect(&self, address: &str) -> WhyReply {
        self.end(Verb::Connect, address, Protocol::Tcp)
    }
}

#[test]
fn a_capability_is_had_when_it_is_usual_or_granted() {
    for name in ["chown", "net_raw"] {
        assert_eq!(host().capability(name).unwrap().verdict, "allow", "{name}");
    }
    let reply = host().capability("sys_admin").unwrap();
    assert_eq!((reply.verdict.as_str(), reply.reason.as_deref()), ("deny", Some("capability")));
    assert!(reply.explanation.starts_with("capability sys_admin is not among"));
    assert_eq!(host().capability("CAP_CHOWN").unwrap_err().code, Code::BadRequest);
}

#[test]
fn an_allowed_file_names_its_rule() {
    let reply = host().open("/usr/bin/cat", Rights::EXEC);
    assert_eq!((reply.verdict.as_str(), reply.rule), ("allow", Some(1)));
    assert_eq!(reply.rule_text.unwrap(), "allow read, exec on /usr/**");
    assert_eq!(reply.explanation, "rule 1 allows it");
    assert_eq!(host().open("/home/alice/work/src/a.rs", Rights::WRITE).verdict, "allow");
}

#[test]
fn a_missing_grant_says_which_right_is_missing_where() {
    let reply = host().open("/usr/bin/cat", Rights::READ.union(Rights::WRITE));
    assert_eq!((reply.verdict.as_str(), reply.reason.as_deref()), ("deny", Some("no_rule")));
    assert_eq!(reply.explanation, "no rule: missing grant write on /usr/bin/cat");
}

#[test]
fn a_denying_rule_says_because() {
    let reply = host().open("/home/alice/work/.env", Rights::READ);
    assert_eq!((reply.verdict.as_str(), reply.rule), ("deny", Some(3)));
    assert_eq!(reply.because.unwrap(), "secrets are not part of it");
}

#[test]
fn peers_are_explained_alike() {
    let allowed = host().connect("10.1.2.3:5432");
    assert_eq!(allowed.rule_text.unwrap(), "allow connect to 10.1.0.0/16:5432");
    assert_eq!(host().connect("[::ffff:10.1.2.3]:5432").verdict, "allow");
    let denied = host().connect("10.1.2.3:22");
    assert_eq!(denied.explanation, "no rule: missing grant connect to 10.1.2.3:22");
}

#[test]
fn each_verb_and_protocol_is_explained() {
    let host = host();
    let listen = host.end(Verb::Listen, "127.0.0.1:8000", Protocol::Tcp);
    assert_eq!(listen.rule_text.unwrap(), "allow listen on 127.0.0.1:8000-8009, [::]:8080");
    let listen = host.end(Verb::Listen, "0.0.0.0:8000", Protocol::Tcp);
    assert_eq!(listen.explanation, "no rule: missing grant listen on 0.0.0.0:8000");
    let listen = host.end(Verb::Listen, "[::]:8080", Protocol::Tcp);
    let both = "listen on [::]:8080, and on 0.0.0.0:8080, because it takes IPv4 too";
    assert_eq!(listen.explanation, format!("no rule: missing grant {both}"));
    let send = host.end(Verb::Send, "10.1.0.7:53", Protocol::Udp);
    assert_eq!(send.explanation, "no rule: missing grant send to 10.1.0.7:53 by udp");
    let send = host.end(Verb::Send, "10.1.0.7:0", Protocol::Icmp);
    assert_eq!(send.explanation, "no rule: missing grant send to 10.1.0.7 by icmp");
    let send = host.end(Verb::Send, "10.1.0.53:53", Protocol::Udp);
    assert_eq!(send.rule_text.unwrap(), "deny connect to 10.1.0.53:53");
    assert_eq!(send.because.unwrap(), "names are asked for elsewhere");
}

#[test]
fn a_dead_run_is_told_so_whatever_the_rules_say() {
    let mut host = host();
    host.rules.applied(&[MapOp::SetState(3, SlotState::REVOKED)]);
    let reply = host.open("/usr/bin/cat", Rights::READ);
    assert_eq!((reply.verdict.as_str(), reply.reason.as_deref()), ("deny", Some("revoked")));
    host.rules.applied(&[MapOp::SetInstance(3, Instance::default())]);
    let reply = host.open("/usr/bin/cat", Rights::READ);
    assert_eq!(reply.explanation, "the run has no slot any more");
}

#[test]
fn what_a_run_alone_needed_goes_with_it() {
    let mut host = host();
    let with = host.rules.image().clone();
    let release = host.rules.unbind(host.run.id).unwrap();
    host.rules.applied(&release.removal.clone());
    let rest = host.rules.release(release);
    host.rules.applied(&rest);
    assert_ne!(*host.rules.image(), with);
    assert_eq!(host.open("/home/alice/work/src/a.rs", Rights::READ).verdict, "deny");
    assert_eq!(host.open("/usr/bin/cat", Rights::READ).verdict, "allow");
    assert!(host.rules.unbind(host.run.id).is_none());
}

#[test]
fn rights_are_asked_for_by_name() {
    let names = |names: &[&str]| {
        why::rights(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(&["read", "exec"]), Ok(Rights::READ.union(Rights::EXEC)));
    assert_eq!(names(&["raed"]).unwrap_err().code, Code::BadRequest);
    assert_eq!(names(&[]).unwrap_err().code, Code::BadRequest);
}
