//! What a rule allows or denies.

use agentid_common::file::Rights;
use toml::Spanned;

use super::{
    document::{EffectFields, Words},
    error::Flaw,
    nearest::nearest,
    policy::Effect,
    reader::{Reader, Span},
};

/// The effect of a file rule.
pub(super) fn file(
    fields: &EffectFields,
    span: &Span,
    reader: &mut Reader<'_>,
) -> Option<Effect<Rights>> {
    let mut rights = |words: &Spanned<Words>, all| {
        self::words(words, all, reader, file_right).map(|list| {
            list.map_or(Rights::ALL, |list| list.into_iter().fold(Rights::NONE, Rights::union))
        })
    };
    match (&fields.allow, &fields.deny) {
        (Some(allow), None) => rights(allow, false).map(Effect::Allow),
        (None, Some(deny)) => rights(deny, true).map(Effect::Deny),
        _ => one_of_both(fields, span, reader),
    }
}

/// The effect of a net rule.
pub(super) fn net(
    fields: &EffectFields,
    span: &Span,
    reader: &mut Reader<'_>,
) -> Option<Effect<()>> {
    match (&fields.allow, &fields.deny) {
        (Some(allow), None) => words(allow, false, reader, net_right).map(|_| Effect::Allow(())),
        (None, Some(deny)) => words(deny, true, reader, net_right).map(|_| Effect::Deny(())),
        _ => one_of_both(fields, span, reader),
    }
}

fn one_of_both<T>(fields: &EffectFields, span: &Span, reader: &mut Reader<'_>) -> Option<T> {
    match &fields.deny {
        Some(deny) => reader.flaw(
            &deny.span(),
            Flaw::new("rule has both `allow` and `deny`").help("make it two rules"),
        ),
        None => reader.flaw(span, Flaw::new("rule has neither `allow` nor `deny`")),
    }
    None
}

/// The words of a list, each checked; `Some(None)` for `"all"` where that is possible.
fn words<T>(
    words: &Spanned<Words>,
    all: bool,
    reader: &mut Reader<'_>,
    word: fn(&str) -> Result<T, Flaw>,
) -> Option<Option<Vec<T>>> {
    match words.get_ref() {
        Words::One(one) if all && one == "all" => return Some(None),
        Words::One(one) => {
            let flaw = Flaw::new(format!("`{one}` is not a list"));
            let help = if all { "write \"all\" or a list" } else { "name each right in a list" };
            reader.flaw(&words.span(), flaw.help(help));
            return None;
        }
        Words::List(list) if list.is_empty() => {
            reader.flaw(&words.span(), Flaw::new("list names no right"));
            return None;
        }
        Words::List(list) => {
            let checked: Vec<_> = list
                .iter()
                .filter_map(|item| reader.check(&item.span(), word(item.get_ref())))
                .collect();
            (checked.len() == list.len()).then_some(Some(checked))
        }
    }
}

fn file_right(word: &str) -> Result<Rights, Flaw> {
    match Rights::NAMES.iter().find(|(_, name)| *name == word) {
        Some((Rights::CONNECT, _)) => {
            Err(Flaw::new("the right `connect` on files is not supported yet"))
        }
        Some((right, _)) => Ok(*right),
        None => {
            let names =
                || Rights::NAMES.iter().map(|(_, name)| *name).filter(|name| *name != "connect");
            let flaw = Flaw::new(format!("unknown right `{word}`"));
            Err(match nearest(word, names()) {
                Some(near) => flaw.help(format!("did you mean `{near}`?")),
                None => flaw.help(format!("rights: {}", names().collect::<Vec<_>>().join(", "))),
            })
        }
    }
}

fn net_right(word: &str) -> Result<(), Flaw> {
    match word {
        "connect" => Ok(()),
        "listen" | "bind" | "accept" | "send" => {
            Err(Flaw::new(format!("the right `{word}` in [[net]] is not supported yet")))
        }
        _ => {
            let flaw = Flaw::new(format!("unknown right `{word}`"));
            Err(match nearest(word, ["connect"]) {
                Some(near) => flaw.help(format!("did you mean `{near}`?")),
                None => flaw.help("rights: connect"),
            })
        }
    }
}
