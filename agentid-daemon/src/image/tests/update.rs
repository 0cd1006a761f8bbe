//! Rules that are replaced while the run works.

use agentid_common::file::Rights;
use proptest::{prelude::*, sample::select};

use super::{
    super::*,
    host::{KEY, Run, TAG},
    reference::{host, path, plain, policy},
};
use crate::policy::Policy;

/// The writes by which a policy takes the place of the one that a run is bound to, in the order of the supervisor: what is
/// new, then the slot, then away with what was before. None where the folder's rules contradict each other.
fn replacement(
    run: &mut Run,
    before: Binding,
    after: &Policy,
    folder: &str,
) -> Option<Vec<MapOp>> {
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
