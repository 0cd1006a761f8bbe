//! Rules in words.

use agentid_common::{net::Verb, verdict::Rule};

use crate::{
    event::enrich,
    policy::{Effect, FileRule, Named, Policy, Prefix, Target},
};

/// A `[[file]]` or a `[[unix]]` by its number, as people read it.
pub fn file_rule(policy: &Policy, number: Rule) -> Option<String> {
    let rule = policy.file_rules().get(usize::from(number).checked_sub(1)?)?;
    let FileRule { patterns, effect, tripwire, because: _ } = rule;
    let patterns: Vec<&str> = patterns.iter().map(|pattern| pattern.text.as_str()).collect();
    let (word, rights) = match effect {
        Effect::Allow(rights) => ("allow", rights),
        Effect::Deny(rights) => ("deny", rights),
    };
    let rights =
        if rule.is_abstract() { enrich::abstract_rights(*rights) } else { enrich::rights(*rights) };
    let (rights, patterns) = (rights.join(", "), patterns.join(", "));
    Some(format!("{word} {rights} on {patterns}{}", ending(*tripwire)))
}

/// A `[[net]]` by its number, as people read it.
pub fn net_rule(policy: &Policy, number: Rule) -> Option<String> {
    let rule = policy.net_rules().get(usize::from(number).checked_sub(1)?)?;
    let word = match rule.effect {
        Effect::Allow(_) => "allow",
        Effect::Deny(_) => "deny",
    };
    let verbs: Vec<&str> = rule.words().iter().map(Verb::name).collect();
    let named = rule.names.iter().map(named);
    let targets: Vec<String> = rule.targets.iter().map(target).chain(named).collect();
    let by = rule.unusual_protocols().map(|names| format!(" by {}", names.join(", ")));
    Some(format!(
        "{word} {} {} {}{}{}",
        verbs.join(", "),
        rule.side.key(),
        targets.join(", "),
        by.unwrap_or_default(),
        ending(rule.tripwire)
    ))
}

fn ending(tripwire: bool) -> &'static str {
    if tripwire { ": a tripwire" } else { "" }
}

/// Addresses and ports as a policy writes them.
pub fn target(target: &Target) -> String {
    let block = match target.prefix.address().to_ipv4_mapped() {
        None if target.prefix.bits() == 128 => format!("[{}]", target.prefix.address()),
        _ => block(&target.prefix),
    };
    ports(&block, target.first, target.last)
}

/// A block of addresses as a policy writes it.
pub fn block(prefix: &Prefix) -> String {
    let (address, bits) = (prefix.address(), prefix.bits());
    match address.to_ipv4_mapped() {
        Some(v4) if bits == 128 => v4.to_string(),
        Some(v4) if bits >= 96 => format!("{v4}/{}", bits - 96),
        _ if bits == 128 => address.to_string(),
        _ => format!("[{address}]/{bits}"),
    }
}

/// A host name and ports as a policy writes them.
pub fn named(named: &Named) -> String {
    ports(&named.host.to_string(), named.first, named.last)
}

fn ports(block: &str, first: u16, last: u16) -> String {
    match (first, last) {
        (0, u16::MAX) => format!("{block}:*"),
        (first, last) if first == last => format!("{block}:{first}"),
        (first, last) => format!("{block}:{first}-{last}"),
    }
}
