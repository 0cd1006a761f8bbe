//! From a document to a policy, noting every mistake with its place.

use std::{collections::BTreeSet, time::Duration};

use agentid_common::{
    file::{HEADS, Rights},
    instance::{Ladder, MAX_ANCESTRY},
    verdict::{MAX_RULE, Mode},
};
use toml::Spanned;

use super::{
    amount, capability,
    document::{DelegateTable, Document, FileTable, LimitsTable, UnixTable},
    duration,
    error::Flaw,
    expect::expect,
    nearest::nearest,
    net::net,
    pattern::{self, Pattern, Root},
    policy::{Delegate, Delegated, Effect, Excess, FileRule, Limits, Policy},
    reader::{Reader, Span},
    rights, servant,
};

/// Longest name of a policy or a parameter.
const MAX_WORD: usize = 64;
/// Most runs that one run may have right below it at a time.
const MAX_FAN_OUT: u32 = 1024;
/// Most denials within a minute that can be borne and still be a limit.
const MAX_DENIALS: u32 = 1_000_000;
/// Most tasks that a kernel can have (include/linux/threads.h: `PID_MAX_LIMIT`).
const MAX_TASKS: u32 = 4 << 20;

/// `None` when something that the policy cannot be without is wrong; the reader then holds an error.
pub(super) fn validate(document: &Document, reader: &mut Reader<'_>) -> Option<Policy> {
    let name = name(document, reader);
    let description = document.description.as_ref().map(|text| text.get_ref().clone());
    let ttl = ttl(document, reader);
    let max_ttl = max_ttl(document, ttl, reader);
    let params = params(document, reader);
    let mode = choice(document.mode.as_ref(), &MODES, Mode::ENFORCE, reader);
    let on_end = choice(document.on_end.as_ref(), &LADDERS, Ladder::KILL, reader);
    let capabilities = capability::granted(document, reader);
    count(document, reader);
    let files: Vec<_> = document.files.iter().map(|table| file(table, &params, reader)).collect();
    let sockets: Vec<_> =
        document.sockets.iter().map(|table| unix(table, &params, reader)).collect();
    let files = files.into_iter().chain(sockets);
    let nets: Vec<_> = document.nets.iter().map(|table| net(table, reader)).collect();
    let files: Vec<FileRule> = files.flatten().collect();
    unused(document, &params, &files, reader);
    let delegate = document.delegate.as_ref().and_then(|table| delegate(table, reader));
    let limits = document.limits.as_ref().map(|table| limits(table, reader));
    let expects = document.expects.iter();
    let expectations = expects.filter_map(|table| expect(table, &params, reader)).collect();
    Some(Policy {
        name: name?,
        description: description.unwrap_or_default(),
        ttl: ttl?,
        max_ttl: max_ttl?,
        params,
        mode,
        on_end,
        capabilities,
        files,
        nets: nets.into_iter().flatten().collect(),
        delegate,
        limits: limits.unwrap_or_default(),
        expectations,
    })
}

fn name(document: &Document, reader: &mut Reader<'_>) -> Option<String> {
    let Some(name) = &document.name else {
        reader.flaw(&(0..0), Flaw::new("policy has no `name`").help("name = \"my-policy\""));
        return None;
    };
    let text = name.get_ref();
    if !word(text, '-') {
        let flaw = Flaw::new(format!("`{text}` cannot be the name of a policy"));
        let help =
            format!("a letter, then letters, digits and `-`, at most {MAX_WORD}, lower case");
        reader.flaw(&name.span(), flaw.help(help));
    }
    Some(text.clone())
}

