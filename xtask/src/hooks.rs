//! The table of hooks in `agentid-ebpf/HOOKS.md`, made of the heads of the files that the programs are in.
//!
//! A head says in its first paragraph what is asked, in backticks how the kernel calls (`int name(…)`), and after
//! "Cannot see:" what it does not catch. A hook of which one of the first two is missing is a failed check.
//! How each kernel calls it is what that kernel's BTF says, in `tests/golden/hooks.txt`: the suite compares it in each guest.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::artifacts;

pub const FILE: &str = "agentid-ebpf/HOOKS.md";
/// Prototypes by kernel, as `agentidd hooks` prints them there.
const PROTOTYPES: &str = "tests/golden/hooks.txt";
const FOLDERS: [&str; 2] = ["agentid-ebpf/src/hook", "agentid-ebpf/src/guard"];
const ATTRIBUTE: &str = "#[lsm(hook = \"";
const BLIND: &str = "Cannot see:";
/// How a prototype begins in a head.
const RESULTS: [&str; 2] = ["`int ", "`void "];

/// One file with hooks in it.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    question: String,
    hooks: Vec<String>,
    /// What is not seen, and by which of the hooks alone; by all where it is said after all of them.
    blind: String,
    of: Option<String>,
}

/// A kernel, and its prototypes.
type Kernel<'a> = (&'a str, Vec<&'a str>);

fn kernels(text: &str) -> Vec<Kernel<'_>> {
    let mut kernels: Vec<Kernel<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            kernels.push((name, Vec::new()));
        } else if let Some((_, prototypes)) = kernels.last_mut()
            && !line.is_empty()
        {
            prototypes.push(line);
        }
    }
    kernels
}

/// How the kernels call a hook: those alike together.
fn called(kernels: &[Kernel<'_>], hook: &str) -> Result<String> {
    let mut ways: Vec<(Vec<&str>, Option<&str>)> = Vec::new();
    for (kernel, prototypes) in kernels {
        let is_of = |prototype: &&&str| prototype.contains(&format!(" {hook}("));
        let way = prototypes.iter().find(is_of).copied();
        match ways.iter_mut().find(|(_, other)| *other == way) {
            Some((alike, _)) => alike.push(kernel),
            None => ways.push((vec![kernel], way)),
        }
    }
    match ways.as_slice() {
        [(_, Some(way))] => Ok(format!("`{way}`")),
        [] | [(_, None)] => bail!("{PROTOTYPES} has no prototype of {hook}"),
        several => {
            let way = |(kernels, way): &(Vec<&str>, Option<&str>)| {
                let way = way.map_or_else(|| "none".to_owned(), |way| format!("`{way}`"));
                format!("{}: {way}", kernels.join(", "))
            };
            Ok(several.iter().map(way).collect::<Vec<_>>().join("<br>"))
        }
    }
}

/// Whether the table is what the sources say.
pub fn check() -> Result<()> {
    let written = fs::read_to_string(artifacts::root().join(FILE)).unwrap_or_default();
    if written != table(&artifacts::root())? {
        bail!("{FILE} is not what the heads of the hooks say: cargo xtask bless");
    }
    Ok(())
}

/// Writes it anew.
pub fn bless() -> Result<()> {
    let path = artifacts::root().join(FILE);
    fs::write(&path, table(&artifacts::root())?)
        .with_context(|| format!("failed to write {}", path.display()))
}

fn table(root: &Path) -> Result<String> {
    let mut table = "# LSM hooks\n\nMade by `cargo xtask bless` of the heads of the files in `src/hook` and `src/guard`, \
         which say more.\n\n| Hook | Prototype | Question | What it cannot see |\n|---|---|---|---|\n"
        .to_owned();
    let text = fs::read_to_string(root.join(PROTOTYPES))
        .with_context(|| format!("failed to read {PROTOTYPES}"))?;
    let kernels = kernels(&text);
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).with_context(|| format!("no {folder}"))?;
        let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file)?;
            let head = read(&text).with_context(|| format!("the head of {}", file.display()))?;
            for (number, hook) in head.hooks.iter().enumerate() {
                // What several hooks have in common is said once.
                let question = if number == 0 { &*head.question } else { "the same" };
                let blind = match &head.of {
                    Some(of) if of == hook => &*head.blind,
                    Some(_) => "",
                    None if number == 0 || head.blind.is_empty() => &*head.blind,
                    None => "the same",
                };
                let prototype = called(&kernels, hook)?;
                let cells = [&format!("`{hook}`"), &*prototype, question, blind].map(cell);
                table += &format!("| {} |\n", cells.join(" | "));
            }
        }
    }
    Ok(table)
}

