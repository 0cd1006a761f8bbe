use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{
    A, AAAA, CNAME, HTTPS,
    svcb::{IpHint, SvcParamKey},
};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn v4(owner: &str, ttl: u32, address: &str) -> Record {
    record(owner, ttl, RData::A(A(address.parse().unwrap())))
}

fn alias(owner: &str, ttl: u32, to: &str) -> Record {
    record(owner, ttl, RData::CNAME(CNAME(name(to))))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_of_both_families_are_those_of_the_name() {
    let v6 = RData::AAAA(AAAA("2001:db8::1".parse::<Ipv6Addr>().unwrap()));
    let answers =
        [v4("a.example.", 60, "192.0.2.1"), record("A.Example.", 50, v6), v4("b.example.", 9, "192.0.2.2")];
    let found = addresses(&name("a.example."), &answers);
    assert_eq!(found, [(ip("192.0.2.1"), 60), (ip("2001:db8::1"), 50)]);
}

#[test]
fn aliases_lead_to_the_address_and_limit_its_time() {
    let answers = [
        v4("c.example.", 60, "192.0.2.1"),
        alias("b.example.", 20, "c.example."),
        alias("a.example.", 30, "b.example."),
        v4("other.example.", 60, "192.0.2.9"),
    ];
    assert_eq!(addresses(&name("a.example."), &answers), [(ip("192.0.2.1"), 20)]);
    assert_eq!(addresses(&name("b.example."), &answers), [(ip("192.0.2.1"), 20)]);
}

#[test]
fn aliases_in_a_circle_and_chains_without_end_lead_nowhere() {
    let circle = [alias("a.example.", 1, "b.example."), alias("b.example.", 1, "a.example.")];
    assert_eq!(addresses(&name("a.example."), &circle), []);
    let mut long: Vec<Record> = (0..=ALIASES)
        .map(|number| alias(&format!("n{number}.example."), 9, &format!("n{}.example.", number + 1)))
        .collect();
    long.push(v4(&format!("n{}.example.", ALIASES + 1), 9, "192.0.2.1"));
    assert_eq!(addresses(&name("n0.example."), &long), []);
    assert_eq!(addresses(&name("n1.example."), &long), [(ip("192.0.2.1"), 9)]);
}

#[test]
fn hints_are_addresses() {
    let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A(Ipv4Addr::new(192, 0, 2, 7))]));
    let service = SVCB::new(1, Name::root(), vec![(SvcParamKey::Ipv4Hint, hint)]);
    let answers = [record("a.example.", 60, RData::HTTPS(HTTPS(service)))];
    assert_eq!(addresses(&name("a.example."), &answers), [(ip("192.0.2.7"), 60)]);
    assert_eq!(kept(&name("a.example."), answers.to_vec(), &[], 60), []);
}

#[test]
fn what_is_no_address_for_the_name_is_not_passed_on() {
    let answers = vec![
        alias("a.example.", 900, "b.example."),
        v4("b.example.", 900, "192.0.2.1"),
        v4("b.example.", 900, "10.0.0.1"),
        v4("other.example.", 900, "192.0.2.1"),
    ];
    let passed = kept(&name("a.example."), answers, &[ip("192.0.2.1")], 300);
    assert_eq!(
        passed,
        [alias("a.example.", 300, "b.example."), v4("b.example.", 300, "192.0.2.1")]
    );
}
