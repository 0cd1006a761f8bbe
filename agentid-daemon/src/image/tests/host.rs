//! A made-up host: mounts, folders, and one run on it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use agentid_common::{
    capability::Capabilities,
    decide::{
        capability::may_have,
        file::may_access,
        net::may_use,
        unix::{self, may_be_called, may_talk},
    },
    file::{AnchorKey, Rights},
    instance::{Instance, NO_DEADLINE, NO_SLOT, State},
    name::{self, NameKey},
    net::{Address, Peer, Verb},
    tag::Tag,
    verdict::Answer,
};

use super::super::*;
use crate::policy::{self, Policy};

pub(super) const KEY: NameKey = NameKey { k0: 1, k1: 2 };
const TMPFS: u64 = 0x0102_1994;
const PROC: u64 = 0x9fa0;

/// What exists: each mount with its point, root, device number and magic; and all paths that exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    mounts: Vec<(PathBuf, PathBuf, u64, u64)>,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Host {
    pub(super) fn new() -> Self {
        Self::default().mount("/", "/", 1)
    }

    /// A plain folder tree of a host, with procfs and a tmpfs.
    pub(super) fn usual() -> Self {
        Self::new()
            .mount("/proc", "/", 2)
            .mount("/run", "/", 3)
            .folders(&[
                "/usr",
                "/usr/bin",
                "/usr/lib",
                "/etc",
                "/srv",
                "/home",
                "/home/u",
                "/home/u/work",
            ])
            .file("/etc/resolv.conf")
            .file("/proc/meminfo")
    }

    pub(super) fn mount(mut self, point: &str, root: &str, device: u64) -> Self {
        let magic = if point == "/proc" { PROC } else { TMPFS };
        self.mounts.push((point.into(), root.into(), device, magic));
        self.folders(&[point])
    }

    pub(super) fn folders(mut self, paths: &[&str]) -> Self {
        self.folders.extend(paths.iter().map(PathBuf::from));
        self
    }

    pub(super) fn file(mut self, path: &str) -> Self {
        self.files.push(path.into());
        self
    }

    fn mount_of(&self, path: &Path) -> &(PathBuf, PathBuf, u64, u64) {
        let covering = self.mounts.iter().filter(|mount| path.starts_with(&mount.0));
        covering.max_by_key(|mount| mount.0.components().count()).unwrap()
    }

    /// Device, and names from the root of the superblock.
    fn inside(&self, path: &Path) -> (u64, PathBuf) {
        let (point, root, device, _) = self.mount_of(path);
        let rest = path.strip_prefix(point).unwrap();
        (*device, if rest == Path::new("") { root.clone() } else { root.join(rest) })
    }

    fn anchor(&self, device: u64, inside: &Path) -> AnchorKey {
        let inode = name::hash(&NameKey::default(), inside.as_os_str().as_encoded_bytes());
        AnchorKey { filesystem: 100 + device, inode, generation: 0, kind: 0 }
    }

    fn exists(&self, path: &Path) -> bool {
        self.folders.iter().chain(&self.files).any(|known| known.starts_with(path))
    }

    fn survey(&self, asked: &Path) -> Folder {
        let mut resolved = asked.to_path_buf();
        let mut missing = Vec::new();
        while !self.exists(&resolved) {
            missing.insert(0, resolved.file_name().unwrap().to_os_string());
            resolved.pop();
        }
        let mut folder = resolved.clone();
        if self.files.contains(&folder) {
            folder.pop();
        }
        let (device, inside) = self.inside(&folder);
        let anchors = vec![(folder, self.anchor(device, &inside))];
        Folder { asked: asked.to_path_buf(), resolved, missing, anchors }
    }

    pub(super) fn terrain(&self, asked: &[PathBuf]) -> Terrain {
        let mounts = self.mounts.iter().map(|(point, root, device, magic)| Mount {
            point: point.clone(),
            root: root.clone(),
            device: format!("0:{device}"),
            magic: *magic,
            devices: point.ends_with("dev"),
            anchor: (!self.files.contains(point)).then(|| self.anchor(*device, root)),
        });
        Terrain {
            mounts: mounts.collect(),
            folders: asked.iter().map(|path| self.survey(path)).collect(),
        }
    }

    /// The place of any path, whether it exists or not.
    pub(super) fn place(&self, path: &str) -> HostPlace {
        let path = Path::new(path);
        let (device, mut inside) = self.inside(path);
        let mut levels = Vec::new();
        loop {
            let name = inside.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
            levels.push(Level::new(self.anchor(device, &inside), name, &KEY));
            if !inside.pop() {
                break;
            }
        }
        HostPlace { levels, magic: self.mount_of(path).3, folds: false, foreign_device: false }
    }

    /// Where the mount lies on which a path is.
    pub(super) fn point_of(&self, path: &Path) -> PathBuf {
        self.mount_of(path).0.clone()
    }

    /// Every path of the same file, each with the point of its mount; also those that another mount covers.
    pub(super) fn aliases(&self, path: &str) -> Vec<(PathBuf, PathBuf)> {
        let (device, inside) = self.inside(Path::new(path));
        let mounts = self.mounts.iter().filter(|(_, _, other, _)| *other == device);
        mounts
            .filter_map(|(point, root, _, _)| {
                Some((point.clone(), point.join(inside.strip_prefix(root).ok()?)))
            })
            .collect()
    }
}

