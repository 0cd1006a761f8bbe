use super::*;

fn over() -> Tables {
    let mut tables = tables();
    tables.run().state = State::REVOKED;
    tables
}

type Other = unix::Peer<Chain, Word>;

fn named() -> Other {
    unix::Peer::At(Chain(Vec::from([7, 1])))
}

/// An abstract name.
struct Word(&'static [u8]);

impl Location for Word {
    type Room = OnStack;

    fn room(&self) -> Result<OnStack, Fault> {
        Ok(OnStack::default())
    }

    fn search<F: Facts>(
        &self,
        facts: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        let mut search = Search::new(*scopes);
        let mut name = Spelling::of(self.0).ok_or(Fault::WalkRead)?;
        unix::look_up(facts, &mut search, 5, &mut name)?;
        found(&search)
    }
}

#[test]
fn a_socket_of_the_runs_own_and_the_daemons_are_free_while_it_lives() {
    for peer in [Other::Own, Other::Control] {
        assert_eq!(may_talk(&tables(), &TAG, &peer), Ok(0));
        assert_eq!(may_talk(&over(), &TAG, &peer), refused(Reason::Revoked));
    }
}

#[test]
fn somebody_elses_needs_the_right_to_connect() {
    for (allow, answer) in
        [(Rights::CONNECT, Ok(2)), (Rights::ALL.minus(Rights::CONNECT), refused(Reason::NoRule))]
    {
        let mut tables = tables();
        tables.enter(POLICY, 1, [2, DEAD, DEAD, DEAD]);
        tables.state(2, allow, Rights::NONE);
        tables.nodes.get_mut(&2).unwrap().other = 2;
        assert_eq!(may_talk(&tables, &TAG, &named()), answer);
    }
    assert_eq!(may_talk(&over(), &TAG, &named()), refused(Reason::Revoked));
}

#[test]
fn an_abstract_name_is_judged_below_the_type_of_sockets() {
    let mut tables = tables();
    let called = || Other::Called(Word(b"bus"));
    assert_eq!(may_talk(&tables, &TAG, &called()), refused(Reason::NoRule));
    tables.anchors.insert(AnchorKey::filesystem_type(SOCKETS), 9);
    let key = EntryKey { scope: POLICY, anchor: 9, reserved: 0 };
    tables.entries.insert(key, Entry { states: [2, DEAD, DEAD, DEAD] });
    tables.state(2, Rights::ALL, Rights::NONE);
    tables.nodes.get_mut(&2).unwrap().edges = 1;
    tables.edges.insert(EdgeKey::of_name(2, 5), 3);
    for (right, talks, called_so) in [
        (Rights::CONNECT, Ok(3), refused(Reason::NoRule)),
        (Rights::CREATE, refused(Reason::NoRule), Ok(3)),
    ] {
        tables.state(3, right, Rights::NONE);
        assert_eq!(may_talk(&tables, &TAG, &called()), talks);
        assert_eq!(may_be_called(&tables, &TAG, &Word(b"bus")), called_so);
    }
    tables.run().state = State::REVOKED;
    assert_eq!(may_talk(&tables, &TAG, &called()), refused(Reason::Revoked));
    assert_eq!(may_be_called(&tables, &TAG, &Word(b"bus")), refused(Reason::Revoked));
}

#[test]
fn what_lies_nowhere_is_nobodys_to_grant() {
    let nowhere = Other::Nowhere;
    assert_eq!(may_talk(&tables(), &TAG, &nowhere), refused(Reason::ForeignSocket));
    assert_eq!(may_talk(&over(), &TAG, &nowhere), refused(Reason::Revoked));
}

fn pass(tables: &Tables, tag: &Tag, way: Way, packet: Packet) -> Answer {
    may_pass(tables, tag, &mut Ends::default(), |_| way, || packet)
}

#[test]
fn after_the_end_only_what_ends_a_connection_passes() {
    for (empty, ends, closing, passes) in [
        (true, true, false, true),
        (true, false, true, true),
        (true, false, false, false),
        (false, true, true, false),
        (false, false, false, false),
    ] {
        let packet = Packet { empty, ends, closing };
        assert_eq!(pass(&tables(), &TAG, Way::Free, packet), Ok(0), "{packet:?}");
        let answer = pass(&over(), &TAG, Way::Free, packet);
        assert_eq!(answer, if passes { Ok(0) } else { refused(Reason::Revoked) }, "{packet:?}");
    }
    let nobody = Tag { slot: 9, ..TAG };
    let ending = Packet { empty: true, ends: true, closing: true };
    let answer = pass(&tables(), &nobody, Way::Free, ending);
    assert_eq!(answer, fault(Fault::InstanceLookup));
}

#[test]
fn a_packet_takes_no_detour() {
    let answer = |way| pass(&tables(), &TAG, way, Packet::default());
    assert_eq!(answer(Way::Free), Ok(0));
    assert_eq!(answer(Way::Detour), refused(Reason::SocketOption));
    assert_eq!(answer(Way::Crowds), refused(Reason::Guarded));
    assert_eq!(answer(Way::Unread), fault(Fault::AddressRead));
}

#[test]
fn a_datagram_comes_from_whom_the_run_may_send_to_or_to_where_it_may_listen() {
    let (from, to) = (Address::v4([10, 0, 0, 1]), Address::v4([127, 0, 0, 1]));
    let rule = |tables: &mut Tables, address, class, verb: Verb, deny| {
        let port = 53_u16.to_be_bytes();
        tables.classes.insert(PeerKey { scope: POLICY, address }, class);
        let key = PortKey { class, verb: verb as u8, protocol: UDP, port };
        tables.ports.insert(key, PortRule { rule: class as u16, deny });
    };
    let answer = |tables: &Tables| {
        let end = |address, verb| Peer { address, port: 53, protocol: UDP, verb };
        let mut ends = Ends { peer: end(from, Verb::Send), own: end(to, Verb::Listen) };
        may_pass(tables, &TAG, &mut ends, |_| Way::Arrived, Packet::default)
    };
    assert_eq!(answer(&tables()), refused(Reason::NoRule));
    for verb in [Verb::Send, Verb::Connect] {
        let mut tables = tables();
        rule(&mut tables, from, 4, verb, 0);
        assert_eq!(answer(&tables), Ok(4));
        rule(&mut tables, to, 5, Verb::Listen, 1);
        assert_eq!(answer(&tables), Ok(4), "where it may not listen it may be answered");
    }
    let mut tables = tables();
    rule(&mut tables, to, 5, Verb::Listen, 0);
    rule(&mut tables, from, 4, Verb::Send, 1);
    assert_eq!(answer(&tables), Ok(5));
    tables.run().state = State::REVOKED;
    assert_eq!(answer(&tables), refused(Reason::Revoked));
}

#[test]
fn of_a_connection_that_is_not_granted_any_more_passes_what_carries_nothing() {
    let address = Address::v4([10, 0, 0, 1]);
    let answer = |tables: &Tables, verb, packet| {
        let peer = Peer { address, port: 53, protocol: TCP, verb };
        let mut ends = Ends { peer, ..Ends::default() };
        may_pass(tables, &TAG, &mut ends, |_| Way::Heard, || packet)
    };
    let empty = Packet { empty: true, ..Packet::default() };
    for verb in [Verb::Connect, Verb::Accept] {
        assert_eq!(answer(&tables(), verb, Packet::default()), refused(Reason::NoRule));
        assert_eq!(answer(&tables(), verb, empty), Ok(0));
        let mut tables = tables();
        tables.classes.insert(PeerKey { scope: POLICY, address }, 4);
        let port = 53_u16.to_be_bytes();
        let key = PortKey { class: 4, verb: verb as u8, protocol: TCP, port };
        tables.ports.insert(key, PortRule { rule: 4, deny: 0 });
        assert_eq!(answer(&tables, verb, Packet::default()), Ok(4));
        tables.run().state = State::REVOKED;
        assert_eq!(answer(&tables, verb, empty), refused(Reason::Revoked));
    }
}
