//! What an answer says: which addresses the name stands for, and what of it is passed on.

use std::{collections::BTreeSet, net::IpAddr};

use hickory_proto::rr::{
    Name, RData, Record,
    rdata::svcb::{SVCB, SvcParamValue},
};

/// A chain of aliases is followed so far; longer ones are nobody's.
const ALIASES: usize = 16;

/// The names that the question's name stands for: itself, and what its aliases lead to.
fn chain(name: &Name, answers: &[Record]) -> Vec<Name> {
    let mut chain = vec![name.clone()];
    while chain.len() <= ALIASES {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(to) if chain.last() == Some(&record.name) => Some(to.0.clone()),
            _ => None,
        });
        match alias {
            Some(next) if !chain.contains(&next) => chain.push(next),
            _ => break,
        }
    }
    chain
}

/// The addresses of the name, and for how many seconds each is good: as long as what has led there.
pub fn addresses(name: &Name, answers: &[Record]) -> Vec<(IpAddr, u32)> {
    let chain = chain(name, answers);
    let of_chain = || answers.iter().filter(|record| chain.contains(&record.name));
    let aliases = of_chain().filter(|record| matches!(record.data, RData::CNAME(_)));
    let longest = aliases.map(|record| record.ttl).min().unwrap_or(u32::MAX);
    of_chain()
        .flat_map(|record| of(&record.data).into_iter().map(|address| (address, record.ttl)))
        .map(|(address, ttl)| (address, ttl.min(longest)))
        .collect()
}

/// The addresses in a record: its own, or those that it hints at (RFC 9460 section 7.3).
fn of(data: &RData) -> Vec<IpAddr> {
    match data {
        RData::A(address) => vec![address.0.into()],
        RData::AAAA(address) => vec![address.0.into()],
        RData::HTTPS(service) => hints(service).collect(),
        RData::SVCB(service) => hints(service).collect(),
        _ => Vec::new(),
    }
}

fn hints(service: &SVCB) -> impl Iterator<Item = IpAddr> {
    service.svc_params.iter().flat_map(|(_, value)| -> Vec<IpAddr> {
        match value {
            SvcParamValue::Ipv4Hint(hint) => hint.0.iter().map(|it| it.0.into()).collect(),
            SvcParamValue::Ipv6Hint(hint) => hint.0.iter().map(|it| it.0.into()).collect(),
            _ => Vec::new(),
        }
    })
}

/// The answers that are passed on: those of the chain whose addresses are all kept, good for no longer than `most` seconds.
pub fn kept(name: &Name, answers: Vec<Record>, kept: &[IpAddr], most: u32) -> Vec<Record> {
    let chain = chain(name, &answers);
    let kept: BTreeSet<&IpAddr> = kept.iter().collect();
    answers
        .into_iter()
        .filter(|record| chain.contains(&record.name))
        .filter(|record| of(&record.data).iter().all(|address| kept.contains(address)))
        .map(|mut record| {
            record.ttl = record.ttl.min(most);
            record
        })
        .collect()
}

#[cfg(test)]
mod tests;
