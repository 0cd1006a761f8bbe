//! A run talks to unix sockets of its own, and to those that its rules name.

use std::{
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use agentid_tests::{
    harness::{
        Daemon, Place, Run, Shared,
        run::Terms,
        scene::USERS,
        view::{Object, What},
        wait,
    },
    step::{Kind, Name, Outcome, Step, Unix},
};
use anyhow::{Context as _, Result};
use libc::{EACCES, EPERM};

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Packets, Kind::Datagram];

/// Runs of the policy `talker`, which grants the sockets in the workspace's folder `open`.
struct Stage {
    place: Place,
    daemon: Shared,
}

impl Stage {
    fn new() -> Result<Self> {
        let daemon = Daemon::shared()?;
        let place = Place::below(daemon.scene().path())?;
        let open = place.workspace().join("open");
        std::fs::create_dir(&open)?;
        place.open_to_all(&open)?;
        Ok(Self { place, daemon })
    }

    fn run(&self, uid: u32) -> Result<Run> {
        self.run_with(uid, Stdio::piped())
    }

    /// A run with this for its standard error.
    fn run_with(&self, uid: u32, error: Stdio) -> Result<Run> {
        let work = self.place.workspace();
        let terms = Terms { policy: "talker", uid, workspace: Some(&work), ..Terms::default() };
        Run::launch_with(&self.daemon, &terms, error)
    }
}

/// Somebody else's sockets at one path: a listener of streams, and beside it a receiver of datagrams.
struct Theirs {
    stream: PathBuf,
    datagram: PathBuf,
    _listener: UnixListener,
    receiver: UnixDatagram,
}

impl Theirs {
    fn at(folder: &Path) -> Result<Self> {
        let (stream, datagram) = (folder.join("their.stream"), folder.join("their.datagram"));
        let listener = UnixListener::bind(&stream)?;
        let receiver = UnixDatagram::bind(&datagram)?;
        receiver.set_nonblocking(true)?;
        for path in [&stream, &datagram] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        }
        Ok(Self { stream, datagram, _listener: listener, receiver })
    }

    /// Each way to talk to one of them.
    fn steps(&self) -> Vec<Step> {
        let (stream, datagram) =
            (Name::Path(self.stream.clone()), Name::Path(self.datagram.clone()));
        [
            Unix::Connect { to: stream.clone(), kind: Kind::Stream },
            Unix::ConnectByRing(stream),
            Unix::Connect { to: datagram.clone(), kind: Kind::Datagram },
            Unix::SendTo(datagram),
        ]
        .map(Step::Unix)
        .to_vec()
    }

    fn has_heard(&self) -> bool {
        self.receiver.recv(&mut [0; 8]).is_ok()
    }
}

/// P2: a socket that somebody else has bound is a file, which needs the right `connect`: in whichever way it is talked to.
#[test]
fn connects_to_the_paths_that_are_granted_and_no_others() -> Result<()> {
    let stage = Stage::new()?;
    let place = &stage.place;
    let granted = Theirs::at(&place.workspace().join("open"))?;
    // What may be read and written may not therefore be talked to.
    let denied = Theirs::at(&place.workspace())?;
    for uid in USERS {
        let mut run = stage.run(uid)?;
        for step in granted.steps() {
            assert_eq!(run.errno(&step)?, 0, "uid {uid}: {step:?}");
        }
        assert!(granted.has_heard(), "uid {uid}");
        for step in denied.steps() {
            assert_eq!(run.errno(&step)?, EACCES, "uid {uid}: {step:?}");
        }
        assert!(!denied.has_heard(), "uid {uid}");
    }
    Ok(())
}

/// P2: as root too, where file modes let everyone in.
#[test]
fn a_run_of_root_does_not_get_to_the_hosts_services() -> Result<()> {
    let stage = Stage::new()?;
    let folder = tempfile::Builder::new().prefix("agentid-suite-").tempdir_in("/run")?;
    let service = Theirs::at(folder.path())?;
    let mut run = stage.run(0)?;
    for step in service.steps() {
        assert_eq!(run.errno(&step)?, EACCES, "{step:?}");
    }
    Ok(())
}

