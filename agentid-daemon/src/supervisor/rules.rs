//! The policies that runs are bound to, their compiled form, and the daemon's copy of the kernel's maps.
//!
//! What is made here is a list of writes. Whoever carries them out says so with [`Rules::applied`]; until then the copy
//! does not have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use agentid_common::{
    capability::Capabilities,
    file::AnchorKey,
    name::NameKey,
    net::PeerKey,
    verdict::{Hook, Rule},
};
use thiserror::Error;
use uuid::Uuid;

use super::refusal::Refusal;
use crate::{
    image::{
        self, BindError, CompileError, CompiledPolicy, Ground, Held, Hosts, Image, Leftover, MapOp,
        Numbers, Terrain, View,
    },
    instance::run::PolicyVersion,
    policy::Policy,
};

/// A policy and the text that it came from.
#[derive(Debug)]
pub struct Document {
    pub policy: Policy,
    pub text: String,
    compiled: Option<CompiledPolicy>,
    /// As it was compiled over other mounts, for runs that are bound to that still.
    superseded: Vec<CompiledPolicy>,
}

impl Document {
    /// As it was compiled: what its runs are bound to.
    pub fn forms(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.compiled.iter().chain(&self.superseded)
    }
}

/// What one run's parameters occupy.
#[derive(Debug)]
pub struct Bound {
    scope: u64,
    given: BTreeMap<String, AnchorKey>,
    policy_scope: u64,
    ground: Ground,
    removal: Vec<MapOp>,
    held: Held,
}

/// Scopes of one run's rules, and the capabilities that its policy leaves to it, for its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bond {
    pub policy_scope: u64,
    pub params_scope: u64,
    pub capabilities: Capabilities,
    /// Whether the policy grants host names.
    pub names: bool,
}

/// Writes to take something back, and what becomes free when they are done.
#[derive(Debug)]
pub struct Release {
    pub removal: Vec<MapOp>,
    held: Held,
}

impl From<Bound> for Release {
    fn from(Bound { removal, held, .. }: Bound) -> Self {
        Self { removal, held }
    }
}

impl From<CompiledPolicy> for Release {
    fn from(CompiledPolicy { removal, held, .. }: CompiledPolicy) -> Self {
        Self { removal, held }
    }
}

impl Release {
    /// Of addresses that names stood for.
    pub fn of_pins(keys: impl IntoIterator<Item = PeerKey>) -> Self {
        let removal = keys.into_iter().map(MapOp::RemovePins).collect();
        Self { removal, held: Held::default() }
    }
}

/// Why a run cannot be bound to a policy.
#[derive(Debug, Error)]
pub enum RulesError {
    #[error("policy {0} is not loaded")]
    NotLoaded(PolicyVersion),
    #[error("compile policy {version}")]
    Compile { version: PolicyVersion, source: CompileError },
    #[error("bind the parameters to policy {version}")]
    Bind { version: PolicyVersion, source: BindError },
}

/// All rules of this host.
#[derive(Debug)]
pub struct Rules {
    pub(super) documents: BTreeMap<PolicyVersion, Document>,
    current: BTreeMap<String, PolicyVersion>,
    bound: BTreeMap<Uuid, Bound>,
    image: Image,
    numbers: Numbers,
    names: NameKey,
}

impl Rules {
    /// Without policies, over maps that hold `image` of an earlier daemon. `next` is above every scope and generation
    /// that this host has ever used. The release is for when no slot refers to the earlier daemon's rules any more.
    pub fn new(names: NameKey, image: Image, next: u64) -> (Self, Release) {
        let (leftover, numbers) = Leftover::of(&image, next);
        let rules = Self {
            documents: BTreeMap::new(),
            current: BTreeMap::new(),
            bound: BTreeMap::new(),
            image,
            numbers,
            names,
        };
        (rules, Release { removal: leftover.removal, held: leftover.held })
    }

    /// Takes in one version of a policy, for runs that are bound to it.
    pub fn load(&mut self, version: PolicyVersion, policy: Policy, text: String) {
        let document = Document { policy, text, compiled: None, superseded: Vec::new() };
        self.documents.entry(version).or_insert(document);
    }

    /// Makes a loaded version the one that new runs get.
    pub fn offer(&mut self, version: PolicyVersion) {
        self.current.insert(version.name.clone(), version);
    }

    /// Takes every offer back; what runs are bound to stays.
    pub fn withdraw_offers(&mut self) {
        self.current.clear();
    }

