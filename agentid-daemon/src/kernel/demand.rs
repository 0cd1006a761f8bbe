//! The programs that every process of the host pays for, attached only while a run needs them.
//!
//! Their links are pinned beside the others, so that a daemon that dies leaves them where runs may still need them, and
//! the next one finds them there. Which are attached is asked of the pins alone. The programs themselves are pinned as
//! well: the verifier looks at them once, not at each start, and not when there is no time.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    programs::{BtfTracePoint, Iter, Lsm, PerfEvent, ProgramError},
    util::online_cpus,
};

use super::{
    attached, list,
    maps::MapsError,
    object::{
        self, ADOPT_TASKS, CLOCK, DESCRIPTORS, LIST_SHARES, LIST_SOCKETS, LIST_TASKS, MESSAGES,
        ON_DEMAND, ObjectError, PACKETS, SWITCH,
    },
    pins::{self, Links, PinError, Pins},
    sockets::SOCKETS,
    sys,
};
use crate::instance::Demand;

#[derive(Debug, thiserror::Error)]
pub enum DemandError {
    #[error(transparent)]
    Object(Box<ObjectError>),
    #[error("take the program pinned at {}", path.display())]
    Program { path: PathBuf, source: Box<ProgramError> },
    #[error("take the program pinned at {}", path.display())]
    Pin { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(transparent)]
    Tags(MapsError),
    #[error("find the attached programs: {} holds no links", .0.display())]
    NoLinks(PathBuf),
    #[error("have the kernel look at one task")]
    Task(#[source] io::Error),
    #[error("read which processors there are")]
    Processors(#[source] io::Error),
}

impl From<ObjectError> for DemandError {
    fn from(error: ObjectError) -> Self {
        Self::Object(Box::new(error))
    }
}

/// One of our programs, as `agentid status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookState {
    pub name: &'static str,
    /// Whether it should be attached now.
    pub needed: bool,
    /// Whether it is, or why not.
    pub attached: Result<(), String>,
}

/// The programs that are attached on demand, and whether this demand is for them.
fn all(demand: Demand) -> [(&'static str, bool); ON_DEMAND.len()] {
    let Demand { descriptors, kill, network, names } = demand;
    ON_DEMAND.map(|name| match name {
        _ if DESCRIPTORS.contains(&name) => (name, descriptors),
        SWITCH | CLOCK => (name, kill),
        MESSAGES => (name, network),
        _ if PACKETS.iter().any(|(packets, _)| *packets == name) => (name, network),
        _ => (name, names),
    })
}

/// The programs, loaded.
pub struct OnDemand {
    tasks: Iter,
    adopting: Iter,
    sockets: OwnedFd,
    /// In the order of [`DESCRIPTORS`].
    descriptors: Vec<Lsm>,
    messages: Lsm,
    switch: BtfTracePoint,
    clock: PerfEvent,
    /// In the order of [`object::on_cgroups`].
    on_cgroups: Vec<OwnedFd>,
}

impl OnDemand {
    /// Those of the set in `folder`.
    pub fn pinned(folder: &Path) -> Result<Self, DemandError> {
        Ok(Self {
            tasks: pinned_program(folder, LIST_TASKS, |path| Iter::from_pin(path))?,
            adopting: pinned_program(folder, ADOPT_TASKS, |path| Iter::from_pin(path))?,
            sockets: pinned_descriptor(folder, LIST_SOCKETS)?,
            descriptors: DESCRIPTORS
                .into_iter()
                .map(|name| pinned_program(folder, name, |path| Lsm::from_pin(path)))
                .collect::<Result<_, _>>()?,
            messages: pinned_program(folder, MESSAGES, |path| Lsm::from_pin(path))?,
            switch: pinned_program(folder, SWITCH, |path| BtfTracePoint::from_pin(path))?,
            clock: pinned_program(folder, CLOCK, |path| PerfEvent::from_pin(path))?,
            on_cgroups: object::on_cgroups()
                .map(|(name, _)| pinned_descriptor(folder, name))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Those of the programs that are attached.
    pub fn newest(pins: &Pins) -> Result<Self, DemandError> {
        Self::pinned(&newest(pins)?)
    }

    /// Attaches what is needed and not attached. One that fails does not keep the others from being attached.
    pub fn meet(&mut self, pins: &Pins, demand: Demand) -> Result<(), DemandError> {
        let folder = newest(pins)?;
        let mut outcome = Ok(());
        for (name, needed) in all(demand) {
            if needed && let Err(error) = self.attach(name, &folder) {
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Attaches what earlier sets have attached to a new one, before they go.
    pub fn take_over(&mut self, old: &[PathBuf], new: &Path) -> Result<(), DemandError> {
        let old: Vec<Links> = old.iter().map(|it| Links::read(it)).collect::<Result<_, _>>()?;
        for name in ON_DEMAND {
            if old.iter().any(|links| links.of(name).next().is_some()) {
                self.attach(name, new)?;
            }
        }
        Ok(())
    }

    /// The iterator over tasks, to be read once from the start to the end.
    pub fn task_list(&mut self) -> Result<File, ObjectError> {
        object::over_tasks(&mut self.tasks, LIST_TASKS)
    }

    /// The iterator that tags tasks, to be read likewise: it lists those that it has tagged.
    pub fn adopted_tasks(&mut self) -> Result<File, ObjectError> {
        object::over_tasks(&mut self.adopting, ADOPT_TASKS)
    }

    /// The iterator over the sockets of runs, to be read once from the start to the end.
    pub fn socket_list(&self, pins: &Pins) -> io::Result<File> {
        let map = sys::open_pin(&pins.map(SOCKETS))?;
        list::of_map(self.sockets.as_fd(), map.as_fd())
    }

    /// What one task shares with others, to be read once.
    pub fn shares(pins: &Pins, task: u32) -> Result<File, DemandError> {
        let program = pinned_descriptor(&newest(pins)?, LIST_SHARES)?;
        list::of_task(program.as_fd(), task).map_err(DemandError::Task)
    }

    /// The same of all tasks.
    pub fn all_shares(pins: &Pins) -> Result<File, DemandError> {
        let program = pinned_descriptor(&newest(pins)?, LIST_SHARES)?;
        list::of_all(program.as_fd()).map_err(DemandError::Task)
    }

    fn attach(&mut self, name: &'static str, folder: &Path) -> Result<(), DemandError> {
        if name == CLOCK {
            for cpu in processors()? {
                let path = folder.join(clock(cpu));
                if !path.exists() {
                    object::attach_clock(&mut self.clock, cpu, &path)?;
                }
            }
            return Ok(());
        }
        let path = folder.join(name);
        if path.exists() {
            return Ok(());
        }
        let mut on_cgroups = object::on_cgroups().zip(&self.on_cgroups);
        if let Some(((_, kind), program)) = on_cgroups.find(|((known, _), _)| *known == name) {
            object::attach_to_cgroups(program.as_fd(), name, kind, &path)?;
        } else if name == SWITCH {
            object::attach_tracepoint(&mut self.switch, name, &path)?;
        } else if name == MESSAGES {
            object::attach_hook(&mut self.messages, name, &path)?;
        } else {
            let mut hooks = DESCRIPTORS.into_iter().zip(&mut self.descriptors);
            let hook = hooks.find_map(|(known, hook)| (known == name).then_some(hook));
            object::attach_hook(hook.ok_or(ObjectError::NoProgram(name))?, name, &path)?;
        }
        Ok(())
    }
}

fn pinned_program<P>(
    folder: &Path,
    name: &str,
    take: impl FnOnce(&Path) -> Result<P, ProgramError>,
) -> Result<P, DemandError> {
    let path = pins::program(folder, name);
    take(&path).map_err(|source| DemandError::Program { path, source: Box::new(source) })
}

fn pinned_descriptor(folder: &Path, name: &'static str) -> Result<OwnedFd, DemandError> {
    let path = pins::program(folder, name);
    sys::open_pin(&path).map_err(|source| DemandError::Pin { path, source })
}

/// How they stand, by the links of their set.
pub fn states(links: Option<&Links>, demand: Demand) -> impl Iterator<Item = HookState> {
    let attached = move |name| {
        let missing = || "no pinned link is there".to_owned();
        let expected = links_of(name).map_err(|error| error.to_string())?;
        let links = links.ok_or_else(missing)?;
        if !expected.iter().all(|link| links.has(link)) {
            return Err(missing());
        }
        attached::holds(links.folder(), name)
    };
    all(demand).into_iter().map(move |(name, needed)| HookState {
        name,
        needed,
        attached: attached(name),
    })
}

/// Detaches all but this.
pub fn relent(pins: &Pins, kept: Demand) -> Result<(), DemandError> {
    let links = Links::read(&newest(pins)?)?;
    for (name, is_kept) in all(kept) {
        let kept = if is_kept { links_of(name)? } else { Vec::new() };
        // A processor that has gone takes its event along, and comes back without.
        for link in links.of(name).filter(|link| !kept.iter().any(|it| it == link)) {
            pins::remove_link(&links.folder().join(link))?;
        }
    }
    Ok(())
}

/// The names of the links that a program has when it is attached: one, or one for each processor.
fn links_of(name: &str) -> Result<Vec<String>, DemandError> {
    if name != CLOCK {
        return Ok(vec![name.to_owned()]);
    }
    Ok(processors()?.into_iter().map(clock).collect())
}

fn clock(cpu: u32) -> String {
    format!("{CLOCK}-{cpu}")
}

fn processors() -> Result<Vec<u32>, DemandError> {
    online_cpus().map_err(|(_, source)| DemandError::Processors(source))
}

/// The folder of the programs that are attached.
fn newest(pins: &Pins) -> Result<PathBuf, DemandError> {
    pins.links()?.pop().ok_or_else(|| DemandError::NoLinks(pins.folder().to_owned()))
}
