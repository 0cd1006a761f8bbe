//! From net rules to prefixes: every overlap is settled here, so that the longest prefix says what all rules say.

use std::collections::{BTreeMap, BTreeSet};

use agentid_common::{
    net::{PortRule, Verb},
    verdict::{TRIPWIRE, telling},
};

use crate::policy::{Effect, Host, Named, NetRule, Prefix, Side, Target};

/// Blocks of peers that a wider block does not grant, because they lead elsewhere than their neighbours: one has to name them,
/// or a part of them. A denial covers them all the same.
const APART: [(&str, u8); 23] = [
    // The whole of IPv4, within IPv6. Of a run's own addresses this one alone stands apart: who may listen on all
    // addresses may listen on each.
    ("::ffff:0:0", 96),
    // "This host": to Linux, the loopback address.
    ("::ffff:0.0.0.0", 128),
    ("::", 128),
    // Loopback: what listens there trusts its neighbours.
    ("::ffff:127.0.0.0", 104),
    ("::1", 128),
    // Link-local, among them the metadata services of clouds; and those that lie elsewhere: of Amazon (two), Azure, Alibaba,
    // Google, Oracle and Scaleway.
    ("::ffff:169.254.0.0", 112),
    ("fe80::", 10),
    ("fd00:ec2::254", 128),
    ("fd00:ec2::23", 128),
    ("::ffff:168.63.129.16", 128),
    ("::ffff:100.100.100.200", 128),
    ("fd20:ce::254", 128),
    ("fd00:c1::a9fe:a9fe", 128),
    ("fd00:42::42", 128),
    // Multicast and broadcast.
    ("::ffff:224.0.0.0", 100),
    ("::ffff:255.255.255.255", 128),
    ("ff00::", 8),
    // Forms of IPv6 that carry an IPv4 address: compatible, NAT64 (two), 6to4, Teredo, translated.
    ("::", 96),
    ("64:ff9b::", 96),
    ("64:ff9b:1::", 48),
    ("2002::", 16),
    ("2001::", 32),
    ("::ffff:0:0:0", 96),
];

/// One prefix of ports and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) verb: Verb,
    pub(super) protocol: u8,
    pub(super) port: u16,
    /// Bits of the port that matter.
    pub(super) bits: u32,
    pub(super) rule: u16,
    pub(super) deny: bool,
}

impl Line {
    pub(super) fn port_rule(&self) -> PortRule {
        PortRule { rule: self.rule, deny: u16::from(self.deny) }
    }
}

/// The rules of a policy as two tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Each prefix with the index of its class.
    pub(super) peers: BTreeMap<Prefix, usize>,
    /// Each host name of the rules with the index of its class.
    pub(super) names: BTreeMap<Host, usize>,
    /// Lines of each class; they do not overlap.
    pub(super) classes: Vec<Vec<Line>>,
}

impl Table {
    /// Class of the longest prefix that covers this one.
    fn around(&self, prefix: &Prefix) -> Option<usize> {
        let covering = self.peers.iter().filter(|(other, _)| other.covers(prefix));
        covering.max_by_key(|(other, _)| other.bits()).map(|(_, class)| *class)
    }
}

/// One address or name of one rule, with ports.
struct Grant<'r, W> {
    /// As it stands in the tables.
    number: u16,
    rule: &'r NetRule,
    whom: &'r W,
    first: u16,
    last: u16,
}

pub(super) fn table(rules: &[NetRule]) -> Table {
    let grants = grants(rules, |rule| {
        rule.targets.iter().map(|Target { prefix, first, last }| (prefix, *first, *last))
    });
    let apart = apart();
    let mut table = Table::default();
    let mut known: BTreeMap<Vec<Line>, usize> = BTreeMap::new();
    for prefix in prefixes(&grants, &apart) {
        let here: Vec<&Grant<'_, _>> =
            grants.iter().filter(|grant| grant.reaches(&prefix, &apart)).collect();
        let lines = lines(&here);
        let around = table.around(&prefix);
        if around.map_or(lines.is_empty(), |class| known.get(&lines) == Some(&class)) {
            // The prefix around it says the same, or there is none and nothing to say.
            continue;
        }
        let next = known.len();
        let class = *known.entry(lines).or_insert(next);
        table.peers.insert(prefix, class);
    }
    table.names = names(rules, &mut known);
    let mut classes: Vec<_> = known.into_iter().collect();
    classes.sort_by_key(|(_, class)| *class);
    table.classes = classes.into_iter().map(|(lines, _)| lines).collect();
    table
}

/// Whom each rule speaks of, with its ports.
fn grants<'r, W: 'r, E: Iterator<Item = (&'r W, u16, u16)>>(
    rules: &'r [NetRule],
    ends: impl Fn(&'r NetRule) -> E,
) -> Vec<Grant<'r, W>> {
    let each = |(number, rule)| {
        ends(rule).map(move |(whom, first, last)| Grant { number, rule, whom, first, last })
    };
    let number = |rule: &NetRule, number| if rule.tripwire { number | TRIPWIRE } else { number };
    (1..).zip(rules).map(|(it, rule)| (number(rule, it), rule)).flat_map(each).collect()
}

