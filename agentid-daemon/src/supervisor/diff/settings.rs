//! What is not about one file or peer.

use std::{collections::BTreeSet, time::Duration};

use agentid_common::{capability::NAMES, decide::capability::may_have};

use super::{Diff, Row, Setting};
use crate::{
    image::{Assumed, compare},
    instance::{
        bounds::size,
        run::{OnEnd, RunMode},
    },
    policy::{Delegate, Policy},
    supervisor::rule_text,
};

pub(super) fn compare(policies: [&Policy; 2], sides: [&Assumed; 2], diff: &mut Diff) {
    capabilities(sides, diff);
    let mut setting = |name: &str, of: &dyn Fn(&Policy) -> String| {
        let [before, after] = policies.map(of);
        if before != after {
            diff.settings.push(Setting { name: name.to_owned(), before, after });
        }
    };
    setting("ttl", &|policy| time(policy.ttl()));
    setting("max_ttl", &|policy| time(policy.max_ttl()));
    setting("mode", &|policy| RunMode::of(policy.mode()).name().to_owned());
    setting("on_end", &|policy| OnEnd::of(policy.on_end()).name().to_owned());
    setting("params", &|policy| list(policy.params().iter().cloned().collect()));
    setting("delegate to", &|policy| list(delegated(policy)));
    setting("depth", &|policy| number(policy, |delegate| delegate.depth));
    setting("fan_out", &|policy| number(policy, |delegate| delegate.fan_out));
    setting("on_excess", &|policy| {
        let delegate = policy.delegate().map(|delegate| delegate.on_excess.name());
        delegate.unwrap_or("none").to_owned()
    });
    setting("denials_per_minute", &|policy| {
        let limit = policy.limits().denials_per_minute;
        limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
    });
    let none = || "none".to_owned();
    setting("memory", &|policy| policy.limits().memory.map_or_else(none, size));
    setting("tasks", &|policy| {
        policy.limits().tasks.map_or_else(none, |number| number.to_string())
    });
    setting("cpu", &|policy| policy.limits().cpu.map_or_else(none, |share| format!("{share}%")));
    setting("tripwires", &|policy| list(tripwires(policy)));
    setting("port 53", &|policy| {
        let text = if policy.grants_names() { "asks the daemon for names" } else { "as any other" };
        text.to_owned()
    });
    for name in compare::hosts(sides).keys() {
        let rules = compare::host_rules(sides, name);
        // Otherwise the rules for it say that it has become allowed, or denied.
        if let [Some(before), Some(after)] = rules
            && (before.allows.is_some(), after.allows.is_some()) == (true, true)
        {
            let blocks = |rules: &crate::image::HostRules| {
                let blocks = rules.resolves_to.iter().map(rule_text::block);
                list(blocks.collect())
            };
            let (before, after) = (blocks(before), blocks(after));
            if before != after {
                let name = format!("{name} resolves_to");
                diff.settings.push(Setting { name, before, after });
            }
        }
    }
}

fn capabilities(sides: [&Assumed; 2], diff: &mut Diff) {
    for (number, name) in (0..).zip(NAMES) {
        let [before, after] =
            sides.map(|side| may_have(&side.facts(), &side.tag(), number).is_ok());
        if before != after {
            let (rights, text) = (vec!["use".to_owned()], format!("capability {name}"));
            diff.add(after, Row { rights, within: text, example: name.to_owned() });
        }
    }
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn list(texts: BTreeSet<String>) -> String {
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.into_iter().collect::<Vec<_>>().join(", ")
    }
}

fn delegated(policy: &Policy) -> BTreeSet<String> {
    policy.delegate().iter().flat_map(|delegate| delegate.names()).map(str::to_owned).collect()
}

/// What they lie on; that it is denied is told apart.
fn tripwires(policy: &Policy) -> BTreeSet<String> {
    let files = policy.file_rules().iter().filter(|rule| rule.tripwire);
    let files = files.flat_map(|rule| rule.patterns.iter().map(|it| it.text.clone()));
    let nets: Vec<_> = policy.net_rules().iter().filter(|rule| rule.tripwire).collect();
    let names = nets.iter().flat_map(|rule| rule.names.iter().map(rule_text::named));
    let targets = nets.iter().flat_map(|rule| rule.targets.iter().map(rule_text::target));
    files.chain(names).chain(targets).collect()
}

fn number(policy: &Policy, of: impl Fn(&Delegate) -> u32) -> String {
    policy.delegate().map_or_else(|| "none".to_owned(), |delegate| of(delegate).to_string())
}
