//! A daemon that gives the same answers whatever was asked before.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

const ID: &str = "01900000-0000-7000-8000-123456789abc";
const CHILD: &str = "01900000-0000-7000-8000-00000000000a";

const HOUR_MS: u64 = 3_600_000;

/// Answers until the test ends.
pub struct Daemon {
    socket: PathBuf,
    answers: Answers,
}

/// What is answered, with times that are told as ages.
#[derive(Clone)]
struct Answers {
    launched_ms: u64,
    deadline_ms: u64,
    policy: String,
}

impl Daemon {
    pub fn start(folder: &Path, policy: &str) -> Self {
        let socket = folder.join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        // In the middle of the last unit that is shown, so that no time of this test's changes it.
        let answers = Answers {
            launched_ms: now - 28 * HOUR_MS - HOUR_MS / 2,
            deadline_ms: now + 76 * HOUR_MS + HOUR_MS / 2,
            policy: policy.to_owned(),
        };
        let known = answers.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                converse(stream.unwrap(), &answers);
            }
        });
        Self { socket, answers: known }
    }

    pub fn option(&self) -> String {
        format!("--socket={}", self.socket.display())
    }

    /// The text with the same times whenever it was written.
    pub fn timeless(&self, text: &str) -> String {
        let Answers { launched_ms, deadline_ms, .. } = self.answers;
        let told = |ms: u64| {
            let at = UNIX_EPOCH + std::time::Duration::from_millis(ms);
            humantime::format_rfc3339_seconds(at).to_string()
        };
        // It was given before the verb.
        let text = text.replace(" --socket <PATH>", "");
        text.replace(&launched_ms.to_string(), "1800000000000")
            .replace(&deadline_ms.to_string(), "1800378000000")
            .replace(&told(launched_ms), "2027-01-15T08:00:00Z")
            .replace(&told(deadline_ms), "2027-01-19T17:00:00Z")
    }
}

fn converse(mut stream: UnixStream, answers: &Answers) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |it| it.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let request = head.lines().next().unwrap_or_default();
    let mut request = request.strip_suffix(" HTTP/1.1").unwrap_or_default().to_owned();
    if let Some(last) = head.lines().find_map(|it| it.strip_prefix("last-event-id: ")) {
        request += &format!("&after={last}");
    }
    let (status, kind, text) = match answers.to(&request, &String::from_utf8_lossy(&body)) {
        Ok(Value::String(events)) => (200, "text/event-stream", events),
        Ok(value) => (200, "application/json", value.to_string()),
        Err(problem) => (404, "application/problem+json", problem.to_string()),
    };
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all((head + &text).as_bytes()).unwrap();
}

