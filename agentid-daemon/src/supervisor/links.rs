//! Symbolic links on the way of rules, and whose runs could have made them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::rules::{Document, Rules};
use crate::{
    image::{self, Laid, Makers, Terrain},
    instance::run::PolicyVersion,
};

/// Folders that runs were given, by their policies.
pub type Given = BTreeMap<PolicyVersion, Vec<PathBuf>>;

impl Rules {
    /// The paths that rules begin with, of all policies.
    pub fn all_prefixes(&self) -> BTreeSet<PathBuf> {
        self.documents().flat_map(|(_, document)| image::prefixes(&document.policy)).collect()
    }

    /// Those of these links that runs could have made, and a policy that lets them.
    pub fn made_by_runs(
        &self,
        links: &BTreeSet<PathBuf>,
        terrain: &Terrain,
        given: &Given,
    ) -> BTreeMap<PathBuf, PolicyVersion> {
        let mut made = BTreeMap::new();
        for (version, document) in self.documents() {
            let given = given.get(version).map(Vec::as_slice).unwrap_or_default();
            let laid = Laid::new(&document.policy, terrain).ok();
            let makers: Vec<Makers<'_>> = document
                .forms()
                .map(|it| it.makers())
                .chain(laid.iter().map(Laid::makers))
                .collect();
            let is_made = |link: &&PathBuf| {
                makers.iter().any(|makers| makers.could_have_made(link, terrain, given))
            };
            made.extend(links.iter().filter(is_made).map(|link| (link.clone(), version.clone())));
        }
        made
    }

    fn documents(&self) -> impl Iterator<Item = (&PolicyVersion, &Document)> {
        self.documents.iter()
    }
}
