//! Peers, and addresses of the run's own.

use std::{collections::BTreeMap, net::IpAddr};

use agentid_common::{
    net::{ICMP, Verb},
    verdict::{Answer, Reason, Refusal},
};

use super::{Diff, Row, cause};
use crate::{
    image::{
        Assumed,
        compare::{self, Asked},
    },
    policy::{NetRule, PROTOCOLS, Policy, Prefix, Side, Target},
    supervisor::rule_text,
};

/// By direction, what the rule names, and an example without port for ICMP: verbs by protocol.
type Rows = BTreeMap<(bool, String), BTreeMap<u8, (Vec<Verb>, String)>>;

pub(super) fn compare(policies: [&Policy; 2], sides: [&Assumed; 2], diff: &mut Diff) {
    let hosts = compare::hosts(sides);
    let mut rows = Rows::new();
    for asked in compare::peers(sides) {
        let end = |asked: &Asked| text(asked.address.to_canonical(), asked.port, asked.protocol);
        if cause(asked.answers).is_some() {
            note(&mut rows, policies, &asked, None, end(&asked));
        } else if let Some((name, named)) = by_name(sides, &hosts, &asked) {
            let example = format!("{name} where it is {}", end(&asked));
            note(&mut rows, policies, &named, None, example);
        }
    }
    for (name, all) in &hosts {
        for asked in all {
            let example = if asked.protocol == ICMP {
                name.clone()
            } else {
                format!("{name}:{}", asked.port)
            };
            if cause(asked.answers).is_some() {
                note(&mut rows, policies, asked, Some(name), example);
            } else if let Some((other, named)) = together(sides, &hosts, name, asked) {
                let example = format!("{other} at an address of {name}, port {}", asked.port);
                note(&mut rows, policies, &named, Some(name), example);
            }
        }
    }
    for ((becomes_allowed, within), protocols) in rows {
        let mut alike: Vec<(Vec<Verb>, Vec<&str>, String)> = Vec::new();
        for (protocol, (verbs, example)) in protocols {
            let names = PROTOCOLS.iter().filter(|(_, number)| *number == protocol);
            let name = names.map(|(name, _)| *name).next().unwrap_or_default();
            match alike.iter_mut().find(|(other, _, text)| *other == verbs && *text == example) {
                Some((_, names, _)) => names.push(name),
                None => alike.push((verbs, vec![name], example)),
            }
        }
        for (verbs, names, example) in alike {
            let rights = verbs.iter().map(|verb| verb.name().to_owned()).collect();
            let within = format!("{} {within}", names.join(", "));
            diff.add(becomes_allowed, Row { rights, within, example });
        }
    }
}

fn text(address: IpAddr, port: u16, protocol: u8) -> String {
    match protocol {
        ICMP => address.to_string(),
        _ => std::net::SocketAddr::new(address, port).to_string(),
    }
}

/// Notes a change under each thing that the rule behind it names there.
fn note(
    rows: &mut Rows,
    policies: [&Policy; 2],
    asked: &Asked,
    name: Option<&str>,
    example: String,
) {
    let Some(cause) = cause(asked.answers) else { return };
    let index = usize::from(cause.rule).checked_sub(1);
    let rule = index.and_then(|index| policies[cause.side].net_rules().get(index));
    let mut ends = rule.map(|rule| ends(rule, asked, name)).unwrap_or_default();
    if ends.is_empty() {
        ends.push(example.clone());
    }
    for end in ends {
        let side = Side::of(asked.verb);
        let end = if side == Side::Own { format!("on {end}") } else { end };
        let protocols = rows.entry((cause.becomes_allowed, end)).or_default();
        let (verbs, _) =
            protocols.entry(asked.protocol).or_insert_with(|| (Vec::new(), example.clone()));
        if !verbs.contains(&asked.verb) {
            verbs.push(asked.verb);
        }
    }
}

/// Whom a rule names that is, or has, the peer.
fn ends(rule: &NetRule, asked: &Asked, name: Option<&str>) -> Vec<String> {
    let port = |first: u16, last: u16| first <= asked.port && asked.port <= last;
    if let Some(name) = name {
        let named = rule.names.iter();
        let meant = named.filter(|it| it.host.means(name) && port(it.first, it.last));
        return meant.map(rule_text::named).collect();
    }
    let own = Prefix::new(asked.address, 128);
    let covers = |target: &&Target| {
        own.is_some_and(|own| target.prefix.covers(&own)) && port(target.first, target.last)
    };
    rule.targets.iter().filter(covers).map(rule_text::target).collect()
}

/// A denial of an address holds for names as well, and the want of a grant does not.
fn by_name<'h>(
    sides: [&Assumed; 2],
    hosts: &'h BTreeMap<String, Vec<Asked>>,
    asked: &Asked,
) -> Option<(&'h String, Asked)> {
    let silent = silent(asked.answers)?;
    hosts.iter().find_map(|(name, all)| {
        let rules = compare::host_rules(sides, name)[silent]?;
        let named = all.iter().find(|it| same(it, asked))?.answers[silent];
        let reached = rules.allows.is_some() && rules.may_be(asked.address) && named.is_ok();
        let mut answers = asked.answers;
        answers[silent] = named;
        reached.then_some((name, Asked { answers, ..*asked }))
    })
}

/// Of two names that stand for one address, one that is denied beats one that is allowed.
fn together<'h>(
    sides: [&Assumed; 2],
    hosts: &'h BTreeMap<String, Vec<Asked>>,
    name: &str,
    asked: &Asked,
) -> Option<(&'h String, Asked)> {
    let silent = silent(asked.answers)?;
    compare::host_rules(sides, name)[1 - silent]?.allows?;
    hosts.iter().filter(|(other, _)| *other != name).find_map(|(other, all)| {
        let named = all.iter().find(|it| same(it, asked))?.answers[silent];
        let mut answers = asked.answers;
        answers[silent] = named;
        named.is_ok().then_some((other, Asked { answers, ..*asked }))
    })
}

fn same(one: &Asked, other: &Asked) -> bool {
    (one.verb, one.protocol, one.port) == (other.verb, other.protocol, other.port)
}

/// The side on which no rule speaks of what a rule denies on the other.
fn silent(answers: [Answer; 2]) -> Option<usize> {
    let reason = |answer| match answer {
        Err(Refusal::Denied { reason: Reason::Tripwire, .. }) => Some(Reason::DenyRule),
        Err(Refusal::Denied { reason, .. }) => Some(reason),
        _ => None,
    };
    match answers.map(reason) {
        [Some(Reason::NoRule), Some(Reason::DenyRule)] => Some(0),
        [Some(Reason::DenyRule), Some(Reason::NoRule)] => Some(1),
        _ => None,
    }
}
