//! One run of the emulator: its arguments, its second serial port, its end.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::kernels::Kernel;
use crate::shell;
use crate::wire::{CHUNK, Decoder, ENDED, Kind, MARK, NOT_READY, STARTED, encode};

/// The machine, apart from what it boots.
#[derive(Debug, Clone)]
pub struct Machine {
    pub memory: String,
    pub processors: u32,
    /// One instruction per tick, and nothing random: for counting instructions.
    pub counting: bool,
    /// A disk whose changes are thrown away.
    pub disk: Option<PathBuf>,
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// COMMAND ended with this status.
    Status(u8),
    NotReady,
    TimedOut,
    /// Before COMMAND ran, in the way that the emulator's own fault shows; or by such a signal to the emulator as
    /// nothing in a guest sends.
    EmulatorFault,
    Crashed,
}

/// Where COMMAND's streams go.
pub enum Streams<'sink> {
    /// The emulator gets our terminal.
    Terminal,
    /// To us, in pieces; `input`: our standard input is passed on.
    Pieces { input: bool, sink: &'sink mut dyn FnMut(Kind, &[u8]) -> Result<()> },
}

/// Whether this machine has a KVM that is more than a device file.
pub fn has_kvm() -> bool {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let able = processors.split_whitespace().any(|word| word == "vmx" || word == "svm");
    able && File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

impl Machine {
    pub fn command(
        &self,
        emulator: &Path,
        kernel: &Kernel,
        initrd: &Path,
        append: &str,
        log: &Path,
    ) -> Command {
        // The emulator must not outlive us, however we end.
        let mut command = match shell::find("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(emulator);
                command
            }
            None => Command::new(emulator),
        };
        let kvm = has_kvm() && !self.counting;
        let cpu = if kvm {
            "host".to_owned()
        } else {
            // No string instructions "enhanced" for bytes: the emulator takes each byte for itself, so that a page that is
            // cleared takes 4096 steps, and counts them.
            let random = if self.counting { ",-rdrand,-rdseed" } else { "" };
            format!("{},-erms,-fsrm{random}", kernel.cpu)
        };
        // The emulator's processors take turns on one thread: beside each other they execute code that another one
        // is just patching (seen as an int3 in a hook whose trampoline was being attached).
        let accelerator = if kvm { "kvm" } else { "tcg,thread=single" };
        let processors = if self.counting { 1 } else { self.processors };
        command.args(["-nodefaults", "-display", "none", "-no-reboot", "-machine", "q35"]);
        command.args(["-accel", accelerator]);
        command.args(["-cpu", &cpu, "-m", &self.memory, "-smp", &processors.to_string()]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        command.arg("-chardev").arg(format!("file,id=console,path={}", log.display()));
        command.args(["-serial", "chardev:console"]);
        command.args(["-chardev", "stdio,id=data,signal=off", "-serial", "chardev:data"]);
        if self.counting {
            command.args(["-icount", "shift=0", "-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        }
        if let Some(disk) = &self.disk {
            let drive = format!("file={},if=none,id=root,format=raw,snapshot=on", disk.display());
            command.args(["-drive", &drive, "-device", "nvme,serial=root,drive=root"]);
        }
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initrd);
        command.args(["-append", append]);
        command
    }
}

/// Runs the emulator to its end. `timeout`: none is forever.
pub fn run(
    mut command: Command,
    streams: Streams<'_>,
    timeout: Option<Duration>,
    log: &Path,
) -> Result<End> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let end = match streams {
        Streams::Terminal => {
            let mut child = command.spawn().context("failed to start QEMU")?;
            match wait(&mut child, deadline)? {
                Gone::ByItself => None,
                Gone::BySignal => Some(End::EmulatorFault),
                Gone::TimedOut => Some(End::TimedOut),
            }
        }
        Streams::Pieces { input, sink } => {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().context("failed to start QEMU")?;
            let end = follow(&mut child, input, sink, deadline);
            // After COMMAND's end the guest switches itself off; where the stream has ended, so has the emulator, or soon.
            let ends = matches!(end, Ok(Some(End::Status(_) | End::NotReady) | None));
            let left = Some(Instant::now() + Duration::from_secs(if ends { 10 } else { 0 }));
            let gone = wait(&mut child, left)?;
            match end? {
                None if gone == Gone::BySignal => Some(End::EmulatorFault),
                end => end,
            }
        }
    };
    Ok(end.unwrap_or_else(|| read_console(log)))
}

/// The signals that tell of a fault of the emulator's, or of memory that the machine has not: SIGILL, SIGABRT, SIGBUS, SIGKILL
/// and SIGSEGV (signal(7), for x86). Others are somebody's wish that it end.
const FAULTS: [i32; 5] = [4, 6, 7, 9, 11];

/// How the emulator ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    ByItself,
    BySignal,
    /// The deadline came first, and it was ended.
    TimedOut,
}

fn wait(child: &mut Child, deadline: Option<Instant>) -> Result<Gone> {
    loop {
        if let Some(status) = child.try_wait().context("failed to wait for QEMU")? {
            let fault = status.signal().filter(|signal| FAULTS.contains(signal));
            let Some(signal) = fault else { return Ok(Gone::ByItself) };
            shell::say(format_args!("the emulator was ended by signal {signal}"));
            return Ok(Gone::BySignal);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            child.kill().context("failed to end QEMU")?;
            child.wait().context("failed to wait for QEMU")?;
            return Ok(Gone::TimedOut);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Passes COMMAND's streams on until it ends, the guest ends, or the time is up.
fn follow(
    child: &mut Child,
    input: bool,
    sink: &mut dyn FnMut(Kind, &[u8]) -> Result<()>,
    deadline: Option<Instant>,
) -> Result<Option<End>> {
    let port = Arc::new(Mutex::new(child.stdin.take().context("QEMU has no input")?));
    let output = child.stdout.take().context("QEMU has no output")?;
    let (frames_in, frames) = sync_channel(64);
    thread::spawn(move || read_frames(output, &frames_in));
    let credits = pass_input(input, &port);
    loop {
        let frame = match deadline {
            Some(deadline) => {
                frames.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
            None => frames.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match frame {
            // The other end is gone when there is no more input.
            Ok((Kind::Taken, _)) => drop(credits.try_send(())),
            Ok((kind @ (Kind::Stdout | Kind::Stderr), bytes)) => sink(kind, &bytes)?,
            Ok((Kind::Exit, status)) => {
                send(&port, Kind::Bye, &[])?;
                return Ok(Some(End::Status(status.first().copied().unwrap_or(u8::MAX))));
            }
            Ok((Kind::NotReady, _)) => {
                send(&port, Kind::Bye, &[])?;
                return Ok(Some(End::NotReady));
            }
            Ok((Kind::Stdin | Kind::StdinEnd | Kind::Bye, _)) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(Some(End::TimedOut)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

fn read_frames(mut output: impl std::io::Read, frames: &SyncSender<(Kind, Vec<u8>)>) {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        decoder.push(buffer.get(..length).unwrap_or_default());
        while let Some(frame) = decoder.frame() {
            if frame.is_ok_and(|frame| frames.send(frame).is_err()) {
                return;
            }
        }
    }
}

/// Passes our standard input on, one chunk for each credit that the guest gives.
fn pass_input(wanted: bool, port: &Arc<Mutex<ChildStdin>>) -> SyncSender<()> {
    let (credits_in, credits) = sync_channel(2);
    let port = Arc::clone(port);
    thread::spawn(move || {
        let mut buffer = [0; CHUNK];
        while credits.recv().is_ok() {
            let length = if wanted { std::io::stdin().read(&mut buffer).unwrap_or(0) } else { 0 };
            let chunk = buffer.get(..length).unwrap_or_default();
            let kind = if chunk.is_empty() { Kind::StdinEnd } else { Kind::Stdin };
            if send(&port, kind, chunk).is_err() || chunk.is_empty() {
                return;
            }
        }
    });
    credits_in
}

fn send(port: &Mutex<ChildStdin>, kind: Kind, payload: &[u8]) -> Result<()> {
    let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
    port.write_all(&encode(kind, payload)).context("failed to write to QEMU")
}

/// How the guest ended, by what its init wrote on the console.
fn read_console(log: &Path) -> End {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let said = |what: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(MARK)?.trim().strip_prefix(what))
    };
    if let Some(status) = said(ENDED).and_then(|status| status.trim().parse().ok()) {
        End::Status(status)
    } else if said(NOT_READY).is_some() {
        End::NotReady
    } else if said(STARTED).is_none()
        && ["double fault", "general protection"].iter().any(|fault| text.contains(fault))
    {
        End::EmulatorFault
    } else {
        End::Crashed
    }
}
