//! Exit statuses. `agentid run` has those of its command, save where it could not start it.

/// It went well; for `why` and `policy explain`, it is allowed.
pub const SUCCESS: u8 = 0;
/// Something failed, or the daemon refused; for `doctor`, something is not well; for `status`, not everything is enforced; for
/// `revoke`, tasks that it kills are left.
pub const FAILURE: u8 = 1;
/// The arguments are wrong, or many runs are meant and nobody can be asked about it.
pub const USAGE: u8 = 2;
/// `why`, `policy explain`: it is denied.
pub const DENIED: u8 = 3;
/// `policy check`, `test`, `show`, `explain`: the policy has mistakes; `check`, `test`: it does not do what it expects of itself.
pub const INVALID: u8 = 4;
/// Of the selected runs, some are as they were.
pub const PARTIAL: u8 = 5;
/// `policy diff --exit-code`: the policies differ.
pub const DIFFERENT: u8 = 6;
/// The daemon does not answer (`EX_UNAVAILABLE`); nothing was started or changed.
pub const AWAY: u8 = 69;
/// `run`: the run was not launched, and nothing of the command has run.
pub const NOT_LAUNCHED: u8 = 125;
/// `run`: the command was found, and could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// `run`: the command was not found.
pub const NOT_FOUND: u8 = 127;

/// The list for `--help`.
pub const HELP: &str = "\
Exit status:
  0    it went well; for `why` and `policy explain`, it is allowed
  1    something failed, or the daemon refused; for `doctor`, a check failed; for `status`, not
       everything is enforced; for `revoke`, tasks that are to be killed are left
  2    the arguments are wrong, or many runs are meant and nobody can be asked about it
  3    for `why` and `policy explain`: it is denied
  4    for `policy check`, `test`, `show` and `explain`: the policy has mistakes; for `check` and
       `test`: it does something else than it expects
  5    of the selected runs, some are as they were
  6    for `policy diff --exit-code`: the policies differ
  69   the daemon does not answer; nothing was started or changed
  125  for `run`: the run was not launched, and nothing of the command has run
  126  for `run`: the command was found, and could not be executed
  127  for `run`: the command was not found
Otherwise `run` has the exit status of its command.";
