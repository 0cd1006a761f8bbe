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
    let denied = Err(Refusal::by_rule(3));
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
        let denied = Err(Refusal::by_rule(7));
        assert_eq!(may_use(&tables, &TAG, &everywhere), if both { denied } else { Ok(2) });
    }
}

/// Class of a name, with one rule for port 443.
fn name(tables: &mut Tables, class: u32, rule: PortRule) -> Pin {
    let port = 443_u16.to_be_bytes();
    let key = PortKey { class, verb: Verb::Connect as u8, protocol: TCP, port };
    tables.ports.insert(key, rule);
    Pin { until: 501, class, ..Pin::default() }
}

/// Has these names stand for the peer's address, for the run whose parameters have this scope.
fn pin(tables: &mut Tables, scope: u64, pins: &[Pin]) {
    let key = PeerKey { scope, address: PEER.address };
    let mut list = Pins { key, ..Pins::default() };
    list.list[..pins.len()].copy_from_slice(pins);
    tables.pins.insert(key, list);
}

const ALLOW: PortRule = PortRule { rule: 6, deny: 0 };
const DENY: PortRule = PortRule { rule: 7, deny: 1 };

#[test]
fn a_name_grants_its_address_to_the_run_that_asked_until_its_time() {
    let mut tables = tables();
    let granted = name(&mut tables, 9, ALLOW);
    assert_eq!(may_use(&tables, &TAG, &PEER), refused(Reason::NoRule));
    pin(&mut tables, PARAMS + 1, &[granted]);
    assert_eq!(may_use(&tables, &TAG, &PEER), refused(Reason::NoRule));
    pin(&mut tables, PARAMS, &[Pin::default(), granted]);
    assert_eq!(may_use(&tables, &TAG, &PEER), Ok(6));
    let other = Peer { port: 80, ..PEER };
    assert_eq!(may_use(&tables, &TAG, &other), refused(Reason::NoRule));
    tables.now = 501;
    assert_eq!(may_use(&tables, &TAG, &PEER), refused(Reason::NoRule));
}

#[test]
fn a_name_says_nothing_of_the_runs_own_addresses() {
    let mut tables = tables();
    let mut granted = name(&mut tables, 9, ALLOW);
    for verb in [Verb::Listen, Verb::Accept] {
        let port = 443_u16.to_be_bytes();
        tables.ports.insert(PortKey { class: 9, verb: verb as u8, protocol: TCP, port }, ALLOW);
        granted.class = 9;
        pin(&mut tables, PARAMS, &[granted]);
        assert_eq!(may_use(&tables, &TAG, &Peer { verb, ..PEER }), refused(Reason::NoRule));
    }
}

#[test]
fn a_denied_address_stays_denied_whatever_its_name() {
    let mut tables = with(Some(4), Some(DENY));
    let granted = name(&mut tables, 9, ALLOW);
    pin(&mut tables, PARAMS, &[granted]);
    let denied = Err(Refusal::by_rule(7));
    assert_eq!(may_use(&tables, &TAG, &PEER), denied);
}

#[test]
fn of_several_names_the_one_that_denies_beats_the_others() {
    let mut tables = tables();
    let granted = name(&mut tables, 9, ALLOW);
    let denied = name(&mut tables, 10, DENY);
    let answer = Err(Refusal::by_rule(7));
    for pins in [[granted, denied], [denied, granted]] {
        pin(&mut tables, PARAMS, &pins);
        assert_eq!(may_use(&tables, &TAG, &PEER), answer);
    }
    let past = Pin { until: 500, ..denied };
    pin(&mut tables, PARAMS, &[granted, past]);
    assert_eq!(may_use(&tables, &TAG, &PEER), Ok(6));
}

#[test]
fn a_run_below_another_needs_the_name_from_both() {
    let mut tables = tables();
    tables.chain(2);
    for slot in [SLOT, SLOT + 1] {
        let run = tables.instances.get_mut(&slot).unwrap();
        *run = run.bound_to(POLICY, PARAMS + u64::from(slot));
    }
    let granted = name(&mut tables, 9, ALLOW);
    pin(&mut tables, PARAMS + u64::from(SLOT), &[granted]);
    assert_eq!(may_use(&tables, &TAG, &PEER), refused_above(Reason::NoRule));
    pin(&mut tables, PARAMS + u64::from(SLOT) + 1, &[granted]);
    assert_eq!(may_use(&tables, &TAG, &PEER), Ok(6));
}

#[test]
fn a_conversation_that_stands_outlives_its_name() {
    let mut tables = tables();
    let granted = name(&mut tables, 9, ALLOW);
    assert_eq!(may_go_on_with(&tables, &TAG, &PEER), refused(Reason::NoRule));
    pin(&mut tables, PARAMS, &[Pin { until: 1, ..granted }]);
    assert_eq!(may_use(&tables, &TAG, &PEER), refused(Reason::NoRule));
    assert_eq!(may_go_on_with(&tables, &TAG, &PEER), Ok(6));
    tables.run().state = State::REVOKED;
    assert_eq!(may_go_on_with(&tables, &TAG, &PEER), refused(Reason::Revoked));
}

#[test]
fn what_is_another_addresss_by_now_says_nothing() {
    let mut tables = tables();
    let granted = name(&mut tables, 9, ALLOW);
    pin(&mut tables, PARAMS, &[granted]);
    let key = PeerKey { scope: PARAMS, address: PEER.address };
    tables.pins.get_mut(&key).unwrap().key.scope = PARAMS + 1;
    assert_eq!(may_use(&tables, &TAG, &PEER), refused(Reason::NoRule));
}
