//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentid_daemon::cli::main()
}
