use agentid_common::{file::AnchorKey, map};

use super::{
    super::{Need, Numbers, numbers::Held},
    host::{Host, Run, parsed},
};
use crate::image::{Image, Leftover, MapOp, compile, prefixes};

fn key(inode: u64) -> AnchorKey {
    AnchorKey { filesystem: 1, inode, ..AnchorKey::default() }
}

#[test]
fn gives_released_numbers_again_and_scopes_never() {
    let mut numbers = Numbers::new(40);
    let mut held = Held::default();
    assert_eq!(numbers.node(&mut held), 1);
    assert_eq!(numbers.class(&mut held), 1);
    assert_eq!((numbers.unique(), numbers.unique()), (40, 41));
    assert_eq!(numbers.release(held), []);
    let mut held = Held::default();
    assert_eq!(numbers.node(&mut held), 1);
    assert_eq!(numbers.unique(), 42);
    assert_eq!(numbers.high_water(), 43);
    assert_eq!(numbers.release(held), []);
}

#[test]
fn keeps_an_anchor_until_its_last_user_is_gone() {
    let mut numbers = Numbers::new(1);
    let (mut one, mut two) = (Held::default(), Held::default());
    assert_eq!(numbers.anchor(&mut one, key(5)), 1);
    assert_eq!(numbers.anchor(&mut two, key(5)), 1);
    assert_eq!(numbers.anchor(&mut two, key(6)), 2);
    assert_eq!(numbers.release(one), []);
    let ops = numbers.release(two);
    assert_eq!(ops, [MapOp::RemoveAnchor(key(5)), MapOp::RemoveAnchor(key(6)), MapOp::Synchronize]);
}

#[test]
fn says_which_map_is_full() {
    let mut numbers = Numbers::new(1);
    let mut held = Held::default();
    numbers.take(&mut held, &Need { edges: map::EDGES - 1, ..Need::default() });
    let full = numbers.check(&Need { edges: 2, ..Need::default() }).unwrap_err();
    assert_eq!(full.to_string(), format!("2 edges are needed, and 1 of {} are free", map::EDGES));
    assert_eq!(numbers.release(held), []);
    assert_eq!(numbers.check(&Need { edges: map::EDGES, ..Need::default() }), Ok(()));
    assert!(numbers.check(&Need { nodes: map::NODES, ..Need::default() }).is_err());
}

#[test]
fn removal_leaves_nothing() {
    let rules = "params = ['w']\n[[file]]\npaths = ['/usr/**', '${w}/**', '**/.env']\nallow = ['read']\n\
                 [[net]]\nto = ['10.0.0.0/8:80-90']\nallow = ['connect']";
    let mut run = Run::new(Host::usual(), &parsed(rules));
    let before = run.numbers.clone();
    let binding = run.bind(&[("w", "/home/u/work")]);
    run.image.apply_all(&binding.removal);
    run.image.apply_all(&run.numbers.release(binding.held));
    assert_eq!(run.numbers.high_water(), before.high_water() + 1);
    run.image.apply_all(&run.policy.removal);
    run.image.apply_all(&run.numbers.release(run.policy.held));
    run.image.instances.clear();
    assert_eq!(run.image, Image::default());
    let next = run.numbers.high_water();
    let terrain = run.host.terrain(&prefixes(&parsed(rules)));
    let again = compile(&parsed(rules), &terrain, &super::host::KEY, &mut run.numbers).unwrap();
    let fresh =
        compile(&parsed(rules), &terrain, &super::host::KEY, &mut Numbers::new(next)).unwrap();
    assert_eq!(again.ops, fresh.ops);
}

#[test]
fn roots_go_before_what_they_lead_to() {
    let run = Run::new(Host::usual(), &parsed("[[file]]\npaths = ['/usr/**']\nallow = ['read']"));
    let wait = run.policy.removal.iter().position(|op| *op == MapOp::Synchronize).unwrap();
    let (roots, rest) = run.policy.removal.split_at(wait);
    assert!(!roots.is_empty() && roots.iter().all(|op| matches!(op, MapOp::RemoveEntry(_))));
    assert!(rest.iter().all(|op| !matches!(op, MapOp::RemoveEntry(_))));
    assert_eq!(rest.last(), Some(&MapOp::Synchronize));
}

#[test]
fn a_new_daemon_compiles_beside_what_the_old_one_left() {
    let policy = parsed(
        "[[file]]\npaths = ['/usr/**']\nallow = ['read']\n[[net]]\nto=['1.1.1.1:53']\nallow=['connect']",
    );
    let mut run = Run::new(Host::usual(), &policy);
    let old = run.image.clone();
    let (leftover, mut numbers) = Leftover::of(&run.image, run.numbers.high_water());
    let terrain = run.host.terrain(&prefixes(&policy));
    let new = compile(&policy, &terrain, &super::host::KEY, &mut numbers).unwrap();
    run.image.apply_all(&new.ops);
    // Everything old is still as it was.
    let both = run.image.clone();
    run.image
        .apply_all(&old.entries.iter().map(|(k, v)| MapOp::SetEntry(*k, *v)).collect::<Vec<_>>());
    run.image.apply_all(&old.nodes.iter().map(|(k, v)| MapOp::SetNode(*k, *v)).collect::<Vec<_>>());
    assert_eq!(run.image, both);
    run.image.apply_all(&leftover.removal);
    run.image.apply_all(&numbers.release(leftover.held));
    run.image.instances.clear();
    let mut alone = Image::default();
    alone.apply_all(&new.ops);
    assert_eq!(run.image, alone);
}
