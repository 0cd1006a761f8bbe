//! The daemon's floors: an import points down only, one place knows aya, and two
//! places may be unsafe. Read from the text of its sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::artifacts;

/// Module and floor; the longest match decides. Floor 0 is agentid-common, and a
/// module imports what is below it. A module's own submodules on its floor are free.
const FLOORS: [(&str, u8); 17] = [
    ("bin", 7),
    ("cli", 7),
    // The wiring: it holds the ends of everything on the next floor.
    ("supervisor::run", 6),
    // They stand in for the wiring.
    ("control::tests", 6),
    ("control", 5),
    ("event::export", 5),
    ("metrics", 5),
    ("names", 5),
    ("kernel", 4),
    ("supervisor", 3),
    ("image", 2),
    ("event::enrich", 2),
    ("policy", 1),
    ("instance", 1),
    ("event", 1),
    ("control::api", 1),
    ("settings", 2),
];
/// A second table for what the first is too coarse for: module, imports beyond floor 1.
const KERNEL: &str = "kernel";
const KERNEL_IMPORTS: &str = "image";
/// Part of `metrics` that is data.
const SERIES: (&str, u8) = ("metrics::series", 1);
/// The only modules that may mention aya, and that may be unsafe.
const AYA: [&str; 1] = ["kernel"];
const UNSAFE: [&str; 2] = ["kernel", "control::caller"];

/// Fails with every import that points up.
pub fn check() -> Result<()> {
    let source = artifacts::root().join("agentid-daemon/src");
    let mut files = Vec::new();
    list(&source, &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        let inside = file.strip_prefix(&source).unwrap_or(file);
        let found = check_file(inside, &text);
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", file.display())));
    }
    if !faults.is_empty() {
        bail!("floors:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong with one file. Tests may import anything.
fn check_file(file: &Path, text: &str) -> Vec<String> {
    let module = module_of(file);
    if module.is_empty() || module.last().is_some_and(|name| name == "tests") {
        return Vec::new();
    }
    let code = code(text);
    let name = module.join("::");
    let mut faults = Vec::new();
    let one_of = |list: &[&str]| list.iter().any(|entry| is_in(&name, entry));
    if has_word(&code, "aya") && !one_of(&AYA) {
        faults.push(format!("mentions aya, which only {} may", AYA.join(", ")));
    }
    if has_word(&code, "unsafe") && !one_of(&UNSAFE) {
        faults.push(format!("is unsafe, which only {} may", UNSAFE.join(", ")));
    }
    let Some(own) = floor(&name) else {
        faults.push("has no floor: give it one in xtask/src/floors.rs".to_owned());
        return faults;
    };
    let is_front = file.file_name().is_some_and(|name| name == "mod.rs");
    for import in imports(&code, &module, is_front) {
        let target = import.join("::");
        let fault = match floor(&target) {
            // A name at the crate's root, or the module itself.
            None => continue,
            Some(_) if is_front && is_in(&target, &name) => continue,
            Some(other) if module.first() == import.first() => other > own,
            Some(other) if is_in(&name, KERNEL) => other > 1 && !is_in(&target, KERNEL_IMPORTS),
            Some(other) => other >= own,
        };
        if fault {
            faults.push(format!("imports {target}, which is not below it"));
        }
    }
    faults
}

fn floor(module: &str) -> Option<u8> {
    let table = FLOORS.iter().chain([&SERIES]);
    let matching = table.filter(|(entry, _)| is_in(module, entry));
    matching.max_by_key(|(entry, _)| entry.len()).map(|(_, floor)| *floor)
}

/// Whether `module` is `ancestor` or below it.
fn is_in(module: &str, ancestor: &str) -> bool {
    module.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `policy/mod.rs` and `policy.rs` are `policy`; `lib.rs` is nothing.
fn module_of(file: &Path) -> Vec<String> {
    let path = file.with_extension("");
    let mut names: Vec<String> =
        path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| name == "mod" || name == "lib") {
        names.pop();
    }
    names
}

/// The text without comments and without what is compiled for tests alone.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or(text);
    let without = |line: &str| format!("{}\n", line.split("//").next().unwrap_or(line));
    text.lines().map(without).collect()
}

fn has_word(code: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.split(|letter| !part(letter)).any(|found| found == word)
}

/// Every path that begins with `crate`, `super` or `self`, from the crate's root.
fn imports(code: &str, module: &[String], is_front: bool) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code.get(..at).and_then(|before| before.chars().next_back());
            if before.is_some_and(|letter| letter.is_alphanumeric() || "_:".contains(letter)) {
                continue;
            }
            let mut rest = code.get(at + start.len()..).unwrap_or("");
            let mut base = Vec::new();
            if start == "super::" {
                // `super` of a file is its folder's module; of mod.rs the one above.
                base = module.to_vec();
                base.pop();
                while let Some(above) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = above;
                }
                // A nested `mod` has one more level: its `super` is this file.
                if base.is_empty() && !is_front {
                    continue;
                }
            }
            tree(rest, &base, &mut found);
        }
    }
    found
}

/// Reads `a::b`, `a::{b, c::d}`; returns what follows.
fn tree<'code>(code: &'code str, base: &[String], found: &mut Vec<Vec<String>>) -> &'code str {
    let mut rest = code.trim_start();
    if let Some(list) = rest.strip_prefix('{') {
        rest = list.trim_start();
        while !rest.starts_with('}') && !rest.is_empty() {
            let after = tree(rest, base, found).trim_start();
            let after = after.strip_prefix(',').unwrap_or(after).trim_start();
            if after.len() == rest.len() {
                return after;
            }
            rest = after;
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let part = |letter: char| !(letter.is_alphanumeric() || letter == '_');
    let end = rest.find(part).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let mut path = base.to_vec();
    if !name.is_empty() && name != "self" {
        path.push(name.to_owned());
    }
    if let Some(below) = after.strip_prefix("::") {
        return tree(below, &path, found);
    }
    found.push(path);
    // `as other` belongs to this path.
    let trimmed = after.trim_start();
    match trimmed.strip_prefix("as ") {
        Some(alias) => alias.trim_start_matches(|letter| !part(letter)),
        None => after.strip_prefix('*').unwrap_or(after),
    }
}

#[cfg(test)]
mod tests;
