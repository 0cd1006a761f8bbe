//! What went wrong, as the person in front of it needs it.

use std::{error::Error, process::ExitCode};

use super::exit;
use crate::control::{api::ErrorReply, client::ClientError};

/// An error, what to do about it, and the exit status.
#[derive(Debug)]
pub struct Failure {
    error: Box<dyn Error>,
    remedy: Option<String>,
    code: u8,
}

impl Failure {
    pub fn new(error: impl Into<Box<dyn Error>>, code: u8) -> Self {
        Self { error: error.into(), remedy: None, code }
    }

    /// What the daemon answers, or would.
    pub fn refused(reply: ErrorReply) -> Self {
        Self { error: reply.message.into(), remedy: reply.remedy, code: exit::FAILURE }
    }

    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub fn help(&self) -> Option<&str> {
        self.remedy.as_deref()
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
        if let Some(remedy) = &self.remedy {
            eprintln!("  help: {remedy}");
        }
        self.code.into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(reply) => Self::refused(reply),
            ClientError::Away { .. } => {
                Self::new(error, exit::AWAY).remedy("systemctl status agentid says why")
            }
            ClientError::Denied { .. } => Self::new(error, exit::FAILURE)
                .remedy("a run may not ask the daemon; outside of one, look at the socket's mode"),
            other => Self::new(other, exit::FAILURE),
        }
    }
}
