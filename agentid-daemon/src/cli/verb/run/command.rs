//! Which file a command is. Found before the run begins: after that only the policy's files can be looked for.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use crate::{
    cli::{exit, failure::Failure, render},
    control::api::LaunchReply,
};

/// What `execvp` searches when there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A command that can be executed.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    /// As it was typed; the command sees it as its own name.
    pub name: OsString,
    pub arguments: Vec<OsString>,
}

impl Program {
    /// Finds the file as a shell would.
    pub fn find(command: &[OsString]) -> Result<Self, Failure> {
        let search = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        Self::find_in(&search, command)
    }

    pub fn find_in(search: &OsStr, command: &[OsString]) -> Result<Self, Failure> {
        let Some((name, arguments)) = command.split_first() else {
            return Err(Failure::new("no command is given", exit::USAGE, "give it after --"));
        };
        let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
            vec![PathBuf::from(name)]
        } else {
            // An empty part of PATH is the current folder.
            env::split_paths(search).map(|folder| Path::new(".").join(folder).join(name)).collect()
        };
        let files: Vec<PathBuf> = candidates.into_iter().filter(|path| path.is_file()).collect();
        let shown = render::clean(&name.to_string_lossy());
        match files.iter().find(|path| access(path.as_path(), AccessFlags::X_OK).is_ok()) {
            Some(path) => Ok(Self {
                // A relative path stays right: the folder does not change before the execution.
                path: path.clone(),
                name: name.clone(),
                arguments: arguments.to_vec(),
            }),
            None if files.is_empty() => Err(Failure::new(
                format!("{shown} is not found"),
                exit::NOT_FOUND,
                "give its path, or have its folder in PATH",
            )),
            None => Err(Failure::new(
                format!("{shown} is not executable"),
                exit::NOT_EXECUTABLE,
                "chmod +x makes it so; a script can be given to its interpreter",
            )),
        }
    }

    /// Why the command of a launched run did not begin.
    pub fn failed(&self, error: &io::Error, reply: &LaunchReply) -> Failure {
        let path = self.path.display();
        let id = reply.id;
        match error.raw_os_error() {
            Some(libc::EACCES) => {
                let message = format!(
                    "{path} cannot be executed: policy {} does not grant exec on it, or on its interpreter",
                    reply.policy
                );
                let absolute =
                    std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
                let remedy = format!("agentid why {id} --open {} --exec", absolute.display());
                Failure::new(message, exit::NOT_EXECUTABLE, remedy)
            }
            Some(libc::ENOENT) => {
                let message = format!("{path} is not found, or its interpreter is not");
                Failure::new(
                    message,
                    exit::NOT_FOUND,
                    "look at the first line of a script, and at what a program is linked with",
                )
            }
            _ => Failure::new(
                format!("{path} cannot be executed: {error}"),
                exit::NOT_EXECUTABLE,
                format!("agentid show {id}"),
            ),
        }
    }
}
