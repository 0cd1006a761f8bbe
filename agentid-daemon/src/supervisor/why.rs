//! The decision, run on the host, in words.

use std::net::{IpAddr, SocketAddr};

use agentid_common::{
    capability,
    decide::{
        capability::may_have,
        file::{may_access, may_open},
        lifecycle::may_go_on,
        net::may_use,
        unix::{self, may_be_called, may_talk},
    },
    facts::{Facts, Location},
    file::Rights,
    net::{Address, ICMP, Peer, TCP, UDP, Verb},
    tag::{COUNTED, InvocationId, Tag},
    verdict::{Answer, EACCES, EPERM, EXDEV, Fault, Mode, Reason, Rule, Verdict, settle},
};

use uuid::Uuid;

use super::{
    grant,
    rule_text::{file_rule, net_rule},
};
use crate::{
    control::api::{Code, Endpoint, ErrorReply, NameView, NamedEndpoint, Protocol, WhyReply},
    event::enrich,
    image::{AbstractName, Supposed},
    instance::{Run, run::RunMode},
    policy::{MAX_ABSTRACT, Policy, Side},
};

/// The run that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub tag: Tag,
    pub mode: RunMode,
    /// Whether it asks the daemon for names of hosts.
    pub names: bool,
}

impl From<&Run> for Asker {
    fn from(run: &Run) -> Self {
        let tag = Tag {
            generation: run.place.generation,
            slot: run.place.slot,
            mark: COUNTED,
            invocation: InvocationId(run.id.into_bytes()),
        };
        Self { tag, mode: run.mode, names: run.names }
    }
}

/// The rules by their numbers; `None` where the text is not at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Texts<'a> {
    pub own: Option<&'a Policy>,
    /// Of the runs above, the one right above first.
    pub above: &'a [(Uuid, Option<&'a Policy>)],
}

impl<'a> From<Option<&'a Policy>> for Texts<'a> {
    fn from(own: Option<&'a Policy>) -> Self {
        Self { own, above: &[] }
    }
}

impl<'a> Texts<'a> {
    /// Whose rules have spoken, so many steps above the run.
    fn at(&self, steps: u8) -> (Option<Uuid>, Option<&'a Policy>) {
        match usize::from(steps).checked_sub(1) {
            None => (None, self.own),
            Some(index) => {
                self.above.get(index).map_or((None, None), |(id, policy)| (Some(*id), *policy))
            }
        }
    }
}

/// What a run would be allowed, with its object as people name it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub run: Asker,
    pub texts: Texts<'a>,
    /// As the caller gave it.
    pub object: &'a str,
}

/// The rights of these names.
pub fn rights(names: &[String]) -> Result<Rights, ErrorReply> {
    let mut rights = Rights::NONE;
    for name in names {
        let known = Rights::NAMES.iter().find(|(_, known)| known == name);
        let (right, _) = known.ok_or_else(|| {
            ErrorReply::new(
                Code::BadRequest,
                format!("{name:?} is no right"),
                "the rights are read, write, create, delete, exec and connect",
            )
        })?;
        rights = rights.union(*right);
    }
    if rights.is_empty() {
        return Err(ErrorReply::new(
            Code::BadRequest,
            "no right is asked for",
            "the rights are read, write, create, delete, exec and connect",
        ));
    }
    Ok(rights)
}

/// May the run do this at that end of a conversation?
pub fn end<'a>(
    facts: &impl Facts,
    run: impl Into<Asker>,
    texts: impl Into<Texts<'a>>,
    verb: Verb,
    end: &Endpoint,
) -> WhyReply {
    let run = run.into();
    let address = match end.address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    };
    let (protocol, port) = carried(end.protocol, end.port);
    let object = address_text(end.address, end.port, end.protocol);
    let peer = Peer { address, port, protocol, verb };
    Question { run, texts: texts.into(), object: &object }.peer(facts, &peer)
}

