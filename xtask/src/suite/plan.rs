//! Which tests run in which boot.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::guest::Root;
use crate::shell;

/// A way to boot a guest, and the modules of the suite that run in it.
pub struct Boot {
    pub name: &'static str,
    modules: &'static [&'static str],
    /// Further kernel arguments.
    pub append: &'static str,
    /// Kernel modules to load first; what they need is loaded before them.
    pub load: &'static [&'static str],
    /// The same of those that some kernels have built in.
    pub load_if_apart: &'static [&'static str],
    pub root: Root,
    pub processors: u32,
    /// With the schema fuzzer in it.
    pub fuzzer: bool,
    /// With the programs that make filesystems in it.
    pub makers: bool,
    /// On this kernel alone, where what is tested is the same on all.
    pub only: Option<&'static str>,
}

/// A test runs in the first boot that has one of its modules; all others share [`DEFAULT`]. Long ones are a boot of their own, for boots run side by side.
static BOOTS: [Boot; 12] = [
    Boot { name: "long", modules: LONG, ..PLAIN },
    // Thousands of launches one after another take half the time where the emulator has no second processor to pass by.
    Boot { name: "one_processor", modules: &["remains"], processors: 1, ..PLAIN },
    Boot { name: "nobpf", modules: &["boot_nobpf"], append: "lsm=landlock,yama", ..PLAIN },
    Boot { name: "nocx16", modules: &["boot_nocx16"], append: "clearcpuid=cx16", ..PLAIN },
    Boot { name: "preempt_full", modules: &["boot_preempt_full"], append: "preempt=full", ..PLAIN },
    // What the kernels judge otherwise has tests of its own.
    Boot { name: "programs", modules: &["programs"], only: Some("6.12"), ..DEBIAN },
    Boot { name: "debian", modules: &["boot_debian"], ..DEBIAN },
    Boot { name: "api", modules: &["boot_api"], fuzzer: true, only: Some("6.12"), ..DEBIAN },
    Boot { name: "overlay", modules: &["boot_overlay"], load: &["overlay"], ..PLAIN },
    Boot {
        name: "filesystems",
        modules: &["boot_filesystems"],
        load: &["loop", "btrfs", "vfat", "nls_cp437", "nls_ascii"],
        load_if_apart: &["fuse"],
        makers: true,
        ..PLAIN
    },
    Boot { name: "veth", modules: &["boot_veth"], load: &["veth"], ..PLAIN },
    Boot { name: "suspend", modules: &["boot_suspend"], ..PLAIN },
];
const LONG: &[&str] =
    &["cascade", "crowds", "many", "metrics", "preemption", "rename_race", "storm"];
pub static DEFAULT: Boot = Boot { name: "default", ..PLAIN };
/// Nothing out of the ordinary.
const PLAIN: Boot = Boot {
    name: "",
    modules: &[],
    append: "",
    load: &[],
    load_if_apart: &[],
    root: Root::Mini,
    processors: 2,
    fuzzer: false,
    makers: false,
    only: None,
};
/// The second resets connections that are closed, and is loaded by the kernel itself where it finds its modules.
const DEBIAN: Boot = Boot { root: Root::Debian, load: &["inet_diag", "tcp_diag"], ..PLAIN };
/// Modules with this prefix must be in the table.
const SPECIAL: &str = "boot_";

/// The tests of the suite, which as a static binary runs here as well.
pub fn names(suite: &Path) -> Result<Vec<String>> {
    let list = shell::run_quiet(Command::new(suite).args(["--list", "--format", "terse"]))?;
    Ok(list.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect())
}

impl Boot {
    /// Whether it is for this kernel, by the name of its series or the path of its image.
    pub fn is_for(&self, kernel: &str) -> bool {
        self.only.is_none_or(|only| only == kernel)
    }
}

/// Which tests run in which boot. Boots without tests are left out.
pub fn plan(names: &[String], filter: &[String]) -> Result<Vec<(&'static Boot, Vec<String>)>> {
    let modules: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.rsplit_once("::").map(|(module, _)| module))
        .flat_map(|module| module.split("::"))
        .filter(|module| module.starts_with(SPECIAL))
        .collect();
    let known = |module: &&str| BOOTS.iter().any(|boot| boot.modules.contains(module));
    if let Some(stranger) = modules.iter().find(|module| !known(module)) {
        bail!("no boot for the tests in {stranger}: give it one in xtask/src/suite/plan.rs");
    }
    let wanted = |name: &&String| {
        filter.is_empty() || filter.iter().any(|part| name.contains(part.as_str()))
    };
    let is_in = |name: &str, boot: &Boot| name.split("::").any(|part| boot.modules.contains(&part));
    let mut plan = Vec::new();
    for boot in std::iter::once(&DEFAULT).chain(&BOOTS) {
        let belongs = |name: &&String| {
            let first = BOOTS.iter().find(|boot| is_in(name, boot));
            std::ptr::eq(boot, first.unwrap_or(&DEFAULT))
        };
        let tests: Vec<String> = names.iter().filter(wanted).filter(belongs).cloned().collect();
        if !tests.is_empty() {
            plan.push((boot, tests));
        }
    }
    Ok(plan)
}