/// P2: another name for a socket gives nothing that the socket's own place does not.
#[test]
fn another_name_for_a_socket_is_no_way_to_it() -> Result<()> {
    let stage = Stage::new()?;
    let place = &stage.place;
    let denied = Theirs::at(&place.outside())?;
    let (link, symlink) =
        (place.workspace().join("open/link"), place.workspace().join("open/symlink"));
    std::fs::hard_link(&denied.stream, &link)?;
    std::os::unix::fs::symlink(&denied.stream, &symlink)?;
    for uid in USERS {
        let mut run = stage.run(uid)?;
        for path in [&link, &symlink] {
            let step =
                Step::Unix(Unix::Connect { to: Name::Path(path.clone()), kind: Kind::Stream });
            assert_eq!(run.errno(&step)?, EACCES, "uid {uid}: {step:?}");
        }
    }
    Ok(())
}

/// Somebody else's sockets with one abstract name.
struct Called {
    name: String,
    _listener: UnixListener,
    receiver: UnixDatagram,
}

impl Called {
    fn by(name: String) -> Result<Self> {
        let address = SocketAddr::from_abstract_name(&name)?;
        let receiver = UnixDatagram::bind_addr(&address)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { _listener: UnixListener::bind_addr(&address)?, receiver, name })
    }

    /// Each way to talk to one of them.
    fn steps(&self) -> [Step; 4] {
        let to = Name::Abstract(self.name.clone());
        [
            Unix::Connect { to: to.clone(), kind: Kind::Stream },
            Unix::ConnectByRing(to.clone()),
            Unix::Connect { to: to.clone(), kind: Kind::Datagram },
            Unix::SendTo(to),
        ]
        .map(Step::Unix)
    }

    fn has_heard(&self) -> bool {
        self.receiver.recv(&mut [0; 8]).is_ok()
    }
}

/// P2: whoever has an abstract name is talked to where a rule names it, in whichever way, and else never.
#[test]
fn connects_to_the_abstract_names_that_are_granted_and_no_others() -> Result<()> {
    let stage = Stage::new()?;
    let id = std::process::id();
    let granted = [format!("agentid-suite-open-{id}"), format!("agentid-suite/deep/{id}/x/y")];
    let denied = [
        format!("agentid-suite-{id}"),
        // A rule that denies goes before.
        format!("agentid-suite-open-{id}-denied"),
        // To listen by a name is not to connect to who has it.
        format!("agentid-suite-own-{id}"),
        // What a name has beside the granted one's bytes counts, a zero too.
        format!("\0agentid-suite-open-{id}"),
        format!("agentid-suite/deep{id}"),
    ];
    let granted: Vec<Called> = granted.into_iter().map(Called::by).collect::<Result<_>>()?;
    let denied: Vec<Called> = denied.into_iter().map(Called::by).collect::<Result<_>>()?;
    for uid in USERS {
        let mut run = stage.run(uid)?;
        for called in &granted {
            for step in called.steps() {
                assert_eq!(run.errno(&step)?, 0, "uid {uid}: {step:?}");
            }
            assert!(called.has_heard(), "uid {uid}: {}", called.name);
        }
        for called in &denied {
            for step in called.steps() {
                assert_eq!(run.errno(&step)?, EACCES, "uid {uid}: {step:?}");
            }
            assert!(!called.has_heard(), "uid {uid}: {}", called.name);
        }
    }
    Ok(())
}

/// P2, P6: whoever comes first has an abstract name, so that what is granted by one is never another run.
#[test]
fn a_granted_abstract_name_does_not_lead_to_another_run() -> Result<()> {
    let stage = Stage::new()?;
    for uid in USERS {
        let (mut run, mut other) = (stage.run(uid)?, stage.run(uid)?);
        let name = Name::Abstract(format!("agentid-suite-both-{uid}-{}", std::process::id()));
        assert_eq!(other.errno(&Step::Unix(Unix::Listen(name.clone())))?, 0, "uid {uid}");
        let step = Step::Unix(Unix::Connect { to: name.clone(), kind: Kind::Stream });
        assert_eq!(run.errno(&step)?, EACCES, "uid {uid}");
        let step = Step::Unix(Unix::ConnectByRing(name));
        assert_eq!(run.errno(&step)?, EACCES, "uid {uid}");
    }
    Ok(())
}

