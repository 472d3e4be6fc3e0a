//! What the engine's thread waits with: for a command, and no longer than until the scheduler has to look again.

use std::time::Instant;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// Commands, and a clock to wait for them with: a channel alone waits without end.
pub(super) struct Inbox<C> {
    commands: mpsc::Receiver<C>,
    clock: tokio::runtime::Runtime,
}

/// What came of waiting.
pub(super) enum Waited<C> {
    /// This came.
    Command(C),
    /// None came in time.
    Enough,
    /// Nobody is left who could send one.
    Over,
}

impl<C> Inbox<C> {
    pub(super) fn new(commands: mpsc::Receiver<C>) -> anyhow::Result<Inbox<C>> {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Ok(Inbox { commands, clock: clock.context("starting the engine's clock")? })
    }

    /// What has come already.
    pub(super) fn next(&mut self) -> Result<C, TryRecvError> {
        self.commands.try_recv()
    }

    /// The next command, waiting for it until `until` at most.
    pub(super) fn wait(&mut self, until: Option<Instant>) -> Waited<C> {
        let command = match until {
            None => self.commands.blocking_recv(),
            Some(until) => {
                let in_time = async { tokio::time::timeout_at(until.into(), self.commands.recv()).await };
                match self.clock.block_on(in_time) {
                    Ok(command) => command,
                    Err(_elapsed) => return Waited::Enough,
                }
            }
        };
        command.map_or(Waited::Over, Waited::Command)
    }
}
