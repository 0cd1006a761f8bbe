use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name,
        rdata::{A, CNAME, SOA},
    },
};

use super::*;

const RUN: Uuid = Uuid::from_u128(1);

fn question(name: &str) -> Question {
    Question { name: name.to_owned(), kind: RecordType::A, dnssec_ok: false }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn address(ttl: u32) -> Record {
    Record::from_rdata(name("a.example."), ttl, RData::A(A::new(192, 0, 2, 1)))
}

fn zone(ttl: u32, minimum: u32) -> Record {
    let data = SOA::new(name("example."), name("example."), 1, 1, 1, 1, minimum);
    Record::from_rdata(name("example."), ttl, RData::SOA(data))
}

fn reply(answers: Vec<Record>, authorities: Vec<Record>) -> Reply {
    Reply::whole(ResponseCode::NoError, answers, authorities)
}

#[test]
fn an_answer_is_told_again_with_what_is_left_of_its_time() {
    let (memory, start) = (Memory::default(), Duration::from_secs(1000));
    memory.keep(
        RUN,
        question("a.example"),
        &reply(vec![address(60), address(30)], vec![]),
        1,
        start,
    );
    let at = |seconds| start + Duration::from_secs(seconds);
    let told = memory.recall(RUN, &question("a.example"), 1, at(10)).unwrap();
    assert_eq!(told.answers.iter().map(|record| record.ttl).collect::<Vec<_>>(), [50, 20]);
    assert!(memory.recall(RUN, &question("a.example"), 1, at(29)).is_some());
    assert!(memory.recall(RUN, &question("a.example"), 1, at(30)).is_none(), "the shortest counts");
}

#[test]
fn an_answer_is_for_its_run_its_question_and_its_edition() {
    let (memory, now) = (Memory::default(), Duration::from_secs(1000));
    memory.keep(RUN, question("a.example"), &reply(vec![address(60)], vec![]), 1, now);
    assert!(memory.recall(Uuid::from_u128(2), &question("a.example"), 1, now).is_none());
    assert!(memory.recall(RUN, &question("b.example"), 1, now).is_none());
    let signed = Question { dnssec_ok: true, ..question("a.example") };
    assert!(memory.recall(RUN, &signed, 1, now).is_none());
    assert!(memory.recall(RUN, &question("a.example"), 2, now).is_none());
    assert!(memory.recall(RUN, &question("a.example"), 1, now).is_some());
}

#[test]
fn that_there_is_nothing_is_kept_as_long_as_the_zone_says() {
    let (memory, start) = (Memory::default(), Duration::from_secs(1000));
    memory.keep(RUN, question("a.example"), &reply(vec![], vec![zone(60, 5)]), 1, start);
    assert!(memory.recall(RUN, &question("a.example"), 1, start).is_some());
    let later = start + Duration::from_secs(5);
    assert!(memory.recall(RUN, &question("a.example"), 1, later).is_none());
    let alias =
        |ttl| Record::from_rdata(name("a.example."), ttl, RData::CNAME(CNAME(name("b.example."))));
    memory.keep(RUN, question("c.example"), &reply(vec![alias(60)], vec![zone(60, 7)]), 1, start);
    assert!(memory.recall(RUN, &question("c.example"), 1, later).is_some());
    let later = start + Duration::from_secs(7);
    assert!(memory.recall(RUN, &question("c.example"), 1, later).is_none(), "an alias to nothing");
    memory.keep(RUN, question("d.example"), &reply(vec![alias(60)], vec![]), 1, start);
    assert!(memory.recall(RUN, &question("d.example"), 1, start).is_none());
    memory.keep(RUN, question("b.example"), &reply(vec![], vec![]), 1, start);
    assert!(memory.recall(RUN, &question("b.example"), 1, start).is_none(), "nobody says how long");
}

#[test]
fn what_is_not_the_whole_truth_is_not_kept() {
    let (memory, now) = (Memory::default(), Duration::from_secs(1000));
    let failed = Reply::failed(0, "no server has answered");
    memory.keep(RUN, question("a.example"), &failed, 1, now);
    memory.keep(RUN, question("a.example"), &reply(vec![address(0)], vec![]), 1, now);
    let many = reply(vec![address(60); BYTES / 16], vec![]);
    memory.keep(RUN, question("a.example"), &many, 1, now);
    assert!(memory.recall(RUN, &question("a.example"), 1, now).is_none());
}

#[test]
fn no_run_fills_the_memory() {
    let (memory, now) = (Memory::default(), Duration::from_secs(1000));
    let answer = reply(vec![address(60)], vec![]);
    for number in 0..=EACH {
        memory.keep(RUN, question(&format!("{number}.example")), &answer, 1, now);
    }
    assert!(memory.recall(RUN, &question(&format!("{EACH}.example")), 1, now).is_none());
    let other = Uuid::from_u128(2);
    memory.keep(other, question("a.example"), &answer, 1, now);
    assert!(memory.recall(other, &question("a.example"), 1, now).is_some());
    // What has come to its time makes room.
    let later = now + Duration::from_secs(60);
    memory.keep(RUN, question("new.example"), &answer, 1, later);
    assert!(memory.recall(RUN, &question("new.example"), 1, later).is_some());
}

#[test]
fn many_runs_do_not_fill_it_either() {
    let (memory, now) = (Memory::default(), Duration::from_secs(1000));
    let answer = reply(vec![address(60)], vec![]);
    for run in 0..=ALL as u128 {
        memory.keep(Uuid::from_u128(run), question("a.example"), &answer, 1, now);
    }
    assert_eq!(memory.0.lock().unwrap().len(), 1, "all were forgotten before the last");
    assert!(memory.recall(Uuid::from_u128(ALL as u128), &question("a.example"), 1, now).is_some());
}
