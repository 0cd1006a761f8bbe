use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use agentid_common::{
    file::Rights,
    layout::LAYOUTS,
    net::Address,
    record::{
        KIND_EMPTY, KIND_EXEC, KIND_FILE, KIND_PEER, KIND_PLAIN, MAX_ARGUMENTS, MAX_PATH,
        MAX_SCRIPT,
    },
    tag::InvocationId,
    verdict::{Fault, Hook, Reason, Verdict},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    decode::{Body, DecodeError, Execution, LeftOut, Record, Script, decode},
    enrich::{self, Context, enrich},
    event::{Access, Event, Object, PostureChange, RunName, What},
    export::{Filter, Hub, Known},
    number::{self, Numbers},
};
use crate::{
    control::api::Selector,
    instance::{
        Phase, Place, Registry, Run,
        run::{OnEnd, PolicyVersion, RunMode},
    },
    supervisor::{select::Meant, step::Now},
};

fn number<T>(all: &'static [T]) -> impl Strategy<Value = T>
where
    T: Copy + std::fmt::Debug,
{
    prop::sample::select(all)
}

fn exec() -> impl Strategy<Value = Body> {
    let path = prop::option::of(prop::collection::vec(1..=u8::MAX, 1..MAX_PATH));
    let name = prop::collection::vec(1..=u8::MAX, 0..MAX_SCRIPT - 1).prop_map(Script::Named);
    let script = prop_oneof![Just(Script::None), Just(Script::Nameless), name];
    let argument = prop::collection::vec(1..=u8::MAX, 0..MAX_ARGUMENTS / 4);
    let arguments = prop::collection::vec(argument, 0..4);
    let left_out = prop_oneof![
        Just(LeftOut::Nothing),
        Just(LeftOut::BySetting),
        Just(LeftOut::ForRoom),
        Just(LeftOut::Unread),
    ];
    (path, script, any::<u32>(), arguments, left_out).prop_map(
        |(path, script, count, arguments, left_out)| Body::Exec {
            path,
            execution: Execution { script, count, arguments, left_out },
        },
    )
}

/// The bytes of a field that is full size, whatever is in it.
fn field<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field[..bytes.len()].copy_from_slice(bytes);
    field
}

fn body() -> impl Strategy<Value = Body> {
    let path = prop::option::of(prop::collection::vec(1..=u8::MAX, 1..MAX_PATH));
    prop_oneof![
        Just(Body::Plain),
        Just(Body::Empty),
        (0..=Rights::ALL.0, any::<u64>(), path).prop_map(|(want, filesystem, path)| Body::File {
            want: Rights(want),
            filesystem,
            path
        }),
        exec(),
        any::<([u8; 16], u16, u16, u8, u8, u16)>().prop_map(
            |(address, family, port, protocol, verb, level)| Body::Peer {
                address: Address(address),
                family,
                port,
                protocol,
                verb,
                level,
            }
        ),
    ]
}

prop_compose! {
    fn record()(
        numbers in any::<(u64, u64, u64, [u8; 16], u32, (u16, u16), u32, u32, u32, [u8; 16])>(),
        hook in number(Hook::ALL),
        verdict in number(Verdict::ALL),
        reason in number(Reason::ALL),
        fault in number(Fault::ALL),
        body in body(),
    ) -> Record {
        let (time, sequence, generation, invocation, slot, (rule, above), tgid, tid, uid, comm) = numbers;
        let invocation = InvocationId(invocation);
        Record {
            time, sequence, generation, invocation, slot, hook, verdict, reason, fault, rule, above,
            tgid, tid, uid, comm, body,
        }
    }
}

