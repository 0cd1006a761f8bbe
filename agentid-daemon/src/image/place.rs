//! A file's place as the host sees it, for decisions that are explained rather than enforced.

use agentid_common::{
    decide::{
        file::Search,
        lifecycle::{OnStack, Scopes},
        unix,
    },
    facts::{Facts, Location},
    file::{AnchorKey, MAX_DEPTH, is_pseudo},
    glob::Spelling,
    name::{self, NameKey},
    verdict::{Answer, Fault, Reason, Refusal},
};

/// A file or a folder on the way from it to the root of its filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// What identifies it.
    pub anchor: AnchorKey,
    /// Its name in the folder above; the root has none.
    name: Vec<u8>,
    hash: u64,
}

impl Level {
    pub fn new(anchor: AnchorKey, name: &[u8], key: &NameKey) -> Self {
        Self { anchor, name: name.to_vec(), hash: name::hash(key, name) }
    }
}

/// The way from a file to the root of its filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlace {
    /// The file first, the root of the filesystem last.
    pub levels: Vec<Level>,
    /// Magic number of the filesystem's type.
    pub magic: u64,
    /// Whether names there may be equal that are not the same bytes.
    pub folds: bool,
    /// Whether there is a device node that somebody has put there.
    pub foreign_device: bool,
}

/// An abstract name of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbstractName {
    name: Vec<u8>,
    hash: u64,
}

impl AbstractName {
    pub fn new(name: &[u8], key: &NameKey) -> Self {
        Self { name: name.to_vec(), hash: name::hash(key, name) }
    }
}

impl Location for AbstractName {
    type Room = OnStack;

    fn room(&self) -> Result<OnStack, Fault> {
        Ok(OnStack::default())
    }

    fn search<F: Facts>(
        &self,
        facts: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        let mut search = Search::new(*scopes);
        // Nothing is said of the empty name.
        if !self.name.is_empty() {
            let mut name = Spelling::of(&self.name).ok_or(Fault::AddressRead)?;
            unix::look_up(facts, &mut search, self.hash, &mut name)?;
        }
        found(&search)
    }
}

/// A name in a folder, and what has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPlace {
    pub place: HostPlace,
    pub exists: bool,
    pub folder: bool,
}

impl Location for HostPlace {
    type Room = OnStack;

    fn room(&self) -> Result<OnStack, Fault> {
        Ok(OnStack::default())
    }

    fn search<F: Facts>(
        &self,
        facts: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        let mut search = Search::new(*scopes);
        self.walk(facts, &mut search)?;
        found(&search)
    }

    fn is_foreign_device(&self) -> bool {
        self.foreign_device
    }
}

impl HostPlace {
    fn walk<F: Facts>(&self, facts: &F, search: &mut Search) -> Result<(), Refusal> {
        if self.levels.len() > MAX_DEPTH as usize {
            return Err(Refusal::denied(Reason::TooDeep));
        }
        for (number, level) in (0..).zip(&self.levels) {
            search.visit(facts, &level.anchor, number);
        }
        let root = self.levels.len().saturating_sub(1) as u32;
        let pseudo = is_pseudo(self.magic);
        if pseudo {
            search.visit_type(facts, self.magic, root);
        }
        let Some(top) = search.top() else {
            return if self.is_known() || pseudo {
                Ok(())
            } else {
                Err(Refusal::denied(Reason::UnknownFilesystem))
            };
        };
        if top != 0 && self.folds && !pseudo {
            return Err(Refusal::denied(Reason::CaseFolding));
        }
        for number in (0..top).rev() {
            let level = &self.levels[number as usize];
            let mut name = Spelling::of(&level.name).ok_or(Fault::WalkRead)?;
            search.descend(facts, number, level.hash, &mut name)?;
        }
        Ok(())
    }
}

impl HostPlace {
    /// Whether the kernel programs have a number for the filesystem.
    fn is_known(&self) -> bool {
        let folder = |level: &Level| level.anchor.is_folder() && level.anchor.filesystem != 0;
        self.levels.last().is_some_and(folder)
    }
}
