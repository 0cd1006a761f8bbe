//! Things that are open before a run ends, and what can be done with them afterwards.

use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{ffi::OsStrExt as _, net::UnixStream},
    },
    path::Path,
    ptr::{NonNull, copy_nonoverlapping, null_mut},
};

use agentid_tests::step::Use;

use crate::{access, change::text, heard::Heard};

/// include/uapi/asm-generic/ioctls.h
const FIONREAD: libc::c_ulong = 0x541b;
/// For the kernel's own thread to carry a terminal's bytes over, in milliseconds.
const PATIENCE: libc::c_int = 20_000;

/// One of each kind. None of them blocks.
pub struct Held {
    file: File,
    other: File,
    folder: File,
    pipe: [OwnedFd; 2],
    counter: OwnedFd,
    /// The end of the program that shows it, and that of those who work at it.
    terminal: [OwnedFd; 2],
    socket: UnixStream,
    far: UnixStream,
    heard: Heard,
}

impl Held {
    /// Opens two files and the folder that they are in for reading, and the files for writing.
    pub fn open(file: &Path, other: &Path) -> io::Result<Self> {
        let writable = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
        let (socket, far) = UnixStream::pair()?;
        far.set_nonblocking(true)?;
        Ok(Self {
            file: writable(file)?,
            other: writable(other)?,
            folder: File::open(folder)?,
            pipe: pipe()?,
            // SAFETY: a plain system call; the descriptor is new.
            counter: unsafe { own(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))? },
            terminal: terminal()?,
            socket,
            far,
            heard: Heard::new()?,
        })
    }

    /// 0, or why it did not work.
    pub fn do_with(&self, it: Use) -> i32 {
        if let Some(taken) = self.heard.take(it) {
            return access::errno(taken);
        }
        let (file, other) = (self.file.as_raw_fd(), self.other.as_raw_fd());
        let [from, to] = [&self.pipe[0], &self.pipe[1]].map(|end| end.as_raw_fd());
        let counter = self.counter.as_raw_fd();
        let [screen, line] = [&self.terminal[0], &self.terminal[1]].map(|end| end.as_raw_fd());
        let done = match it {
            Use::ReadFile => rewound(file).and_then(|()| read(file, 1)),
            Use::WriteFile => rewound(file).and_then(|()| write(file, b"x")),
            Use::ReadAt => {
                let mut byte = [0_u8];
                // SAFETY: there is room for one byte.
                number(unsafe { libc::pread(file, byte.as_mut_ptr().cast(), 1, 0) })
            }
            // SAFETY: there is one byte.
            Use::WriteAt => number(unsafe { libc::pwrite(file, b"x".as_ptr().cast(), 1, 0) }),
            Use::ReadFolder => rewound(self.folder.as_raw_fd()).and_then(|()| self.list()),
            Use::SendFile => {
                let mut from = 0;
                // SAFETY: `from` is there for the call to write.
                number(unsafe { libc::sendfile(other, file, &raw mut from, 1) })
            }
            Use::SpliceFromFile => splice(file, to),
            Use::SpliceToFile => {
                // What is not there cannot be moved; a live run puts it there.
                fill(to).or_else(ignore_denied).and_then(|()| splice(from, other))
            }
            Use::CopyRange => {
                let (mut from, mut to) = (0, 0);
                // SAFETY: both offsets are there for the call to write.
                number(unsafe {
                    libc::copy_file_range(file, &raw mut from, other, &raw mut to, 1, 0)
                })
            }
            // SAFETY: a plain system call.
            Use::Allocate => number(unsafe { libc::fallocate(file, 0, 0, 16) } as isize),
            Use::Map => map(file),
            Use::Ioctl => {
                let mut bytes: libc::c_int = 0;
                // SAFETY: the command writes one number.
                number(unsafe { libc::ioctl(from, FIONREAD, &raw mut bytes) } as isize)
            }
            Use::WritePipe => write(to, b"x"),
            Use::ReadPipe => fill(to).or_else(ignore_denied).and_then(|()| read(from, 1)),
            Use::WriteCounter => write(counter, &1_u64.to_ne_bytes()),
            Use::ReadCounter => {
                let one = write(counter, &1_u64.to_ne_bytes());
                one.or_else(ignore_denied).and_then(|()| read(counter, 8))
            }
            Use::WriteTerminal => write(line, b"x"),
            Use::ReadTerminal => {
                let said = write(line, b"x");
                if said.is_ok() {
                    await_readable(screen);
                }
                said.or_else(ignore_denied).and_then(|()| read(screen, 1))
            }
            Use::WriteSocket => write(self.socket.as_raw_fd(), b"x"),
            Use::ReadSocket => {
                let said = write(self.socket.as_raw_fd(), b"x");
                said.or_else(ignore_denied).and_then(|()| read(self.far.as_raw_fd(), 1))
            }
            Use::ReceiveUnix
            | Use::ReceiveTcp
            | Use::ReceiveUdp
            | Use::ReceiveMany
            | Use::ReceiveByRing
            | Use::AskSocket => Err(io::ErrorKind::Unsupported.into()),
        };
        access::errno(done)
    }

    fn list(&self) -> io::Result<()> {
        let mut room = [0_u8; 4096];
        let folder = self.folder.as_raw_fd();
        // SAFETY: the call writes at most as many bytes as there are.
        number(unsafe {
            libc::syscall(libc::SYS_getdents64, folder, room.as_mut_ptr(), room.len()) as isize
        })
    }
}

