//! The lines that messages come and go in. Each that cannot be understood gets an error, and the server lives on.
//!
//! rmcp's own transport is silent about lines that are no JSON or too long, takes two requests of one id for one, and gives up when
//! something else than a request comes first.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::messages::{Session, Taken};
use super::skim::Skim;

/// Longest line, in bytes: far more than any command line, and little enough to be held a few times.
pub(super) const LINE_MAX_BYTES: usize = 16 * 1024 * 1024;
/// A buffer that has grown beyond this for one line is given back.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;
/// Messages that have been read and that nobody has taken yet.
const MESSAGES_AHEAD: usize = 16;

/// Messages over a pair of streams.
pub(super) struct Lines<W> {
    messages: mpsc::Receiver<ClientJsonRpcMessage>,
    output: Arc<Output<W>>,
}

/// The way out, which answers and errors share.
struct Output<W> {
    writer: AsyncMutex<Option<W>>,
    session: Mutex<Session>,
}

/// What was read.
enum Read {
    Line,
    TooLong(Skim),
    End,
}

impl<W: AsyncWrite + Send + Unpin + 'static> Lines<W> {
    /// Reads from `input` until it ends, on a task of the running runtime.
    pub(super) fn new(
        input: impl AsyncRead + Send + Unpin + 'static,
        writer: W,
        session: Session,
    ) -> Self {
        let output = Arc::new(Output {
            writer: AsyncMutex::new(Some(writer)),
            session: Mutex::new(session),
        });
        let (sender, messages) = mpsc::channel(MESSAGES_AHEAD);
        tokio::spawn(read(BufReader::new(input), Arc::clone(&output), sender));
        Self { messages, output }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for Lines<W> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let output = Arc::clone(&self.output);
        async move {
            output.session().answered(&message);
            output.write(serde_json::to_vec(&message)?).await
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.messages.recv().await
    }

    async fn close(&mut self) -> io::Result<()> {
        drop(self.output.writer.lock().await.take());
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line, whole.
    async fn write(&self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        writer.write_all(&line).await?;
        writer.flush().await
    }

    /// Refuses a message; one whose id is unknown has none, as JSON-RPC 2.0 has it.
    async fn refuse(&self, id: Option<RequestId>, error: ErrorData) -> io::Result<()> {
        let id = id.map_or(Value::Null, RequestId::into_json_value);
        let line = json!({ "jsonrpc": "2.0", "id": id, "error": error });
        self.write(line.to_string().into_bytes()).await
    }
}

async fn read<W: AsyncWrite + Unpin>(
    mut input: impl AsyncBufRead + Unpin,
    output: Arc<Output<W>>,
    messages: mpsc::Sender<ClientJsonRpcMessage>,
) {
    let mut line = Vec::new();
    loop {
        let taken = match next(&mut input, &mut line).await {
            Ok(Read::Line) => output.session().take(&line),
            Ok(Read::TooLong(skim)) => skim.taken(),
            // Half a line at the end is no message.
            Ok(Read::End) | Err(_) => return,
        };
        line.clear();
        line.shrink_to(BUFFER_KEPT_BYTES);
        let done = match taken {
            Taken::Message(message) => messages.send(*message).await.is_ok(),
            Taken::Refused(id, error) => output.refuse(id, error).await.is_ok(),
            Taken::Nothing => true,
        };
        if !done {
            return;
        }
    }
}

/// Reads a line without its end. One that is too long is not kept, but skimmed.
async fn next(input: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<Read> {
    let mut skim: Option<Skim> = None;
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            return Ok(Read::End);
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        if skim.is_none() && line.len() + piece.len() > LINE_MAX_BYTES {
            let mut begun = Skim::default();
            begun.read(line);
            *line = Vec::new();
            skim = Some(begun);
        }
        match &mut skim {
            Some(skim) => skim.read(piece),
            None => line.extend_from_slice(piece),
        }
        let consumed = end.map_or(available.len(), |end| end + 1);
        input.consume(consumed);
        if end.is_some() {
            return Ok(skim.map_or(Read::Line, Read::TooLong));
        }
    }
}