/// May the run connect to this peer of that name? `known` is what the name stands for now, as its rules see it.
pub fn named<F: Facts + Clone>(
    facts: &F,
    run: impl Into<Asker>,
    texts: Texts<'_>,
    end: &NamedEndpoint,
    known: Vec<NameView>,
    classes: impl IntoIterator<Item = (u64, u32)>,
) -> WhyReply {
    let run = run.into();
    let (name, port, protocol) = (&end.name, end.port, end.protocol);
    for it in &known {
        let Ok(address) = it.address.parse() else { continue };
        let endpoint = Endpoint { address, port, protocol };
        let mut reply = self::end(facts, run, texts, Verb::Connect, &endpoint);
        if reply.verdict == "allow" {
            reply.explanation += &format!(": {name} is {address}");
            return WhyReply { names: known, ..reply };
        }
    }
    WhyReply { names: known, ..supposed(facts, run, texts, Verb::Connect, end, classes) }
}

/// May the run do this with a peer of that name, at an address that nothing else is said of?
pub fn supposed<'a, F: Facts + Clone>(
    facts: &F,
    run: Asker,
    texts: impl Into<Texts<'a>>,
    verb: Verb,
    end: &NamedEndpoint,
    classes: impl IntoIterator<Item = (u64, u32)>,
) -> WhyReply {
    let (protocol, port) = carried(end.protocol, end.port);
    let object = name_text(&end.name, end.port, end.protocol);
    let question = Question { run, texts: texts.into(), object: &object };
    let peer = Peer { address: Address::ANY_V6, port, protocol, verb };
    let mut reply = question.peer(&Supposed::new(facts.clone(), classes), &peer);
    if reply.verdict == "allow" {
        reply.explanation += ", once the run has asked for the name";
    }
    reply
}

/// As packets have them.
fn carried(protocol: Protocol, port: u16) -> (u8, u16) {
    match protocol {
        Protocol::Tcp => (TCP, port),
        Protocol::Udp => (UDP, port),
        Protocol::Icmp => (ICMP, 0),
    }
}

/// One end of a conversation, as people write it.
pub fn address_text(address: IpAddr, port: u16, protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => SocketAddr::new(address, port).to_string(),
        Protocol::Udp => format!("{} by udp", SocketAddr::new(address, port)),
        Protocol::Icmp => format!("{address} by icmp"),
    }
}

/// The same of a peer that is known by its name.
pub fn name_text(name: &str, port: u16, protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => format!("{name}:{port}"),
        Protocol::Udp => format!("{name}:{port} by udp"),
        Protocol::Icmp => format!("{name} by icmp"),
    }
}

/// May the run use the capability of this name?
pub fn capability<'a>(
    facts: &impl Facts,
    run: impl Into<Asker>,
    texts: impl Into<Texts<'a>>,
    name: &str,
) -> Result<WhyReply, ErrorReply> {
    let number = capability::number(name).ok_or_else(|| {
        ErrorReply::new(
            Code::BadRequest,
            format!("{name:?} is no capability"),
            "names are those of capabilities(7), in lower case and without CAP_",
        )
    })?;
    Ok(numbered(facts, run.into(), texts, name, number))
}

/// The same of a capability whose number is known.
pub fn numbered<'a>(
    facts: &impl Facts,
    run: Asker,
    texts: impl Into<Texts<'a>>,
    name: &str,
    number: u32,
) -> WhyReply {
    let question = Question { run, texts: texts.into(), object: name };
    let answer = may_have(facts, &run.tag, number);
    let reply = question.reply(answer, |_, _| None, |_, _| None, &format!("capability {name}"));
    granted_by(reply, "capability", || grant::capability(name))
}

/// Whether a socket can have this abstract name, and a rule can name it.
pub fn check_abstract(name: &str) -> Result<(), ErrorReply> {
    if (1..=MAX_ABSTRACT).contains(&name.len()) {
        return Ok(());
    }
    Err(ErrorReply::new(
        Code::BadRequest,
        format!("{} bytes are no abstract name", name.len()),
        format!("it has 1 to {MAX_ABSTRACT} bytes"),
    ))
}

