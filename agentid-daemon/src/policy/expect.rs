//! Validates an `[[expect]]`.
//!
//! The words are those of the rules, and are read by the same code.

use std::{collections::BTreeMap, path::PathBuf};

use agentid_common::{
    capability,
    file::Rights,
    net::{ICMP, Verb},
};
use toml::Spanned;

use super::{
    capability::unknown,
    document::{ExpectTable, FolderField, NetTable},
    error::Flaw,
    expectation::{Case, Expectation},
    nearest::nearest,
    net::net,
    pattern::{self, Component, Root},
    policy::{Effect, Named, NetRule, Target},
    reader::Reader,
    rights,
    validate::list,
    verbs::{Verbs, meaning},
};

/// What the cases are about.
enum Object<'t> {
    Paths(&'t Spanned<Vec<Spanned<String>>>),
    Ends,
    Capabilities(&'t Spanned<Vec<Spanned<String>>>),
    Abstract(&'t Spanned<Vec<Spanned<String>>>),
}

pub(super) fn expect(
    table: &ExpectTable,
    params: &[String],
    reader: &mut Reader<'_>,
) -> Option<Expectation> {
    let object = object(table, reader);
    let given = given(table, params, matches!(object, Some(Object::Paths(_))), reader);
    let (allowed, cases) = match object? {
        Object::Paths(paths) => files(table, paths, params, given.as_ref(), reader)?,
        Object::Ends => ends(table, reader)?,
        Object::Capabilities(names) => capabilities(table, names, reader)?,
        Object::Abstract(names) => abstract_names(table, names, reader)?,
    };
    let (line, column) = reader.place(&table.span);
    let because = table.because.as_ref().map(|text| text.get_ref().clone());
    Some(Expectation { line, column, params: given?, allowed, cases, because })
}

fn object<'t>(table: &'t ExpectTable, reader: &mut Reader<'_>) -> Option<Object<'t>> {
    let ExpectTable { path, to, on, capability, names, proto, .. } = table;
    let ends = to.iter().chain(on).map(|_| Object::Ends);
    let found: Vec<Object<'t>> = path
        .iter()
        .map(Object::Paths)
        .chain(ends)
        .chain(capability.iter().map(Object::Capabilities))
        .chain(names.iter().map(Object::Abstract))
        .collect();
    let found = match <[Object<'t>; 1]>::try_from(found) {
        Ok([found]) => found,
        Err(found) if found.is_empty() => {
            let flaw = Flaw::new("expectation is about nothing");
            let help = "add `path`, `to`, `on`, `capability` or `abstract`";
            reader.flaw(&table.span, flaw.help(help));
            return None;
        }
        Err(_) => {
            let flaw = Flaw::new(
                "expectation has more than one of `path`, `to`, `on`, `capability`, `abstract`",
            );
            reader.flaw(&table.span, flaw.help("make it one for each"));
            return None;
        }
    };
    if matches!(found, Object::Ends) {
        return Some(found);
    }
    if let Some(proto) = proto {
        let flaw = Flaw::new("`proto` is about `to` and `on`, and there is neither");
        reader.flaw(&proto.span(), flaw.help("leave it out"));
        return None;
    }
    Some(found)
}

/// The folders that stand for the parameters. Files need all of them, since each has its say about every path.
fn given(
    table: &ExpectTable,
    params: &[String],
    needed: bool,
    reader: &mut Reader<'_>,
) -> Option<BTreeMap<String, PathBuf>> {
    let fields = table.with.as_ref().map(|with| with.get_ref().as_slice()).unwrap_or_default();
    let mut given = BTreeMap::new();
    let mut fine = true;
    for FolderField { name, folder } in fields {
        let text = name.get_ref();
        if params.contains(text) {
            let folder = folder.as_ref();
            let path = folder.and_then(|it| reader.check(&it.span(), self::folder(it.get_ref())));
            fine &= path.is_some();
            given.insert(text.clone(), path.unwrap_or_default());
        } else {
            let flaw = Flaw::new(format!("policy has no parameter `{text}`"));
            let flaw = match nearest(text, params.iter().map(String::as_str)) {
                Some(near) => flaw.help(format!("did you mean `{near}`?")),
                None => flaw.help("leave it out"),
            };
            reader.flaw(&name.span(), flaw);
            fine = false;
        }
    }
    let missing = params.iter().find(|param| !given.contains_key(*param));
    if let Some(param) = missing.filter(|_| fine && (needed || table.with.is_some())) {
        let span = table.with.as_ref().map_or(table.span.clone(), Spanned::span);
        let flaw = Flaw::new(format!("expectation has no value for parameter `{param}`"));
        reader.flaw(&span, flaw.help(format!("with = {{ {param} = \"/home/dev/work\" }}")));
        fine = false;
    }
    fine.then_some(given)
}

fn folder(text: &str) -> Result<PathBuf, Flaw> {
    let path = plain(text, &[], &BTreeMap::new())?;
    if path.parent().is_none() {
        return Err(Flaw::new("`/` is the root of everything, which no parameter can be")
            .help("name a folder"));
    }
    Ok(path)
}

/// One path, read as a pattern that names one.
fn plain(
    text: &str,
    params: &[String],
    given: &BTreeMap<String, PathBuf>,
) -> Result<PathBuf, Flaw> {
    let pattern = pattern::parse(text, params)?;
    let mut path = match pattern.root {
        Root::Filesystem => PathBuf::from("/"),
        // No path is read as one.
        Root::Abstract => PathBuf::new(),
        Root::Parameter(index) => {
            params.get(index).and_then(|name| given.get(name)).cloned().unwrap_or_default()
        }
    };
    for component in &pattern.components {
        let Component::Name(name) = component else {
            return Err(Flaw::new(format!("`{text}` names more than one file"))
                .help("write one path, or a list of paths"));
        };
        path.push(name);
    }
    Ok(path)
}

fn files(
    table: &ExpectTable,
    paths: &Spanned<Vec<Spanned<String>>>,
    params: &[String],
    given: Option<&BTreeMap<String, PathBuf>>,
    reader: &mut Reader<'_>,
) -> Option<(bool, Vec<Case>)> {
    let none = BTreeMap::new();
    let folders = given.unwrap_or(&none);
    let effect = rights::file(&table.effect, &table.span, reader);
    let paths = list("path", Some(paths.get_ref()), &paths.span(), reader, |text| {
        plain(text, params, folders)
    });
    let (allowed, rights) = sides(effect?);
    Some((allowed, paths?.into_iter().map(|path| Case::File { path, rights }).collect()))
}

/// `to` and `on` are read as a rule, of which each target is one.
fn ends(table: &ExpectTable, reader: &mut Reader<'_>) -> Option<(bool, Vec<Case>)> {
    let field = table.to.as_ref().or(table.on.as_ref())?;
    let rule = NetTable {
        span: table.span.clone(),
        to: table.to.clone(),
        on: table.on.clone(),
        resolves_to: None,
        proto: table.proto.clone(),
        effect: table.effect.clone(),
        tripwire: None,
        because: None,
    };
    let rule = net(&rule, reader)?;
    let (allowed, words) = sides(rule.effect);
    let mut cases = Vec::new();
    for target in &rule.targets {
        let Target { prefix, first, last } = *target;
        if prefix.bits() != 128 {
            several(field, "a block of addresses", reader);
            return None;
        }
        for (port, protocol, verb) in asked(&rule, words, (first, last), field, reader)? {
            cases.push(Case::Peer { address: prefix.address(), port, protocol, verb });
        }
    }
    for Named { host, first, last } in &rule.names {
        let name = host.to_string();
        if name.starts_with("*.") {
            several(field, "all hosts below a domain", reader);
            return None;
        }
        for (port, protocol, verb) in asked(&rule, words, (*first, *last), field, reader)? {
            cases.push(Case::Name { name: name.clone(), port, protocol, verb });
        }
    }
    if cases.is_empty() {
        let flaw = Flaw::new("expectation says nothing of any protocol");
        reader.flaw(&table.span, flaw.help("name the protocol: proto = \"udp\""));
        return None;
    }
    Some((allowed, cases))
}

/// Each port, protocol and verb that the words stand for. A denial for all protocols that names a port is not about ICMP.
fn asked(
    rule: &NetRule,
    words: Verbs,
    (first, last): (u16, u16),
    field: &Spanned<Vec<Spanned<String>>>,
    reader: &mut Reader<'_>,
) -> Option<Vec<(u16, u8, Verb)>> {
    let every = (first, last) == (0, u16::MAX);
    let mut asked = Vec::new();
    for &protocol in rule.protocols.iter().filter(|it| **it != ICMP || every) {
        if protocol != ICMP && first != last {
            several(field, "more than one port", reader);
            return None;
        }
        for verb in Verb::ALL {
            if words.iter().any(|word| meaning(word, protocol).contains(&verb)) {
                asked.push((first, protocol, verb));
            }
        }
    }
    Some(asked)
}

fn several(field: &Spanned<Vec<Spanned<String>>>, what: &str, reader: &mut Reader<'_>) {
    let flaw = Flaw::new(format!("expectation names {what}, and is about single cases"));
    let help = "write one address or name with one port, or a list of them; icmp has `:*`";
    reader.flaw(&field.span(), flaw.help(help));
}

fn capabilities(
    table: &ExpectTable,
    names: &Spanned<Vec<Spanned<String>>>,
    reader: &mut Reader<'_>,
) -> Option<(bool, Vec<Case>)> {
    let effect = rights::capability(&table.effect, &table.span, reader);
    let names = list("capability", Some(names.get_ref()), &names.span(), reader, |name| {
        capability::number(name).map(|it| (name.to_owned(), it)).ok_or_else(|| unknown(name))
    });
    let (allowed, ()) = sides(effect?);
    Some((allowed, names?.into_iter().map(|(name, it)| Case::Capability(name, it)).collect()))
}

fn abstract_names(
    table: &ExpectTable,
    names: &Spanned<Vec<Spanned<String>>>,
    reader: &mut Reader<'_>,
) -> Option<(bool, Vec<Case>)> {
    let effect = rights::unix(&table.effect, true, &table.span, reader);
    let names = list("abstract", Some(names.get_ref()), &names.span(), reader, |text| {
        match pattern::abstract_name(text)?.components.as_slice() {
            [Component::Name(name)] => Ok(name.clone()),
            _ => Err(Flaw::new(format!("`{text}` is more than one name"))
                .help("write one name, or a list of names")),
        }
    });
    let (allowed, rights) = sides(effect?);
    let asked = [Rights::CONNECT, Rights::CREATE].into_iter().filter(|it| rights.contains(*it));
    let of_each =
        |name: String| asked.clone().map(move |right| Case::Abstract { name: name.clone(), right });
    Some((allowed, names?.into_iter().flat_map(of_each).collect()))
}

fn sides<R>(effect: Effect<R>) -> (bool, R) {
    match effect {
        Effect::Allow(what) => (true, what),
        Effect::Deny(what) => (false, what),
    }
}
