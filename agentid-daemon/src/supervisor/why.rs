//! The decision, run on the host, in words.

use std::net::{IpAddr, SocketAddr};

use agentid_common::{
    capability,
    decide::{capability::may_have, file::may_access, lifecycle::may_go_on, net::may_use},
    facts::{Facts, Location},
    file::Rights,
    net::{Address, ICMP, Peer, TCP, UDP, Verb},
    tag::{COUNTED, InvocationId, Tag},
    verdict::{Answer, Fault, Mode, Reason, Rule, Verdict, settle},
};

use crate::{
    control::api::{Code, Endpoint, ErrorReply, NameView, NamedEndpoint, Protocol, WhyReply},
    event::enrich,
    image::Supposed,
    instance::{Run, run::RunMode},
    policy::{Effect, FileRule, Named, Policy, Side, Target},
};

/// What a run would be allowed, with its object as people name it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub run: &'a Run,
    /// The rules by their numbers; `None` when the text is not at hand.
    pub policy: Option<&'a Policy>,
    /// As the caller gave it.
    pub object: &'a str,
}

/// The rights of these names.
pub fn rights(names: &[String]) -> Result<Rights, ErrorReply> {
    let mut rights = Rights::NONE;
    for name in names {
        let known = Rights::NAMES.iter().find(|(_, known)| known == name);
        let (right, _) = known.ok_or_else(|| {
            ErrorReply::new(Code::BadRequest, format!("{name:?} is no right"))
                .remedy("the rights are read, write, create, delete, exec and connect")
        })?;
        rights = rights.union(*right);
    }
    if rights.is_empty() {
        return Err(ErrorReply::new(Code::BadRequest, "no right is asked for"));
    }
    Ok(rights)
}

/// May the run do this at that end of a conversation?
pub fn end(
    facts: &impl Facts,
    run: &Run,
    policy: Option<&Policy>,
    verb: Verb,
    end: &Endpoint,
) -> WhyReply {
    let address = match end.address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    };
    let (protocol, port, suffix) = match end.protocol {
        Protocol::Tcp => (TCP, end.port, ""),
        Protocol::Udp => (UDP, end.port, " by udp"),
        Protocol::Icmp => (ICMP, 0, " by icmp"),
    };
    let object = match end.protocol {
        Protocol::Icmp => format!("{}{suffix}", end.address),
        _ => format!("{}{suffix}", SocketAddr::new(end.address, port)),
    };
    let peer = Peer { address, port, protocol, verb };
    Question { run, policy, object: &object }.peer(facts, &peer)
}

/// May the run connect to this peer of that name? `known` is what the name stands for now, as its rules see it.
pub fn named<F: Facts + Clone>(
    facts: &F,
    run: &Run,
    policy: Option<&Policy>,
    end: &NamedEndpoint,
    known: Vec<NameView>,
    classes: impl IntoIterator<Item = (u64, u32)>,
) -> WhyReply {
    let (name, port, protocol) = (&end.name, end.port, end.protocol);
    for it in &known {
        let Ok(address) = it.address.parse() else { continue };
        let endpoint = Endpoint { address, port, protocol };
        let mut reply = self::end(facts, run, policy, Verb::Connect, &endpoint);
        if reply.verdict == "allow" {
            reply.explanation += &format!(": {name} is {address}");
            return WhyReply { names: known, ..reply };
        }
    }
    let (protocol, port, suffix) = match protocol {
        Protocol::Tcp => (TCP, port, ""),
        Protocol::Udp => (UDP, port, " by udp"),
        Protocol::Icmp => (ICMP, 0, " by icmp"),
    };
    let object = match protocol {
        ICMP => format!("{name}{suffix}"),
        _ => format!("{name}:{port}{suffix}"),
    };
    let question = Question { run, policy, object: &object };
    let peer = Peer { address: Address::ANY_V6, port, protocol, verb: Verb::Connect };
    let mut reply = question.peer(&Supposed::new(facts.clone(), classes), &peer);
    if reply.verdict == "allow" {
        reply.explanation += ", once the run has asked for the name";
    }
    WhyReply { names: known, ..reply }
}

/// May the run use the capability of this name?
pub fn capability(
    facts: &impl Facts,
    run: &Run,
    policy: Option<&Policy>,
    name: &str,
) -> Result<WhyReply, ErrorReply> {
    let number = capability::number(name).ok_or_else(|| {
        ErrorReply::new(Code::BadRequest, format!("{name:?} is no capability"))
            .remedy("names are those of capabilities(7), in lower case and without CAP_")
    })?;
    let question = Question { run, policy, object: name };
    let answer = may_have(facts, &question.tag(), number);
    Ok(question.reply(answer, |_| None, |_| None, &format!("capability {name}")))
}

