//! What the rules say of host names, for the daemon: which class a name has, and which addresses it may stand for.

use std::{collections::BTreeMap, net::Ipv6Addr};

use agentid_common::{
    name::{self, NameKey},
    verdict::{MAX_RULE, TRIPWIRE, telling},
};

use super::net::Table;
use crate::policy::{Effect, Host, NetRule, Prefix};

/// Blocks of addresses that are not on the public network (IANA's registries of special-purpose addresses; RFC 6890), among
/// them the forms of IPv6 that carry an IPv4 address. A name does not stand for one of them unless its rule says so: an
/// answer of somebody else's server must not lead into the host's own networks.
const SPECIAL: [(&str, u8); 25] = [
    // The metadata service of a cloud, at an address like others.
    ("::ffff:168.63.129.16", 128),
    ("::ffff:0.0.0.0", 104),
    ("::ffff:10.0.0.0", 104),
    ("::ffff:100.64.0.0", 106),
    ("::ffff:127.0.0.0", 104),
    ("::ffff:169.254.0.0", 112),
    ("::ffff:172.16.0.0", 108),
    ("::ffff:192.0.0.0", 120),
    ("::ffff:192.168.0.0", 112),
    ("::ffff:198.18.0.0", 111),
    ("::ffff:224.0.0.0", 100),
    ("::ffff:240.0.0.0", 100),
    ("::", 96),
    ("::ffff:0:0:0", 96),
    ("64:ff9b::", 96),
    ("64:ff9b:1::", 48),
    ("100::", 64),
    ("2001::", 32),
    ("2002::", 16),
    ("fc00::", 7),
    ("fe80::", 10),
    ("fec0::", 10),
    ("ff00::", 8),
    ("5f00::", 16),
    ("3fff::", 20),
];

/// Whether an address, IPv4 as `::ffff:a.b.c.d`, is one of the public network.
pub fn is_public(address: Ipv6Addr) -> bool {
    let Some(own) = Prefix::new(address, 128) else { return false };
    special().all(|block| !block.covers(&own))
}

/// The blocks that are not.
pub(super) fn special() -> impl Iterator<Item = Prefix> {
    SPECIAL.iter().filter_map(|(text, bits)| Prefix::new(text.parse().ok()?, *bits))
}

/// What all rules together say of the names that one pattern means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRules {
    pub host: Host,
    /// Hash of the pattern, by which a later daemon finds it.
    pub pattern: u64,
    pub class: u32,
    /// The first rule that allows anything there; without one the name is denied.
    pub allows: Option<u16>,
    /// The telling rule that denies anything there.
    pub denies: Option<u16>,
    /// Whether that rule is one.
    pub tripwire: bool,
    pub resolves_to: Vec<Prefix>,
}

impl HostRules {
    /// Whether the name may stand for this address, IPv4 as `::ffff:a.b.c.d`.
    pub fn may_be(&self, address: Ipv6Addr) -> bool {
        let own = Prefix::new(address, 128);
        is_public(address)
            || own.is_some_and(|own| self.resolves_to.iter().any(|block| block.covers(&own)))
    }
}

/// The host names of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<Host, HostRules>);

impl Hosts {
    pub(super) fn of(rules: &[NetRule], table: &Table, classes: &[u32], key: &NameKey) -> Self {
        let list = table.names.iter().map(|(host, &index)| {
            let lines = &table.classes[index];
            let allowing = lines.iter().filter(|line| !line.deny).map(|line| line.rule).min();
            let denying = lines.iter().filter(|line| line.deny).map(|line| line.rule);
            let denying = denying.reduce(telling);
            let about = rules.iter().filter(|rule| matches!(rule.effect, Effect::Allow(_)));
            let about = about.filter(|rule| rule.names.iter().any(|it| it.host.covers(host)));
            let known = HostRules {
                host: host.clone(),
                pattern: name::hash(key, host.to_string().as_bytes()),
                class: classes[index],
                allows: allowing,
                denies: denying.map(|number| number & MAX_RULE),
                tripwire: denying.is_some_and(|number| number & TRIPWIRE != 0),
                resolves_to: about.flat_map(|rule| rule.resolves_to.iter().copied()).collect(),
            };
            (host.clone(), known)
        });
        Self(list.collect())
    }

    /// What is said of this name, which is in lower case and has no dot at its end. The narrowest pattern has it all.
    pub fn find(&self, name: &str) -> Option<&HostRules> {
        // A label that has a dot in it is written with a backslash, and is no name of a host.
        let plain = !name.contains('\\');
        Host::around(name).find_map(|host| self.0.get(&host)).filter(|_| plain)
    }

    /// Every pattern, as policies write it.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.0.keys().map(ToString::to_string)
    }

    pub fn all(&self) -> impl Iterator<Item = &HostRules> {
        self.0.values()
    }

    /// The pattern of this hash.
    pub fn by_pattern(&self, pattern: u64) -> Option<&HostRules> {
        self.0.values().find(|rules| rules.pattern == pattern)
    }
}