/// May the run connect to who has this abstract name, or take it?
pub fn abstract_name<'a>(
    facts: &impl Facts,
    run: impl Into<Asker>,
    texts: impl Into<Texts<'a>>,
    name: &str,
    place: AbstractName,
    want: Rights,
) -> WhyReply {
    let run = run.into();
    let object = format!("@{name}");
    let question = Question { run, texts: texts.into(), object: &object };
    let answer = if want == Rights::CREATE {
        may_be_called(facts, &run.tag, &place)
    } else {
        may_talk(facts, &run.tag, &unix::Peer::<AbstractName, _>::Called(place))
    };
    let want = enrich::abstract_rights(want);
    let text = format!("{} on {object}", want.join(", "));
    let reply = question.reply(answer, file_rule, Policy::because_file, &text);
    granted_by(reply, "no_rule", || grant::abstract_name(name, &want))
}

impl Question<'_> {
    /// May the run use the file at this place?
    pub fn file(&self, facts: &impl Facts, place: &impl Location, want: Rights) -> WhyReply {
        let answer = may_open(facts, &self.run.tag, place, want);
        self.of_file(answer, self.missing(facts, place, want))
    }

    /// The asked rights that are refused one by one: of `read, write` often only one is missing.
    pub(super) fn missing(
        &self,
        facts: &impl Facts,
        place: &impl Location,
        want: Rights,
    ) -> Rights {
        let refused = |right: &Rights| may_access(facts, &self.run.tag, place, *right).is_err();
        let each = Rights::NAMES.into_iter().map(|(right, _)| right);
        let missing = each.filter(|right| want.contains(*right)).filter(refused);
        let missing = missing.fold(Rights::NONE, Rights::union);
        if missing.is_empty() { want } else { missing }
    }

    /// What was answered about a move by which something would gain rights.
    pub(super) fn of_gain(&self, answer: Answer, gained: &str) -> WhyReply {
        self.reply(answer, |_, _| None, |_, _| None, gained)
    }

    /// What was answered about the file, of whose rights these are missing where a rule is.
    pub(super) fn of_file(&self, answer: Answer, missing: Rights) -> WhyReply {
        let missing = enrich::rights(missing);
        let text = format!("{} on {}", missing.join(", "), self.object);
        let reply = self.reply(answer, file_rule, Policy::because_file, &text);
        granted_by(reply, "no_rule", || grant::file(self.object, &missing))
    }

    /// May the run talk to this peer so, or listen at this address of its own?
    fn peer(&self, facts: &impl Facts, peer: &Peer) -> WhyReply {
        let answer = may_use(facts, &self.run.tag, peer);
        if self.run.names && peer.asks_for_names() && may_go_on(facts, &self.run.tag).is_ok() {
            let text = "the daemon answers it, with the names that the policy grants";
            return WhyReply {
                explanation: text.to_owned(),
                ..self.reply(Ok(0), |_, _| None, |_, _| None, "")
            };
        }
        let (verb, side) = (peer.verb.name(), Side::of(peer.verb).key());
        let mut missing = format!("{verb} {side} {}", self.object);
        if peer.takes_ipv4_too() {
            missing += &format!(", and on 0.0.0.0:{}, because it takes IPv4 too", peer.port);
        }
        let reply = self.reply(answer, net_rule, Policy::because_net, &missing);
        let address = enrich::ip(&peer.address).to_string();
        let protocol = enrich::protocol_name(peer.protocol);
        granted_by(reply, "no_rule", || {
            // An address in the place of a name would grant too much, and of `[::]` not enough.
            let is_told = self.object.contains(&address) && !peer.takes_ipv4_too();
            is_told.then(|| grant::peer(&address, peer.port, &protocol, verb)).flatten()
        })
    }

    fn reply(
        &self,
        answer: Answer,
        rule_text: impl Fn(&Policy, Rule) -> Option<String>,
        because: impl Fn(&Policy, Rule) -> Option<&str>,
        missing: &str,
    ) -> WhyReply {
        let mode = match self.run.mode {
            RunMode::Enforce => Mode::ENFORCE,
            RunMode::Audit => Mode::AUDIT,
        };
        let settled = settle(answer, mode);
        let rule = (settled.rule != 0).then_some(settled.rule);
        let (by, policy) = self.texts.at(settled.above);
        let whose = by.map(|_| match policy {
            Some(policy) => format!(" of {}, which holds a run above it,", policy.name()),
            None => " of a run above it".to_owned(),
        });
        let whose = whose.unwrap_or_default();
        let told = |reason| told(reason, rule, &whose, missing);
        let explanation = match (settled.verdict, settled.reason) {
            (Verdict::Allow, _) => match rule {
                Some(number) => format!("rule {number} allows it"),
                None => "it is allowed".to_owned(),
            },
            (Verdict::Fault, _) => {
                format!("no decision can be made ({}), so it is denied", settled.fault.name())
            }
            (Verdict::Audit, reason) => {
                format!("{}; audit mode lets it pass", told(reason))
            }
            (Verdict::Deny, reason) => told(reason),
        };
        WhyReply {
            verdict: settled.verdict.name().to_owned(),
            reason: (settled.reason != Reason::None).then(|| settled.reason.name().to_owned()),
            fault: (settled.fault != Fault::None).then(|| settled.fault.name().to_owned()),
            rule,
            by,
            rule_text: policy.zip(rule).and_then(|(policy, rule)| rule_text(policy, rule)),
            because: policy
                .zip(rule)
                .and_then(|(policy, rule)| because(policy, rule))
                .map(ToOwned::to_owned),
            explanation,
            errno: errno_name(settled.errno),
            grant: None,
            names: Vec::new(),
        }
    }
}

