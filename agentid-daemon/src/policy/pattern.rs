//! Which files a rule names.
//!
//! ```text
//!   /etc/hosts              that file
//!   /usr/**                 the folder /usr and everything below it
//!   **/.env                 every .env on every filesystem
//!   /etc/ssl/*.pem          the files in that folder whose names end with .pem
//!   **/id_*                 every file whose name begins with id_
//!   ${workspace}/src/**     the same, below the folder that the launch gives
//! ```

use std::path::PathBuf;

use agentid_common::file::{MAX_DEPTH, MAX_GLOB, MAX_NAME};

use super::error::Flaw;

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub root: Root,
    pub components: Vec<Component>,
    /// As it stands in the document.
    pub text: String,
}

/// Where a pattern begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `/`
    Filesystem,
    /// The parameter with this index.
    Parameter(usize),
    /// None: it is of abstract names of unix sockets, each of which is one component whatever is in it.
    Abstract,
}

/// One step of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    Name(String),
    /// A name with `*` (any number of bytes, none included) or `?` (one byte) in it. Any other sign is itself, and so
    /// is a leading dot.
    Glob(String),
    /// `**`: any number of names, none included. Never follows another of its kind.
    Any,
}

impl Pattern {
    /// The names before the first `*`, `**` or `?`.
    pub fn literal(&self) -> impl Iterator<Item = &str> {
        self.components.iter().map_while(|component| match component {
            Component::Name(name) => Some(name.as_str()),
            Component::Glob(_) | Component::Any => None,
        })
    }

    /// The path that these names make, from `/`.
    pub fn prefix(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.literal());
        path
    }
}

/// Paths that mean something else for whoever asks, so that a rule about them would mean the daemon's.
const NAMES_THE_ASKER: [&str; 8] = [
    "/proc/self",
    "/proc/thread-self",
    "/proc/mounts",
    "/proc/net",
    "/dev/fd",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
];

/// Reads a pattern; `params` are the names that may stand in `${}`.
pub(super) fn parse(text: &str, params: &[String]) -> Result<Pattern, Flaw> {
    let (root, rest) = root(text, params)?;
    if text.len() > 1 && text.ends_with('/') {
        return Err(trailing_slash(text));
    }
    let mut components = Vec::new();
    for part in rest.split('/').skip(usize::from(rest.is_empty())) {
        let component = component(part)?;
        if component != Component::Any || components.last() != Some(&Component::Any) {
            components.push(component);
        }
    }
    if components.len() > MAX_DEPTH as usize {
        return Err(Flaw::new(format!("pattern is deeper than {MAX_DEPTH} folders"))
            .help("name a folder above it, and `**`"));
    }
    let pattern = Pattern { root, components, text: text.to_owned() };
    match NAMES_THE_ASKER.iter().find(|path| asks(&pattern, path)) {
        Some(path) => Err(Flaw::new(format!("{path} names whoever asks, so no rule can name it"))
            .help("name the files that are meant, such as `/proc/meminfo`")),
        None => Ok(pattern),
    }
}

/// Longest abstract name (include/uapi/linux/un.h: `UNIX_PATH_MAX`, without the zero before it).
pub const MAX_ABSTRACT: usize = 107;

/// Reads a pattern of abstract names of unix sockets. It is shown behind an `@`.
pub(super) fn abstract_name(text: &str) -> Result<Pattern, Flaw> {
    if text.is_empty() {
        return Err(Flaw::new("abstract name is empty").help("no rule can name that one"));
    }
    if text.starts_with('@') {
        return Err(Flaw::new(format!(
            "`{text}` begins with `@`, by which others mark abstract names"
        ))
        .help("leave it out; where it is a part of the name, write `?` in its place"));
    }
    if text.contains("**") {
        return Err(Flaw::new(format!("`**` within the abstract name `{text}`"))
            .help("write `*`: it stands for any bytes, `/` among them"));
    }
    if text.len() > MAX_ABSTRACT {
        return Err(Flaw::new(format!("abstract name is longer than {MAX_ABSTRACT} bytes"))
            .help("no socket has such a name"));
    }
    let components = vec![name(text)?];
    Ok(Pattern { root: Root::Abstract, components, text: format!("@{text}") })
}