impl Question<'_> {
    /// May the run use the file at this place?
    pub fn file(&self, facts: &impl Facts, place: &impl Location, want: Rights) -> WhyReply {
        let answer = may_access(facts, &self.tag(), place, want);
        let rule = |number| self.policy.and_then(|policy| file_rule(policy, number));
        let because = |number| self.policy.and_then(|policy| policy.because_file(number));
        let missing = missing(facts, &self.tag(), place, want);
        let missing = if missing.is_empty() { want } else { missing };
        let missing = format!("{} on {}", enrich::rights(missing).join(", "), self.object);
        self.reply(answer, rule, because, &missing)
    }

    /// May the run talk to this peer so, or listen at this address of its own?
    fn peer(&self, facts: &impl Facts, peer: &Peer) -> WhyReply {
        let answer = may_use(facts, &self.tag(), peer);
        if self.run.names && peer.asks_for_names() && may_go_on(facts, &self.tag()).is_ok() {
            let text = "the daemon answers it, with the names that the policy grants";
            return WhyReply {
                explanation: text.to_owned(),
                ..self.reply(Ok(0), |_| None, |_| None, "")
            };
        }
        let rule = |number| self.policy.and_then(|policy| net_rule(policy, number));
        let because = |number| self.policy.and_then(|policy| policy.because_net(number));
        let (verb, side) = (peer.verb.name(), Side::of(peer.verb).key());
        let mut missing = format!("{verb} {side} {}", self.object);
        if peer.takes_ipv4_too() {
            missing += &format!(", and on 0.0.0.0:{}, because it takes IPv4 too", peer.port);
        }
        self.reply(answer, rule, because, &missing)
    }

    fn tag(&self) -> Tag {
        Tag {
            generation: self.run.place.generation,
            slot: self.run.place.slot,
            mark: COUNTED,
            invocation: InvocationId(self.run.id.into_bytes()),
        }
    }

    fn reply<'a>(
        &self,
        answer: Answer,
        rule_text: impl Fn(Rule) -> Option<String>,
        because: impl Fn(Rule) -> Option<&'a str>,
        missing: &str,
    ) -> WhyReply {
        let mode = match self.run.mode {
            RunMode::Enforce => Mode::ENFORCE,
            RunMode::Audit => Mode::AUDIT,
        };
        let settled = settle(answer, mode);
        let rule = (settled.rule != 0).then_some(settled.rule);
        let explanation = match (settled.verdict, settled.reason) {
            (Verdict::Allow, _) => match rule {
                Some(number) => format!("rule {number} allows it"),
                None => "it is allowed".to_owned(),
            },
            (Verdict::Fault, _) => {
                format!("no decision can be made ({}), so it is denied", settled.fault.name())
            }
            (Verdict::Audit, reason) => {
                format!("{}; audit mode lets it pass", told(reason, rule, missing))
            }
            (Verdict::Deny, reason) => told(reason, rule, missing),
        };
        WhyReply {
            verdict: settled.verdict.name().to_owned(),
            reason: (settled.reason != Reason::None).then(|| settled.reason.name().to_owned()),
            fault: (settled.fault != Fault::None).then(|| settled.fault.name().to_owned()),
            rule,
            rule_text: rule.and_then(&rule_text),
            because: rule.and_then(&because).map(ToOwned::to_owned),
            explanation,
            names: Vec::new(),
        }
    }
}

/// The asked rights that are refused one by one: of `read, write` often only one is missing.
fn missing(facts: &impl Facts, tag: &Tag, place: &impl Location, want: Rights) -> Rights {
    Rights::NAMES
        .iter()
        .map(|(right, _)| *right)
        .filter(|right| want.contains(*right) && may_access(facts, tag, place, *right).is_err())
        .fold(Rights::NONE, Rights::union)
}

/// A denial in words.
fn told(reason: Reason, rule: Option<Rule>, missing: &str) -> String {
    match (reason, rule) {
        (Reason::DenyRule, Some(number)) => format!("rule {number} denies it"),
        (Reason::NoRule, _) => format!("no rule: missing grant {missing}"),
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
        (other, _) => format!("it is denied: {}", other.name()),
    }
}

fn file_rule(policy: &Policy, number: Rule) -> Option<String> {
    let FileRule { patterns, effect, because: _ } =
        policy.file_rules().get(usize::from(number).checked_sub(1)?)?;
    let patterns: Vec<&str> = patterns.iter().map(|pattern| pattern.text.as_str()).collect();
    let (word, rights) = match effect {
        Effect::Allow(rights) => ("allow", rights),
        Effect::Deny(rights) => ("deny", rights),
    };
    Some(format!("{word} {} on {}", enrich::rights(*rights).join(", "), patterns.join(", ")))
}

fn net_rule(policy: &Policy, number: Rule) -> Option<String> {
    let rule = policy.net_rules().get(usize::from(number).checked_sub(1)?)?;
    let word = match rule.effect {
        Effect::Allow(_) => "allow",
        Effect::Deny(_) => "deny",
    };
    let verbs: Vec<&str> = rule.words().iter().map(Verb::name).collect();
    let named = rule.names.iter().map(|Named { host, first, last }| ports(&host.to_string(), *first, *last));
    let targets: Vec<String> = rule.targets.iter().map(target).chain(named).collect();
    let by = rule.unusual_protocols().map(|names| format!(" by {}", names.join(", ")));
    Some(format!(
        "{word} {} {} {}{}",
        verbs.join(", "),
        rule.side.key(),
        targets.join(", "),
        by.unwrap_or_default()
    ))
}

fn target(target: &Target) -> String {
    let (address, bits) = (target.prefix.address(), target.prefix.bits());
    let block = match address.to_ipv4_mapped() {
        Some(v4) if bits == 128 => v4.to_string(),
        Some(v4) if bits >= 96 => format!("{v4}/{}", bits - 96),
        _ if bits == 128 => format!("[{address}]"),
        _ => format!("[{address}]/{bits}"),
    };
    ports(&block, target.first, target.last)
}

fn ports(block: &str, first: u16, last: u16) -> String {
    match (first, last) {
        (0, u16::MAX) => format!("{block}:*"),
        (first, last) if first == last => format!("{block}:{first}"),
        (first, last) => format!("{block}:{first}-{last}"),
    }
}
