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
    let union = |rights: Vec<Rights>| rights.into_iter().fold(Rights::NONE, Rights::union);
    match (&fields.allow, &fields.deny) {
        (Some(allow), None) => {
            words(allow, None, reader, file_right).map(|rights| Effect::Allow(union(rights)))
        }
        (None, Some(deny)) => {
            let all = Some(Rights::ALL);
            words(deny, all, reader, file_right).map(|rights| Effect::Deny(union(rights)))
        }
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
        (Some(allow), None) => words(allow, None, reader, net_right).map(|_| Effect::Allow(())),
        (None, Some(deny)) => words(deny, Some(()), reader, net_right).map(|_| Effect::Deny(())),
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

/// The words of a list, each checked; `all` is what `"all"` stands for where it is possible.
fn words<T>(
    words: &Spanned<Words>,
    all: Option<T>,
    reader: &mut Reader<'_>,
    word: fn(&str) -> Result<T, Flaw>,
) -> Option<Vec<T>> {
    let flaw = match (words.get_ref(), all) {
        (Words::One(one), Some(all)) if one == "all" => return Some(vec![all]),
        (Words::One(one), Some(_)) => {
            Flaw::new(format!("`{one}` is not a list")).help("write \"all\" or a list")
        }
        (Words::One(one), None) => {
            Flaw::new(format!("`{one}` is not a list")).help("name each right in a list")
        }
        (Words::List(list), _) if list.is_empty() => Flaw::new("list names no right"),
        (Words::List(list), _) => {
            let checked = list
                .iter()
                .filter_map(|item| reader.check(&item.span(), word(item.get_ref())))
                .collect::<Vec<_>>();
            return (checked.len() == list.len()).then_some(checked);
        }
    };
    reader.flaw(&words.span(), flaw);
    None
}

fn file_right(word: &str) -> Result<Rights, Flaw> {
    match Rights::NAMES.iter().find(|(_, name)| *name == word) {
        Some((right, _)) => Ok(*right),
        None => {
            let names = || Rights::NAMES.iter().map(|(_, name)| *name);
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
