//! Enforcement on this machine instead of in a guest.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::shell;

/// Fails with everything that this machine lacks.
pub fn require() -> Result<()> {
    let mut lacks = Vec::new();
    if shell::as_root("true").is_none() {
        lacks.push("root (run as root, or type sudo -v first)".to_owned());
    }
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !modules.split(',').any(|module| module.trim() == "bpf") {
        lacks.push(format!("bpf among the active LSMs (active: {:?})", modules.trim()));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        lacks.push("the kernel's BTF (/sys/kernel/btf/vmlinux)".to_owned());
    }
    if lacks.is_empty() {
        return Ok(());
    }
    bail!("this machine cannot enforce: it lacks {}; leave out --native", lacks.join(" and "))
}
