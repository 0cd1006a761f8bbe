//! What a rule allows or denies.

use agentid_common::{file::Rights, net::Verb};
use toml::Spanned;

use super::{
    document::{EffectFields, Words},
    error::Flaw,
    nearest::nearest,
    policy::Effect,
    reader::{Reader, Span},
    verbs::{Side, Verbs},
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

/// The effect of a rule about unix sockets: those with a path know `connect`, and those with an abstract name `listen` too,
/// which is to take the name.
pub(super) fn unix(
    fields: &EffectFields,
    is_abstract: bool,
    span: &Span,
    reader: &mut Reader<'_>,
) -> Option<Effect<Rights>> {
    let union = |rights: Vec<Rights>| rights.into_iter().fold(Rights::NONE, Rights::union);
    let both = Rights::CONNECT.union(Rights::CREATE);
    let all = if is_abstract { both } else { Rights::CONNECT };
    let right = |word: &str| match word {
        "connect" => Ok(Rights::CONNECT),
        "listen" if is_abstract => Ok(Rights::CREATE),
        "listen" => Err(Flaw::new("`listen` at a path: the socket there is a file that is made")
            .help("allow `create` there in [[file]]")),
        _ => Err(Flaw::new(format!("unknown right `{word}`")).help("rights: connect, listen")),
    };
    match (&fields.allow, &fields.deny) {
        (Some(allow), None) => words(allow, None, reader, right).map(|it| Effect::Allow(union(it))),
        (None, Some(deny)) => {
            words(deny, Some(all), reader, right).map(|it| Effect::Deny(union(it)))
        }
        _ => one_of_both(fields, span, reader),
    }
}

/// The effect of a net rule on this side; `None` when the side is not known, and then the verbs are taken as they come.
pub(super) fn net(
    fields: &EffectFields,
    side: Option<Side>,
    span: &Span,
    reader: &mut Reader<'_>,
) -> Option<Effect<Verbs>> {
    let all = Some(side.map(|side| side.verbs().iter().collect()).unwrap_or_default());
    let verb = |word: &str| net_verb(word, side).map(|verb| vec![verb]);
    let union = |verbs: Vec<Vec<Verb>>| Verbs::of(verbs.into_iter().flatten());
    match (&fields.allow, &fields.deny) {
        (Some(allow), None) => {
            words(allow, None, reader, verb).map(|verbs| Effect::Allow(union(verbs)))
        }
        (None, Some(deny)) => {
            words(deny, all, reader, verb).map(|verbs| Effect::Deny(union(verbs)))
        }
        _ => one_of_both(fields, span, reader),
    }
}

/// The effect on a capability: it has one right, which is `use`.
pub(super) fn capability(
    fields: &EffectFields,
    span: &Span,
    reader: &mut Reader<'_>,
) -> Option<Effect<()>> {
    let right = |word: &str| match word {
        "use" => Ok(()),
        _ => Err(Flaw::new(format!("unknown right `{word}`")).help("of a capability: use")),
    };
    match (&fields.allow, &fields.deny) {
        (Some(allow), None) => words(allow, None, reader, right).map(|_| Effect::Allow(())),
        (None, Some(deny)) => words(deny, Some(()), reader, right).map(|_| Effect::Deny(())),
        _ => one_of_both(fields, span, reader),
    }
}

fn one_of_both<T>(fields: &EffectFields, span: &Span, reader: &mut Reader<'_>) -> Option<T> {
    match &fields.deny {
        Some(deny) => reader.flaw(
            &deny.span(),
            Flaw::new("both `allow` and `deny` are given").help("give each a table of its own"),
        ),
        None => reader.flaw(
            span,
            Flaw::new("neither `allow` nor `deny` is given").help("add one of them, with a list"),
        ),
    }
    None
}

/// The words of a list, each checked; `all` is what `"all"` stands for where it is possible.
fn words<T>(
    words: &Spanned<Words>,
    all: Option<T>,
    reader: &mut Reader<'_>,
    word: impl Fn(&str) -> Result<T, Flaw>,
) -> Option<Vec<T>> {
    let flaw = match (words.get_ref(), all) {
        (Words::One(one), Some(all)) if one == "all" => return Some(vec![all]),
        (Words::One(one), Some(_)) => {
            Flaw::new(format!("`{one}` is not a list")).help("write \"all\" or a list")
        }
        (Words::One(one), None) => {
            Flaw::new(format!("`{one}` is not a list")).help("name each right in a list")
        }
        (Words::List(list), _) if list.is_empty() => {
            Flaw::new("list names no right").help("name what is meant, or leave the table out")
        }
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

fn net_verb(word: &str, side: Option<Side>) -> Result<Verb, Flaw> {
    let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.name() == word) else {
        let names = || Verb::ALL.iter().map(|verb| verb.name());
        let flaw = Flaw::new(format!("unknown right `{word}`"));
        return Err(match (word, nearest(word, names())) {
            ("bind", _) => flaw.help("`listen` covers bind(2)"),
            (_, Some(near)) => flaw.help(format!("did you mean `{near}`?")),
            (_, None) => flaw.help(format!("rights: {}", names().collect::<Vec<_>>().join(", "))),
        });
    };
    match (side, Side::of(verb)) {
        (Some(Side::Peer), Side::Own) => {
            Err(Flaw::new(format!("`{word}` is about the run's own address, and `to` names peers"))
                .help("write `on` in the place of `to`, with the addresses to listen on"))
        }
        (Some(Side::Own), Side::Peer) => {
            Err(Flaw::new(format!("`{word}` is about peers, and `on` names the run's own address"))
                .help("write `to` in the place of `on`, with the peers"))
        }
        _ => Ok(verb),
    }
}