/// The bytes as a kernel program lays them out: full size, whatever the length of the path.
fn encode(record: &Record) -> Vec<u8> {
    let kind = match record.body {
        Body::Plain => KIND_PLAIN,
        Body::File { .. } => KIND_FILE,
        Body::Exec { .. } => KIND_EXEC,
        Body::Peer { .. } => KIND_PEER,
        Body::Empty => KIND_EMPTY,
    };
    let mut bytes = Vec::new();
    for word in [record.time, record.sequence, record.generation] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(record.invocation.0);
    let words = [
        record.slot,
        kind,
        record.hook as u32,
        record.verdict as u32,
        record.reason as u32,
        record.fault as u32,
        u32::from(record.above) << 16 | u32::from(record.rule),
        record.tgid,
        record.tid,
        record.uid,
    ];
    for word in words {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(record.comm);
    match &record.body {
        Body::Plain | Body::Empty => {}
        Body::File { want, filesystem, path } => {
            let path = path.clone().unwrap_or_default();
            bytes.extend(want.0.to_ne_bytes());
            bytes.extend((path.len() as u32).to_ne_bytes());
            bytes.extend(filesystem.to_ne_bytes());
            bytes.extend(field::<MAX_PATH>(&path));
        }
        Body::Exec { path, execution: Execution { script, count, arguments, left_out } } => {
            let path = path.clone().unwrap_or_default();
            let (script_length, script) = match script {
                Script::None => (0, Vec::new()),
                Script::Nameless => (MAX_SCRIPT, Vec::new()),
                Script::Named(name) => (name.len() + 1, name.clone()),
            };
            let arguments: Vec<u8> =
                arguments.iter().flat_map(|one| [one.as_slice(), &[0]].concat()).collect();
            bytes.extend(Rights::EXEC.0.to_ne_bytes());
            bytes.extend((path.len() as u32).to_ne_bytes());
            bytes.extend(0_u64.to_ne_bytes());
            bytes.extend(field::<MAX_PATH>(&path));
            for word in [*count, arguments.len() as u32, *left_out as u32, script_length as u32] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(field::<MAX_SCRIPT>(&script));
            bytes.extend(field::<MAX_ARGUMENTS>(&arguments));
        }
        Body::Peer { address, family, port, protocol, verb, level } => {
            bytes.extend(address.0);
            bytes.extend(family.to_ne_bytes());
            bytes.extend(port.to_ne_bytes());
            bytes.extend([*protocol, *verb]);
            bytes.extend(level.to_ne_bytes());
        }
    }
    bytes
}

fn size(name: &str) -> usize {
    LAYOUTS.iter().find(|layout| layout.name == name).unwrap().size
}

proptest! {
    #[test]
    fn decoding_answers_whatever_the_bytes(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        // The answer does not matter, only that there is one.
        drop(decode(&bytes));
    }

    #[test]
    fn decoding_answers_at_every_cut_and_change(
        record in record(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = encode(&record);
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        drop(decode(&bytes));
    }

    #[test]
    fn a_record_survives_its_bytes(record in record()) {
        let bytes = encode(&record);
        let layout = match record.body {
            Body::Plain | Body::Empty => "PlainRecord",
            Body::File { .. } => "FileRecord",
            Body::Exec { .. } => "ExecRecord",
            Body::Peer { .. } => "PeerRecord",
        };
        prop_assert_eq!(bytes.len(), size(layout));
        prop_assert_eq!(decode(&bytes), Ok(record));
    }
}

fn plain() -> Record {
    Record {
        time: 2_000_000,
        sequence: 7,
        generation: 9,
        invocation: InvocationId([1; 16]),
        slot: 3,
        hook: Hook::FileOpen,
        verdict: Verdict::Deny,
        reason: Reason::NoRule,
        fault: Fault::None,
        rule: 0,
        above: 0,
        tgid: 10,
        tid: 11,
        uid: 1000,
        comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
        body: Body::Plain,
    }
}

#[test]
fn an_unknown_kind_or_member_is_an_error_that_names_it() {
    let kind = size("Header") - 16 - 4 * 9;
    let mut bytes = encode(&plain());
    bytes[kind..kind + 4].copy_from_slice(&99_u32.to_ne_bytes());
    assert_eq!(decode(&bytes), Err(DecodeError::Kind(99)));
    let mut bytes = encode(&plain());
    bytes[kind + 4..kind + 8].copy_from_slice(&99_u32.to_ne_bytes());
    assert_eq!(decode(&bytes), Err(DecodeError::Number { field: "hook", value: 99 }));
    assert_eq!(decode(&[]), Err(DecodeError::Short { field: "time", have: 0 }));
}

#[test]
fn a_path_that_claims_to_be_longer_than_its_field_is_refused() {
    let file = Body::File { want: Rights::READ, filesystem: 0, path: None };
    let mut bytes = encode(&Record { body: file, ..plain() });
    let length = size("Header") + 4;
    bytes[length..length + 4].copy_from_slice(&(MAX_PATH as u32).to_ne_bytes());
    assert_eq!(decode(&bytes), Err(DecodeError::Path(MAX_PATH as u32)));
}

fn run() -> Run {
    Run {
        id: Uuid::from_u128(1),
        agent: "reviewer".to_owned(),
        owner: "alice".to_owned(),
        task: "T-1".to_owned(),
        purpose: None,
        on_behalf_of: None,
        labels: BTreeMap::new(),
        policy: PolicyVersion { name: "p".to_owned(), digest: "d".to_owned() },
        params: BTreeMap::new(),
        given: BTreeMap::new(),
        mode: RunMode::Enforce,
        on_end: OnEnd::Kill,
        names: false,
        parent: None,
        above: Vec::new(),
        command: Vec::new(),
        uid: 1000,
        tgid: 10,
        issued_by: None,
        place: Place { slot: 3, generation: 9, deadline: 0 },
        launched_ms: 0,
        launched_ns: 0,
        phase: Phase::Active,
        account: None,
        frozen: false,
        held_by: None,
        outlasts: false,
        groups: Default::default(),
        enclosure: None,
        changes: Vec::new(),
        end: None,
    }
}

#[test]
fn an_event_says_who_what_and_why() {
    let file = Body::File {
        want: Rights::READ.union(Rights::WRITE),
        filesystem: 0,
        path: Some(b"/home/alice/.ssh/id".to_vec()),
    };
    let record = Record { body: file, rule: 2, reason: Reason::DenyRule, ..plain() };
    let run = run();
    let by = Some(Uuid::from_u128(2));
    let because = Some("keys stay here");
    let context = Context { run: Some(&run), by, because, sights: &[], boot_ms: 1000 };
    let event = enrich(&record, &context).unwrap();
    let json = serde_json::to_value(&event).unwrap();
    let expected = serde_json::json!({
        "seq": 0, "time_ms": 1002,
        "run": {
            "id": Uuid::from_u128(1), "agent": "reviewer", "owner": "alice", "task": "T-1",
            "policy": "p@d", "above": [],
        },
        "what": {
            "kind": "access", "sequence": 7, "hook": "file_open", "verdict": "deny",
            "reason": "deny_rule", "fault": null, "rule": 2,
            "by": Uuid::from_u128(2), "because": "keys stay here",
            "process": { "tgid": 10, "tid": 11, "uid": 1000, "comm": "cat" },
            "object": { "file": { "path": "/home/alice/.ssh/id", "want": ["read", "write"] } },
        },
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
}

#[test]
fn an_execution_says_which_script_and_which_arguments() {
    let told = |script, arguments: &[&[u8]], left_out| {
        let arguments = arguments.iter().map(|one| one.to_vec()).collect();
        let execution = Execution { script, count: 3, arguments, left_out };
        let body = Body::Exec { path: Some(b"/bin/sh".to_vec()), execution };
        let record = Record { body, hook: Hook::BprmCommittedCreds, ..plain() };
        let bytes = encode(&record);
        let What::Access(access) =
            enrich(&decode(&bytes).unwrap(), &Context::default()).unwrap().what
        else {
            panic!("a record of an execution is an access")
        };
        let want = vec!["exec".to_owned()];
        assert_eq!(access.object, Some(Object::File { path: Some("/bin/sh".to_owned()), want }));
        serde_json::to_value(access.execution.unwrap()).unwrap()
    };
    assert_eq!(
        told(Script::Named(b"./x".to_vec()), &[b"sh", b"", b"a\xff"], LeftOut::Nothing),
        serde_json::json!({
            "interprets": true, "script": "./x", "argument_count": 3,
            "arguments": ["sh", "", "a\u{fffd}"], "left_out": null,
        })
    );
    assert_eq!(
        told(Script::Nameless, &[], LeftOut::Unread),
        serde_json::json!({
            "interprets": true, "script": null, "argument_count": 3, "arguments": [],
            "left_out": "unread",
        })
    );
    let none = told(Script::None, &[b"sh"], LeftOut::BySetting);
    assert_eq!((&none["interprets"], &none["left_out"]), (&false.into(), &"setting".into()));
}

#[test]
fn lengths_that_no_field_has_are_refused() {
    let execution = Execution {
        script: Script::None,
        count: 0,
        arguments: Vec::new(),
        left_out: LeftOut::Nothing,
    };
    let whole = encode(&Record { body: Body::Exec { path: None, execution }, ..plain() });
    let after = size("Header") + size("FileBody");
    for (word, field) in [(1, "arguments"), (3, "script")] {
        let mut bytes = whole.clone();
        let at = after + 4 * word;
        bytes[at..at + 4].copy_from_slice(&600_u32.to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Long { field, length: 600 }));
    }
}

#[test]
fn a_mapped_address_is_shown_as_ipv4_and_other_families_without_address() {
    let peer = |family| Body::Peer {
        address: Address::v4([10, 1, 0, 7]),
        family,
        port: 443,
        protocol: 6,
        verb: 1,
        level: 0,
    };
    let shown = |family| {
        let record = Record { body: peer(family), ..plain() };
        let What::Access(access) = enrich(&record, &Context::default()).unwrap().what else {
            panic!("a record of a peer is an access")
        };
        access.object.unwrap()
    };
    let expected = |address: Option<&str>, family| Object::Peer {
        address: address.map(ToOwned::to_owned),
        port: 443,
        protocol: "tcp".to_owned(),
        family,
        verb: Some("connect".to_owned()),
    };
    assert_eq!(shown(10), expected(Some("10.1.0.7"), 10));
    assert_eq!(shown(40), expected(None, 40));
}

#[test]
fn sockets_and_their_options_are_shown_as_the_socket_layer_numbers_them() {
    let body = Body::Peer {
        address: Address::default(),
        family: 16,
        port: 57,
        protocol: 9,
        verb: 0,
        level: 41,
    };
    let shown = |hook| {
        let record = Record { hook, body: body.clone(), ..plain() };
        let What::Access(access) = enrich(&record, &Context::default()).unwrap().what else {
            panic!("a record of a socket is an access")
        };
        access.object.unwrap()
    };
    assert_eq!(shown(Hook::SocketCreate), Object::Socket { family: 16, protocol: 9 });
    let option = Object::SocketOption { level: 41, option: 57 };
    assert_eq!(shown(Hook::SocketSetsockopt), option);
}

const NOW: Now = Now { boot_ns: 1, wall_ms: 1 };

/// No selection is made here: the last test has those.
fn nobody() -> Known<'static> {
    static NONE: LazyLock<Registry> = LazyLock::new(|| Registry::new(2, 0));
    Known { registry: &NONE, now: NOW }
}

fn of(uid: u32) -> Filter {
    Filter { uid: Some(uid), ..Filter::default() }
}

fn event(id: u128) -> Event {
    let run = RunName {
        id: Uuid::from_u128(id),
        agent: String::new(),
        owner: String::new(),
        task: String::new(),
        policy: String::new(),
        above: Vec::new(),
    };
    let posture = PostureChange { posture: "enforcing".to_owned(), why: None };
    // Numbers with gaps, as they are.
    Event { seq: 10 * id as u64, time_ms: 1, run: Some(run), what: What::Posture(posture) }
}

#[test]
fn the_history_keeps_the_last_events_and_shows_each_user_his_own() {
    let mut hub = Hub::new(3, 0);
    for id in 1..=4 {
        assert_eq!(hub.publish(event(id), Some(if id % 2 == 0 { 1000 } else { 0 }), nobody()), 0);
    }
    let ids = |filter| -> Vec<u128> {
        let events = hub.history(&filter, nobody());
        events.iter().map(|event| event.run.as_ref().unwrap().id.as_u128()).collect()
    };
    assert_eq!(ids(Filter::default()), [2, 3, 4]);
    assert_eq!(ids(of(1000)), [2, 4]);
    assert_eq!(ids(Filter { run: Some(Uuid::from_u128(3)), ..Filter::default() }), [3]);
    assert_eq!(ids(Filter { run: Some(Uuid::from_u128(3)), ..of(1000) }), [0_u128; 0]);
}

#[test]
fn a_slow_follower_is_told_what_it_missed_and_holds_up_nobody() {
    let mut hub = Hub::new(10, 0);
    let mut slow = hub.follow(Filter::default()).unwrap();
    let mut dropped = 0;
    for id in 0..1030 {
        dropped += hub.publish(event(id), None, nobody());
    }
    assert_eq!(dropped, 6);
    for _ in 0..1024 {
        slow.try_recv().unwrap();
    }
    assert!(slow.try_recv().is_err());
    hub.publish(event(2000), None, nobody());
    let told = slow.try_recv().unwrap();
    let What::Dropped(notice) = &told.what else { panic!("no notice") };
    assert_eq!(notice.count, 6);
    // Whoever comes again with its number has been told of all up to there.
    assert_eq!(told.seq, 10 * 1029);
    assert_eq!(slow.try_recv().unwrap().run.as_ref().unwrap().id.as_u128(), 2000);
}

#[test]
fn a_follower_that_went_away_makes_room() {
    let mut hub = Hub::new(10, 0);
    let followers: Vec<_> = std::iter::from_fn(|| hub.follow(Filter::default())).collect();
    assert_eq!(followers.len(), 320);
    drop(followers);
    assert!(hub.follow(Filter::default()).is_some());
}

#[test]
fn numbers_rise_whatever_the_clock_says_and_are_no_counts() {
    let mut numbers = Numbers::above(5_000);
    let all: Vec<u64> = (0..10_000).map(|_| numbers.take()).collect();
    assert!(all[0] > 5_000 && all.is_sorted_by(|one, next| one < next));
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert!(numbers.take() >= 5_000 + 5_000, "they are microseconds");
    assert_eq!(number::of_clock(1_800_000_000_000), 1_800_000_000_000_000);
    assert_eq!(number::of_clock(u64::MAX), 0, "no clock shows that");
}

/// More than any number that is given.
const LAST: u64 = 1_000_000;

/// The number of a notice that something was missed, how much, and why.
type Notice = (u64, Option<u64>, String);

/// The IDs that somebody is given who has read up to a number, and what he is said to have missed.
fn resumed(hub: &Hub, filter: Filter, seq: u64) -> (Vec<u128>, Option<Notice>) {
    let notice = hub.missed(&filter, nobody(), seq, LAST);
    let from = notice.as_ref().map_or(seq, |notice| notice.seq);
    let ids = hub.after(&filter, nobody(), from);
    let ids = ids.iter().map(|event| event.run.as_ref().unwrap().id.as_u128()).collect();
    let notice = notice.map(|notice| match notice.what {
        What::Missed(missed) => (notice.seq, missed.count, missed.why),
        other => panic!("{other:?}"),
    });
    (ids, notice)
}

#[test]
fn whoever_comes_again_goes_on_where_he_was() {
    let mut hub = Hub::new(10, 0);
    for id in 1..=5 {
        hub.publish(event(id), Some(if id % 2 == 0 { 1000 } else { 0 }), nobody());
    }
    let all = Filter::default();
    assert_eq!(resumed(&hub, all.clone(), 20), (vec![3, 4, 5], None));
    assert_eq!(
        resumed(&hub, all.clone(), 25),
        (vec![3, 4, 5], None),
        "a number of no event is a place"
    );
    assert_eq!(resumed(&hub, all.clone(), 50), (vec![], None));
    assert_eq!(resumed(&hub, of(1000), 20), (vec![4], None));
}

#[test]
fn whoever_comes_too_late_is_told_how_many_of_his_he_has_missed() {
    let mut hub = Hub::new(3, 0);
    for id in 1..=9 {
        hub.publish(event(id), Some(if id % 2 == 0 { 1000 } else { 0 }), nobody());
    }
    let evicted = |seq, count| Some((seq, count, "evicted".to_owned()));
    assert_eq!(resumed(&hub, Filter::default(), 20), (vec![7, 8, 9], evicted(69, Some(4))));
    assert_eq!(resumed(&hub, Filter::default(), 60), (vec![7, 8, 9], None));
    // Of others nothing is told, not even that they were there.
    let user = of;
    assert_eq!(resumed(&hub, user(1000), 20), (vec![8], evicted(79, Some(2))));
    assert_eq!(resumed(&hub, user(1001), 20), (vec![], None));
    let run = Filter { run: Some(Uuid::from_u128(5)), ..Filter::default() };
    assert_eq!(resumed(&hub, run, 20), (vec![], evicted(LAST, Some(1))));
    // What has been there at all is known for so long.
    for id in 10..=30 {
        hub.publish(event(id), Some(0), nobody());
    }
    assert_eq!(resumed(&hub, user(1000), 20), (vec![], evicted(LAST, None)));
    assert_eq!(resumed(&hub, user(1000), 150), (vec![], None));
}

#[test]
fn whoever_comes_from_before_the_daemon_is_told_that_and_gets_all_of_it() {
    let mut hub = Hub::new(3, 15);
    let restarted = |seq| Some((seq, None, "restarted".to_owned()));
    assert_eq!(resumed(&hub, Filter::default(), 14), (vec![], restarted(LAST)));
    for id in 2..=5 {
        hub.publish(event(id), None, nobody());
    }
    assert_eq!(resumed(&hub, Filter::default(), 14), (vec![3, 4, 5], restarted(29)));
    assert_eq!(
        resumed(&hub, Filter::default(), 15),
        (vec![3, 4, 5], Some((29, Some(1), "evicted".to_owned())))
    );
    let unknown = Some((29, None, "unknown".to_owned()));
    assert_eq!(resumed(&hub, Filter::default(), LAST + 1), (vec![3, 4, 5], unknown));
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x1000 + number)
}

fn at(run: Run, slot: u32) -> Run {
    Run { place: Place { slot, ..run.place }, ..run }
}

/// What somebody is shown who follows a selection, and who asks for it later.
#[test]
fn events_of_a_selection_are_those_of_its_runs_also_of_later_ones() {
    let mut registry = Registry::new(8, 10);
    let mut hub = Hub::new(3, 0);
    let selector = Selector {
        labels: [("team".to_owned(), "core".to_owned())].into(),
        children_of: Some(id(9).to_string()),
        ..Selector::default()
    };
    registry.insert(at(Run { id: id(9), ..run() }, 1)).unwrap();
    let meant = Meant::find(&registry, &selector, |_| true).unwrap();
    let filter = Filter { meant: Some(meant), ..Filter::default() };
    let mut follower = hub.follow(filter.clone()).unwrap();
    // Nobody had launched them when it was asked.
    let labels = || [("team".to_owned(), "core".to_owned())].into();
    let core = |number| Run { id: id(number), labels: labels(), parent: Some(id(9)), ..run() };
    let runs = [at(core(1), 2), at(core(2), 3), at(Run { labels: BTreeMap::new(), ..core(3) }, 4)];
    let publish = |hub: &mut Hub, registry: &Registry, seq, run: Option<&Run>| {
        let what = What::Posture(PostureChange { posture: "enforcing".to_owned(), why: None });
        let event = Event { seq, time_ms: 1, run: run.map(enrich::name), what };
        hub.publish(event, None, Known { registry, now: NOW })
    };
    for (seq, run) in (10..).step_by(10).zip(runs) {
        registry.insert(run.clone()).unwrap();
        publish(&mut hub, &registry, seq, Some(&run));
    }
    publish(&mut hub, &registry, 40, None);
    let shown = |it: &[Arc<Event>]| -> Vec<u64> { it.iter().map(|event| event.seq).collect() };
    let live: Vec<_> = std::iter::from_fn(|| follower.try_recv().ok()).collect();
    assert_eq!(shown(&live), [10, 20], "neither of another run nor of none");
    let known = Known { registry: &registry, now: NOW };
    assert_eq!(shown(&hub.history(&filter, known)), [20], "the oldest one is not kept");
    let missed = |registry: &Registry, seq| {
        let known = Known { registry, now: NOW };
        let what = hub.missed(&filter, known, seq, 50).map(|event| event.what);
        what.map(|what| match what {
            What::Missed(missed) => (missed.count, missed.why),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(missed(&registry, 5), Some((Some(1), "evicted".to_owned())));
    assert_eq!(missed(&registry, 25), None);
    let forgetful = Registry::new(8, 10);
    for seq in [5, 25] {
        let told = Some((None, "evicted".to_owned()));
        assert_eq!(missed(&forgetful, seq), told, "it may have been meant");
    }
}

#[test]
fn a_run_is_told_that_denials_of_its_own_are_not_known_any_more() {
    let denied = |seq: u64, number| {
        let run = Some(enrich::name(&Run { id: id(number), ..run() }));
        let What::Access(access) = enrich(&plain(), &Context::default()).unwrap().what else {
            panic!("a record of a hook is an access")
        };
        let what = What::Access(Access { verdict: "deny".to_owned(), ..access });
        Event { seq, time_ms: seq, run, what }
    };
    let told = |hub: &Hub, number, launched_ms| {
        let missed = hub.missed_denials(id(number), launched_ms, 5);
        missed.map(|missed| (missed.count, missed.why))
    };
    let mut hub = Hub::new(2, 0);
    hub.publish(denied(10, 1), None, nobody());
    assert_eq!(told(&hub, 1, 9), None);
    for seq in 11..13 {
        hub.publish(denied(seq, 2), None, nobody());
    }
    assert_eq!(told(&hub, 1, 9), Some((Some(1), "evicted".to_owned())));
    assert_eq!(told(&hub, 2, 9), None, "all of its own are kept");
    assert_eq!(told(&hub, 2, 4), Some((None, "restarted".to_owned())));
    // More than are traced.
    for seq in 13..30 {
        hub.publish(denied(seq, 2), None, nobody());
    }
    assert_eq!(told(&hub, 1, 9), Some((None, "evicted".to_owned())));
    assert_eq!(told(&hub, 3, 28), None, "launched since then");
}