    /// Drops the versions that are neither offered nor in the kernel, save those that are kept.
    pub fn forget(&mut self, is_kept: impl Fn(&PolicyVersion) -> bool) {
        let current = &self.current;
        self.documents.retain(|version, document| {
            let is_used = document.compiled.is_some() || !document.superseded.is_empty();
            is_used || current.get(&version.name) == Some(version) || is_kept(version)
        });
    }

    /// All versions that are known.
    pub fn versions(&self) -> impl Iterator<Item = &PolicyVersion> {
        self.documents.keys()
    }

    /// Versions that are compiled and not offered.
    pub fn retired(&self) -> Vec<PolicyVersion> {
        let compiled = self.documents.iter().filter(|(_, document)| document.compiled.is_some());
        let retired =
            compiled.filter(|(version, _)| self.current.get(&version.name) != Some(*version));
        retired.map(|(version, _)| version.clone()).collect()
    }

    /// The version that a new run of this policy gets.
    pub fn current(&self, name: &str) -> Result<(&PolicyVersion, &Document), Refusal> {
        let found = self.current.get(name);
        found.and_then(|version| Some((version, self.documents.get(version)?))).ok_or_else(|| {
            let known = self.current.keys().cloned().collect();
            Refusal::UnknownPolicy { name: name.to_owned(), known }
        })
    }

    /// The policies that are offered.
    pub fn offered(&self) -> impl Iterator<Item = (&PolicyVersion, &Policy)> {
        self.current
            .values()
            .filter_map(|version| Some((version, &self.documents.get(version)?.policy)))
    }

    pub fn document(&self, version: &PolicyVersion) -> Option<&Document> {
        self.documents.get(version)
    }

    /// The folders that a survey must look at before a run with these parameters can be bound.
    pub fn folders(
        &self,
        version: &PolicyVersion,
        params: &BTreeMap<String, PathBuf>,
    ) -> Vec<PathBuf> {
        let mut folders: BTreeSet<PathBuf> = params.values().cloned().collect();
        if let Some(Document { policy, compiled: None, .. }) = self.documents.get(version) {
            folders.extend(image::prefixes(policy));
        }
        folders.into_iter().collect()
    }

    /// The folders that a survey must look at before a policy can be compiled anew.
    pub fn prefixes(&self, version: &PolicyVersion) -> Vec<PathBuf> {
        let document = self.documents.get(version);
        document.map(|it| image::prefixes(&it.policy)).unwrap_or_default()
    }

    /// The writes that make a policy known to the kernel; none when it is already.
    pub fn compile(
        &mut self,
        version: &PolicyVersion,
        terrain: &Terrain,
    ) -> Result<Vec<MapOp>, RulesError> {
        let document = self.documents.get_mut(version);
        let document = document.ok_or_else(|| RulesError::NotLoaded(version.clone()))?;
        if document.compiled.is_some() {
            return Ok(Vec::new());
        }
        let compiled = image::compile(&document.policy, terrain, &self.names, &mut self.numbers)
            .map_err(|source| RulesError::Compile { version: version.clone(), source })?;
        let ops = compiled.ops.clone();
        document.compiled = Some(compiled);
        Ok(ops)
    }

    /// The same where it is known, over other mounts: who is bound from here on is bound to the new form.
    pub fn compile_anew(
        &mut self,
        version: &PolicyVersion,
        terrain: &Terrain,
    ) -> Result<Vec<MapOp>, RulesError> {
        let before = self.documents.get_mut(version).and_then(|it| it.compiled.take());
        let ops = self.compile(version, terrain);
        if let Some(document) = self.documents.get_mut(version) {
            match ops {
                Ok(_) => document.superseded.extend(before),
                Err(_) => document.compiled = before,
            }
        }
        ops
    }

    /// Gives up a policy's compiled form, which no run is bound to. The one before it is in force again; without any its next
    /// run compiles it anew.
    pub fn withdraw(&mut self, version: &PolicyVersion) -> Option<Release> {
        let document = self.documents.get_mut(version)?;
        let compiled = document.compiled.take()?;
        document.compiled = document.superseded.pop();
        Some(compiled.into())
    }

    /// Takes away the superseded forms that no run is bound to any more.
    pub fn drop_superseded(&mut self) -> Vec<Release> {
        let used: BTreeSet<u64> = self.bound.values().map(|bound| bound.policy_scope).collect();
        let documents = self.documents.values_mut();
        let unused = documents.flat_map(|document| {
            document.superseded.extract_if(.., |form| !used.contains(&form.scope))
        });
        unused.map(Release::from).collect()
    }

