//! Rules that are replaced while the run works.

use agentid_common::file::Rights;
use proptest::{prelude::*, sample::select};

use super::{
    super::*,
    host::{Host, KEY, Run, TAG, parsed},
    reference::{host, path, plain, policy},
};
use crate::policy::Policy;

/// The writes by which a policy takes the place of the one that a run is bound to, in the order of the supervisor: what is
/// new, then the slot, then away with what was before. None where the folder's rules contradict each other.
fn replacement(run: &mut Run, before: Binding, after: &Policy, folder: &str) -> Option<Vec<MapOp>> {
    let terrain = run.host.terrain(&prefixes(after));
    let compiled = compile(after, &terrain, &KEY, &mut run.numbers).unwrap();
    let old = std::mem::replace(&mut run.policy, compiled);
    let bound = run.try_bind(&[("w", folder)]).ok()?;
    let instance = run.image.instances[&TAG.slot];
    let rules = SlotRules {
        policy: run.policy.scope,
        params: bound.scope,
        mode: instance.mode,
        ladder: instance.ladder,
        capabilities: instance.capabilities,
        names: false,
    };
    let mut ops = run.policy.ops.clone();
    ops.extend(bound.ops);
    ops.extend([MapOp::Bind(TAG.slot, rules), MapOp::Synchronize]);
    for (removal, held) in [(old.removal, old.held), (before.removal, before.held)] {
        ops.extend(removal);
        ops.extend(run.numbers.release(held));
    }
    Some(ops)
}

proptest! {
    #[test]
    fn every_write_of_an_update_leaves_the_old_answer_or_the_new_one(
        host in host(),
        before in policy(),
        after in policy(),
        folder in path(2),
        asked in prop::collection::vec((path(6), select(&[1, 2, 3, 16, 17, 19][..])), 20),
    ) {
        let mut run = Run::new(host.folders(&[&folder]), &before);
        prop_assume!(run.try_bind(&[("w", &folder)]).is_ok());
        let bound = run.bind(&[("w", &folder)]);
        let ops = replacement(&mut run, bound, &after, &folder);
        prop_assume!(ops.is_some());
        let ops = ops.unwrap_or_default();

        let answers = |run: &Run| -> Vec<_> {
            asked.iter().map(|(path, bits)| plain(run.access(path, Rights(*bits)))).collect()
        };
        let old = answers(&run);
        let mut seen = vec![old.clone()];
        for op in &ops {
            run.image.apply(op);
            seen.push(answers(&run));
        }
        let new = answers(&run);
        for (number, found) in seen.iter().enumerate() {
            for (which, found) in found.iter().enumerate() {
                prop_assert!(
                    [old[which], new[which]].contains(found),
                    "{:?} after {number} of {} writes: {found:?}", asked[which], ops.len()
                );
            }
        }
    }
}

#[test]
fn mounts_above_and_below_a_rule_touch_it_and_no_others() {
    let rules = "params = ['w']\n\
        [[file]]\npaths = ['/srv/data/*', '${w}/**']\nallow = ['read']\n\
        [[file]]\npaths = ['**/.env', '/etc/shadow']\ndeny = 'all'\n";
    let mut run = Run::new(Host::usual(), &parsed(rules));
    let bound = run.bind(&[("w", "/home/u/work")]);
    let touches = |point: &str| {
        let points = [point.into()];
        (run.policy.ground.is_touched(&points), bound.ground.is_touched(&points))
    };
    for point in ["/srv", "/srv/data", "/srv/data/deep/below", "/etc", "/etc/shadow"] {
        assert_eq!(touches(point), (true, false), "{point}");
    }
    for point in ["/home", "/home/u/work", "/home/u/work/x"] {
        assert_eq!(touches(point), (false, true), "{point}");
    }
    for point in ["/srv/other", "/etc/other", "/home/v", "/home/u/other", "/var/lib/x"] {
        assert_eq!(touches(point), (false, false), "{point}");
    }
    assert_eq!(touches("/"), (true, true));
}
