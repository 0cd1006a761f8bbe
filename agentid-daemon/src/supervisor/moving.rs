//! `why` of what gets another name, or one more: the names are asked, and no right is to be gained on the way.

use agentid_common::{
    decide::file::{Move, at_new_name, at_old_name, may_access, may_move},
    facts::Facts,
    file::Rights,
    verdict::{Answer, Reason, Refusal},
};

use super::{
    grant,
    rule_text::file_rule,
    why::{Asker, Question, Texts},
};
use crate::{control::api::WhyReply, event::enrich, image::NamedPlace};

/// A move from one name to another, or a link, each name with what the caller calls it.
#[derive(Clone, Copy, Debug)]
pub struct Moving<'a> {
    pub from: (&'a str, &'a NamedPlace),
    pub to: (&'a str, &'a NamedPlace),
    /// The old name stays, and is asked for nothing.
    pub link: bool,
}

impl Moving<'_> {
    /// May the run do it? It is asked as the kernel asks it: for the old name, for the new one, and then whether anything
    /// gains a right.
    pub fn why(&self, facts: &impl Facts, run: Asker, texts: Texts<'_>) -> WhyReply {
        let Self { from: (old, from), to: (new, to), link } = *self;
        let (old, new) =
            (Question { run, texts, object: old }, Question { run, texts, object: new });
        if !link {
            let taken = may_access(facts, &run.tag, &from.place, at_old_name(false));
            if taken.is_err() {
                return old.of_file(taken, at_old_name(false));
            }
        }
        // A link replaces nothing, and there are none to folders: the kernel refuses both itself.
        let (want, folder) =
            if link { (at_new_name(false), false) } else { (at_new_name(to.exists), from.folder) };
        let moved = Move { from: &from.place, to: &to.place, want, folder, exchange: false };
        let answer = may_move(facts, &run.tag, &moved);
        match answer {
            Err(Refusal::Denied { reason: Reason::RightsGained, .. }) if folder => {
                let text = format!(
                    "the rules do not say the same of {} and of {}, and of all that may be in it",
                    old.object, new.object
                );
                new.of_gain(answer, &text)
            }
            Err(Refusal::Denied { reason: Reason::RightsGained, .. }) => {
                self.gain(facts, &new, answer)
            }
            _ => new.of_file(answer, new.missing(facts, &to.place, want)),
        }
    }

    /// The file would gain rights: which, by which rule, and with which it would have them before.
    fn gain(&self, facts: &impl Facts, new: &Question<'_>, answer: Answer) -> WhyReply {
        let Self { from: (old, from), to: (_, to), .. } = *self;
        let can = |place, right| may_access(facts, &new.run.tag, place, right);
        let of_name = Rights::CREATE.union(Rights::DELETE);
        let each = Rights::NAMES.into_iter().map(|(right, _)| right);
        let gained = each
            .filter(|right| !of_name.contains(*right))
            .filter(|right| can(&to.place, *right).is_ok() && can(&from.place, *right).is_err())
            .fold(Rights::NONE, Rights::union);
        let names = enrich::rights(gained);
        if names.is_empty() {
            // A run above may use it nowhere, and it is its rules alone that say different things.
            return new.of_gain(answer, &format!("{old} would gain a right"));
        }
        let rule = can(&to.place, gained).ok().filter(|rule| *rule != 0);
        let text = format!("{old} would gain {} there", names.join(", "));
        let reply = new.of_gain(answer, &text);
        let no_rule = Err(Refusal::denied(Reason::NoRule));
        let grant = (can(&from.place, gained) == no_rule).then(|| grant::file(old, &names));
        WhyReply {
            rule,
            rule_text: new.texts.own.zip(rule).and_then(|(own, rule)| file_rule(own, rule)),
            grant: grant.flatten(),
            ..reply
        }
    }
}
