//! `cargo xtask mutate`: checks are taken out, and the tests that guard them must fail.
//!
//! A mutant is a patch in `tests/mutants`: first why it is wrong, then lines `red: TEST` with the tests that notice, then the
//! change. All of them are made at once, in a copy of the sources, for each needs a build that takes as long as all: they
//! must not stand in each other's way. `--only` makes some.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::artifacts::{root, target};
use crate::shell;

const FOLDER: &str = "tests/mutants";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The guest's kernel
    #[arg(long, value_name = "6.1|6.12|7.3", default_value = "6.12")]
    kernel: String,
    /// Only those with this in their name
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
}

struct Mutant {
    name: String,
    patch: PathBuf,
    /// Names of tests.
    red: Vec<String>,
}

/// What became of a test, as far as it was told.
#[derive(Default)]
struct Told {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
}

pub fn run(options: &Options) -> Result<u8> {
    let wanted = |mutant: &Mutant| {
        options.only.is_empty() || options.only.iter().any(|part| mutant.name.contains(part))
    };
    let mutants: Vec<Mutant> = mutants()?.into_iter().filter(wanted).collect();
    if mutants.is_empty() {
        bail!("no mutant in {FOLDER} has such a name");
    }
    let tree = target().join("mutants");
    copy_sources(&tree)?;
    for mutant in &mutants {
        shell::run(&mut apply(&tree, &mutant.patch))
            .with_context(|| format!("{}: bring it up to date", mutant.patch.display()))?;
    }
    let tests: BTreeSet<&str> =
        mutants.iter().flat_map(|mutant| &mutant.red).map(String::as_str).collect();
    let told = tested(&tree, &options.kernel, &tests)?;
    close(&mutants, &told).map(|all| u8::from(!all))
}

/// Whether each can be made of the sources as they are, and its tests are there.
pub fn check() -> Result<()> {
    let suite = suite()?;
    for mutant in mutants()? {
        let mut command = apply(&root(), &mutant.patch);
        shell::run_quiet(command.arg("--check"))
            .with_context(|| format!("{}: bring it up to date", mutant.patch.display()))?;
        for test in &mutant.red {
            let name = test.rsplit("::").next().unwrap_or(test);
            if !suite.contains(&format!("fn {name}()")) {
                bail!("{}: there is no test {test}", mutant.patch.display());
            }
        }
    }
    Ok(())
}

/// The text of all tests in guests.
fn suite() -> Result<String> {
    let mut text = String::new();
    let mut folders = vec![root().join("tests/suite")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).context("failed to list the suite")? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                text += &fs::read_to_string(&path).context("failed to read the suite")?;
            }
        }
    }
    Ok(text)
}

fn mutants() -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    let folder = root().join(FOLDER);
    for entry in fs::read_dir(&folder).with_context(|| format!("failed to list {FOLDER}"))? {
        let patch = entry?.path();
        if patch.extension().is_none_or(|end| end != "patch") {
            continue;
        }
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&patch)
            .with_context(|| format!("failed to read {}", patch.display()))?;
        let red = red(&text);
        if red.is_empty() {
            bail!("{}: no line says `red: TEST`", patch.display());
        }
        mutants.push(Mutant { name, patch, red });
    }
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
}

/// The tests that a patch names above its change.
fn red(patch: &str) -> Vec<String> {
    let head = patch.lines().take_while(|line| !line.starts_with("--- "));
    head.filter_map(|line| Some(line.strip_prefix("red: ")?.trim().to_owned())).collect()
}

fn apply(tree: &Path, patch: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("apply").arg(patch).current_dir(tree);
    // The copy lies within the work tree, of which it is no part.
    if let Some(above) = tree.parent() {
        command.env("GIT_CEILING_DIRECTORIES", above);
    }
    command
}

/// Files that are the same stay untouched, so that little is built anew.
fn copy_sources(tree: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = shell::run_quiet(list.current_dir(root()))?;
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root().join(name), tree.join(name));
        if !from.is_file() {
            continue;
        }
        let now = fs::read(&from).with_context(|| format!("failed to read {name}"))?;
        if fs::read(&to).is_ok_and(|before| before == now) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).context("failed to make a folder for the copy")?;
        }
        fs::write(&to, now).with_context(|| format!("failed to write {}", to.display()))?;
    }
    Ok(())
}

fn tested(tree: &Path, kernel: &str, tests: &BTreeSet<&str>) -> Result<Told> {
    let filter: Vec<&str> = tests.iter().copied().collect();
    let mut command = Command::new("cargo");
    command.args(["xtask", "test", "--again", "--kernel", kernel, "--filter", &filter.join(",")]);
    command.current_dir(tree).env_remove("CARGO_TARGET_DIR").stdout(Stdio::piped());
    let mut child = command.spawn().context("failed to start the tests of the copy")?;
    let output = child.stdout.take().context("the tests have no output")?;
    let mut told = Told::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("failed to read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}").context("failed to pass the output on")?;
        told.read(&line, tests);
    }
    child.wait().context("failed to wait for the tests")?;
    Ok(told)
}

impl Told {
    /// A line of a guest's output, which begins with the guest's name in brackets.
    fn read(&mut self, line: &str, tests: &BTreeSet<&str>) {
        let Some((_, line)) = line.split_once("] ") else { return };
        let line = line.trim();
        if let Some(name) = line.strip_prefix("test ").and_then(|it| it.strip_suffix(" ... ok")) {
            self.passed.insert(name.to_owned());
        } else if tests.contains(line) {
            // In the list of those that failed a name stands alone.
            self.failed.insert(line.to_owned());
        }
    }
}

/// Whether every test of every mutant has failed.
fn close(mutants: &[Mutant], told: &Told) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{:44} {:9} test", "mutant", "")?;
    let mut all = true;
    for mutant in mutants {
        for test in &mutant.red {
            let word = if told.failed.contains(test) {
                "noticed"
            } else {
                all = false;
                if told.passed.contains(test) { "SURVIVED" } else { "not run" }
            };
            writeln!(out, "{:44} {word:9} {test}", mutant.name)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_its_tests_above_its_change() {
        let patch = "Why.\nred: a::b\nred: c\n\n--- a/x\n+++ b/x\n red: no\n";
        assert_eq!(red(patch), ["a::b", "c"]);
    }

    #[test]
    fn a_test_has_failed_that_stands_in_the_list_of_those() {
        let tests = BTreeSet::from(["a::b", "c"]);
        let mut told = Told::default();
        for line in [
            "[6.12 default    1 s] test a::b ... Error: x",
            "[6.12 default    1 s] FAILED",
            "[6.12 default    1 s] test c ... ok",
            "[6.12 default    2 s]     a::b",
            "a::b",
        ] {
            told.read(line, &tests);
        }
        assert_eq!(told.failed, BTreeSet::from(["a::b".to_owned()]));
        assert_eq!(told.passed, BTreeSet::from(["c".to_owned()]));
    }
}
