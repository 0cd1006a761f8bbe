//! The table of hooks in `agentid-ebpf/HOOKS.md`, made of the heads of the files that the programs are in.
//!
//! A head says in its first paragraph what is asked, in backticks how the kernel calls (`int name(…)`), and after
//! "Cannot see:" what it does not catch. A hook of which one of the first two is missing is a failed check.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::artifacts;

pub const FILE: &str = "agentid-ebpf/HOOKS.md";
const FOLDERS: [&str; 2] = ["agentid-ebpf/src/hook", "agentid-ebpf/src/guard"];
const ATTRIBUTE: &str = "#[lsm(hook = \"";
const BLIND: &str = "Cannot see:";

/// One file with hooks in it.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    question: String,
    /// Name and prototype of each hook.
    hooks: Vec<(String, String)>,
    blind: String,
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
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).with_context(|| format!("no {folder}"))?;
        let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file)?;
            let head = read(&text).with_context(|| format!("the head of {}", file.display()))?;
            for (number, (hook, prototype)) in head.hooks.iter().enumerate() {
                // What several hooks have in common is said once.
                let [question, blind] =
                    if number == 0 { [&*head.question, &*head.blind] } else { ["the same"; 2] };
                let cells = [&format!("`{hook}`"), prototype, question, blind].map(cell);
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
    let blind = head.split_once(BLIND).map(|(_, rest)| paragraph(rest)).unwrap_or_default();
    let prototypes: Vec<String> =
        head.split('`').skip(1).step_by(2).map(|quoted| quoted.replace('\n', " ")).collect();
    let mut hooks = Vec::new();
    for line in text.lines() {
        let Some(hook) = line.strip_prefix(ATTRIBUTE).and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let is_of = |prototype: &&String| prototype.contains(&format!(" {hook}("));
        let Some(prototype) = prototypes.iter().find(is_of) else {
            bail!("it says nothing of the prototype of {hook}: `int {hook}(…)`");
        };
        hooks.push((hook.to_owned(), format!("`{prototype}`")));
    }
    if !hooks.is_empty() && question.is_empty() {
        bail!("it does not begin with a question");
    }
    Ok(Head { question, hooks, blind })
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
        assert_eq!(
            head.hooks,
            [("do_that".into(), "`int do_that(struct file *file, int how)`".into())]
        );
        assert_eq!(head.blind.trim(), "what others do.");
    }

    #[test]
    fn a_hook_without_its_prototype_is_refused() {
        let error = read(&SAMPLE.replace("hook = \"do_that\"", "hook = \"do_this\"")).unwrap_err();
        assert!(error.to_string().contains("do_this"), "{error}");
    }
}