/// One run on a host.
pub(super) struct Run {
    pub(super) host: Host,
    pub(super) image: Image,
    pub(super) numbers: Numbers,
    pub(super) policy: CompiledPolicy,
    was: BTreeMap<String, AnchorKey>,
    capabilities: Capabilities,
}

pub(super) const TAG: Tag =
    Tag { generation: 7, slot: 1, mark: 0, invocation: agentid_common::tag::InvocationId([0; 16]) };

pub(super) fn parsed(rules: &str) -> Policy {
    let text = format!("name = 'p'\nttl = '1m'\n{rules}");
    policy::parse("p.toml", &text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

impl Run {
    pub(super) fn new(host: Host, policy: &Policy) -> Self {
        let mut numbers = Numbers::new(1);
        let terrain = host.terrain(&prefixes(policy));
        let compiled = compile(policy, &terrain, &KEY, &mut numbers).unwrap();
        let capabilities = policy.capabilities();
        let image = Image::default();
        let was = BTreeMap::new();
        let mut run = Self { host, image, numbers, policy: compiled, was, capabilities };
        run.image.apply_all(&run.policy.ops);
        run.start(0);
        run
    }

    fn start(&mut self, params: u64) {
        let instance = Instance {
            generation: TAG.generation,
            deadline: NO_DEADLINE,
            capabilities: self.capabilities,
            parent: NO_SLOT,
            state: State::ACTIVE,
            ..Instance::default()
        };
        let instance = instance.bound_to(self.policy.scope, params);
        self.image.apply(&MapOp::SetInstance(TAG.slot, instance));
    }

    pub(super) fn try_bind(&mut self, params: &[(&str, &str)]) -> Result<Binding, BindError> {
        let folders: Vec<PathBuf> = params.iter().map(|(_, path)| path.into()).collect();
        let terrain = self.host.terrain(&folders);
        let params: BTreeMap<String, PathBuf> =
            params.iter().map(|(name, path)| ((*name).to_owned(), path.into())).collect();
        self.policy.bind(&params, &self.was, &terrain, &mut self.numbers)
    }

    /// Binds again what stood for these folders before; whether all of them still do.
    pub(super) fn rebind(
        &mut self,
        params: &[(&str, &str)],
        was: &BTreeMap<String, AnchorKey>,
    ) -> bool {
        self.was = was.clone();
        let given = self.bind(params).given;
        given == *was
    }

    pub(super) fn bind(&mut self, params: &[(&str, &str)]) -> Binding {
        let binding = self.try_bind(params).unwrap();
        self.image.apply_all(&binding.ops);
        self.start(binding.scope);
        binding
    }

    pub(super) fn access(&self, path: &str, want: Rights) -> Answer {
        may_access(&self.image.at(0), &TAG, &self.host.place(path), want)
    }

    /// An abstract name of a unix socket: to connect to it, or to take it.
    pub(super) fn called(&self, name: &str, want: Rights) -> Answer {
        let (facts, name) = (self.image.at(0), AbstractName::new(name.as_bytes(), &KEY));
        match want {
            Rights::CREATE => may_be_called(&facts, &TAG, &name),
            _ => may_talk(&facts, &TAG, &unix::Peer::<AbstractName, _>::Called(name)),
        }
    }

    pub(super) fn may_have(&self, capability: u32) -> Answer {
        may_have(&self.image.at(0), &TAG, capability)
    }

    pub(super) fn reads(&self, path: &str) -> bool {
        self.access(path, Rights::READ).is_ok()
    }

    pub(super) fn connect(&self, address: Address, port: u16, protocol: u8) -> Answer {
        self.uses(&Peer { address, port, protocol, verb: Verb::Connect })
    }

    /// The same of a peer that is known by its name.
    pub(super) fn uses_name(&self, name: &str, peer: &Peer) -> Answer {
        let params = self.image.instances.get(&TAG.slot).unwrap().params;
        let class = self.policy.hosts.find(name).map(|rules| (params, rules.class));
        may_use(&Supposed::new(self.image.at(0), class), &TAG, peer)
    }

    pub(super) fn uses(&self, peer: &Peer) -> Answer {
        may_use(&self.image.at(0), &TAG, peer)
    }
}
