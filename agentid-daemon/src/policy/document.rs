//! Exactly what a policy file can hold, with the place of each value.

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::reader::{Fields, Reader, Span};

/// A policy file. Nothing in it is judged but its shape.
pub(super) struct Document {
    pub(super) name: Option<Spanned<String>>,
    pub(super) description: Option<Spanned<String>>,
    pub(super) ttl: Option<Spanned<String>>,
    pub(super) max_ttl: Option<Spanned<String>>,
    pub(super) params: Vec<Spanned<String>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) on_end: Option<Spanned<String>>,
    pub(super) capabilities: Vec<Spanned<String>>,
    pub(super) ends_sandbox: Option<Spanned<bool>>,
    pub(super) files: Vec<FileTable>,
    pub(super) sockets: Vec<UnixTable>,
    pub(super) nets: Vec<NetTable>,
    pub(super) delegate: Option<DelegateTable>,
    pub(super) limits: Option<LimitsTable>,
    pub(super) expects: Vec<ExpectTable>,
}

/// `[delegate]`.
pub(super) struct DelegateTable {
    pub(super) span: Span,
    pub(super) to: Option<Vec<Spanned<String>>>,
    pub(super) depth: Option<Spanned<i64>>,
    pub(super) fan_out: Option<Spanned<i64>>,
    pub(super) on_excess: Option<Spanned<String>>,
}

/// `[limits]`.
pub(super) struct LimitsTable {
    pub(super) denials_per_minute: Option<Spanned<i64>>,
    pub(super) memory: Option<Spanned<String>>,
    pub(super) tasks: Option<Spanned<i64>>,
    pub(super) cpu: Option<Spanned<String>>,
}

/// A `[[file]]`.
pub(super) struct FileTable {
    pub(super) span: Span,
    pub(super) paths: Option<Vec<Spanned<String>>>,
    pub(super) ends_sandbox: Option<Spanned<bool>>,
    pub(super) effect: EffectFields,
    pub(super) tripwire: Option<Spanned<bool>>,
    pub(super) because: Option<Spanned<String>>,
}

/// A `[[unix]]`.
pub(super) struct UnixTable {
    pub(super) span: Span,
    pub(super) paths: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) names: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) ends_sandbox: Option<Spanned<bool>>,
    pub(super) effect: EffectFields,
    pub(super) tripwire: Option<Spanned<bool>>,
    pub(super) because: Option<Spanned<String>>,
}

/// A `[[net]]`.
pub(super) struct NetTable {
    pub(super) span: Span,
    pub(super) to: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) on: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) resolves_to: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) proto: Option<Spanned<Words>>,
    pub(super) effect: EffectFields,
    pub(super) tripwire: Option<Spanned<bool>>,
    pub(super) because: Option<Spanned<String>>,
}

/// An `[[expect]]`.
pub(super) struct ExpectTable {
    pub(super) span: Span,
    pub(super) with: Option<Spanned<Vec<FolderField>>>,
    pub(super) path: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) to: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) on: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) capability: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) names: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) proto: Option<Spanned<Words>>,
    pub(super) effect: EffectFields,
    pub(super) because: Option<Spanned<String>>,
}

/// A parameter and its folder in `with`; `None` where that is no string.
pub(super) struct FolderField {
    pub(super) name: Spanned<String>,
    pub(super) folder: Option<Spanned<String>>,
}

/// `allow` and `deny` of a rule; one of them must be there.
#[derive(Clone)]
pub(super) struct EffectFields {
    pub(super) allow: Option<Spanned<Words>>,
    pub(super) deny: Option<Spanned<Words>>,
}

/// A word, or a list of words.
#[derive(Clone)]
pub(super) enum Words {
    One(String),
    List(Vec<Spanned<String>>),
}

pub(super) fn read(table: &DeTable<'_>, reader: &mut Reader<'_>) -> Document {
    let mut fields = Fields::new(table);
    let mut string = |name| fields.get(name).and_then(|value| reader.string(value));
    let name = string("name");
    let description = string("description");
    let ttl = string("ttl");
    let max_ttl = string("max_ttl");
    let mode = string("mode");
    let on_end = string("on_end");
    let params = fields.get("params").and_then(|value| reader.strings(value)).unwrap_or_default();
    let capabilities = fields.get("capabilities").and_then(|value| reader.strings(value));
    let ends_sandbox = fields.get("ends_sandbox").and_then(|value| reader.truth(value));
    let files = fields.get("file").map(|value| reader.tables(value)).unwrap_or_default();
    let files = files.into_iter().map(|(span, table)| file(span, table, reader)).collect();
    let sockets = fields.get("unix").map(|value| reader.tables(value)).unwrap_or_default();
    let sockets = sockets.into_iter().map(|(span, table)| unix(span, table, reader)).collect();
    let nets = fields.get("net").map(|value| reader.tables(value)).unwrap_or_default();
    let nets = nets.into_iter().map(|(span, table)| net(span, table, reader)).collect();
    let delegate = fields.get("delegate").and_then(|value| reader.table(value));
    let delegate = delegate.map(|(span, table)| self::delegate(span, table, reader));
    let limits = fields.get("limits").and_then(|value| reader.table(value));
    let limits = limits.map(|(_, table)| self::limits(table, reader));
    let expects = fields.get("expect").map(|value| reader.tables(value)).unwrap_or_default();
    let expects = expects.into_iter().map(|(span, table)| expect(span, table, reader)).collect();
    fields.finish(reader);
    Document {
        name,
        description,
        ttl,
        max_ttl,
        params,
        mode,
        on_end,
        capabilities: capabilities.unwrap_or_default(),
        ends_sandbox,
        files,
        sockets,
        nets,
        delegate,
        limits,
        expects,
    }
}

