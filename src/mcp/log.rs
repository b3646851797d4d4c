//! What the server has to say beside answers: to its standard error, and to a client that wants to hear it.

// The protocol's newest version has no logging any more; clients of the others have.
#![expect(deprecated, reason = "older versions of the protocol have logging")]

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam};
use rmcp::service::Peer;
use tokio::sync::mpsc;

use crate::broker::Notice;
use crate::text::say;

/// What clients see as the origin.
const LOGGER: &str = "secretctl";
/// Level of messages that are sent to a client that has not said which it wants.
const DEFAULT_LEVEL: LoggingLevel = LoggingLevel::Warning;

/// Messages for the client, in their order.
pub(super) type Messages = mpsc::UnboundedReceiver<(LoggingLevel, String)>;

/// The server's log.
#[derive(Clone)]
pub(super) struct Log {
    level: Arc<Mutex<LoggingLevel>>,
    messages: mpsc::UnboundedSender<(LoggingLevel, String)>,
}

impl Log {
    pub(super) fn new() -> (Self, Messages) {
        let (messages, received) = mpsc::unbounded_channel();
        let level = Arc::new(Mutex::new(DEFAULT_LEVEL));
        (Self { level, messages }, received)
    }

    /// Messages below this level are not sent to the client any more.
    pub(super) fn set_level(&self, level: LoggingLevel) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }

    /// Says what modules had to say. Their own words go to standard error alone: who wrote them may name keys that the client's agent
    /// may not know of.
    pub(super) fn notice(&self, notice: &Notice) {
        say(&format!("secretctl: {notice}"));
        let (level, text) = match notice {
            Notice::Said { module, .. } => (
                LoggingLevel::Info,
                format!("the module {module} wrote to the server's standard error"),
            ),
            Notice::Forged { .. } => (LoggingLevel::Alert, notice.to_string()),
            Notice::NotKept { module, .. } => (
                LoggingLevel::Warning,
                format!("the compiled code of the module {module} cannot be kept"),
            ),
        };
        self.send(level, text);
    }

    fn send(&self, level: LoggingLevel, text: String) {
        let wanted = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if level as u8 >= wanted as u8 {
            // It fails when the client has gone.
            let _ = self.messages.send((level, text));
        }
    }
}

/// Sends messages to the client for as long as it is there.
pub(super) async fn forward(mut messages: Messages, client: Peer<RoleServer>) {
    while let Some((level, text)) = messages.recv().await {
        let param = LoggingMessageNotificationParam::new(level, text.into()).with_logger(LOGGER);
        if client.notify_logging_message(param).await.is_err() {
            return;
        }
    }
}