fn asks(pattern: &Pattern, path: &str) -> bool {
    pattern.root == Root::Filesystem && pattern.prefix().starts_with(path)
}

/// Splits the beginning off; the rest has no leading slash.
fn root<'t>(text: &'t str, params: &[String]) -> Result<(Root, &'t str), Flaw> {
    if let Some(rest) = text.strip_prefix("${") {
        let (name, rest) = rest
            .split_once('}')
            .ok_or_else(|| Flaw::new("`${` without `}`").help("write `${name}/...`"))?;
        let index =
            params.iter().position(|param| param == name).ok_or_else(|| unknown(name, params))?;
        return match rest.strip_prefix('/') {
            Some(rest) => Ok((Root::Parameter(index), rest)),
            None if rest.is_empty() => Ok((Root::Parameter(index), rest)),
            None => Err(Flaw::new(format!("`/` is missing after `${{{name}}}`"))
                .help(format!("write `${{{name}}}/...`"))),
        };
    }
    match text.strip_prefix('/') {
        Some(rest) => Ok((Root::Filesystem, rest)),
        None if text == "**" || text.starts_with("**/") => Ok((Root::Filesystem, text)),
        None => Err(Flaw::new(format!("`{text}` is not an absolute path"))
            .help("begin with `/`, `**/` or `${parameter}/`")),
    }
}

fn unknown(name: &str, params: &[String]) -> Flaw {
    let flaw = Flaw::new(format!("unknown parameter `{name}`"));
    match super::nearest::nearest(name, params.iter().map(String::as_str)) {
        Some(near) => flaw.help(format!("did you mean `${{{near}}}`?")),
        None => flaw.help(format!("declare it: params = [\"{name}\"]")),
    }
}

fn trailing_slash(text: &str) -> Flaw {
    Flaw::new("pattern ends with `/`").help(format!(
        "`{}` is the folder itself, `{text}**` the folder and everything below it",
        text.trim_end_matches('/')
    ))
}

fn component(part: &str) -> Result<Component, Flaw> {
    if part == "**" {
        return Ok(Component::Any);
    }
    if part.is_empty() {
        return Err(Flaw::new("pattern has an empty name")
            .help("write one `/` between names and none at the end"));
    }
    if part == "." || part == ".." {
        return Err(
            Flaw::new(format!("`{part}` in a pattern")).help("write the path that is meant")
        );
    }
    if part.contains("**") {
        return Err(Flaw::new(format!("`**` within the name `{part}`"))
            .help("`**` stands alone between slashes"));
    }
    name(part)
}

/// A name in which signs may stand for others.
fn name(part: &str) -> Result<Component, Flaw> {
    if part.contains("${") {
        return Err(Flaw::new(format!("`{part}` within a pattern"))
            .help("a parameter stands at the beginning: `${name}/...`"));
    }
    if part.contains('\0') {
        return Err(Flaw::new("a name cannot hold the zero character"));
    }
    if let Some(sign) = part.chars().find(|sign| "[{".contains(*sign)) {
        return Err(Flaw::new(format!("`{sign}` within a name is not supported yet"))
            .help("write each name, or `*` for any part of a name and `?` for one byte"));
    }
    if let Some(sign) = ["\\*", "\\?"].iter().find(|sign| part.contains(**sign)) {
        return Err(Flaw::new(format!(
            "`{sign}` in the name `{part}`: a `\\` does not make a sign plain"
        ))
        .help("write `?` in the place of the sign"));
    }
    if part.contains(['*', '?']) {
        return glob(part);
    }
    if part.len() > MAX_NAME {
        return Err(Flaw::new(format!("name is longer than {MAX_NAME} bytes"))
            .help("no file has such a name; a `/` may be missing"));
    }
    Ok(Component::Name(part.to_owned()))
}

fn glob(part: &str) -> Result<Component, Flaw> {
    if part.len() > MAX_GLOB {
        return Err(Flaw::new(format!("name with `*` or `?` is longer than {MAX_GLOB} bytes"))
            .help("write the name in full, or a shorter part of it and `*`"));
    }
    Ok(Component::Glob(part.to_owned()))
}