fn delegate(span: Span, table: &DeTable<'_>, reader: &mut Reader<'_>) -> DelegateTable {
    let mut fields = Fields::new(table);
    let to = fields.get("to").map(|value| reader.strings(value).unwrap_or_default());
    let depth = fields.get("depth").and_then(|value| reader.integer(value));
    let fan_out = fields.get("fan_out").and_then(|value| reader.integer(value));
    let on_excess = fields.get("on_excess").and_then(|value| reader.string(value));
    fields.finish(reader);
    DelegateTable { span, to, depth, fan_out, on_excess }
}

fn limits(table: &DeTable<'_>, reader: &mut Reader<'_>) -> LimitsTable {
    let mut fields = Fields::new(table);
    let denials_per_minute =
        fields.get("denials_per_minute").and_then(|value| reader.integer(value));
    let memory = fields.get("memory").and_then(|value| reader.string(value));
    let tasks = fields.get("tasks").and_then(|value| reader.integer(value));
    let cpu = fields.get("cpu").and_then(|value| reader.string(value));
    fields.finish(reader);
    LimitsTable { denials_per_minute, memory, tasks, cpu }
}

fn file(span: Span, table: &DeTable<'_>, reader: &mut Reader<'_>) -> FileTable {
    let mut fields = Fields::new(table);
    let paths = fields.get("paths").map(|value| reader.strings(value).unwrap_or_default());
    let effect = effect(&mut fields, reader);
    let ends_sandbox = fields.get("ends_sandbox").and_then(|value| reader.truth(value));
    let tripwire = fields.get("tripwire").and_then(|value| reader.truth(value));
    let because = fields.get("because").and_then(|value| reader.string(value));
    fields.finish(reader);
    FileTable { span, paths, ends_sandbox, effect, tripwire, because }
}

fn unix(span: Span, table: &DeTable<'_>, reader: &mut Reader<'_>) -> UnixTable {
    let mut fields = Fields::new(table);
    fields.elsewhere("peer", "what the run itself has made is free without a rule");
    let mut list = |name| {
        let value = fields.get(name)?;
        Some(Spanned::new(value.span(), reader.strings(value).unwrap_or_default()))
    };
    let (paths, names) = (list("paths"), list("abstract"));
    let effect = effect(&mut fields, reader);
    let ends_sandbox = fields.get("ends_sandbox").and_then(|value| reader.truth(value));
    let tripwire = fields.get("tripwire").and_then(|value| reader.truth(value));
    let because = fields.get("because").and_then(|value| reader.string(value));
    fields.finish(reader);
    UnixTable { span, paths, names, ends_sandbox, effect, tripwire, because }
}

fn net(span: Span, table: &DeTable<'_>, reader: &mut Reader<'_>) -> NetTable {
    let mut fields = Fields::new(table);
    let mut ends = |name| {
        let value = fields.get(name)?;
        Some(Spanned::new(value.span(), reader.strings(value).unwrap_or_default()))
    };
    let (to, on, resolves_to) = (ends("to"), ends("on"), ends("resolves_to"));
    let proto = fields.get("proto").map(|value| words(value, reader));
    let effect = effect(&mut fields, reader);
    let tripwire = fields.get("tripwire").and_then(|value| reader.truth(value));
    let because = fields.get("because").and_then(|value| reader.string(value));
    fields.finish(reader);
    NetTable { span, to, on, resolves_to, proto, effect, tripwire, because }
}

fn expect(span: Span, table: &DeTable<'_>, reader: &mut Reader<'_>) -> ExpectTable {
    let mut fields = Fields::new(table);
    let with = fields.get("with").and_then(|value| {
        let (span, table) = reader.table(value)?;
        let folder = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| FolderField {
            name: Spanned::new(name.span(), name.get_ref().to_string()),
            folder: reader.string(value),
        };
        Some(Spanned::new(span, table.iter().map(folder).collect()))
    });
    let mut objects =
        |name| fields.get(name).map(|value| Spanned::new(value.span(), one_or_more(value, reader)));
    let (path, to, on) = (objects("path"), objects("to"), objects("on"));
    let (capability, names) = (objects("capability"), objects("abstract"));
    let proto = fields.get("proto").map(|value| words(value, reader));
    let effect = effect(&mut fields, reader);
    let because = fields.get("because").and_then(|value| reader.string(value));
    fields.finish(reader);
    ExpectTable { span, with, path, to, on, capability, names, proto, effect, because }
}

/// A string, or a list of strings.
fn one_or_more(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Vec<Spanned<String>> {
    match value.get_ref() {
        DeValue::String(_) => reader.string(value).into_iter().collect(),
        _ => reader.strings(value).unwrap_or_default(),
    }
}

fn effect(fields: &mut Fields<'_, '_>, reader: &mut Reader<'_>) -> EffectFields {
    let allow = fields.get("allow").map(|value| words(value, reader));
    let deny = fields.get("deny").map(|value| words(value, reader));
    EffectFields { allow, deny }
}

fn words(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Spanned<Words> {
    let words = match value.get_ref() {
        DeValue::String(word) => Words::One(word.to_string()),
        _ => Words::List(reader.strings(value).unwrap_or_default()),
    };
    Spanned::new(value.span(), words)
}
