//! A host of one disk, on which every path is possible: where a policy is asked that no host is asked for.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use agentid_common::{
    capability::Capabilities,
    file::AnchorKey,
    instance::{Instance, NO_DEADLINE, NO_SLOT, State},
    name::{self, NameKey},
    tag::{InvocationId, Tag},
};

use super::{
    bind::{BindError, Binding},
    compile::{CompileError, CompiledPolicy, compile, prefixes},
    diff::MapOp,
    image::{Image, View},
    numbers::Numbers,
    place::{AbstractName, HostPlace, Level},
    terrain::{Folder, Mount, Terrain},
};
use crate::policy::Policy;

/// Magic number of ext4: of an ordinary disk.
const DISK: u64 = 0xef53;
/// No secret is needed where nobody else chooses names.
pub(super) const KEY: NameKey = NameKey { k0: 1, k1: 2 };
const SLOT: u32 = 1;
const GENERATION: u64 = 1;

/// One run of a policy on that host. No link is there, and no other filesystem.
#[derive(Debug)]
pub struct Assumed {
    pub(super) compiled: CompiledPolicy,
    pub(super) image: Image,
    numbers: Numbers,
    capabilities: Capabilities,
    binding: Option<Binding>,
}

impl Assumed {
    /// The policy, whose parameters are still to be bound.
    pub fn new(policy: &Policy) -> Result<Self, CompileError> {
        let mut numbers = Numbers::new(1);
        let compiled = compile(policy, &terrain(prefixes(policy), false), &KEY, &mut numbers)?;
        let mut image = Image::default();
        image.apply_all(&compiled.ops);
        let capabilities = policy.capabilities();
        Ok(Self { compiled, image, numbers, capabilities, binding: None })
    }

    /// Binds the parameters; what they were bound to before is forgotten. Every folder exists.
    pub fn bind(&mut self, params: &BTreeMap<String, PathBuf>) -> Result<(), BindError> {
        if let Some(Binding { removal, held, .. }) = self.binding.take() {
            self.image.apply_all(&removal);
            let rest = self.numbers.release(held);
            self.image.apply_all(&rest);
        }
        let terrain = terrain(params.values().cloned(), true);
        let binding = self.compiled.bind(params, &BTreeMap::new(), &terrain, &mut self.numbers)?;
        self.image.apply_all(&binding.ops);
        let instance = Instance {
            generation: GENERATION,
            deadline: NO_DEADLINE,
            capabilities: self.capabilities,
            parent: NO_SLOT,
            state: State::ACTIVE,
            ..Instance::default()
        };
        let instance = instance.bound_to(self.compiled.scope, binding.scope);
        self.image.apply(&MapOp::SetInstance(SLOT, instance));
        self.binding = Some(binding);
        Ok(())
    }

    /// What a decision is made from.
    pub fn facts(&self) -> View<'_> {
        self.image.at(0)
    }

    /// The tag of its tasks.
    pub fn tag(&self) -> Tag {
        Tag { generation: GENERATION, slot: SLOT, mark: 0, invocation: InvocationId([0; 16]) }
    }

    /// Where an absolute path lies.
    pub fn place(&self, path: &Path) -> HostPlace {
        let level = |path: &Path| {
            let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
            Level::new(anchor(path), name, &KEY)
        };
        HostPlace {
            levels: path.ancestors().map(level).collect(),
            magic: DISK,
            folds: false,
            foreign_device: false,
        }
    }

    /// An abstract name of a unix socket.
    pub fn abstract_name(&self, name: &str) -> AbstractName {
        AbstractName::new(name.as_bytes(), &KEY)
    }

    /// The class that a host name has for the run, by the scope of its parameters.
    pub fn class(&self, name: &str) -> Option<(u64, u32)> {
        let rules = self.compiled.hosts.find(name)?;
        Some((self.binding.as_ref()?.scope, rules.class))
    }
}

pub(super) fn anchor(path: &Path) -> AnchorKey {
    let inode = name::hash(&NameKey::default(), path.as_os_str().as_bytes());
    AnchorKey { filesystem: 1, inode, generation: 0, kind: 0 }
}

/// One disk at `/`, with these paths as folders, or with none.
fn terrain(asked: impl IntoIterator<Item = PathBuf>, exist: bool) -> Terrain {
    let root = Path::new("/");
    let folder = |asked: PathBuf| {
        let resolved = if exist { asked.clone() } else { root.to_owned() };
        let names = asked.iter().skip(1).map(OsString::from);
        let missing = names.filter(|_| !exist).collect();
        let anchors = vec![(resolved.clone(), anchor(&resolved))];
        Folder { asked, resolved, missing, anchors }
    };
    let mount = Mount {
        point: root.to_owned(),
        root: root.to_owned(),
        device: "0:1".to_owned(),
        magic: DISK,
        devices: false,
        anchor: Some(anchor(root)),
    };
    Terrain { mounts: vec![mount], folders: asked.into_iter().map(folder).collect() }
}
