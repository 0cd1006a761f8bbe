//! Can this host enforce anything? Asked before anything is touched; every answer says what to do.

use std::{fmt, fs, io, path::Path};

use super::{
    btf::Btf,
    object::{DESCRIPTORS, HOOKS, LATER_HOOKS, MESSAGES},
};

const ACTIVE_LSMS: &str = "/sys/kernel/security/lsm";
const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";
const PREEMPTION: &str = "/sys/kernel/debug/sched/preempt";
const COMMAND_LINE: &str = "/proc/cmdline";
const PROCESSORS: &str = "/proc/cpuinfo";

/// Series of kernels that agentid is tested with.
const TESTED: [(u32, u32); 3] = [(6, 1), (6, 12), (7, 3)];

/// Why this host cannot enforce.
#[derive(Debug)]
pub enum PreflightError {
    NotRoot(u32),
    Unreadable { path: &'static str, remedy: &'static str, source: io::Error },
    NoBpfLsm { active: String },
    FtraceOff,
    MissingHooks(Vec<&'static str>),
    FullPreemption { release: String },
    NoCmpxchg16b { release: String },
}

impl PreflightError {
    pub fn what(&self) -> String {
        match self {
            Self::NotRoot(uid) => {
                format!("the daemon loads kernel programs, and runs as uid {uid}")
            }
            Self::Unreadable { path, .. } => format!("{path} cannot be read"),
            Self::NoBpfLsm { active } => {
                format!("`bpf` is not among the active security modules ({active})")
            }
            Self::FtraceOff => {
                "kernel.ftrace_enabled is 0, which switches every LSM program off".to_owned()
            }
            Self::MissingHooks(names) => format!("the kernel has no hook {}", names.join(", ")),
            Self::FullPreemption { release } => {
                format!("Linux {release} with full preemption loses task tags")
            }
            Self::NoCmpxchg16b { release } => format!(
                "the processor has no cmpxchg16b, without which Linux {release} stores no tags"
            ),
        }
    }

    pub fn remedy(&self) -> String {
        match self {
            Self::NotRoot(_) => "run it as root".to_owned(),
            Self::Unreadable { remedy, .. } => (*remedy).to_owned(),
            Self::NoBpfLsm { active } => format!(
                "add `lsm={active},bpf` to the kernel's command line (GRUB: GRUB_CMDLINE_LINUX in /etc/default/grub, \
                 then update-grub) and boot again"
            ),
            Self::FtraceOff => "run `sysctl kernel.ftrace_enabled=1`".to_owned(),
            Self::MissingHooks(_) => {
                format!("this kernel is not supported; boot one of Linux {}", tested())
            }
            Self::FullPreemption { .. } => {
                "boot with `preempt=voluntary`, or use Linux 6.2 or newer".to_owned()
            }
            Self::NoCmpxchg16b { .. } => {
                "give a virtual machine a processor model with `cx16`, or use Linux 6.12".to_owned()
            }
        }
    }
}

impl fmt::Display for PreflightError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "enforce on this host: {}; {}", self.what(), self.remedy())
    }
}

impl std::error::Error for PreflightError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::NotRoot(_)
            | Self::NoBpfLsm { .. }
            | Self::FtraceOff
            | Self::MissingHooks(_)
            | Self::FullPreemption { .. }
            | Self::NoCmpxchg16b { .. } => None,
        }
    }
}

/// Something that must hold, and what was seen of it.
#[derive(Debug)]
pub struct Sight {
    pub name: &'static str,
    /// Where nothing is wrong.
    pub seen: String,
    pub found: Found,
}

#[derive(Debug)]
pub enum Found {
    Fine,
    /// It may hold; this may help where it does not.
    Doubt(String),
    Fault(PreflightError),
}

impl Sight {
    fn new(
        name: &'static str,
        seen: impl Into<String>,
        checked: Result<(), PreflightError>,
    ) -> Self {
        let found = match checked {
            Ok(()) => Found::Fine,
            Err(error) => Found::Fault(error),
        };
        Self { name, seen: seen.into(), found }
    }
}

/// Everything that must hold before the programs are loaded.
pub fn check(btf: &Btf<'_>) -> Result<(), PreflightError> {
    let uid = rustix::process::geteuid();
    if !uid.is_root() {
        return Err(PreflightError::NotRoot(uid.as_raw()));
    }
    let fault = look(btf).into_iter().find_map(|sight| match sight.found {
        Found::Fault(error) => Some(error),
        Found::Fine | Found::Doubt(_) => None,
    });
    fault.map_or(Ok(()), Err)
}