    /// The versions of which the rules mean something else when what is mounted at these points changes.
    pub fn touched(&self, points: &[PathBuf]) -> Vec<PolicyVersion> {
        let touched = self.documents.iter().filter(|(_, document)| {
            document.compiled.as_ref().is_some_and(|it| it.ground.is_touched(points))
        });
        touched.map(|(version, _)| version.clone()).collect()
    }

    /// Whether the folders that a run was given lie otherwise then.
    pub fn is_touched(&self, id: Uuid, points: &[PathBuf]) -> bool {
        self.bound.get(&id).is_some_and(|bound| bound.ground.is_touched(points))
    }

    /// Binds parameters to a compiled policy. Returns the scopes for a run's slot, the writes that bring them about, and
    /// what they occupy.
    pub fn bind(
        &mut self,
        version: &PolicyVersion,
        params: &BTreeMap<String, PathBuf>,
        was: &BTreeMap<String, AnchorKey>,
        terrain: &Terrain,
    ) -> Result<(Bond, Vec<MapOp>, Bound), RulesError> {
        let document = self.documents.get(version);
        let found = document.and_then(|it| Some((&it.policy, it.compiled.as_ref()?)));
        let (policy, compiled) = found.ok_or_else(|| RulesError::NotLoaded(version.clone()))?;
        let (capabilities, names) = (policy.capabilities(), policy.grants_names());
        let binding = compiled
            .bind(params, was, terrain, &mut self.numbers)
            .map_err(|source| RulesError::Bind { version: version.clone(), source })?;
        let (policy_scope, params_scope) = (compiled.scope, binding.scope);
        let bond = Bond { policy_scope, params_scope, capabilities, names };
        Ok((
            bond,
            binding.ops,
            Bound {
                scope: params_scope,
                policy_scope,
                given: binding.given,
                ground: binding.ground,
                removal: binding.removal,
                held: binding.held,
            },
        ))
    }

    /// What a policy says of host names in the form that a run is bound to, which need not be the newest.
    pub fn hosts_of(&self, id: Uuid, version: &PolicyVersion) -> Option<&Hosts> {
        let scope = self.bound.get(&id)?.policy_scope;
        let form = self.documents.get(version)?.forms().find(|form| form.scope == scope)?;
        Some(&form.hosts)
    }

    /// Where the folders lie that a run was given.
    pub fn ground_of(&self, id: Uuid) -> &[PathBuf] {
        self.bound.get(&id).map(|bound| bound.ground.paths()).unwrap_or_default()
    }

    /// The folders that a run's parameters stand for now.
    pub fn given(&self, id: Uuid) -> Option<&BTreeMap<String, AnchorKey>> {
        self.bound.get(&id).map(|bound| &bound.given)
    }

    /// The scope of a run's parameters, which is its own.
    pub fn scope_of(&self, id: Uuid) -> Option<u64> {
        self.bound.get(&id).map(|bound| bound.scope)
    }

    /// Says that this is what a run has from here on. Returns what it had before, for when its slot does not refer to that
    /// any more.
    pub fn keep(&mut self, id: Uuid, bound: Bound) -> Option<Release> {
        self.bound.insert(id, bound).map(Release::from)
    }

    /// What a run alone has needed, once no slot refers to it.
    pub fn unbind(&mut self, id: Uuid) -> Option<Release> {
        self.bound.remove(&id).map(Release::from)
    }

    /// Makes the numbers of what was taken back free. Returns the writes that are left to do.
    pub fn release(&mut self, release: Release) -> Vec<MapOp> {
        self.numbers.release(release.held)
    }

    /// A generation for a new run.
    pub fn generation(&mut self) -> u64 {
        self.numbers.unique()
    }

    /// The lowest scope or generation that was not given out.
    pub fn high_water(&self) -> u64 {
        self.numbers.high_water()
    }

    /// The kernel's maps have these writes now.
    pub fn applied(&mut self, ops: &[MapOp]) {
        self.image.apply_all(ops);
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The copy at a moment of the boot clock, for a decision.
    pub fn at(&self, now: u64) -> View<'_> {
        self.image.at(now)
    }

    /// What the author said of a rule that a hook names.
    pub fn because(&self, version: &PolicyVersion, hook: Hook, rule: Rule) -> Option<&str> {
        let policy = &self.documents.get(version)?.policy;
        match hook {
            Hook::SocketConnect
            | Hook::SocketBind
            | Hook::SocketListen
            | Hook::SocketAccept
            | Hook::SocketSendmsg => policy.because_net(rule),
            // All others that name a rule are about files.
            _ => policy.because_file(rule),
        }
    }
}