/// P2: a run takes no abstract name that it is not granted, for others to find it by. What the kernel chooses says nothing.
#[test]
fn takes_only_the_abstract_names_that_are_granted() -> Result<()> {
    let stage = Stage::new()?;
    let id = std::process::id();
    for uid in USERS {
        let mut run = stage.run(uid)?;
        for kind in KINDS {
            let own = |name| Step::Unix(Unix::Own { name, kind });
            for name in
                ["agentid-suite-mine", "agentid-suite-own-denied", "agentid-suite-open-x", "x", ""]
            {
                let step = own(Name::Abstract(name.to_owned()));
                assert_eq!(run.errno(&step)?, EACCES, "uid {uid}: {step:?}");
            }
            let step = own(Name::Abstract(format!("agentid-suite-own-{uid}-{id}")));
            assert_eq!(run.errno(&step)?, 0, "uid {uid}: {step:?}");
        }
        assert_eq!(run.errno(&Step::Unix(Unix::Listen(Name::Chosen)))?, 0, "uid {uid}");
        let step = Step::Unix(Unix::Listen(Name::Abstract(format!("agentid-suite-own-{id}-late"))));
        stage.daemon.revoke(run.id())?;
        assert_eq!(run.errno(&step)?, EPERM, "uid {uid}");
    }
    Ok(())
}

/// P2: what the run itself has made is free, by every kind of name; another run's is not.
#[test]
fn a_runs_own_sockets_are_free_and_another_runs_are_not() -> Result<()> {
    let stage = Stage::new()?;
    for uid in USERS {
        let mut run = stage.run(uid)?;
        for (index, kind) in KINDS.into_iter().enumerate() {
            let path = stage.place.workspace().join(format!("own-{uid}-{index}"));
            let text = format!("agentid-suite-own-{uid}-{index}");
            for name in [Name::Path(path), Name::Abstract(text)] {
                let step = Step::Unix(Unix::Own { name, kind });
                assert_eq!(run.errno(&step)?, 0, "uid {uid}: {step:?}");
            }
            assert_eq!(run.errno(&Step::Unix(Unix::Pair(kind)))?, 0, "uid {uid}: {kind:?}");
        }
        let mut other = stage.run(uid)?;
        let theirs = stage.place.workspace().join(format!("theirs-{uid}"));
        assert_eq!(other.errno(&Step::Unix(Unix::Listen(Name::Path(theirs.clone()))))?, 0);
        let step = Step::Unix(Unix::Connect { to: Name::Path(theirs), kind: Kind::Stream });
        assert_eq!(run.errno(&step)?, EACCES, "uid {uid}");
        assert_eq!(other.errno(&step)?, 0, "uid {uid}");
    }
    Ok(())
}

/// P2: a datagram on a socket that came from outside is judged by who receives it.
#[test]
fn a_socket_that_was_handed_over_leads_nowhere_else() -> Result<()> {
    let stage = Stage::new()?;
    for uid in USERS {
        let (here, there) = UnixDatagram::pair()?;
        here.set_nonblocking(true)?;
        let mut run = stage.run_with(uid, Stdio::from(OwnedFd::from(there)))?;
        assert_eq!(run.errno(&Step::Unix(Unix::SendHanded))?, EACCES, "uid {uid}");
        assert!(here.recv(&mut [0; 8]).is_err(), "uid {uid}");
    }
    Ok(())
}

/// P2, P4: a run that is over makes no socket and talks to none, its own and the daemon's included.
#[test]
fn talks_to_nobody_after_the_end() -> Result<()> {
    let stage = Stage::new()?;
    let granted = Theirs::at(&stage.place.workspace().join("open"))?;
    for uid in USERS {
        let (here, there) = UnixDatagram::pair()?;
        here.set_nonblocking(true)?;
        let mut run = stage.run_with(uid, Stdio::from(OwnedFd::from(there)))?;
        assert_eq!(run.errno(&Step::Unix(Unix::Make))?, 0);
        let control =
            Unix::Connect { to: Name::Path(stage.daemon.scene().socket()), kind: Kind::Stream };
        let control = Step::Unix(control);
        assert_eq!(run.errno(&control)?, 0, "uid {uid}");
        stage.daemon.revoke(run.id())?;
        let mut steps = vec![control, Step::Unix(Unix::Make), Step::Unix(Unix::SendHanded)];
        steps.extend(granted.steps());
        steps.extend(KINDS.map(|kind| Step::Unix(Unix::Pair(kind))));
        for step in steps {
            assert_eq!(run.errno(&step)?, EPERM, "uid {uid}: {step:?}");
        }
    }
    Ok(())
}