/// The same with all that is wrong, for anyone who asks.
pub fn look(btf: &Btf<'_>) -> Vec<Sight> {
    let securityfs = "mount securityfs: mount -t securityfs securityfs /sys/kernel/security";
    let active = read(ACTIVE_LSMS, securityfs);
    let mut sights = vec![sight("security", active, |active| {
        (format!("bpf is among {}", active.trim()), bpf_lsm(active))
    })];
    let enabled = read(FTRACE_ENABLED, "the kernel must be built with CONFIG_FUNCTION_TRACER");
    sights.push(sight("ftrace", enabled, |enabled| {
        (format!("kernel.ftrace_enabled is {}", enabled.trim()), ftrace(enabled))
    }));
    let release = match read("/proc/sys/kernel/osrelease", PROCFS) {
        Ok(release) => release,
        Err(error) => {
            sights.push(Sight::new("kernel", "", Err(error)));
            return sights;
        }
    };
    sights.push(kernel(&release));
    let found = hooks(&release, |name| btf.has_hook(name));
    sights.push(Sight::new("hooks", "the kernel has all that agentid needs", found));
    sights.push(sight("processor", read(PROCESSORS, PROCFS), |processors| {
        ("it stores tags".to_owned(), processor(&release, processors))
    }));
    let version = read("/proc/sys/kernel/version", PROCFS)
        .and_then(|version| Ok((version, read(COMMAND_LINE, PROCFS)?)));
    sights.push(match version {
        Err(error) => Sight::new("preemption", "", Err(error)),
        Ok((version, command_line)) => {
            let current = fs::read_to_string(PREEMPTION).ok();
            let seen = current.as_deref().and_then(model);
            let seen = seen.unwrap_or("not the one that loses tags");
            let found = preemption(&release, &version, current.as_deref(), &command_line);
            Sight::new("preemption", seen, found)
        }
    });
    sights
}

const PROCFS: &str = "mount procfs";

/// What was read, and what it says.
fn sight(
    name: &'static str,
    text: Result<String, PreflightError>,
    judge: impl FnOnce(&str) -> (String, Result<(), PreflightError>),
) -> Sight {
    match text {
        Ok(text) => {
            let (seen, found) = judge(&text);
            Sight::new(name, seen, found)
        }
        Err(error) => Sight::new(name, "", Err(error)),
    }
}

/// Is it one of those that the suite is run on?
fn kernel(release: &str) -> Sight {
    let seen = format!("Linux {}", release.trim());
    let is_tested = numbers(release).is_some_and(|numbers| TESTED.contains(&numbers));
    let found = if is_tested {
        Found::Fine
    } else {
        Found::Doubt(format!("agentid is tested with Linux {}", tested()))
    };
    Sight { name: "kernel", seen, found }
}

fn tested() -> String {
    let names = TESTED.map(|(major, minor)| format!("{major}.{minor}"));
    names.join(", ")
}

/// The kernel prints all models, the one in force in parentheses.
fn model(models: &str) -> Option<&str> {
    Some(models.split_once('(')?.1.split_once(')')?.0)
}

/// Whether the trampolines can still run; asked again while the daemon lives.
pub fn ftrace_is_on() -> io::Result<bool> {
    Ok(fs::read_to_string(FTRACE_ENABLED)?.trim() != "0")
}

fn read(path: &'static str, remedy: &'static str) -> Result<String, PreflightError> {
    fs::read_to_string(Path::new(path)).map_err(|source| PreflightError::Unreadable {
        path,
        remedy,
        source,
    })
}

fn bpf_lsm(active: &str) -> Result<(), PreflightError> {
    let active = active.trim();
    if active.split(',').any(|name| name == "bpf") {
        Ok(())
    } else {
        Err(PreflightError::NoBpfLsm { active: active.to_owned() })
    }
}

fn ftrace(enabled: &str) -> Result<(), PreflightError> {
    if enabled.trim() == "0" { Err(PreflightError::FtraceOff) } else { Ok(()) }
}