/// What was to be prepared was denied; what it was for tells.
fn ignore_denied(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::EPERM) { Ok(()) } else { Err(error) }
}

fn number(result: isize) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Needs no permission.
fn rewound(file: RawFd) -> io::Result<()> {
    // SAFETY: a plain system call.
    number(unsafe { libc::lseek(file, 0, libc::SEEK_SET) } as isize)
}

fn read(from: RawFd, bytes: usize) -> io::Result<()> {
    let mut room = [0_u8; 16];
    // SAFETY: the call writes no more than there is room for.
    number(unsafe { libc::read(from, room.as_mut_ptr().cast(), bytes.min(room.len())) })
}

fn write(to: RawFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: there are so many bytes.
    number(unsafe { libc::write(to, bytes.as_ptr().cast(), bytes.len()) })
}

fn fill(pipe: RawFd) -> io::Result<()> {
    write(pipe, b"x")
}

fn splice(from: RawFd, to: RawFd) -> io::Result<()> {
    let flags = libc::SPLICE_F_NONBLOCK;
    // SAFETY: without offsets the call writes nowhere.
    number(unsafe { libc::splice(from, null_mut(), to, null_mut(), 1, flags) })
}

fn map(file: RawFd) -> io::Result<()> {
    // SAFETY: a new mapping, which is not looked into and taken away again.
    unsafe {
        let found = libc::mmap(null_mut(), 1, libc::PROT_READ, libc::MAP_SHARED, file, 0);
        if found == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        number(libc::munmap(found, 1) as isize)
    }
}

fn await_readable(file: RawFd) {
    let mut set = libc::pollfd { fd: file, events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor to look at. Whether there is something, the read tells.
    unsafe { libc::poll(&raw mut set, 1, PATIENCE) };
}

fn pipe() -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors, which are new.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok([own(ends[0])?, own(ends[1])?])
    }
}

fn terminal() -> io::Result<[OwnedFd; 2]> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: plain system calls; the descriptor is new.
    let screen = unsafe { own(libc::posix_openpt(flags))? };
    let mut name = [0_u8; 64];
    // SAFETY: the call writes the name and a zero into the room that there is.
    let named = unsafe {
        if libc::unlockpt(screen.as_raw_fd()) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::ptsname_r(screen.as_raw_fd(), name.as_mut_ptr().cast(), name.len())
    };
    if named != 0 {
        return Err(io::Error::from_raw_os_error(named));
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    let path = text(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())))?;
    // SAFETY: the path ends with a zero; the descriptor is new.
    let line = unsafe { own(libc::open(path.as_ptr(), flags))? };
    Ok([screen, line])
}

/// # Safety
/// `descriptor` must be -1, or have been opened just now and be nobody else's.
unsafe fn own(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A file that is mapped for reading and writing, for as long as the probe lives.
pub struct Mapped(NonNull<u8>);

impl Mapped {
    const WORD: &[u8] = b"mapped";

    pub fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let (access, size) = (libc::PROT_READ | libc::PROT_WRITE, Self::WORD.len());
        if file.metadata()?.len() < size as u64 {
            file.set_len(size as u64)?;
        }
        // SAFETY: a new mapping.
        let found =
            unsafe { libc::mmap(null_mut(), size, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if found == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(found.cast()).map(Self).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub fn write(&self) {
        // SAFETY: so much was mapped, and the file is that long.
        unsafe { copy_nonoverlapping(Self::WORD.as_ptr(), self.0.as_ptr(), Self::WORD.len()) };
    }
}