impl Answers {
    fn to(&self, request: &str, body: &str) -> Result<Value, Value> {
        let refused =
            |code: &str, message: &str, remedy: &str| Err(problem(404, code, message, remedy));
        let run = "123456789abc";
        Ok(match request.split('?').next().unwrap_or_default() {
            "POST /v1/select" if body.contains("\"none\"") => json!([]),
            "POST /v1/select" => {
                let mut all = [self.run(), self.child(body.contains("\"ended\":true"))];
                (all[0]["below"], all[1]["below"]) = (3.into(), 0.into());
                json!(all)
            }
            "GET /v1/tree" if request.contains("%22none%22") => json!([]),
            "GET /v1/tree" => json!([
                { "run": self.run(), "processes": [
                    { "tgid": 4711, "threads": 1, "comm": "python3" },
                    { "tgid": 4712, "threads": 3, "comm": "node" }
                ] },
                { "run": self.child(false), "processes": [{ "tgid": 4720, "threads": 1, "comm": null }] }
            ]),
            "GET /v1/whoami" => json!({ "uid": 1000, "operator": false, "run": null }),
            "GET /v1/status" => status(),
            // A follower loses the stream after the launch, and the second time it is told to stay away.
            "GET /v1/events" if request.contains("follow=true") && request.contains("after=11") => {
                self.events(request)
            }
            "GET /v1/events" if request.contains("follow=true") && request.contains("after=") => {
                return refused(
                    "tagged",
                    "the asking process belongs to a run",
                    "ask from outside",
                );
            }
            "GET /v1/events" if request.contains("follow=true") => {
                let Value::String(all) = self.events(request) else { return Ok(Value::Null) };
                let end = all.find("id: 27").unwrap_or(all.len());
                Value::String(all[..end].to_owned())
            }
            "GET /v1/events" => self.events(request),
            "GET /v1/self/denials" => json!([
                { "time_ms": 1_800_000_001_000_u64, "what": denial(),
                  "grant": "[[file]]\npaths = [\"/home/dana/.ssh/id\"]\nallow = [\"read\"]" }
            ]),
            "GET /v1/policies" => json!([policy(true), policy(false)]),
            "GET /v1/policies/tested" => json!({ "policy": policy(true), "text": self.policy }),
            "POST /v1/runs" | "POST /v1/delegate" if !body.contains("no-such") => {
                json!({ "id": ID, "policy": "coding-agent@00ff", "deadline_ms": self.deadline_ms })
            }
            "GET /v1/policies/no-such" | "POST /v1/runs" => {
                return refused(
                    "unknown_policy",
                    "no policy is called \"no-such\"",
                    "the policies are coding-agent, tested",
                );
            }
            "POST /v1/adopt" if body.contains("4712") => {
                return refused(
                    "bad_process",
                    "process 4712 is traced by process 99",
                    "detach the tracer (strace, gdb) and try again",
                );
            }
            "POST /v1/adopt" => json!({
                "run": { "id": ID, "policy": "coding-agent@00ff", "deadline_ms": self.deadline_ms },
                "processes": [4711, 4713, 4720]
            }),
            "POST /v1/self/end" => revoked(ID, 4),
            "POST /v1/revoke" => json!({
                "runs": [revoked(ID, 4), revoked(CHILD, 1)],
                "denied_after_ms": 0.31, "stopped_after_ms": 12.04
            }),
            "POST /v1/suspend" | "POST /v1/resume" => {
                json!({ "runs": [self.changed(ID, Value::Null)] })
            }
            "POST /v1/extend" => {
                let message = format!("the policy's max_ttl leaves run {CHILD} 1m more");
                let error = problem(422, "bound", &message, "ask for at most 1m");
                json!({ "runs": [self.changed(ID, Value::Null), self.changed(CHILD, error)] })
            }
            "POST /v1/owners/deny" => {
                json!({ "owner": "dana@example.org", "denied": true, "live": 2 })
            }
            "POST /v1/owners/allow" => {
                json!({ "owner": "dana@example.org", "denied": false, "live": 2 })
            }
            route if route == format!("GET /v1/runs/{run}") => self.run(),
            route if route == format!("POST /v1/runs/{run}/revoke") => {
                let mut revoked = revoked(ID, 4);
                if body.contains("stuck") {
                    (revoked["remaining"], revoked["stopped_after_ms"]) = (4.into(), Value::Null);
                }
                revoked
            }
            route if route == format!("POST /v1/runs/{run}/why") => json!({
                "verdict": "deny", "reason": "deny_rule", "fault": null, "rule": 3,
                "rule_text": "deny read, write, create, delete, exec, connect on **/.env",
                "because": "secrets are not part of it", "explanation": "rule 3 denies it", "names": []
            }),
            _ => {
                return refused(
                    "unknown_run",
                    "no run has an ID that starts or ends with \"dead\"",
                    "agentid ps --all lists the runs",
                );
            }
        })
    }

    fn run(&self) -> Value {
        json!({
            "id": ID, "agent": "reviewer", "owner": "dana@example.org", "task": "T-1", "purpose": "a review",
            "labels": { "team": "core" }, "policy": "coding-agent@00ff",
            "params": { "workspace": "/home/dana/work" }, "mode": "enforce", "on_end": "kill", "parent": null,
            "above": [], "command": ["python3", "agent.py"], "uid": 1000, "tgid": 4711, "phase": "active",
            "launched_ms": self.launched_ms, "deadline_ms": self.deadline_ms, "tasks": 3,
            "totals": { "started": 5, "allowed": 70, "denied": 2, "faults": 0, "records": 9, "lost": 0 },
            "names": [{ "name": "api.example.org", "address": "192.0.2.7", "until_ms": self.deadline_ms }],
            "sockets": [{
                "protocol": "tcp", "state": "established", "own": "10.0.0.2:40000", "peer": "192.0.2.7:443",
                "serves": false
            }],
            "changes": [{
                "at_ms": self.launched_ms, "by_uid": 0, "reason": "long job", "what": "extended", "by_ms": 1_800_000
            }],
            "end": null
        })
    }

