//! Asks to become a run, and brings something along that no run begins with.
//!
//! One process makes what is brought, and a child of it, which may share more with it, asks. What was answered, and the
//! errno of an open that the policy denies, go to standard output.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::{AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    ptr::null_mut,
    time::Duration,
};

use agentid_tests::control;
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::prctl::{set_child_subreaper, set_no_new_privs};
use serde_json::{Value, json};

use crate::{access, ring, share};

/// Enough for whatever the child does.
const STACK: usize = 1 << 20;
/// How long one that is refused stays, so that what it has brought is still there when it is looked at again.
const LONG: Duration = Duration::from_secs(3600);

/// What is brought, and as which descriptor.
struct Load {
    what: String,
    at: RawFd,
    made: Option<OwnedFd>,
    socket: PathBuf,
    launch: String,
    denied: PathBuf,
}

pub fn bring(how: &str, socket: PathBuf, launch: String, denied: PathBuf) -> Result<()> {
    control::close_others();
    let (what, at) = how.split_once('-').unwrap_or((how, "7"));
    let made = make(what)?;
    let load = Load { what: what.to_owned(), at: at.parse()?, made, socket, launch, denied };
    // Whoever the child leaves becomes a child of this process.
    set_child_subreaper(true)?;
    let shared = match what {
        // The parent stands still, and the child has a stack of its own.
        "memory" => libc::CLONE_VM | libc::CLONE_VFORK,
        "descriptors" => libc::CLONE_FILES,
        "folders" => libc::CLONE_FS,
        _ => 0,
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut load = Some(load);
    // SAFETY: the child has the stack for itself, and either memory of its own or the parent's while that waits.
    let child = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(ask, top.cast(), shared | libc::SIGCHLD, (&raw mut load).cast())
    };
    ensure!(child > 0, "clone: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: `status` is there for the call to write.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    ensure!(waited == child, "waitpid: {}", std::io::Error::last_os_error());
    let left = fs::read_to_string("/proc/thread-self/children")?;
    for child in left.split_whitespace() {
        share::end(child.parse()?)?;
    }
    if libc::WIFSIGNALED(status) {
        say(&json!({ "answer": format!("killed by {}", libc::WTERMSIG(status)) }))?;
    }
    Ok(())
}

fn make(what: &str) -> Result<Option<OwnedFd>> {
    let ring = |flags| ring::bare(flags).map_err(std::io::Error::from_raw_os_error);
    Ok(match what {
        "ring" | "mapped" => Some(ring(0)?),
        "polled" => Some(ring(ring::POLLED)?),
        "listener" => Some(TcpListener::bind("127.0.0.1:0")?.into()),
        "folder" => Some(File::open("/")?.into()),
        "file" => Some(File::open("/proc/version")?.into()),
        "socket" => Some(UnixStream::pair()?.0.into()),
        "backed" | "reading" => Some(tempfile::tempfile()?.into()),
        "anonymous" | "nothing" | "thread" | "tracer" | "blink" | "memory" | "descriptors"
        | "folders" | "gains" | "read" => None,
        other => bail!("{other} is nothing to bring"),
    })
}

extern "C" fn ask(load: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent gave it, and does not touch it while the child lives.
    let load = unsafe { (*load.cast::<Option<Load>>()).take() };
    let done = load.context("nothing is brought").and_then(|load| load.ask());
    if let Err(error) = &done {
        eprintln!("agentid-probe: {error:#}");
    }
    // SAFETY: ends the child at once.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

impl Load {
    fn ask(self) -> Result<()> {
        let Self { what, at, made, socket, launch, denied } = self;
        match (what.as_str(), made) {
            ("mapped", Some(ring)) => {
                ring::map_rings(&ring).context("mmap")?;
            }
            // Written to by nobody yet, and by anybody whenever it pleases him.
            ("backed", Some(file)) => map(&file, libc::PROT_READ)?,
            ("reading", Some(file)) => {
                let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                map(&again.into(), libc::PROT_READ)?;
            }
            ("anonymous", None) => map_anonymous()?,
            (_, Some(made)) => put(made, at)?,
            ("thread", None) => drop(std::thread::spawn(|| std::thread::sleep(LONG))),
            ("tracer", None) => be_traced()?,
            (_, None) => {}
        }
        if what == "read" {
            share::slow_reader()?;
        }
        if what != "gains" {
            set_no_new_privs()?;
        }
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(control::request("POST /v1/runs", &launch).as_bytes())?;
        if what == "blink" {
            blink(&stream);
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        say(&json!({ "answer": answer, "opened": access::read(&denied) }))
    }
}

/// A page of the file, shared with all who have it; the descriptor is closed.
fn map(file: &OwnedFd, protection: libc::c_int) -> Result<()> {
    // SAFETY: a plain system call, which places it where nothing is.
    let at =
        unsafe { libc::mmap(null_mut(), 1, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    Ok(())
}

/// The same of memory that only children have as well.
fn map_anonymous() -> Result<()> {
    let (protection, how) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: as above.
    let at = unsafe { libc::mmap(null_mut(), 1, protection, how, -1, 0) };
    ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    Ok(())
}

/// The parent becomes the tracer.
fn be_traced() -> Result<()> {
    let none = null_mut::<u8>();
    // SAFETY: a plain system call.
    let done = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) };
    ensure!(done == 0, "ptrace: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Has a descriptor more and less, again and again, until there is an answer.
fn blink(stream: &UnixStream) {
    loop {
        for _ in 0..50 {
            // SAFETY: plain system calls on a copy of the standard input.
            unsafe { libc::close(libc::dup(0)) };
        }
        let mut set = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: there is one, for the call to write.
        if unsafe { libc::poll(&raw mut set, 1, 0) } > 0 {
            return;
        }
    }
}

/// The same descriptor under another number, and only under that.
fn put(made: OwnedFd, at: RawFd) -> Result<()> {
    if made.as_raw_fd() == at {
        let _stays = made.into_raw_fd();
        return Ok(());
    }
    // SAFETY: what had the number before is nobody's any more.
    ensure!(unsafe { libc::dup2(made.as_raw_fd(), at) } == at, "dup2");
    Ok(())
}

fn say(told: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{told}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
