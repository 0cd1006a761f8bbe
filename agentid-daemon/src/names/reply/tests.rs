use agentid_common::net::UDP;
use hickory_proto::rr::{RData, rdata::A};
use proptest::prelude::*;

use super::*;

fn question(name: &str) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.set_edns(Edns::new());
    message
}

/// Answers to a question when the supervisor's end says this to each that asks.
async fn answered(question: &Message, verdict: Verdict) -> Message {
    let (requests, mut asked) = mpsc::channel(4);
    let supervisor = tokio::spawn(async move {
        while let Some(request) = asked.recv().await {
            match request {
                Request::Ask(ask) => ask.reply.send(verdict.clone()).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    });
    let upstream = Upstream::new(vec!["127.0.0.1:1".parse().unwrap()]);
    let handler = Handler::new(upstream, requests);
    let answer = handler.answer(question, UDP, "127.0.0.1:5".parse().unwrap()).await;
    drop(handler);
    supervisor.await.unwrap();
    answer
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let run = uuid::Uuid::from_u128(1);
    for (verdict, code) in [
        (Verdict::Denied(run), ResponseCode::NXDomain),
        (Verdict::Limited(run), ResponseCode::Refused),
        (Verdict::Nobody, ResponseCode::Refused),
    ] {
        let asked = question("A.Example.");
        let answer = answered(&asked, verdict).await;
        assert_eq!(answer.metadata.response_code, code);
        assert_eq!((answer.metadata.id, &answer.queries), (7, &asked.queries));
        assert!(answer.answers.is_empty() && answer.metadata.recursion_available);
        assert!(answer.edns.unwrap().option(EdnsCode::Unknown(extended::OPTION)).is_some());
    }
}

#[tokio::test]
async fn what_is_no_plain_question_is_not_passed_on() {
    let ask = |change: &dyn Fn(&mut Message)| {
        let mut message = question("a.example.");
        change(&mut message);
        message
    };
    for (message, code) in [
        (ask(&|it| it.metadata.op_code = OpCode::Notify), ResponseCode::NotImp),
        (ask(&|it| it.queries.clear()), ResponseCode::FormErr),
        (ask(&|it| it.queries[0].query_type = RecordType::AXFR), ResponseCode::Refused),
        (ask(&|it| it.queries[0].query_type = RecordType::ANY), ResponseCode::Refused),
        (ask(&|it| it.queries[0].query_class = DNSClass::CH), ResponseCode::Refused),
    ] {
        let granted = Verdict::Granted { run: uuid::Uuid::from_u128(1), edition: 0 };
        let answer = answered(&message, granted).await;
        assert_eq!(answer.metadata.response_code, code, "{message:?}");
    }
}

#[test]
fn what_does_not_fit_is_left_out_and_told() {
    let mut message = question("a.example.");
    let record = |last: u8| {
        Record::from_rdata(
            message.queries[0].name().clone(),
            1,
            RData::A(A([192, 0, 2, last].into())),
        )
    };
    let records: Vec<Record> = (0..=255).map(record).collect();
    message.add_answers(records);
    let bytes = written(&message, 512).unwrap();
    assert!(bytes.len() <= 512);
    let short = Message::from_vec(&bytes).unwrap();
    assert!(short.metadata.truncation && !short.answers.is_empty());
    let whole = Message::from_vec(&written(&message, u16::MAX).unwrap()).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 256);
}

proptest! {
    /// Whatever a run sends, it is a question or nothing.
    #[test]
    fn bytes_are_a_question_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Some(message) = read(&bytes) {
            prop_assert_eq!(message.metadata.message_type, MessageType::Query);
            for query in &message.queries {
                plain(query.name());
            }
        }
    }

    /// The same of a question in which some bytes are others.
    #[test]
    fn changed_questions_are_questions_or_nothing(
        changes in prop::collection::vec((0_usize..64, any::<u8>()), 1..8),
    ) {
        let mut bytes = question("some.name.of.a.host.example.").to_vec().unwrap();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Some(message) = read(&bytes) {
            let answer = Reply::failed(extended::OTHER, "changed").to(&message);
            if let Some(bytes) = written(&answer, 512) {
                prop_assert!(bytes.len() <= 512);
            }
            for query in &message.queries {
                plain(query.name());
                answer::addresses(query.name(), &message.answers);
            }
        }
    }
}
