//! Processes that are each the first of a run of its own, started and led by one that is in no run.
//!
//! A member does what it is told through memory that all share, with system calls alone; see `agentid_tests::crowd`. It
//! brings none along: it has that memory as its standard input, and maps it when it is a run.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process,
    ptr::{NonNull, null, null_mut},
    sync::atomic::{AtomicI32, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use agentid_tests::{
    channel::{Channel, Heard},
    control,
    crowd::{Cycle, Launched, Order, Report},
};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::prctl::set_no_new_privs;
use serde_json::Value;

use crate::inherit;

/// Most members.
const MOST: usize = 16_384;
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long members may take to open a file, on a slow emulator.
const OPENS: Duration = Duration::from_secs(300);
/// What stands in a cell until its member has done something.
const NOTHING: i32 = i32::MIN;
const PATH: usize = 4096;

/// What members are told, and what they say.
#[repr(C)]
struct Board {
    /// Number of the round; members sleep until it is another one.
    round: AtomicU32,
    path: [u8; PATH],
    cells: [AtomicI32; MOST],
}

struct Crowd {
    /// What the board is in.
    memory: OwnedFd,
    board: NonNull<Board>,
    /// The processes that have not been seen dead, and their cells.
    members: BTreeMap<libc::pid_t, usize>,
    cells: usize,
}

pub fn lead() -> Result<()> {
    let mut channel = Channel::open(io::stdin().as_fd())?;
    channel.keep_from_children()?;
    let mut crowd = Crowd::new()?;
    channel.say(&Report::Ready)?;
    loop {
        match channel.hear(PATIENCE)? {
            Heard::Word(order) => {
                let report = crowd.carry_out(order);
                channel
                    .say(&report.unwrap_or_else(|error| Report::Failed(format!("{error:#}"))))?;
            }
            Heard::Nothing => {}
            Heard::Over => return Ok(()),
        }
    }
}

impl Crowd {
    fn new() -> Result<Self> {
        // SAFETY: a new descriptor, which is nobody else's.
        let memory = unsafe {
            let made = libc::memfd_create(c"crowd".as_ptr(), libc::MFD_CLOEXEC);
            ensure!(made >= 0, "no memory: {}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(made)
        };
        let size = libc::off_t::try_from(size_of::<Board>())?;
        // SAFETY: a plain system call.
        let sized = unsafe { libc::ftruncate(memory.as_raw_fd(), size) };
        ensure!(sized == 0, "no memory: {}", io::Error::last_os_error());
        let board = map(null_mut(), memory.as_raw_fd())?;
        Ok(Self { memory, board, members: BTreeMap::new(), cells: 0 })
    }

    fn board(&self) -> &Board {
        // SAFETY: mapped whenever this is called, and zeros are valid.
        unsafe { self.board.as_ref() }
    }

    fn carry_out(&mut self, order: Order) -> Result<Report> {
        match order {
            Order::Launch { socket, launch, times } => {
                let launched = (0..times).map(|_| Ok(self.launch(&socket, &launch)?.1));
                Ok(Report::Launched(launched.collect::<Result<_>>()?))
            }
            Order::Job { socket, launch, times } => {
                let launched = (0..times).map(|_| {
                    let (process, launched) = self.launch(&socket, &launch)?;
                    // SAFETY: a plain system call on a child of ours, which waits for nothing else.
                    unsafe { libc::kill(process, libc::SIGKILL) };
                    self.await_end(process)?;
                    Ok(launched)
                });
                Ok(Report::Launched(launched.collect::<Result<_>>()?))
            }
            Order::Open(path) => self.open(&path),
            Order::Cycle { socket, launch, times } => {
                let cycles = (0..times).map(|_| self.cycle(&socket, &launch));
                Ok(Report::Cycled(cycles.collect::<Result<_>>()?))
            }
        }
    }

    fn launch(&mut self, socket: &Path, launch: &Value) -> Result<(libc::pid_t, Launched)> {
        ensure!(self.cells < MOST, "the crowd has no more room");
        self.board().cells[self.cells].store(NOTHING, Ordering::Relaxed);
        let begun = Instant::now();
        let leader = process::id();
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, which are new and nobody else's.
        let (mut read, write) = unsafe {
            ensure!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) == 0, "no pipe");
            (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
        };
        // SAFETY: this process has one thread, so that its child can do everything that it could.
        let process = match unsafe { libc::fork() } {
            0 => {
                inherit::end_with(leader);
                drop(read);
                // SAFETY: nobody uses the standard input, and nothing the board until it is mapped again.
                let left = unsafe {
                    libc::dup2(self.memory.as_raw_fd(), 0) == 0
                        && libc::munmap(self.board.as_ptr().cast(), size_of::<Board>()) == 0
                };
                match control::keep_alone(write.into()) {
                    Ok(write) if left => self.be_member(socket, launch, write),
                    _ => process::abort(),
                }
            }
            child if child < 0 => bail!("fork: {}", io::Error::last_os_error()),
            child => child,
        };
        drop(write);
        let mut id = String::new();
        read.read_to_string(&mut id)?;
        let took = begun.elapsed();
        self.members.insert(process, self.cells);
        self.cells += 1;
        match id.strip_prefix('!') {
            None if !id.is_empty() => Ok((process, Launched { id, took })),
            complaint => bail!("no run was launched: {}", complaint.unwrap_or_default()),
        }
    }

    fn be_member(&self, socket: &Path, launch: &Value, mut write: File) -> ! {
        let answer = set_no_new_privs()
            .context("PR_SET_NO_NEW_PRIVS")
            .and_then(|()| control::ask(socket, "POST /v1/runs", launch));
        let mapped = map(self.board.as_ptr().cast(), 0);
        let word = match answer.as_ref().map(|answer| answer["id"].as_str()) {
            _ if mapped.is_err() => "!the board cannot be mapped".to_owned(),
            Ok(Some(id)) => id.to_owned(),
            Ok(None) => "!the answer has no ID".to_owned(),
            Err(error) => format!("!{error:#}"),
        };
        let failed = word.starts_with('!');
        // What was to be done in earlier rounds is none of its business; the next one begins when the leader has read this.
        let mut seen = if failed { 0 } else { self.board().round.load(Ordering::Acquire) };
        if write.write_all(word.as_bytes()).is_err() || failed {
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(1) };
        }
        drop(write);
        let board = self.board();
        let Some(cell) = board.cells.get(self.cells) else { process::abort() };
        loop {
            sleep(&board.round, seen);
            let round = board.round.load(Ordering::Acquire);
            if round != seen && cell.load(Ordering::Acquire) == NOTHING {
                // The leader writes the path while everybody sleeps.
                if let Ok(path) = CStr::from_bytes_until_nul(&board.path) {
                    cell.store(inherit::open(path), Ordering::Release);
                }
            }
            seen = round;
        }
    }

    fn open(&mut self, path: &Path) -> Result<Report> {
        let bytes = path.as_os_str().as_bytes();
        ensure!(bytes.len() < PATH, "the path is too long");
        self.bury();
        // SAFETY: there is room for the path and a zero, and every member sleeps.
        unsafe {
            let to: *mut u8 = (&raw mut (*self.board.as_ptr()).path).cast();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            to.add(bytes.len()).write(0);
        }
        let board = self.board();
        for cell in self.members.values() {
            board.cells[*cell].store(NOTHING, Ordering::Release);
        }
        board.round.fetch_add(1, Ordering::Release);
        wake(&board.round);
        let asked = self.members.clone();
        let deadline = Instant::now() + OPENS;
        loop {
            self.bury();
            let (mut errnos, mut dead, mut left) = (BTreeMap::new(), 0, 0);
            for (process, cell) in &asked {
                match self.board().cells[*cell].load(Ordering::Acquire) {
                    NOTHING if self.members.contains_key(process) => left += 1,
                    NOTHING => dead += 1,
                    errno => *errnos.entry(errno).or_default() += 1,
                }
            }
            if left == 0 {
                return Ok(Report::Opened { errnos, dead });
            }
            ensure!(Instant::now() < deadline, "{left} members have not opened anything");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn cycle(&mut self, socket: &Path, launch: &Value) -> Result<Cycle> {
        let (process, launched) = self.launch(socket, launch)?;
        let line = format!("POST /v1/runs/{}/revoke", launched.id);
        let begun = Instant::now();
        let answer = control::ask(socket, &line, &Value::Object(serde_json::Map::new()))?;
        let took = begun.elapsed();
        let denial = answer["denied_after_ms"].as_f64().context("the answer has no time")?;
        self.await_end(process)?;
        Ok(Cycle {
            launch: u64::try_from(launched.took.as_micros())?,
            denial: (denial * 1000.0) as u64,
            revocation: u64::try_from(took.as_micros())?,
        })
    }

    /// Waits until the last member is gone. Its cell is used again.
    fn await_end(&mut self, process: libc::pid_t) -> Result<()> {
        // SAFETY: a plain system call on a child of ours.
        let waited = unsafe { libc::waitpid(process, null_mut(), 0) };
        ensure!(waited == process, "waitpid: {}", io::Error::last_os_error());
        self.members.remove(&process);
        self.cells -= 1;
        Ok(())
    }

    /// Takes note of who has died.
    fn bury(&mut self) {
        loop {
            // SAFETY: a plain system call.
            let process = unsafe { libc::waitpid(-1, null_mut(), libc::WNOHANG) };
            if process <= 0 {
                return;
            }
            self.members.remove(&process);
        }
    }
}

/// Maps the board, at an address or anywhere.
fn map(at: *mut libc::c_void, memory: RawFd) -> Result<NonNull<Board>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | if at.is_null() { 0 } else { libc::MAP_FIXED_NOREPLACE };
    // SAFETY: a new mapping where there is none, which lasts as long as the process.
    let board = unsafe { libc::mmap(at, size_of::<Board>(), access, flags, memory, 0) };
    ensure!(board != libc::MAP_FAILED, "no memory: {}", io::Error::last_os_error());
    NonNull::new(board.cast()).context("the board is nowhere")
}

fn wake(word: &AtomicU32) {
    // SAFETY: a plain system call on an address of ours.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Returns when the word has another value, or earlier.
fn sleep(word: &AtomicU32, value: u32) {
    let forever = null::<libc::timespec>();
    // SAFETY: a plain system call on an address of ours.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, forever) };
}