/// P7: the record names the socket by its path or its abstract name, and what was asked of it.
#[test]
fn records_the_socket() -> Result<()> {
    let stage = Stage::new()?;
    let denied = Theirs::at(&stage.place.outside())?;
    let called = Called::by(format!("agentid-suite-{}", std::process::id()))?;
    let mut run = stage.run(0)?;
    for step in denied.steps().iter().chain(&called.steps()) {
        assert_eq!(run.errno(step)?, EACCES, "{step:?}");
    }
    let taken = Name::Abstract("agentid-suite-mine".to_owned());
    assert_eq!(run.errno(&Step::Unix(Unix::Listen(taken)))?, EACCES);
    let want = |word: &str| vec![word.to_owned()];
    let file = |path: &Path| Object::File {
        path: Some(path.display().to_string()),
        want: want("connect"),
    };
    let named =
        |name: &str, word| Object::AbstractSocket { name: name.to_owned(), want: want(word) };
    for (hook, shown) in [
        ("unix_stream_connect", file(&denied.stream)),
        ("unix_may_send", file(&denied.datagram)),
        ("unix_stream_connect", named(&called.name, "connect")),
        ("unix_may_send", named(&called.name, "connect")),
        ("socket_bind", named("agentid-suite-mine", "listen")),
    ] {
        wait::until("the record is there", wait::SOON, || {
            let found = stage.daemon.events(run.id())?.into_iter().any(|event| match event.what {
                What::Access(access) => {
                    access.hook == hook && access.object.as_ref() == Some(&shown)
                }
                What::Stopped(_) | What::Ended(_) | What::Other => false,
            });
            Ok(found.then_some(()))
        })?;
    }
    Ok(())
}

/// P3: a socket that cannot be told to be the run's is not made. The tag goes with it while it lives: it needs memory,
/// which a socket has before anyone can use it.
#[test]
fn every_socket_of_a_run_carries_its_tag() -> Result<()> {
    let stage = Stage::new()?;
    for uid in USERS {
        let mut run = stage.run(uid)?;
        let before = run.totals(&stage.daemon)?.faults;
        for _ in 0..100 {
            assert_eq!(run.errno(&Step::Unix(Unix::Make))?, 0);
        }
        assert_eq!(run.totals(&stage.daemon)?.faults, before);
        match run.ask(&Step::Unix(Unix::Pair(Kind::Datagram)))? {
            Outcome::Errno(0) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(())
}

/// P4: a conversation on a unix socket ends with the run, in both directions.
#[test]
fn the_other_end_hears_of_the_end() -> Result<()> {
    use std::io::Read as _;

    let stage = Stage::new()?;
    let path = stage.place.workspace().join("open/talk");
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    for uid in USERS {
        let (mut run, mut sibling) = (stage.run(uid)?, stage.run(uid)?);
        let call = Step::Unix(Unix::Call(Name::Path(path.clone())));
        assert_eq!(run.errno(&call)?, 0, "uid {uid}");
        let (mut stream, _) = listener.accept()?;
        assert_eq!(sibling.errno(&call)?, 0, "uid {uid}");
        let (mut others, _) = listener.accept()?;
        for stream in [&stream, &others] {
            stream.set_read_timeout(Some(wait::SOON))?;
        }
        stage.daemon.revoke(run.id())?;
        assert_eq!(stream.read(&mut [0; 8]).context("no end is heard")?, 0, "uid {uid}");
        assert_eq!(sibling.errno(&Step::Say)?, 0, "uid {uid}");
        assert_eq!(others.read(&mut [0; 8])?, 1, "uid {uid}");
    }
    Ok(())
}