    fn child(&self, ended: bool) -> Value {
        let mut run = self.run();
        let end = json!({
            "ending": "revoked", "at_ms": self.launched_ms, "reason": "enough", "by_uid": 0
        });
        let more = json!({
            "id": CHILD, "agent": "test-runner", "policy": "tested@beef", "parent": ID, "above": [ID], "tasks": 1,
            "phase": if ended { "ended" } else { "suspended" }, "end": if ended { end } else { Value::Null },
            "names": [], "sockets": [], "changes": [], "purpose": null
        });
        for (name, value) in more.as_object().unwrap() {
            run[name] = value.clone();
        }
        run
    }

    fn changed(&self, id: &str, error: Value) -> Value {
        json!({
            "id": id, "agent": "reviewer", "owner": "dana@example.org", "task": "T-1", "phase": "suspended",
            "deadline_ms": self.deadline_ms, "error": error
        })
    }

    /// One event in each line, as they come.
    fn events(&self, request: &str) -> Value {
        let run = json!({
            "id": ID, "agent": "reviewer", "owner": "dana@example.org", "task": "T-1", "policy": "coding-agent@00ff",
            "above": []
        });
        let launched = json!({ "kind": "launched", "uid": 1000, "tgid": 4711, "command": ["python3", "agent.py"] });
        let ended =
            json!({ "kind": "ended", "ending": "revoked", "reason": "enough", "by_uid": 0 });
        let missed = json!({ "kind": "missed", "count": null, "why": "restarted" });
        let (none, run) = (Value::Null, &run);
        let all = [
            (10, 0, &none, missed),
            (11, 0, run, launched),
            (27, 1000, run, denial()),
            (42, 2000, run, ended),
        ];
        let after = request.split_once("after=").map(|(_, after)| after.parse::<u64>().unwrap());
        let wanted = all.into_iter().filter(|(seq, ..)| *seq > after.unwrap_or(10));
        let text = wanted.map(|(seq, later, run, what)| {
            let time_ms = 1_800_000_000_000_u64 + later;
            let event = json!({ "seq": seq, "time_ms": time_ms, "run": run, "what": what });
            format!("id: {seq}\ndata: {event}\n\n")
        });
        Value::String(text.collect())
    }
}

fn problem(status: u16, code: &str, detail: &str, remedy: &str) -> Value {
    let kind = format!("urn:agentid:problem:{code}");
    json!({
        "type": kind, "title": "", "status": status, "detail": detail, "code": code, "remedy": remedy
    })
}

fn revoked(id: &str, tasks: u64) -> Value {
    let also: &[&str] = if id == ID { &[CHILD] } else { &[] };
    json!({
        "id": id, "also": also, "tasks": tasks, "remaining": 0, "denied_after_ms": 0.31,
        "stopped_after_ms": 12.04
    })
}

fn denial() -> Value {
    json!({
        "kind": "access", "sequence": 7, "hook": "file_open", "verdict": "deny", "reason": "no_rule", "fault": null,
        "rule": null, "because": null,
        "process": { "tgid": 4712, "tid": 4712, "uid": 1000, "comm": "cat" },
        "object": { "file": { "path": "/home/dana/.ssh/id", "want": ["read"] } }
    })
}

fn policy(offered: bool) -> Value {
    json!({
        "name": "tested", "digest": if offered { "7435a611b2e39c2a" } else { "00000000deadbeef" },
        "description": "what the reference shows", "params": ["workspace"], "offered": offered,
        "runs": if offered { 1 } else { 2 }
    })
}

fn status() -> Value {
    json!({
        "version": "0.1.0", "abi": 6, "posture": "degraded", "why": "sysctl is not attached",
        "started_ms": 1_800_000_000_000_u64, "active": 1, "suspended": 1, "stopping": 0, "slots": 16383,
        "hooks": [
            { "name": "file_open", "needed": true, "attached": true, "why_not": null },
            { "name": "sysctl", "needed": true, "attached": false, "why_not": "its link is gone" },
            { "name": "skb_egress", "needed": false, "attached": false, "why_not": null }
        ],
        "maps": [{ "name": "PEERS", "entries": 12, "capacity": 65536 }],
        "policies": [{
            "name": "tested", "digest": "7435a611b2e39c2a", "description": "what the reference shows",
            "params": ["workspace"]
        }],
        "policy_mistakes": ["/etc/agentid/policies.d/p.toml:2:1: unknown field `paht`"],
        "denied_owners": [{
            "owner": "bob", "at_ms": 1_800_000_000_000_u64, "by_uid": 0, "reason": "has left"
        }]
    })
}