fn read(text: &str) -> Result<Head> {
    let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let head = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n");
    let paragraph = |text: &str| text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let question = paragraph(&head);
    let (before, after) = head.split_once(BLIND).unwrap_or((&head, ""));
    let is_prototype = |line: &&str| RESULTS.iter().any(|result| line.starts_with(result));
    let blind = after.lines().take_while(|line| !line.is_empty() && !is_prototype(line));
    let blind = blind.collect::<Vec<_>>().join(" ");
    let mut hooks = Vec::new();
    for line in text.lines() {
        let Some(hook) = line.strip_prefix(ATTRIBUTE).and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let quoted = head.split('`').skip(1).step_by(2).map(|quoted| quoted.replace('\n', " "));
        if !quoted.into_iter().any(|quoted| quoted.contains(&format!(" {hook}("))) {
            bail!("it says nothing of the prototype of {hook}: `int {hook}(…)`");
        }
        hooks.push(hook.to_owned());
    }
    if !hooks.is_empty() && question.is_empty() {
        bail!("it does not begin with a question");
    }
    // Said between the prototypes it is about the one right before it.
    let said = |text: &str, hook: &String| text.rfind(&format!(" {hook}("));
    let is_between = hooks.iter().any(|hook| said(after, hook).is_some());
    let last = hooks.iter().max_by_key(|hook| said(before, hook));
    let of = last.filter(|_| is_between).cloned();
    Ok(Head { question, hooks, blind, of })
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "//! May this run do that?\n//!\n//! `int do_that(struct file *file,\n//! int how)`: fs/a.c.\n\
        //! Cannot see: what\n//! others do.\n//!\n//! More.\n\nuse x;\n#[lsm(hook = \"do_that\")]\n";

    #[test]
    fn reads_question_prototype_and_what_is_not_seen() {
        let head = read(SAMPLE).unwrap();
        assert_eq!(head.question, "May this run do that?");
        assert_eq!(head.hooks, ["do_that"]);
        assert_eq!((head.blind.trim(), head.of), ("what others do.", None));
    }

    #[test]
    fn what_one_of_several_hooks_does_not_see_ends_where_the_next_begins() {
        let head = read(
            "//! Why?\n//!\n//! `int one(void)`: fs/a.c. Cannot see: a\n//! or b.\n//! `int two(void)`: fs/b.c.\n\n\
             #[lsm(hook = \"one\")]\n#[lsm(hook = \"two\")]\n",
        );
        let head = head.unwrap();
        assert_eq!((head.blind.trim(), head.of.as_deref()), ("a or b.", Some("one")));
    }

    #[test]
    fn kernels_that_call_alike_are_named_together() {
        let kernels = kernels(
            "# head\n[6.1]\nint one(int a)\n\n[6.12]\nint one(int b)\nint two(void)\n\n[7.3]\nint one(int b)\nint two(void)\n",
        );
        assert_eq!(
            called(&kernels, "one").unwrap(),
            "6.1: `int one(int a)`<br>6.12, 7.3: `int one(int b)`"
        );
        assert_eq!(called(&kernels, "two").unwrap(), "6.1: none<br>6.12, 7.3: `int two(void)`");
        called(&kernels, "three").unwrap_err();
    }

    #[test]
    fn a_hook_without_its_prototype_is_refused() {
        let error = read(&SAMPLE.replace("hook = \"do_that\"", "hook = \"do_this\"")).unwrap_err();
        assert!(error.to_string().contains("do_this"), "{error}");
    }
}