/// A hook that is not there is one that this release does not have yet, or the kernel is not supported.
fn hooks(release: &str, is_there: impl Fn(&str) -> bool) -> Result<(), PreflightError> {
    // A release that cannot be read has them all.
    let release = numbers(release);
    let is_due = |since: (u32, u32)| release.is_none_or(|release| release >= since);
    let due = LATER_HOOKS.iter().filter(|(_, since)| is_due(*since)).map(|(name, _)| *name);
    let always = HOOKS.iter().copied().chain(DESCRIPTORS).chain([MESSAGES]);
    let missing: Vec<_> = always.chain(due).filter(|name| !is_there(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(PreflightError::MissingHooks(missing)) }
}

/// Before 6.2 a lookup of a task's storage fails while another task of the same CPU is in one
/// (kernel/bpf/bpf_task_storage.c: `bpf_task_storage_trylock`), which only full preemption makes possible.
fn preemption(
    release: &str,
    version: &str,
    current: Option<&str>,
    command_line: &str,
) -> Result<(), PreflightError> {
    if !is_before_6_2(release) {
        return Ok(());
    }
    let full = match current {
        Some(models) => model(models) == Some("full"),
        None => {
            let asked = command_line
                .split_whitespace()
                .filter_map(|word| word.strip_prefix("preempt="))
                .next_back();
            // Without PREEMPT_DYNAMIC the model is compiled in, and `PREEMPT` is the full one.
            asked == Some("full") || version.split_whitespace().any(|word| word == "PREEMPT")
        }
    };
    if full {
        Err(PreflightError::FullPreemption { release: release.trim().to_owned() })
    } else {
        Ok(())
    }
}

/// From 7.0 on task storage is allocated by `kmalloc_nolock` (mm/slub.c), which fails on a processor that cannot
/// exchange two words at once.
fn processor(release: &str, processors: &str) -> Result<(), PreflightError> {
    let needed = numbers(release).is_none_or(|release| release >= (7, 0));
    let mut flags = processors.lines().filter(|line| line.starts_with("flags"));
    // Processors of another architecture tell nothing here, and have what is needed.
    let has = flags.all(|line| line.split_whitespace().any(|flag| flag == "cx16"));
    if needed && !has {
        Err(PreflightError::NoCmpxchg16b { release: release.trim().to_owned() })
    } else {
        Ok(())
    }
}

fn is_before_6_2(release: &str) -> bool {
    // A release that cannot be read is taken for the worst.
    numbers(release).is_none_or(|release| release < (6, 2))
}

fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_kernel_without_bpf_among_its_modules() {
        assert!(bpf_lsm("lockdown,yama,bpf\n").is_ok());
        let error = bpf_lsm("lockdown,yama,bpfilter\n").unwrap_err().to_string();
        assert!(error.contains("lsm=lockdown,yama,bpfilter,bpf"), "{error}");
    }

    #[test]
    fn refuses_a_kernel_without_a_hook_that_it_should_have() {
        let all_but = |absent: &'static str| move |name: &str| name != absent;
        assert!(hooks("6.1.0", |_| true).is_ok());
        assert!(hooks("6.1.0", all_but("inode_setattr")).is_err());
        assert!(hooks("6.1.0", all_but("inode_set_acl")).is_ok());
        assert!(hooks("6.2.0", all_but("inode_set_acl")).is_err());
        assert!(hooks("6.12.107", all_but("inode_file_setattr")).is_ok());
        assert!(hooks("6.17.0", all_but("inode_file_setattr")).is_err());
        let error = hooks("unknown", all_but("inode_file_setattr")).unwrap_err().to_string();
        assert!(error.contains("inode_file_setattr"), "{error}");
    }

    #[test]
    fn refuses_a_processor_that_cannot_store_tags() {
        let (with, without) = ("flags\t\t: fpu cx16 lm\n", "flags\t\t: fpu cx8 lm\n");
        assert!(processor("7.3.4-amd64", with).is_ok());
        assert!(processor("7.3.4-amd64", without).is_err());
        assert!(processor("7.0.0", &[with, without].concat()).is_err());
        assert!(processor("6.12.107", without).is_ok());
        assert!(processor("unknown", without).is_err());
    }

    #[test]
    fn a_series_that_is_not_tested_is_a_doubt() {
        for release in ["6.1.0-56-cloud-amd64", "6.12.107", "7.3.4"] {
            assert!(matches!(kernel(release).found, Found::Fine), "{release}");
        }
        for release in ["6.11.0", "6.120.1", "unknown"] {
            let Found::Doubt(remedy) = kernel(release).found else { panic!("{release}") };
            assert_eq!(remedy, "agentid is tested with Linux 6.1, 6.12, 7.3");
        }
    }

    #[test]
    fn refuses_full_preemption_before_6_2_only() {
        let full = Some("none voluntary (full)");
        assert!(preemption("6.1.0-56-cloud-amd64", "", full, "").is_err());
        assert!(preemption("6.1.0", "", Some("none (voluntary) full"), "preempt=full").is_ok());
        assert!(preemption("6.1.0", "", None, "quiet preempt=full").is_err());
        assert!(preemption("6.1.0", "", None, "preempt=full preempt=none").is_ok());
        assert!(preemption("6.1.0", "#1 SMP PREEMPT Debian", None, "").is_err());
        assert!(preemption("6.1.0", "#1 SMP PREEMPT_DYNAMIC Debian", None, "").is_ok());
        assert!(preemption("6.12.107", "", full, "").is_ok());
        assert!(preemption("unknown", "", full, "").is_err());
    }
}
