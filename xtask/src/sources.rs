//! Which Debian mirror this system uses: other suites come from the same one,
//! so that mirrors and proxies go on working.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub debian: String,
    pub security: String,
}

/// One source: a URI with its suites and components.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
}

/// What this Debian is called.
pub fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or("").trim_matches('"')
    };
    if value("ID") != "debian" {
        bail!(
            "this system is not Debian, so nothing is downloaded for it; \
             name a kernel of your own with --kernel PATH"
        );
    }
    Ok(value("VERSION_CODENAME").to_owned())
}

pub fn of_this_system() -> Result<Mirror> {
    let codename = codename()?;
    let mut found = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        found.extend(match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => parse_deb822(&text),
            _ => parse_lines(&text),
        });
    }
    match choose(&found, &codename) {
        Some(mirror) => Ok(mirror),
        None => bail!("found no Debian mirror in /etc/apt/sources.list and sources.list.d"),
    }
}

fn files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir(Path::new("/etc/apt/sources.list.d")) {
        let mut more: Vec<PathBuf> =
            entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        more.retain(|path| {
            path.extension().is_some_and(|kind| kind == "list" || kind == "sources")
        });
        more.sort();
        files.append(&mut more);
    }
    files
}

/// Takes the source of the running release, else any source that looks like Debian's.
fn choose(sources: &[Source], codename: &str) -> Option<Mirror> {
    let main = |source: &&Source| source.components.iter().any(|name| name == "main");
    let serves =
        |suite: String| sources.iter().filter(main).find(|source| source.suites.contains(&suite));
    let named = |end: &str| {
        sources.iter().filter(main).find(|source| source.uri.trim_end_matches('/').ends_with(end))
    };
    let uri = |source: &Source| source.uri.trim_end_matches('/').to_owned();
    let debian = serves(codename.to_owned()).or_else(|| named("/debian")).map(uri)?;
    let security = serves(format!("{codename}-security")).or_else(|| named("/debian-security"));
    let security = security.map(uri).unwrap_or_else(|| match debian.strip_suffix("/debian") {
        Some(base) => format!("{base}/debian-security"),
        None => debian.clone(),
    });
    Some(Mirror { debian, security })
}

/// The one-line format: `deb [options] uri suite component...`.
fn parse_lines(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?;
        let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let (uri, suite) = (words.next()?, words.next()?);
        Some(Source { uri, suites: vec![suite], components: words.collect() })
    };
    text.lines().filter_map(parse).collect()
}

/// The stanza format (`*.sources`).
fn parse_deb822(text: &str) -> Vec<Source> {
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    text.split("\n\n").flat_map(parse_stanza).collect()
}

fn parse_stanza(stanza: &str) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in stanza.lines() {
        if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let words = |name: &str| -> Vec<String> {
        let field = fields.iter().find(|(field, _)| field == name);
        field
            .map(|(_, value)| value.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    if words("enabled").first().is_some_and(|word| word == "no")
        || !words("types").iter().any(|word| word == "deb")
    {
        return Vec::new();
    }
    let source = |uri| Source { uri, suites: words("suites"), components: words("components") };
    words("uris").into_iter().map(source).collect()
}

#[cfg(test)]
mod tests;