/// The reply with what would change it, where it is for this reason that it is denied.
fn granted_by(reply: WhyReply, reason: &str, grant: impl FnOnce() -> Option<String>) -> WhyReply {
    let grant = if reply.reason.as_deref() == Some(reason) { grant() } else { None };
    WhyReply { grant, ..reply }
}

fn errno_name(errno: i32) -> Option<String> {
    let name = match errno.unsigned_abs().cast_signed() {
        EACCES => "EACCES",
        EPERM => "EPERM",
        EXDEV => "EXDEV",
        _ => return None,
    };
    Some(name.to_owned())
}

/// A denial in words.
fn told(reason: Reason, rule: Option<Rule>, whose: &str, missing: &str) -> String {
    match (reason, rule) {
        (Reason::DenyRule, Some(number)) => format!("rule {number}{whose} denies it"),
        (Reason::Tripwire, Some(number)) => {
            format!("rule {number}{whose} denies it, and ends the run that tries")
        }
        (Reason::NoRule, _) => {
            let whose = whose.trim_end_matches(',');
            format!("no rule{whose}: missing grant {missing}")
        }
        (Reason::NotLive, _) => "the run has no slot any more".to_owned(),
        (Reason::Revoked, _) => "the run is revoked".to_owned(),
        (Reason::Expired, _) => "the run's deadline has passed".to_owned(),
        (Reason::Completed, _) => "the run is over".to_owned(),
        (Reason::Suspended, _) => "the run is suspended".to_owned(),
        (Reason::AncestorEnded, _) => "a run above it has ended".to_owned(),
        (Reason::Capability, _) => {
            format!(
                "{missing} is not among what its policy, and those of all runs above it, leave to it"
            )
        }
        (Reason::UnknownFilesystem, _) => {
            format!("no rule: {missing}, which lies on a filesystem that the policy does not know")
        }
        (Reason::RightsGained, _) => {
            format!("it fails with EXDEV, as between filesystems: {missing}")
        }
        (other, _) => format!("it is denied: {}", other.name()),
    }
}