/// Whether the text is made of lower-case letters, digits and a joining sign, and begins with a letter.
fn word(text: &str, joint: char) -> bool {
    text.len() <= MAX_WORD
        && text.starts_with(|sign: char| sign.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}

fn ttl(document: &Document, reader: &mut Reader<'_>) -> Option<Duration> {
    let Some(ttl) = &document.ttl else {
        let flaw = Flaw::new("policy has no `ttl`");
        reader.flaw(&(0..0), flaw.help("every run ends: ttl = \"30m\""));
        return None;
    };
    reader.check(&ttl.span(), duration::parse(ttl.get_ref()))
}

fn max_ttl(
    document: &Document,
    ttl: Option<Duration>,
    reader: &mut Reader<'_>,
) -> Option<Duration> {
    let Some(text) = &document.max_ttl else { return ttl };
    let max_ttl = reader.check(&text.span(), duration::parse(text.get_ref()))?;
    if ttl.is_some_and(|ttl| ttl > max_ttl) {
        reader.flaw(
            &text.span(),
            Flaw::new("`max_ttl` is shorter than `ttl`").help("leave it out, or make it longer"),
        );
    }
    Some(max_ttl)
}

/// The declared names, also the faulty ones, so that rules that use them are not blamed again.
fn params(document: &Document, reader: &mut Reader<'_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    for (index, param) in document.params.iter().enumerate() {
        let text = param.get_ref();
        if !word(text, '_') {
            let flaw = Flaw::new(format!("`{text}` cannot be the name of a parameter"));
            let help = "a letter, then letters, digits and `_`, lower case";
            reader.flaw(&param.span(), flaw.help(help));
        } else if !seen.insert(text) {
            reader.flaw(
                &param.span(),
                Flaw::new(format!("parameter `{text}` stands here twice")).help("leave it out"),
            );
        } else if index == HEADS - 1 {
            let flaw = Flaw::new(format!("a policy has at most {} parameters", HEADS - 1));
            reader.flaw(&param.span(), flaw.help("give one folder above several of them"));
        }
    }
    document.params.iter().map(|param| param.get_ref().clone()).collect()
}

fn unused(document: &Document, params: &[String], files: &[FileRule], reader: &mut Reader<'_>) {
    if files.len() < document.files.len() + document.sockets.len() {
        // The rule that uses it may be among those that have a mistake.
        return;
    }
    let used: BTreeSet<usize> = files
        .iter()
        .flat_map(|rule| &rule.patterns)
        .filter_map(|pattern| match pattern.root {
            Root::Parameter(index) => Some(index),
            Root::Filesystem | Root::Abstract => None,
        })
        .collect();
    for (index, name) in params.iter().enumerate() {
        let first = params.iter().position(|other| other == name) == Some(index);
        if first
            && !used.contains(&index)
            && let Some(param) = document.params.get(index)
        {
            let flaw = Flaw::new(format!("parameter `{name}` is used by no rule"));
            reader.flaw(&param.span(), flaw.help(format!("write a rule for `${{{name}}}/**`")));
        }
    }
}

const MODES: [(&str, Mode); 2] = [("enforce", Mode::ENFORCE), ("audit", Mode::AUDIT)];
const LADDERS: [(&str, Ladder); 3] =
    [("kill", Ladder::KILL), ("freeze", Ladder::FREEZE), ("deny", Ladder::DENY)];

const EXCESSES: [(&str, Excess); 2] =
    [(Excess::Refuse.name(), Excess::Refuse), (Excess::End.name(), Excess::End)];

