//! Nothing comes to where it could be used in a way in which it may not be used where it comes from.

use super::*;
use crate::decide::file::{Move, may_move};

const HERE: [u64; 2] = [1, 9];
const THERE: [u64; 2] = [2, 9];
const OF_NAME: Rights = Rights::CREATE.union(Rights::DELETE);
const FILE: (bool, bool) = (false, false);
const FILES: (bool, bool) = (false, true);
const FOLDER: (bool, bool) = (true, false);

/// In the folder 9, a scope grants this to the name 1 and that to the name 2.
fn grant(tables: &mut Tables, scope: u64, here: Rights, there: Rights) {
    let first = scope as u32 * 10;
    tables.enter(scope, 9, [first, DEAD, DEAD, DEAD]);
    tables.state(first, Rights::NONE, Rights::NONE);
    tables.state(first + 1, here, Rights::NONE);
    tables.state(first + 2, there, Rights::NONE);
    tables.edge_to(first, 1, first + 1);
    tables.edge_to(first, 2, first + 2);
}

fn granted(here: Rights, there: Rights) -> Tables {
    let mut tables = tables();
    grant(&mut tables, POLICY, here.union(OF_NAME), there.union(OF_NAME));
    tables
}

impl Tables {
    /// From 1 to 2. The first refusal is the answer.
    fn moved(&self, how: (bool, bool)) -> Answer {
        may_access(self, &TAG, &Chain(HERE.to_vec()), Rights::DELETE)?;
        self.named(&HERE, how)
    }

    fn named(&self, from: &[u64], (folder, exchange): (bool, bool)) -> Answer {
        let (from, to) = (&Chain(from.to_vec()), &Chain(THERE.to_vec()));
        may_move(self, &TAG, &Move { from, to, want: Rights::CREATE, folder, exchange })
    }
}

#[test]
fn a_file_moves_to_where_less_is_granted_and_not_to_where_more_is() {
    let (less, more) = (Rights::READ, Rights::READ.union(Rights::EXEC));
    assert!(granted(more, less).moved(FILE).is_ok());
    assert!(granted(more, more).moved(FILE).is_ok());
    assert_eq!(granted(less, more).moved(FILE), refused(Reason::RightsGained));
    assert_eq!(granted(Rights::NONE, less).moved(FILE), refused(Reason::RightsGained));
}

#[test]
fn the_rights_on_the_name_itself_are_not_the_files() {
    let mut tables = tables();
    grant(&mut tables, POLICY, Rights::READ.union(Rights::DELETE), OF_NAME.union(Rights::READ));
    assert!(tables.moved(FILE).is_ok());
}

#[test]
fn both_ends_need_their_own_right() {
    let mut tables = tables();
    grant(&mut tables, POLICY, Rights::CREATE, OF_NAME);
    assert_eq!(tables.moved(FILE), refused(Reason::NoRule));
    grant(&mut tables, POLICY, OF_NAME, Rights::DELETE);
    assert_eq!(tables.moved(FILE), refused(Reason::NoRule));
}

#[test]
fn an_exchange_gives_neither_file_a_right() {
    let (less, more) = (Rights::READ, Rights::READ.union(Rights::EXEC));
    assert!(granted(more, more).moved(FILES).is_ok());
    assert_eq!(granted(less, more).moved(FILES), refused(Reason::RightsGained));
    assert_eq!(granted(more, less).moved(FILES), refused(Reason::RightsGained));
}

#[test]
fn a_folder_moves_only_between_equal_states() {
    let mut tables = granted(Rights::READ, Rights::READ);
    assert_eq!(tables.moved(FOLDER), refused(Reason::RightsGained));
    // Both names lead to the same state.
    tables.edge_to(POLICY as u32 * 10, 2, POLICY as u32 * 10 + 1);
    assert!(tables.moved(FOLDER).is_ok());
}

#[test]
fn no_rule_above_gives_a_right_either() {
    let (less, more) =
        (Rights::READ.union(OF_NAME), Rights::READ.union(Rights::EXEC).union(OF_NAME));
    let mut tables = Tables { now: 500, ..Tables::default() };
    tables.chain(2);
    grant(&mut tables, POLICY, more, more);
    grant(&mut tables, POLICY + 1, more, more);
    assert!(tables.moved(FILE).is_ok());
    grant(&mut tables, POLICY + 1, less, more);
    assert_eq!(tables.moved(FILE), refused_above(Reason::RightsGained));
}

#[test]
fn from_where_nothing_is_known_nothing_is_granted() {
    let tables = granted(Rights::READ, Rights::READ);
    assert_eq!(tables.named(&[7, 8], FILE), refused(Reason::RightsGained));
}

#[test]
fn what_cannot_be_told_of_the_old_name_is_a_fault() {
    let mut tables = granted(Rights::READ, Rights::READ);
    tables.nodes.remove(&(POLICY as u32 * 10 + 1));
    assert_eq!(tables.named(&HERE, FILE), fault(Fault::StateLookup));
}
