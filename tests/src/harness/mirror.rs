//! The runs of a host as somebody knows them who has asked for them once, and follows the events since.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// What is known of each run, by its ID.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirror(pub BTreeMap<String, Value>);

/// What a list says of a run and no event does: what is counted while it lives, and what comes of that.
const COUNTED: [&str; 9] = [
    "tasks",
    "below",
    "names",
    "sockets",
    "more_sockets",
    "sockets_unknown",
    "changes",
    "totals",
    "usage",
];

impl Mirror {
    pub fn of(list: Vec<Value>) -> Result<Self> {
        let known = |mut run: Value| {
            let id = run["id"].as_str().context("a run without an ID")?.to_owned();
            let ended = run["phase"] == "ended";
            let members = run.as_object_mut().context("a run that is no object")?;
            members
                .retain(|name, _| !COUNTED.contains(&name.as_str()) || ended && name == "totals");
            Ok((id, run))
        };
        Ok(Self(list.into_iter().map(known).collect::<Result<_>>()?))
    }

    /// Takes one event in.
    pub fn take(&mut self, event: &Value) -> Result<()> {
        let what = &event["what"];
        let kind = what["kind"].as_str().context("an event of no kind")?;
        let new = match kind {
            "launched" => {
                let id = event["run"]["id"].as_str().context("a launch of no run")?;
                let run = merged(&event["run"], what);
                ensure!(self.0.insert(id.to_owned(), run).is_none(), "{id} was launched twice");
                json!({ "phase": "active", "frozen": false, "end": null, "parent": event["run"]["above"].get(0) })
            }
            "suspended" => {
                json!({ "phase": "suspended", "frozen": what["frozen"], "deadline_ms": what["deadline_ms"] })
            }
            "resumed" => {
                json!({ "phase": "active", "frozen": what["frozen"], "deadline_ms": what["deadline_ms"] })
            }
            "extended" => json!({ "deadline_ms": what["deadline_ms"] }),
            "renewed" if what["mistake"].is_null() => {
                json!({ "policy": event["run"]["policy"], "mode": what["mode"], "on_end": what["on_end"] })
            }
            "stopped" => json!({ "phase": "stopping", "end": picked(what, &END) }),
            "ended" => {
                let totals =
                    if what["started"].is_null() { Value::Null } else { picked(what, &TOTALS) };
                json!({ "phase": "ended", "frozen": false, "end": picked(what, &END), "totals": totals })
            }
            "forgotten" => {
                let ids = what["runs"].as_array().context("runs that are none")?;
                ids.iter().filter_map(Value::as_str).for_each(|id| drop(self.0.remove(id)));
                return Ok(());
            }
            "missed" | "dropped" => bail!("the mirror has a gap: {event}"),
            _ => return Ok(()),
        };
        let id = event["run"]["id"].as_str().with_context(|| format!("no run: {event}"))?;
        let run = self.0.get_mut(id).with_context(|| format!("of an unknown run: {event}"))?;
        *run = merged(run, &new);
        Ok(())
    }

    /// Whether both say the same. A deadline is told by two clocks, between which a moment may pass.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((id, one), (other_id, other))| {
                let until = |run: &Value| run["deadline_ms"].as_u64().unwrap_or_default();
                let near = until(one).abs_diff(until(other)) <= 20;
                let rest = |run: &Value| merged(run, &json!({ "deadline_ms": 0 }));
                id == other_id && near && rest(one) == rest(other)
            })
    }
}

const END: [&str; 4] = ["ending", "at_ms", "reason", "by_uid"];
const TOTALS: [&str; 6] = ["started", "allowed", "denied", "faults", "records", "lost"];

fn picked(from: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), from[*name].clone())).collect::<Map<_, _>>().into()
}

/// The members of both, the second's where they are of one name.
fn merged(one: &Value, other: &Value) -> Value {
    let mut all = one.as_object().cloned().unwrap_or_default();
    all.extend(other.as_object().cloned().unwrap_or_default());
    all.remove("kind");
    // What is not known is left out as well.
    all.retain(|_, value| !value.is_null());
    all.into()
}