/// Each name stands for what all rules say that mean it.
fn names(rules: &[NetRule], known: &mut BTreeMap<Vec<Line>, usize>) -> BTreeMap<Host, usize> {
    let grants = grants(rules, |rule| {
        rule.names.iter().map(|Named { host, first, last }| (host, *first, *last))
    });
    let mut names = BTreeMap::new();
    for host in grants.iter().map(|grant| grant.whom) {
        let here: Vec<&Grant<'_, _>> =
            grants.iter().filter(|grant| grant.whom.covers(host)).collect();
        let next = known.len();
        let class = *known.entry(lines(&here)).or_insert(next);
        names.insert(host.clone(), class);
    }
    names
}

fn apart() -> Vec<Prefix> {
    APART.iter().filter_map(|(text, bits)| Prefix::new(text.parse().ok()?, *bits)).collect()
}

/// Every prefix at which the answer can change.
fn prefixes(grants: &[Grant<'_, Prefix>], apart: &[Prefix]) -> BTreeSet<Prefix> {
    let mut prefixes: BTreeSet<Prefix> = grants.iter().map(|grant| *grant.whom).collect();
    prefixes
        .extend(apart.iter().filter(|block| grants.iter().any(|grant| grant.whom.covers(block))));
    prefixes
}

impl<W> Grant<'_, W> {
    fn denies(&self) -> bool {
        matches!(self.rule.effect, Effect::Deny(_))
    }
}

impl Grant<'_, Prefix> {
    /// Whether the rule speaks of the addresses for which `prefix` is the longest.
    fn reaches(&self, prefix: &Prefix, apart: &[Prefix]) -> bool {
        let own = self.whom;
        let apart = match self.rule.side {
            Side::Peer => apart,
            Side::Own => apart.get(..1).unwrap_or_default(),
        };
        own.covers(prefix)
            && (self.denies()
                || apart.iter().all(|block| !block.covers(prefix) || block.covers(own)))
    }
}

/// What these rules together say of each port, as prefixes that do not overlap.
fn lines<W>(grants: &[&Grant<'_, W>]) -> Vec<Line> {
    let protocols: BTreeSet<u8> =
        grants.iter().flat_map(|grant| grant.rule.protocols.iter().copied()).collect();
    let mut lines = Vec::new();
    for (verb, protocol) in
        Verb::ALL.into_iter().flat_map(|verb| protocols.iter().map(move |it| (verb, *it)))
    {
        let here: Vec<&Grant<'_, W>> =
            grants.iter().copied().filter(|it| it.rule.is_about(verb, protocol)).collect();
        for (first, last, rule, deny) in intervals(&here) {
            for (port, bits) in cut(first, last) {
                lines.push(Line { verb, protocol, port, bits, rule, deny });
            }
        }
    }
    lines
}

/// Ranges of ports of equal answer, which no two share a port: first, last, rule, whether it denies.
fn intervals<W>(grants: &[&Grant<'_, W>]) -> Vec<(u16, u16, u16, bool)> {
    let mut starts = BTreeSet::new();
    for grant in grants {
        starts.insert(u32::from(grant.first));
        starts.insert(u32::from(grant.last) + 1);
    }
    let starts: Vec<u32> = starts.into_iter().collect();
    let mut intervals: Vec<(u16, u16, u16, bool)> = Vec::new();
    for pair in starts.windows(2) {
        let (Ok(first), Ok(last)) = (u16::try_from(pair[0]), u16::try_from(pair[1] - 1)) else {
            continue;
        };
        let Some((rule, deny)) = answer(grants, first) else { continue };
        match intervals.last_mut() {
            Some(before)
                if before.2 == rule
                    && before.3 == deny
                    && before.1.checked_add(1) == Some(first) =>
            {
                before.1 = last;
            }
            _ => intervals.push((first, last, rule, deny)),
        }
    }
    intervals
}

/// The telling rule that denies the port, else the first that allows it.
fn answer<W>(grants: &[&Grant<'_, W>], port: u16) -> Option<(u16, bool)> {
    let here = grants.iter().filter(|grant| grant.first <= port && port <= grant.last);
    let (deny, allow): (Vec<&Grant<'_, W>>, Vec<_>) = here.partition(|grant| grant.denies());
    let denying = deny.iter().map(|grant| grant.number).reduce(telling);
    let allowing = || allow.iter().map(|grant| grant.number).min();
    denying.map(|number| (number, true)).or_else(|| Some((allowing()?, false)))
}

/// The prefixes that make up a range: the largest that fits, then the next.
fn cut(first: u16, last: u16) -> Vec<(u16, u32)> {
    let mut prefixes = Vec::new();
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    while at < end {
        let aligned = at.trailing_zeros().min(16);
        let fits = (end - at).ilog2();
        let size = aligned.min(fits);
        prefixes.push((at as u16, 16 - size));
        at += 1 << size;
    }
    prefixes
}
