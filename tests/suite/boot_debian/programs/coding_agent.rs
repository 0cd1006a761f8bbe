//! What a coding agent uses beside what the demo shows.

use std::fs;

use agentid_tests::harness::{Daemon, scene::USERS};
use anyhow::{Result, ensure};

use super::{Site, does, fails, scene};

/// What a person's shell does with a terminal.
const JOBS: &str = include_str!("jobs.py");
const NODE: &str = "const f = require('fs'); f.writeFileSync('n', 'of node');\n\
    console.log(require('child_process').execFileSync('cat', ['n']).toString());\n";

/// What programs ask of themselves, and do without: where their stack ends, how many threads they have, and which group
/// limits them. No policy can grant a run that of its own processes alone.
const OWN: [&str; 3] = ["read /proc/PID/maps", "read /proc/PID/stat", "read /proc/PID/cgroup"];

/// P2: archives, copies, databases, editors that rename into place, shells with jobs, node and environments of python work
/// in the workspace, and are denied nothing but what they do without.
#[test]
fn programs_work_under_coding_agent() -> Result<()> {
    let daemon = Daemon::start_in(scene(&["coding-agent"])?)?;
    let [maps, stat, cgroup] = OWN;
    for uid in USERS {
        let site = Site::of(&daemon, "coding-agent", &["workspace"], uid)?;
        site.leave("workspace/src/one", "one\n")?;
        site.leave("workspace/src/.git/two", "two\n")?;
        site.leave("workspace/jobs.py", JOBS)?;
        site.leave("workspace/node.js", NODE)?;
        site.works(&[
            does(
                "ln -s one src/link; tar czf a.tgz src && mkdir x && tar xzf a.tgz -C x && diff -r src x/src && tar tf a.tgz",
                "src/link",
                &[maps],
            ),
            does(
                "rsync -a --delete src/ copy/ && diff -r src copy && rsync -ai --stats src/ copy/",
                "transferred: 0",
                &[maps],
            ),
            does(
                "sqlite3 db 'pragma journal_mode=wal; create table t(a); insert into t values(40); begin; update t set a=a+2; commit; vacuum; select a from t;'",
                "42",
                &[],
            ),
            does(
                // As root, which may not give files away, it writes in place.
                "echo old > f; vim.tiny -N -es -c 'set backupcopy=no' -c '%s/old/new/' -c wq f; cat f",
                "new",
                &[],
            ),
            does("python3 jobs.py", "all jobs obey", &[stat]),
            does("node node.js", "of node", &[cgroup, maps]),
            does(
                "python3 -m venv --without-pip env && env/bin/python -c 'import sys, tempfile; print(sys.prefix, tempfile.TemporaryFile())'",
                "/workspace/env",
                &[],
            ),
            fails("tar cf a.tar ../outside", "Cannot open: Permission denied", &["read ~/outside"]),
            fails(
                "rsync src/one ../outside/",
                "Permission denied (13)",
                &["create ~/outside/.one.RANDOM"],
            ),
            fails(
                "sqlite3 ../outside/db 'create table t(a);'",
                "unable to open database",
                &["create ~/outside/db"],
            ),
            fails(
                "vim.tiny -N -es -c 'set noswapfile backupcopy=no' -c wq! ../outside/a",
                "",
                &["read ~/outside/a", "write ~/outside/a", "delete ~/outside/a"],
            ),
        ])?;
        ensure!(fs::read_to_string(site.folder("outside/a"))? == "text", "uid {uid}");
    }
    Ok(())
}
