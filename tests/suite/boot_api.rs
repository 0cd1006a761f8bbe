//! What the control socket answers is what its document says, whatever it is asked.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use agentid_tests::{
    control,
    harness::{
        Daemon, Run, scale,
        scene::{PROBE, USERS},
    },
};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// Where the guest has the fuzzer.
const FUZZER: &str = "/opt/schemathesis";
/// Requests that are made up for each operation and user. `AGENTID_EXAMPLES` of `cargo xtask test` sets another number.
const EXAMPLES: usize = 2;
/// From so many on each bound of each member is tried as well,
const THOROUGH: usize = 20;
/// and both users together make at least so many requests.
const CASES: u64 = 2000;

/// A process with the credentials that the daemon sees, between the fuzzer and the socket.
struct Relay {
    process: Child,
    port: u16,
}

impl Relay {
    fn start(socket: &Path, uid: u32) -> Result<Self> {
        let mut command = Command::new(PROBE);
        command.arg("relay").arg(socket).uid(uid).gid(uid).current_dir("/");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = process.stdout.take().context("the relay has no output")?;
        let mut relay = Self { process, port: 0 };
        BufReader::new(output).read_line(&mut line)?;
        relay.port = line.trim().parse().with_context(|| format!("the relay said {line:?}"))?;
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("the relay does not end: {error}");
        }
    }
}

/// What the fuzzer reports.
#[derive(Debug, Deserialize)]
struct Report {
    complete: bool,
    exit_code: i32,
    operations: Operations,
    test_cases: Cases,
    failures: Vec<serde_json::Value>,
    errors: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Operations {
    total: u64,
    tested: u64,
}

#[derive(Debug, Deserialize)]
struct Cases {
    generated: u64,
    without_checks: u64,
}

/// Two routes are asked about a run that is there, and a stream that never ends is not waited for. What is allowed is done, or
/// refused for what the run, the policy or the caller is, which no schema can say; as unreadable it is never refused.
fn settings(run: &str) -> String {
    format!(
        "[[operations]]\ninclude-name = \"GET /v1/events\"\nparameters = {{ \"query.follow\" = \"false\" }}\n\
         [[operations]]\ninclude-operation-id = [\"show\", \"why\"]\nparameters = {{ \"path.id\" = \"{run}\" }}\n\
         [checks.positive_data_acceptance]\nexpected-statuses = [\"2xx\", 403, 404, 409, 413, 422]\n"
    )
}

/// Asks all that the document allows, and much that it does not: in the way of these phases of the fuzzer.
fn fuzz(daemon: &Daemon, uid: u32, phases: &str, examples: usize, folder: &Path) -> Result<Report> {
    // A relay has threads, so that no request can make a run of it.
    let relay = Relay::start(&daemon.scene().socket(), uid)?;
    let run = Run::of(daemon, uid)?;
    fs::write(folder.join("schemathesis.toml"), settings(run.id()))?;
    let api = format!("http://127.0.0.1:{}", relay.port);
    let report = folder.join(format!("{uid}.json"));
    let mut command = Command::new("python3");
    command.current_dir(folder).env("PYTHONPATH", FUZZER).env("HOME", folder).env("NO_COLOR", "1");
    command.args(["-m", "schemathesis.cli", "run", &format!("{api}/v1/openapi.json")]);
    command.args(["--url", &api, "--phases", phases, "--max-examples", &examples.to_string()]);
    command.args(["--seed", "1", "--no-shrink", "--continue-on-failure"]);
    command.args(["--request-timeout", "60", "--suppress-health-check", "all"]);
    command.args(["--report", "json", "--report-json-path"]).arg(&report);
    let output = command.stdin(Stdio::null()).output().context("failed to start python3")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let Ok(text) = fs::read(&report) else {
        bail!("no report: {said}{}", String::from_utf8_lossy(&output.stderr));
    };
    let report: Report = serde_json::from_slice(&text)?;
    ensure!(report.exit_code == 0, "uid {uid}: {report:#?}\n{said}\n{}", daemon.log());
    eprintln!("uid {uid}: {} cases", report.test_cases.generated);
    Ok(report)
}

/// P9: requests by both users, right ones and wrong ones, are answered as the document says, and with no status of 5xx that it
/// does not mean: some for each operation, and thousands where a thorough test is asked for.
#[test]
fn answers_as_its_document_says() -> Result<()> {
    let daemon = Daemon::start()?;
    let (folder, tgid) = (tempfile::tempdir()?, daemon.tgid());
    let operations = control::operations(&daemon.scene().socket())?;
    // Where it has the document from is no operation to it.
    let operations = u64::try_from(operations.iter().filter(|it| it.id != "openapi").count())?;
    let examples = scale::asked("examples", EXAMPLES)?;
    // What is made up, and each bound of each member once; both by both would take twice as long.
    let phases = if examples < THOROUGH { ["fuzzing"; 2] } else { ["fuzzing", "coverage"] };
    let mut cases = 0;
    // Root comes last, for it may have nothing launched for the owner of all runs of this suite, and does.
    for (uid, phases) in USERS.into_iter().zip(phases).rev() {
        let report = fuzz(&daemon, uid, phases, examples, folder.path())?;
        assert!(report.complete && report.failures.is_empty() && report.errors.is_empty());
        assert_eq!(report.operations.total, operations, "{report:?}");
        assert_eq!(report.operations.tested, report.operations.total, "{report:?}");
        cases += report.test_cases.generated - report.test_cases.without_checks;
    }
    let least = if examples < THOROUGH { operations } else { CASES };
    assert!(cases >= least, "{cases} cases");
    assert_eq!(daemon.tgid(), tgid);
    assert_eq!(daemon.status()?.posture, "enforcing");
    Ok(())
}
