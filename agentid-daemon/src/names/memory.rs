//! What a run was answered, for as long as it was good.
//!
//! Asked again by the same run, it is told again without a question to the host's servers: its addresses are pinned already,
//! for at least that time. Of one run's questions another learns nothing, not even by how long an answer takes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hickory_proto::{
    rr::{RData, Record, RecordType},
    serialize::binary::BinEncodable as _,
};
use uuid::Uuid;

use super::reply::Reply;

/// Answers of one run.
const EACH: usize = 64;
/// Answers of all runs. When there are as many and none has come to its time, all are forgotten: they may be of runs that are
/// over.
const ALL: usize = 8192;
/// Bytes of the records of one answer; a longer one is not kept.
const BYTES: usize = 1024;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// In lower case.
    pub name: String,
    pub kind: RecordType,
    /// With the signatures.
    pub dnssec_ok: bool,
}

/// An answer, and when it was given.
#[derive(Clone, Debug)]
struct Kept {
    reply: Reply,
    since: Duration,
    /// For how many seconds it is good.
    seconds: u32,
    /// Of which edition of the rules and the pins.
    edition: u64,
}

impl Kept {
    /// In seconds, begun ones counted: what is told must not be good for longer than its pins.
    fn age(&self, now: Duration) -> u32 {
        let age = now.saturating_sub(self.since);
        let seconds = age.as_secs().saturating_add(u64::from(age.subsec_nanos() > 0));
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    fn is_good(&self, now: Duration) -> bool {
        self.age(now) < self.seconds
    }
}

/// The answers of all runs.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<Uuid, BTreeMap<Question, Kept>>>);

impl Memory {
    /// The answer that this run has had to this question, with what is left of its time, if the rules and the pins are those
    /// of then. The time is the pins', [`crate::kernel::boot_time`].
    pub fn recall(
        &self,
        run: Uuid,
        question: &Question,
        edition: u64,
        now: Duration,
    ) -> Option<Reply> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = runs.get(&run)?.get(question)?;
        if kept.edition != edition || !kept.is_good(now) {
            return None;
        }
        let mut reply = kept.reply.clone();
        for record in reply.answers.iter_mut().chain(&mut reply.authorities) {
            record.ttl = record.ttl.saturating_sub(kept.age(now));
        }
        Some(reply)
    }

    /// Keeps an answer, if it is good for a time and there is room. `since` is before its addresses were pinned.
    pub fn keep(
        &self,
        run: Uuid,
        question: Question,
        reply: &Reply,
        edition: u64,
        since: Duration,
    ) {
        let Some(seconds) = lifetime(&question, reply) else { return };
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.values().map(BTreeMap::len).sum::<usize>() >= ALL {
            runs.retain(|_, answers| {
                answers.retain(|_, kept| kept.is_good(since));
                !answers.is_empty()
            });
            if runs.values().map(BTreeMap::len).sum::<usize>() >= ALL {
                runs.clear();
            }
        }
        let answers = runs.entry(run).or_default();
        if answers.len() >= EACH && !answers.contains_key(&question) {
            answers.retain(|_, kept| kept.is_good(since));
            if answers.len() >= EACH {
                return;
            }
        }
        answers.insert(question, Kept { reply: reply.clone(), since, seconds, edition });
    }
}

/// For how many seconds an answer is good: as long as each of its records, and one that says that there is nothing of the
/// kind as long as the zone says (RFC 2308 section 5). `None` when it is not to be kept.
fn lifetime(question: &Question, reply: &Reply) -> Option<u32> {
    let records = || reply.answers.iter().chain(&reply.authorities);
    let bytes = records().map(|record| record.to_bytes().map_or(usize::MAX, |bytes| bytes.len()));
    if !reply.may_be_kept() || bytes.fold(0, usize::saturating_add) > BYTES {
        return None;
    }
    let negative = reply.answers.iter().all(|record| record.record_type() != question.kind);
    let each = records().map(|record| match &record.data {
        RData::SOA(zone) if negative => record.ttl.min(zone.minimum),
        _ => record.ttl,
    });
    let says_how_long = |record: &Record| matches!(record.data, RData::SOA(_));
    if negative && !reply.authorities.iter().any(says_how_long) {
        return None;
    }
    each.min().filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests;
