//! Looks at the folders of rules, on a host where runs can make symbolic links.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use tracing::warn;

use super::Supervisor;
use crate::{
    image::Terrain, instance::run::PolicyVersion, kernel::SurveyError, supervisor::links::Given,
};

impl Supervisor {
    /// The mounts, and these folders. Of symbolic links on the way those of root's are followed that no run could have made.
    pub(super) fn survey(&mut self, folders: &[PathBuf]) -> Result<Terrain, SurveyError> {
        let (mut terrain, met) = self.kernel.survey(folders, &BTreeSet::new())?;
        if !met.is_empty() {
            let followed = self.followed(folders)?;
            (terrain, _) = self.kernel.survey(folders, &followed)?;
        }
        self.sights = terrain.sights();
        Ok(terrain)
    }

    /// The links that are followed on the way to these folders and to those of all rules.
    ///
    /// Where rules hold depends on the links that are followed, and the other way round. So it begins with none, and goes on
    /// until nothing changes: one that a run could have made by what was found so far is given up for good.
    fn followed(&mut self, folders: &[PathBuf]) -> Result<BTreeSet<PathBuf>, SurveyError> {
        let mut asked = self.rules.all_prefixes();
        asked.extend(folders.iter().cloned());
        let asked: Vec<PathBuf> = asked.into_iter().collect();
        let given = self.given_to_runs();
        let (mut followed, mut made) = (BTreeSet::new(), BTreeMap::new());
        loop {
            let (terrain, mut links) = self.kernel.survey(&asked, &followed)?;
            links.extend(followed.iter().cloned());
            made.extend(self.rules.made_by_runs(&links, &terrain, &given));
            links.retain(|link| !made.contains_key(link));
            if links == followed {
                break;
            }
            followed = links;
        }
        self.tell_of(made);
        Ok(followed)
    }

    fn given_to_runs(&self) -> Given {
        let mut given = Given::new();
        for run in self.state.registry.all() {
            let folders = given.entry(run.policy.clone()).or_default();
            folders.extend(run.params.values().cloned());
            folders.extend_from_slice(self.rules.ground_of(run.id));
        }
        given
    }

    /// Says of each link once that no rule is laid through it.
    fn tell_of(&mut self, made: BTreeMap<PathBuf, PolicyVersion>) {
        for (link, policy) in &made {
            if !self.made_links.contains_key(link) {
                warn!("{}", said(link, policy));
            }
        }
        self.made_links = made;
    }

    /// What is wrong with the policies, and what does not hold of them here.
    pub(super) fn policy_mistakes(&self) -> Vec<String> {
        let links = self.made_links.iter().map(|(link, policy)| said(link, policy));
        self.mistakes.iter().cloned().chain(links).collect()
    }
}

fn said(link: &std::path::Path, policy: &PolicyVersion) -> String {
    format!(
        "{} is a symbolic link that leads no rule anywhere, because runs of policy {policy} may make or take names there: name in rules what it leads to",
        link.display()
    )
}
