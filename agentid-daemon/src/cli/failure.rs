//! What went wrong, as the person in front of it needs it.

use std::{error::Error, process::ExitCode};

use super::exit;
use crate::control::{api::ErrorReply, client::ClientError};

/// An error, what to do about it, and the exit status.
#[derive(Debug)]
pub struct Failure {
    error: Box<dyn Error>,
    remedy: String,
    code: u8,
}

impl Failure {
    pub fn new(error: impl Into<Box<dyn Error>>, code: u8, remedy: impl Into<String>) -> Self {
        Self { error: error.into(), remedy: remedy.into(), code }
    }

    /// What no command line and no daemon can lead to.
    pub fn mistake(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(
            error,
            exit::FAILURE,
            "this is a mistake of agentid: report it, with what was typed",
        )
    }

    /// What the daemon answers, or would.
    pub fn refused(reply: ErrorReply) -> Self {
        Self { error: reply.message.into(), remedy: reply.remedy, code: exit::FAILURE }
    }

    /// The same, with something else to do about it.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    pub fn help(&self) -> &str {
        &self.remedy
    }

    /// The same, with another exit status unless the daemon is away.
    pub fn or_away(self, code: u8) -> Self {
        if self.code == exit::AWAY { self } else { Self { code, ..self } }
    }

    /// The error and its causes, joined by colons.
    pub fn text(&self) -> String {
        let mut text = self.error.to_string();
        let mut source = self.error.source();
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        text
    }

    /// Prints everything once.
    pub fn report(&self) -> ExitCode {
        eprintln!("agentid: {}", self.text());
        eprintln!("  help: {}", self.remedy);
        self.code.into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(reply) => Self::refused(reply),
            ClientError::Away { .. } => {
                Self::new(error, exit::AWAY, "systemctl status agentid says why")
            }
            ClientError::Denied { .. } => {
                let remedy =
                    "a run may not ask the daemon; outside of one, look at the socket's mode";
                Self::new(error, exit::FAILURE, remedy)
            }
            ClientError::Exchange(_) | ClientError::Plain(_) => {
                let remedy =
                    "try again; systemctl status agentid says whether the daemon has stopped";
                Self::new(error, exit::FAILURE, remedy)
            }
            ClientError::Answer(_) | ClientError::Line => {
                let remedy = "the daemon is of another version: systemctl restart agentid";
                Self::new(error, exit::FAILURE, remedy)
            }
            ClientError::Request(_) | ClientError::Runtime(_) => Self::mistake(error),
        }
    }
}
