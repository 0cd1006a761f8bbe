use std::net::{Ipv4Addr, Ipv6Addr};

use agentid_common::{
    net::{Address, ICMP, Peer, TCP, UDP, Verb},
    verdict::{Answer, Reason, Refusal, TRIPWIRE},
};
use proptest::prelude::*;

use super::host::{Host, Run, parsed};
use crate::policy::{Effect, NetRule, Policy, Side};

fn run(rules: &str) -> Run {
    Run::new(Host::new(), &parsed(rules))
}

fn ask(run: &Run, address: &str, port: u16) -> Answer {
    let address: std::net::IpAddr = address.parse().unwrap();
    let address = match address {
        std::net::IpAddr::V4(v4) => Address::v4(v4.octets()),
        std::net::IpAddr::V6(v6) => Address::v6(v6.octets()),
    };
    run.connect(address, port, TCP)
}

const NO_RULE: Answer = Err(Refusal::denied(Reason::NoRule));

fn denied(rule: u16) -> Answer {
    Err(Refusal::by_rule(rule))
}

#[test]
fn the_documented_example_holds() {
    let run = run("[[net]]\nto = ['10.1.0.0/16:5432']\nallow = ['connect']\n\
                   [[net]]\nto = ['10.1.9.0/24:*']\ndeny = 'all'");
    assert_eq!(ask(&run, "10.1.0.7", 5432), Ok(1));
    assert_eq!(ask(&run, "10.1.9.7", 5432), denied(2));
    assert_eq!(ask(&run, "10.1.9.7", 22), denied(2));
    assert_eq!(ask(&run, "10.1.0.7", 22), NO_RULE);
    assert_eq!(ask(&run, "::ffff:10.1.0.7", 5432), Ok(1));
    assert_eq!(ask(&run, "10.2.0.7", 5432), NO_RULE);
    assert_eq!(run.connect(Address::v4([10, 1, 0, 7]), 5432, UDP), NO_RULE);
}

#[test]
fn of_rules_that_deny_a_peer_a_tripwire_is_the_one_that_is_met() {
    let rule = |to: &str, more: &str| format!("[[net]]\nto = ['{to}']\ndeny = 'all'\n{more}\n");
    let met = |number| denied(TRIPWIRE | number);
    for (one, other) in [("10.0.0.0/8:*", "10.1.0.7:80"), ("10.1.0.7:80", "10.0.0.0/8:*")] {
        let first = run(&(rule(one, "tripwire = true") + &rule(other, "")));
        let last = run(&(rule(one, "") + &rule(other, "tripwire = true")));
        assert_eq!((ask(&first, "10.1.0.7", 80), ask(&last, "10.1.0.7", 80)), (met(1), met(2)));
    }
    let apart = run(&(rule("10.1.0.7:80", "tripwire = true") + &rule("10.1.0.7:*", "")));
    assert_eq!(ask(&apart, "10.1.0.7", 81), denied(2));
}

#[test]
fn a_wide_block_leaves_out_what_must_be_named() {
    let all = run("[[net]]\nto = ['0.0.0.0/0:*', '[::]/0:*']\nallow = ['connect']");
    for address in
        ["8.8.8.8", "10.0.0.1", "126.255.255.255", "128.0.0.1", "2606:4700::1", "fd00::1"]
    {
        assert_eq!(ask(&all, address, 80), Ok(1), "{address}");
    }
    let apart = [
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "ff02::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::",
        "::7f00:1",
    ];
    for address in apart {
        assert_eq!(ask(&all, address, 80), NO_RULE, "{address}");
        let exact = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let named = run(&format!("[[net]]\nto = ['{exact}:80']\nallow = ['connect']"));
        assert_eq!(ask(&named, address, 80), Ok(1), "{address}");
    }
}

#[test]
fn ipv6_rules_say_nothing_of_ipv4() {
    let run = run("[[net]]\nto = ['[::]/0:*']\nallow = ['connect']");
    assert_eq!(ask(&run, "8.8.8.8", 80), NO_RULE);
}

