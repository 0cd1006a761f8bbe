//! Every peer and address that the net rules of two policies can tell from others, put to both.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use agentid_common::{
    decide::net::may_use,
    facts::Facts,
    net::{Address, ICMP, PEER_SCOPE_BITS, PORT_CLASS_BITS, Peer, PeerKey, Verb},
    verdict::Answer,
};

use super::super::{
    assumed::Assumed,
    hosts::{HostRules, special},
    supposed::Supposed,
};
use crate::policy::{PROTOCOLS, Prefix, Side};

/// A question about a peer, and what each side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub address: Ipv6Addr,
    pub port: u16,
    pub protocol: u8,
    pub verb: Verb,
    pub answers: [Answer; 2],
}

/// Every kind of address, each with every kind of port.
pub fn peers(sides: [&Assumed; 2]) -> Vec<Asked> {
    // What is said of an address and of a name is compared port by port.
    let names = if sides.iter().any(|side| side.compiled.hosts.all().next().is_some()) {
        every_port(sides)
    } else {
        BTreeSet::new()
    };
    let mut known = BTreeMap::new();
    let mut all = Vec::new();
    for address in addresses(sides) {
        let classes = sides.map(|side| class(side, address));
        let key = (classes, address == 0);
        let asked = known.entry(key).or_insert_with(|| {
            // Who listens on `::` is asked about 0.0.0.0 as well.
            let v4 = u128::from_be_bytes(Address::ANY_V4.0);
            let both = sides.into_iter().flat_map(|side| {
                [class(side, address), class(side, v4)].map(|class| (side, class))
            });
            let ports = ports(both).union(&names).copied().collect();
            ask(sides, &ports, |side, port, protocol, verb| {
                let address = Address::v6(address.to_be_bytes());
                may_use(&side.facts(), &side.tag(), &Peer { address, port, protocol, verb })
            })
        });
        let address = Ipv6Addr::from_bits(address);
        all.extend(asked.iter().map(|asked| Asked { address, ..*asked }));
    }
    all
}

/// Names of hosts of which every name has one that is alike, each with every kind of port.
pub fn hosts(sides: [&Assumed; 2]) -> BTreeMap<String, Vec<Asked>> {
    let patterns = sides.iter().flat_map(|side| side.compiled.hosts.patterns());
    let patterns: BTreeSet<String> = patterns.collect();
    let names = patterns.iter().map(|pattern| match pattern.strip_prefix("*.") {
        None => pattern.clone(),
        Some(domain) => (1..)
            .map(|length| format!("{}.{domain}", "x".repeat(length)))
            .find(|name| !patterns.contains(name))
            .unwrap_or_default(),
    });
    let asked = |name: &String| {
        ask(sides, &every_port(sides), |side, port, protocol, verb| {
            let facts = Supposed::new(side.facts(), side.class(name));
            let peer = Peer { address: Address::ANY_V6, port, protocol, verb };
            may_use(&facts, &side.tag(), &peer)
        })
    };
    names.map(|name| (name.clone(), asked(&name))).collect()
}

/// What each side says of a name.
pub fn host_rules<'a>(sides: [&'a Assumed; 2], name: &str) -> [Option<&'a HostRules>; 2] {
    sides.map(|side| side.compiled.hosts.find(name))
}

fn ask(
    sides: [&Assumed; 2],
    ports: &BTreeSet<u16>,
    answer: impl Fn(&Assumed, u16, u8, Verb) -> Answer,
) -> Vec<Asked> {
    let mut all = Vec::new();
    for verb in Verb::ALL {
        for (_, protocol) in PROTOCOLS {
            let has = Side::of(verb).protocols().contains(&protocol)
                && Verb::ALL
                    .iter()
                    .any(|word| crate::policy::meaning(*word, protocol).contains(&verb));
            // ICMP has no ports, and is asked for with 0.
            let ports = ports.iter().filter(|port| protocol != ICMP || **port == 0);
            for &port in ports.filter(|_| has) {
                let answers = sides.map(|side| answer(side, port, protocol, verb));
                let address = Ipv6Addr::UNSPECIFIED;
                all.push(Asked { address, port, protocol, verb, answers });
            }
        }
    }
    all
}

fn class(side: &Assumed, address: u128) -> Option<u32> {
    let address = Address::v6(address.to_be_bytes());
    side.facts().class(&PeerKey { scope: side.compiled.scope, address })
}

/// One address between each two at which an answer can change: the second one, where there are two, which looks less like
/// the name of a network.
fn addresses(sides: [&Assumed; 2]) -> Vec<u128> {
    // `::` stands for more than itself.
    let mut starts = BTreeSet::from([0, 1]);
    let mut block = |address: u128, bits: u32| {
        starts.insert(address);
        let size = 1_u128.checked_shl(128 - bits).unwrap_or(0);
        starts.extend(address.checked_add(size).filter(|_| size != 0));
    };
    for side in sides {
        for (key, bits) in side.image.peers.keys() {
            block(u128::from_be_bytes(key.address.0), bits - PEER_SCOPE_BITS);
        }
        let named = side.compiled.hosts.all().flat_map(|rules| &rules.resolves_to);
        for prefix in named.copied().chain(special()) {
            block(prefix.address().to_bits(), u32::from(Prefix::bits(&prefix)));
        }
    }
    let ends = starts.iter().skip(1).copied().chain([u128::MAX]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| if end - start > 1 { start + 1 } else { start })
        .collect()
}

/// Every port at which any answer can change.
fn every_port(sides: [&Assumed; 2]) -> BTreeSet<u16> {
    let classes = sides.into_iter().flat_map(|side| {
        let classes: BTreeSet<u32> = side.image.ports.keys().map(|(key, _)| key.class).collect();
        classes.into_iter().map(move |class| (side, Some(class)))
    });
    ports(classes)
}

/// Every port at which an answer of these classes can change.
fn ports<'a>(classes: impl IntoIterator<Item = (&'a Assumed, Option<u32>)>) -> BTreeSet<u16> {
    let mut starts = BTreeSet::from([0]);
    for (side, class) in classes {
        let lines = side.image.ports.keys().filter(|(key, _)| Some(key.class) == class);
        for (key, bits) in lines {
            let first = u16::from_be_bytes(key.port);
            starts.insert(first);
            let size = 1_u32 << (PORT_CLASS_BITS + 16 - bits);
            starts.extend(u16::try_from(u32::from(first) + size));
        }
    }
    starts
}
