//! Puts the built kernel programs where the library can embed them.
//!
//! `cargo xtask` builds the object and names it in `AGENTID_EBPF_OBJECT`. A plain `cargo check` or `cargo test` of
//! this crate needs no BPF toolchain: it embeds nothing, and such a daemon says so when it is started.

use std::{env, fs, io, path::Path};

const VARIABLE: &str = "AGENTID_EBPF_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets no OUT_DIR"))?;
    let target = Path::new(&out).join("agentid-ebpf");
    match env::var_os(VARIABLE) {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", Path::new(&object).display());
            fs::copy(object, target).map(|_| ())
        }
        None => fs::write(target, []),
    }
}