#[test]
fn a_part_of_link_local_can_be_named() {
    let run = run("[[net]]\nto = ['169.254.169.0/24:80', '0.0.0.0/0:*']\nallow = ['connect']");
    assert_eq!(ask(&run, "169.254.169.254", 80), Ok(1));
    assert_eq!(ask(&run, "169.254.169.254", 81), NO_RULE);
    assert_eq!(ask(&run, "169.254.1.1", 80), NO_RULE);
}

#[test]
fn a_denial_holds_wherever_it_reaches() {
    let run = run("[[net]]\nto = ['169.254.169.254:80']\nallow = ['connect']\n\
                   [[net]]\nto = ['0.0.0.0/0:80']\ndeny = 'all'");
    assert_eq!(ask(&run, "169.254.169.254", 80), denied(2));
}

#[test]
fn a_range_becomes_the_fewest_prefixes() {
    let run = run("[[net]]\nto = ['10.0.0.1:8000-8999']\nallow = ['connect']");
    assert_eq!(ask(&run, "10.0.0.1", 7999), NO_RULE);
    assert_eq!(ask(&run, "10.0.0.1", 8000), Ok(1));
    assert_eq!(ask(&run, "10.0.0.1", 8999), Ok(1));
    assert_eq!(ask(&run, "10.0.0.1", 9000), NO_RULE);
    assert_eq!(run.image.ports.len(), 6);
    assert_eq!(run.image.peers.len(), 1);
}

/// Where a run may listen, asked for one address of each family after the other.
fn listens(run: &Run, address: &str, port: u16) -> Answer {
    let ip: std::net::IpAddr = address.parse().unwrap();
    let address = match ip {
        std::net::IpAddr::V4(v4) => Address::v4(v4.octets()),
        std::net::IpAddr::V6(v6) => Address::v6(v6.octets()),
    };
    let listen = |verb| run.uses(&Peer { address, port, protocol: TCP, verb });
    let answer = listen(Verb::Listen);
    assert_eq!(listen(Verb::Accept), answer, "{ip}");
    answer
}

#[test]
fn a_local_address_is_granted_as_itself_or_by_a_block() {
    let one = run("[[net]]\non = ['127.0.0.1:8000']\nallow = ['listen']");
    assert_eq!(listens(&one, "127.0.0.1", 8000), Ok(1));
    assert_eq!(listens(&one, "::ffff:127.0.0.1", 8000), Ok(1));
    for address in ["0.0.0.0", "::", "127.0.0.2", "::1", "10.0.0.1", "::ffff:0.0.0.0"] {
        assert_eq!(listens(&one, address, 8000), NO_RULE, "{address}");
    }
    // The kernel's choice of a port is covered by every port alone.
    assert_eq!(listens(&one, "127.0.0.1", 0), NO_RULE);
    let all = run("[[net]]\non = ['127.0.0.1:*']\nallow = ['listen']");
    assert_eq!(listens(&all, "127.0.0.1", 0), Ok(1));

    let v4 = run("[[net]]\non = ['0.0.0.0/0:8000']\nallow = ['listen']");
    for address in ["0.0.0.0", "127.0.0.1", "10.0.0.1", "169.254.1.1", "224.0.0.1"] {
        assert_eq!(listens(&v4, address, 8000), Ok(1), "{address}");
    }
    assert_eq!(listens(&v4, "::", 8000), NO_RULE);
    assert_eq!(listens(&v4, "::1", 8000), NO_RULE);
}

/// `::` takes IPv4 too, so that it needs both, and a denial of either denies it.
#[test]
fn listening_on_all_addresses_needs_both_families() {
    let only = run("[[net]]\non = ['[::]/0:8000']\nallow = ['listen']");
    assert_eq!(listens(&only, "::1", 8000), Ok(1));
    assert_eq!(listens(&only, "2001:db8::1", 8000), Ok(1));
    for address in ["::", "0.0.0.0", "127.0.0.1"] {
        assert_eq!(listens(&only, address, 8000), NO_RULE, "{address}");
    }
    let named = run("[[net]]\non = ['0.0.0.0:8000', '[::]:8000']\nallow = ['listen']");
    assert_eq!(listens(&named, "::", 8000), Ok(1));
    assert_eq!(listens(&named, "0.0.0.0", 8000), Ok(1));
    assert_eq!(listens(&named, "127.0.0.1", 8000), NO_RULE);
    let less = run("[[net]]\non = ['0.0.0.0/0:*', '[::]/0:*']\nallow = ['listen']\n\
                    [[net]]\non = ['0.0.0.0/0:22']\ndeny = 'all'");
    assert_eq!(listens(&less, "::", 8000), Ok(1));
    assert_eq!(listens(&less, "::", 22), denied(2));
    assert_eq!(listens(&less, "::1", 22), Ok(1));
}

