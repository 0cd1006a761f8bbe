use super::*;

const PEER: Peer =
    Peer { address: Address::v4([10, 0, 0, 1]), port: 443, protocol: TCP, verb: Verb::Connect };

fn with(class: Option<u32>, rule: Option<PortRule>) -> Tables {
    let mut tables = tables();
    if let Some(class) = class {
        tables.classes.insert(PeerKey { scope: POLICY, address: PEER.address }, class);
    }
    if let Some(rule) = rule {
        let port = 443_u16.to_be_bytes();
        tables.ports.insert(PortKey { class: 4, verb: 1, protocol: TCP, port }, rule);
    }
    tables
}

#[test]
fn class_and_port_must_both_be_known() {
    let allow = PortRule { rule: 2, deny: 0 };
    assert_eq!(may_use(&with(Some(4), Some(allow)), &TAG, &PEER), Ok(2));
    assert_eq!(may_use(&with(None, Some(allow)), &TAG, &PEER), refused(Reason::NoRule));
    assert_eq!(may_use(&with(Some(4), None), &TAG, &PEER), refused(Reason::NoRule));
    assert_eq!(may_use(&with(Some(5), Some(allow)), &TAG, &PEER), refused(Reason::NoRule));
}

#[test]
fn a_denial_names_its_rule() {
    let tables = with(Some(4), Some(PortRule { rule: 3, deny: 1 }));
    let denied = Err(Refusal::Denied { reason: Reason::DenyRule, rule: 3 });
    assert_eq!(may_use(&tables, &TAG, &PEER), denied);
}

#[test]
fn a_dead_run_reaches_nobody() {
    let mut tables = with(Some(4), Some(PortRule { rule: 2, deny: 0 }));
    tables.run().state = State::REVOKED;
    assert_eq!(may_use(&tables, &TAG, &PEER), refused(Reason::Revoked));
}

/// Port 443 of an address, in a class of its own, under a verb.
fn say(tables: &mut Tables, address: Address, class: u32, verb: Verb, rule: PortRule) {
    let port = 443_u16.to_be_bytes();
    tables.classes.insert(PeerKey { scope: POLICY, address }, class);
    tables.ports.insert(PortKey { class, verb: verb as u8, protocol: TCP, port }, rule);
}

#[test]
fn listening_everywhere_is_asked_for_in_both_families() {
    for (verb, both) in [(Verb::Listen, true), (Verb::Accept, true), (Verb::Connect, false)] {
        let everywhere = Peer { address: Address::ANY_V6, port: 443, protocol: TCP, verb };
        let mut tables = tables();
        say(&mut tables, Address::ANY_V6, 4, verb, PortRule { rule: 2, deny: 0 });
        say(&mut tables, Address::v4([127, 0, 0, 1]), 5, verb, PortRule { rule: 3, deny: 0 });
        let alone = if both { refused(Reason::NoRule) } else { Ok(2) };
        assert_eq!(may_use(&tables, &TAG, &everywhere), alone);
        say(&mut tables, Address::ANY_V4, 6, verb, PortRule { rule: 7, deny: 0 });
        assert_eq!(may_use(&tables, &TAG, &everywhere), Ok(2));
        say(&mut tables, Address::ANY_V4, 6, verb, PortRule { rule: 7, deny: 1 });
        let denied = Err(Refusal::Denied { reason: Reason::DenyRule, rule: 7 });
        assert_eq!(may_use(&tables, &TAG, &everywhere), if both { denied } else { Ok(2) });
    }
}
