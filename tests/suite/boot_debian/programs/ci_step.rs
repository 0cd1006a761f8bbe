//! A step that builds: cargo, make, and packages of python from an index.

use std::net::TcpStream;

use agentid_tests::harness::{
    Daemon,
    scene::{USER, USERS},
    wait,
};
use anyhow::Result;

use super::{super::Servers, Site, does, fails, scene};

const INDEX: &str = include_str!("index.py");
const MANIFEST: &str = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"small\"\nversion = \"0.1.0\"\n";
const MAIN: &str = "fn main() { println!(\"built by {}\", \"cargo\"); }\n";
const MAKEFILE: &str = "answer: small.c\n\t$(CC) -o $@ $<\n\t./$@ > $@.txt\n";
const C: &str = "#include <stdio.h>\nint main(void) { return puts(\"built by make\") < 0; }\n";
const PARAMS: [&str; 3] = ["build", "checkout", "cache"];

fn checkout(site: &Site<'_>) -> Result<()> {
    site.leave("checkout/Cargo.toml", MANIFEST)?;
    site.leave("checkout/Cargo.lock", LOCK)?;
    site.leave("checkout/src/main.rs", MAIN)?;
    site.leave("checkout/Makefile", MAKEFILE)?;
    site.leave("checkout/small.c", C)
}

/// P2: make and the compiler of C build a checkout that they cannot change, and run what they have built.
#[test]
fn make_builds_under_ci_step() -> Result<()> {
    let daemon = Daemon::start_in(scene(&["ci-step"])?)?;
    for uid in USERS {
        let site = Site::of(&daemon, "ci-step", &PARAMS, uid)?;
        checkout(&site)?;
        site.works(&[
            does(
                "make -j2 -f $CHECKOUT/Makefile VPATH=$CHECKOUT && cat answer.txt",
                "built by make",
                &[],
            ),
            fails(
                "cd $CHECKOUT; make",
                "cannot open output file answer: Permission denied",
                &["create ~/checkout/answer"],
            ),
            fails(
                "cp answer $CACHE/tool && $CACHE/tool",
                "Permission denied",
                &["exec ~/cache/tool"],
            ),
        ])?;
    }
    Ok(())
}

/// P2: cargo builds a crate, and pip installs from the index that is granted, and from no other. Once, as a user: both
/// take their time, and how they reach files is what the tests of both users have.
#[test]
fn cargo_and_pip_work_under_ci_step() -> Result<()> {
    let daemon = Daemon::start_in(scene(&["ci-step"])?)?;
    let site = Site::of(&daemon, "ci-step", &PARAMS, USER)?;
    checkout(&site)?;
    let folder = tempfile::tempdir()?;
    let mut servers = Servers::none(folder.path());
    servers.spawn("python3", &["-c", INDEX, "3141", "3142"])?;
    for at in ["127.0.0.1:3141", "127.0.0.1:3142"] {
        wait::until(at, wait::SOON, || Ok(TcpStream::connect(at).is_ok().then_some(())))?;
    }
    let [maps, statm, cgroup] =
        ["read /proc/PID/maps", "read /proc/PID/statm", "read /proc/PID/cgroup"];
    let pip = "export PIP_CACHE_DIR=$CACHE/pip PIP_DISABLE_PIP_VERSION_CHECK=1; \
               env/bin/python -m pip -q install --retries 1 --index-url";
    // It tells an index which rustc there is.
    let other = format!("{pip} http://127.0.0.1:3142/simple/ small");
    let granted = format!("{pip} http://127.0.0.1:3141/simple/ small && env/bin/small");
    site.works(&[
        does(
            "export CARGO_HOME=$CACHE CARGO_TARGET_DIR=$BUILD; cargo build -q --offline --manifest-path $CHECKOUT/Cargo.toml && debug/small",
            "built by cargo",
            &[maps, statm, cgroup],
        ),
        does("python3 -m venv --system-site-packages --without-pip env", "", &[]),
        fails(&other, "[Errno 13] Permission denied", &["peer 127.0.0.1:3142", maps]),
        does(&granted, "a small answer", &[maps]),
    ])
}