#[test]
fn each_verb_is_granted_for_itself() {
    let run = run("[[net]]\nto = ['10.0.0.1:53']\nproto = 'udp'\nallow = ['send']\n\
                   [[net]]\nto = ['10.0.0.2:*']\nproto = 'icmp'\nallow = ['connect']\n\
                   [[net]]\non = ['10.0.0.1:53']\nallow = ['accept']");
    let uses = |verb, last, port, protocol| {
        run.uses(&Peer { address: Address::v4([10, 0, 0, last]), port, protocol, verb })
    };
    assert_eq!(uses(Verb::Send, 1, 53, UDP), Ok(1));
    assert_eq!(uses(Verb::Connect, 1, 53, UDP), NO_RULE);
    assert_eq!(uses(Verb::Connect, 1, 53, TCP), NO_RULE);
    assert_eq!(uses(Verb::Send, 2, 0, ICMP), Ok(2));
    assert_eq!(uses(Verb::Connect, 2, 0, ICMP), Ok(2));
    assert_eq!(uses(Verb::Send, 2, 53, UDP), NO_RULE);
    assert_eq!(uses(Verb::Accept, 1, 53, TCP), Ok(3));
    assert_eq!(uses(Verb::Listen, 1, 53, TCP), NO_RULE);
}

#[test]
fn a_thousand_rules_are_compiled_at_once() {
    let rule = |number: u32| {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + number * 4);
        let (port, effect) =
            (1000 + number, if number.is_multiple_of(7) { "deny" } else { "allow" });
        format!("[[net]]\nto = ['{address}/30:{port}-{}']\n{effect} = ['connect']\n", port + 9)
    };
    let text: String = (0..1000).map(rule).collect();
    let policy = parsed(&text);
    let begun = std::time::Instant::now();
    let run = Run::new(Host::new(), &policy);
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(120), "{took:?} without optimization");
    assert_eq!(ask(&run, "10.0.0.5", 1001), Ok(2));
    assert_eq!(ask(&run, "10.0.0.0", 1009), denied(1));
    assert_eq!(ask(&run, "10.0.0.5", 1000), NO_RULE);
    assert!(run.image.peers.len() <= 1000, "{}", run.image.peers.len());
}

/// What the rules say, read one by one.
fn scan(rules: &[NetRule], address: Ipv6Addr, port: u16, protocol: u8, verb: Verb) -> Answer {
    let rule = scan_one(rules, address, port, protocol, verb)?;
    if verb.is_local() && address == Ipv6Addr::UNSPECIFIED {
        let v4 = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
        scan_one(rules, v4, port, protocol, verb)?;
    }
    Ok(rule)
}

fn scan_one(rules: &[NetRule], address: Ipv6Addr, port: u16, protocol: u8, verb: Verb) -> Answer {
    let mut allowed = None;
    for (number, rule) in (1..).zip(rules) {
        let named = rule.targets.iter().any(|target| {
            let bits = u32::from(target.prefix.bits());
            let own = target.prefix.address().to_bits();
            let same =
                |a: u128, b: u128, bits: u32| (a ^ b).checked_shr(128 - bits).unwrap_or(0) == 0;
            let wide = matches!(rule.effect, Effect::Allow(_)) && {
                let apart = |base: &str, length: u32| {
                    let base = base.parse::<Ipv6Addr>().unwrap().to_bits();
                    same(address.to_bits(), base, length)
                        && !(same(own, base, length) && bits >= length)
                };
                let peers = rule.side == Side::Peer;
                // Of the blocks apart, those that the generated addresses can fall into.
                apart("::ffff:0:0", 96)
                    || peers
                        && (apart("::ffff:127.0.0.0", 104)
                            || apart("::ffff:169.254.0.0", 112)
                            || apart("::ffff:0.0.0.0", 128)
                            || apart("::", 128)
                            || apart("::1", 128)
                            || apart("::", 96)
                            || apart("fe80::", 10)
                            || apart("::ffff:224.0.0.0", 100)
                            || apart("ff00::", 8)
                            || apart("::ffff:255.255.255.255", 128))
            };
            same(address.to_bits(), own, bits)
                && !wide
                && (target.first..=target.last).contains(&port)
        });
        if named && rule.is_about(verb, protocol) {
            match rule.effect {
                Effect::Deny(_) => return denied(number),
                Effect::Allow(_) => allowed = allowed.or(Some(number)),
            }
        }
    }
    allowed.map_or(NO_RULE, Ok)
}