fn choice<T: Copy>(
    field: Option<&Spanned<String>>,
    choices: &[(&'static str, T)],
    default: T,
    reader: &mut Reader<'_>,
) -> T {
    let Some(field) = field else { return default };
    if let Some((_, value)) = choices.iter().find(|(name, _)| name == field.get_ref()) {
        return *value;
    }
    let names = || choices.iter().map(|(name, _)| *name);
    let flaw = Flaw::new(format!("unknown value `{}`", field.get_ref()));
    let flaw = match nearest(field.get_ref(), names()) {
        Some(near) => flaw.help(format!("did you mean `{near}`?")),
        None => flaw.help(format!("values: {}", names().collect::<Vec<_>>().join(", "))),
    };
    reader.flaw(&field.span(), flaw);
    default
}

/// Rules have 15-bit numbers in verdicts.
fn count(document: &Document, reader: &mut Reader<'_>) {
    let most = usize::from(MAX_RULE);
    for (kind, span) in [
        ("file", document.files.get(most).map(|table| &table.span)),
        (
            "unix",
            document.sockets.get(most.saturating_sub(document.files.len())).map(|it| &it.span),
        ),
        ("net", document.nets.get(most).map(|table| &table.span)),
    ] {
        if let Some(span) = span {
            reader.flaw(
                span,
                Flaw::new(match kind {
                    "unix" => format!("a policy has at most {most} [[file]] and [[unix]] rules"),
                    _ => format!("a policy has at most {most} [[{kind}]] rules"),
                })
                .help("put several paths or peers into one rule"),
            );
        }
    }
}

fn file(table: &FileTable, params: &[String], reader: &mut Reader<'_>) -> Option<FileRule> {
    let effect = rights::file(&table.effect, &table.span, reader);
    let patterns = list("paths", table.paths.as_ref(), &table.span, reader, |text| {
        pattern::parse(text, params)
    });
    let because = table.because.as_ref().map(|text| text.get_ref().clone());
    let (patterns, effect) = (patterns?, effect?);
    let paths = table.paths.as_deref().unwrap_or_default();
    servants(table.ends_sandbox.as_ref(), paths, &patterns, effect, reader);
    let tripwire = tripwire(table.tripwire.as_ref(), &effect, reader);
    Some(FileRule { patterns, effect, tripwire, because })
}

/// A socket with a path is a file: its rule is one of files, with a shorter list of rights.
fn unix(table: &UnixTable, params: &[String], reader: &mut Reader<'_>) -> Option<FileRule> {
    let (key, field, is_abstract) = match (&table.paths, &table.names) {
        (Some(paths), None) => ("paths", paths, false),
        (None, Some(names)) => ("abstract", names, true),
        (Some(_), Some(names)) => {
            let flaw = Flaw::new("both `paths` and `abstract` are given");
            reader.flaw(&names.span(), flaw.help("give each a table of its own"));
            return None;
        }
        (None, None) => {
            let flaw = Flaw::new("rule names no socket");
            reader.flaw(&table.span, flaw.help("add `paths` or `abstract`"));
            return None;
        }
    };
    let effect = rights::unix(&table.effect, is_abstract, &table.span, reader);
    let patterns = list(key, Some(field.get_ref()), &field.span(), reader, |text| {
        if is_abstract { pattern::abstract_name(text) } else { pattern::parse(text, params) }
    });
    let because = table.because.as_ref().map(|text| text.get_ref().clone());
    let (patterns, effect) = (patterns?, effect?);
    servants(table.ends_sandbox.as_ref(), field.get_ref(), &patterns, effect, reader);
    let tripwire = tripwire(table.tripwire.as_ref(), &effect, reader);
    Some(FileRule { patterns, effect, tripwire, because })
}

/// Whether a rule that denies is a tripwire.
pub(super) fn tripwire<R>(
    field: Option<&Spanned<bool>>,
    effect: &Effect<R>,
    reader: &mut Reader<'_>,
) -> bool {
    let Some(field) = field.filter(|field| *field.get_ref()) else { return false };
    if matches!(effect, Effect::Allow(_)) {
        let flaw = Flaw::new("`tripwire` in a rule that allows: nobody would meet it");
        reader.flaw(&field.span(), flaw.help("write `deny`, or leave it out"));
    }
    true
}

/// Whoever grants the socket of somebody who acts for others must say so.
fn servants(
    ends_sandbox: Option<&Spanned<bool>>,
    fields: &[Spanned<String>],
    patterns: &[Pattern],
    effect: Effect<Rights>,
    reader: &mut Reader<'_>,
) {
    let connects = matches!(effect, Effect::Allow(rights) if rights.contains(Rights::CONNECT));
    if let Some(word) = ends_sandbox
        && *word.get_ref()
    {
        if !connects {
            let flaw = Flaw::new("`ends_sandbox` in a rule that does not allow `connect`");
            reader.flaw(&word.span(), flaw.help("leave it out"));
        }
        return;
    }
    for (pattern, item) in patterns.iter().zip(fields) {
        if connects && let Some(servant) = servant::reached(pattern) {
            let flaw = Flaw::new(format!(
                "`{}` grants {servant}: who listens there does nearly everything for whoever connects, outside of the run \
                 and its rules",
                pattern.text
            ));
            let help =
                "grant only the sockets that are meant, or add `ends_sandbox = true` to the rule";
            reader.flaw(&item.span(), flaw.help(help));
        }
    }
}

/// Which policies there are is not for one document to know; see `supervisor::folder`.
fn delegate(table: &DelegateTable, reader: &mut Reader<'_>) -> Option<Delegate> {
    let names = list("to", table.to.as_ref(), &table.span, reader, |text| {
        if word(text, '-') {
            return Ok(text.to_owned());
        }
        Err(Flaw::new(format!("`{text}` cannot be the name of a policy"))
            .help("names are of lower-case letters, digits and `-`"))
    })?;
    let fields = table.to.as_deref().unwrap_or_default();
    let to = names.into_iter().zip(fields).map(|(policy, field)| {
        let (line, column) = reader.place(&field.span());
        Delegated { policy, line, column }
    });
    let to = to.collect();
    let depth = within("depth", table.depth.as_ref(), 1, MAX_ANCESTRY - 1, reader)?;
    let fan_out = within("fan_out", table.fan_out.as_ref(), 8, MAX_FAN_OUT, reader)?;
    let on_excess = choice(table.on_excess.as_ref(), &EXCESSES, Excess::Refuse, reader);
    Some(Delegate { to, depth, fan_out, on_excess })
}

fn limits(table: &LimitsTable, reader: &mut Reader<'_>) -> Limits {
    let field = table.denials_per_minute.as_ref();
    let number = within("denials_per_minute", field, 1, MAX_DENIALS, reader);
    let (memory, tasks, cpu) = (table.memory.as_ref(), table.tasks.as_ref(), table.cpu.as_ref());
    let most = within("tasks", tasks, 500, MAX_TASKS, reader);
    Limits {
        denials_per_minute: number.filter(|_| field.is_some()),
        memory: memory.and_then(|it| reader.check(&it.span(), amount::memory(it.get_ref()))),
        tasks: most.filter(|_| tasks.is_some()),
        cpu: cpu.and_then(|it| reader.check(&it.span(), amount::cpu(it.get_ref()))),
    }
}

/// A number from 1 on.
fn within(
    name: &str,
    field: Option<&Spanned<i64>>,
    default: u32,
    most: u32,
    reader: &mut Reader<'_>,
) -> Option<u32> {
    let Some(field) = field else { return Some(default) };
    let number = u32::try_from(*field.get_ref()).ok();
    let found = number.filter(|number| (1..=most).contains(number));
    if found.is_none() {
        let flaw = Flaw::new(format!("`{name}` is a number from 1 to {most}"));
        reader.flaw(&field.span(), flaw.help(format!("write `{name} = {default}`, or another")));
    }
    found
}

/// All elements of a field that a rule cannot be without.
pub(super) fn list<T>(
    name: &str,
    field: Option<&Vec<Spanned<String>>>,
    span: &Span,
    reader: &mut Reader<'_>,
    parse: impl Fn(&str) -> Result<T, Flaw>,
) -> Option<Vec<T>> {
    let field = field.map(Vec::as_slice).unwrap_or_default();
    if field.is_empty() {
        reader.flaw(
            span,
            Flaw::new(format!("`{name}` names nothing")).help("name one, or leave the table out"),
        );
        return None;
    }
    let parsed: Vec<T> =
        field.iter().filter_map(|item| reader.check(&item.span(), parse(item.get_ref()))).collect();
    (parsed.len() == field.len()).then_some(parsed)
}
