//! Questions in the answer to a request. Since version 2026-07-28 of the protocol a server sends no requests: it says what it has to know
//! first, and the client asks its user and sends the request again, with the answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    CallToolResponse, ElicitRequest, ElicitResult, ErrorData, InputRequest, InputRequiredResult,
    InputResponses, ProtocolVersion,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, handler::server::tool::IntoCallToolResult};

use super::approve::{FIELD, chosen};
use crate::broker::{AgentDoor, Answer, Put};
use crate::text::hex;

/// Whether a client is asked by the answers to its requests.
pub(super) fn asks_in_answers(context: &RequestContext<RoleServer>) -> bool {
    let version = context.protocol_version();
    version.is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

/// What comes of a tool: what it gives, or a question.
pub(super) enum Answered<T> {
    Done(T),
    Asks(InputRequiredResult),
}

impl<T> Answered<T> {
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> Answered<U> {
        match self {
            Self::Done(done) => Answered::Done(map(done)),
            Self::Asks(question) => Answered::Asks(question),
        }
    }
}

impl<T: IntoCallToolResult> IntoCallToolResult for Answered<T> {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::Done(done) => done.into_call_tool_result(),
            Self::Asks(question) => question.into_call_tool_result(),
        }
    }
}

/// What a client sends along with a request that it has sent before.
pub(super) struct Retry {
    pub(super) state: String,
    pub(super) answer: Answer,
}

impl Retry {
    /// None for a request that is new. What is no answer is a no.
    pub(super) fn new(state: Option<String>, responses: Option<InputResponses>) -> Option<Self> {
        let answer = responses.unwrap_or_default().remove(FIELD);
        let result = answer.and_then(|answer| serde_json::from_value::<ElicitResult>(answer).ok());
        Some(Self {
            state: state?,
            answer: result.map_or(Answer::No, |result| chosen(&result)),
        })
    }
}

/// The questions that clients are asking their users. There are no more than the broker lets wait.
#[derive(Clone, Default)]
pub(super) struct Rounds(Arc<Mutex<HashMap<String, Round>>>);

/// One of them.
pub(super) struct Round {
    /// Where it was asked.
    pub(super) door: Arc<AgentDoor>,
    pub(super) put: Put,
    /// How many were asked about the same request, this one included.
    pub(super) questions: usize,
}

impl Rounds {
    /// The question for the client. Its state is only a name for what is kept here, which nobody can guess.
    pub(super) fn ask(&self, form: ElicitRequest, round: Round) -> (String, InputRequiredResult) {
        let state = hex(round.put.posted().nonce());
        let requests = BTreeMap::from([(FIELD.to_owned(), InputRequest::Elicitation(form))]);
        let result = InputRequiredResult::new(Some(requests), Some(state.clone()));
        self.waiting().insert(state.clone(), round);
        (state, result)
    }

    /// The question that an answer is for, once.
    pub(super) fn take(&self, state: &str) -> Option<Round> {
        self.waiting().remove(state)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Round>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