/// Addresses that are often near each other.
fn octet() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(10), Just(127), Just(169), Just(254), Just(224), Just(255), 0..4_u8]
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    (octet(), octet(), octet(), octet()).prop_map(|(a, b, c, d)| Ipv4Addr::new(a, b, c, d))
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    let first = prop_oneof![Just(0_u16), Just(0x2a00), Just(0xfe80), Just(0xff02)];
    (first, 0..2_u16, 0..3_u16).prop_map(|(a, b, c)| Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, c))
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![1..20_u16, 65530..=65535_u16]
}

fn ports() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        port().prop_map(|port| port.to_string()),
        (port(), port()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ]
}

fn peer() -> impl Strategy<Value = String> {
    let block4 = (v4(), 0..=32_u32).prop_map(|(address, bits)| {
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        format!("{}/{bits}", Ipv4Addr::from_bits(address.to_bits() & mask))
    });
    let block6 = (v6(), 0..=128_u32).prop_map(|(address, bits)| {
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        format!("[{}]/{bits}", Ipv6Addr::from_bits(address.to_bits() & mask))
    });
    let mapped = v4().prop_map(|address| format!("[{}]", address.to_ipv6_mapped()));
    (prop_oneof![3 => block4, 2 => block6, 1 => mapped], ports())
        .prop_map(|(at, ports)| format!("{at}:{ports}"))
}

fn rules() -> impl Strategy<Value = Policy> {
    let proto = prop_oneof![
        Just(""),
        Just("proto = 'udp'\n"),
        Just("proto = 'tcp'\n"),
        Just("proto = ['tcp', 'udp']\n"),
    ];
    let effect = prop_oneof![
        4 => Just(("to", "allow = ['connect']")),
        2 => Just(("to", "deny = 'all'")),
        2 => Just(("on", "allow = ['listen']")),
        1 => Just(("on", "deny = ['listen']")),
        1 => Just(("on", "deny = 'all'")),
    ];
    let rule = (prop::collection::vec(peer(), 1..4), proto, effect).prop_map(
        |(ends, proto, (key, effect))| format!("[[net]]\n{key} = {ends:?}\n{proto}{effect}\n"),
    );
    prop::collection::vec(rule, 0..6).prop_map(|rules| parsed(&rules.concat()))
}

fn verb() -> impl Strategy<Value = Verb> {
    prop::sample::select(Verb::ALL.to_vec())
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(TCP), 3 => Just(UDP), 1 => Just(ICMP)]
}

proptest! {
    #[test]
    fn longest_prefixes_say_what_all_rules_say(
        policy in rules(),
        asked in prop::collection::vec(
            (
                prop_oneof![v4().prop_map(|v4| v4.to_ipv6_mapped()), v6()],
                prop_oneof![9 => port(), 1 => Just(0)],
                protocol(),
                verb(),
            ),
            40,
        ),
    ) {
        let run = Run::new(Host::new(), &policy);
        for (address, port, protocol, verb) in asked {
            let expected = scan(policy.net_rules(), address, port, protocol, verb);
            let peer = Peer { address: Address::v6(address.octets()), port, protocol, verb };
            prop_assert_eq!(run.uses(&peer), expected, "{:?}\n{}", peer, run.image);
        }
    }
}
