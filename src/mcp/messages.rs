//! Which lines are messages, and which of those are for the service.

use std::collections::{HashSet, VecDeque};

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode, ErrorData, GetMeta,
    JsonRpcMessage, JsonRpcRequest, ProtocolVersion, RequestId, ServerJsonRpcMessage,
};
use serde_json::{Map, Value};

use super::roots::Roots;

/// Requests that are answered at a time: more than any client has, and no more than can be kept.
const REQUESTS_MAX: usize = 1000;
/// Ids of cancelled requests that are remembered: an answer to one may still be on its way to nobody.
const CANCELLED_MAX: usize = 1000;
/// JSON-RPC leaves the codes from here on to servers.
const BUSY: ErrorCode = ErrorCode(-32000);
/// Methods whose parameters are known; with others, no such method is the answer.
const METHODS: [&str; 6] = [
    "initialize",
    "logging/setLevel",
    "ping",
    "server/discover",
    "tools/call",
    "tools/list",
];

/// What becomes of a line.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is for the service.
    Message(Box<ClientJsonRpcMessage>),
    /// The sender gets an error.
    Refused(Option<RequestId>, ErrorData),
    /// Nobody hears of it: what is no request is never answered.
    Nothing,
}

/// What was asked, and has not been answered yet.
pub(super) struct Session {
    roots: Roots,
    /// Whether the service takes anything else than requests by now.
    begun: bool,
    initialized: bool,
    in_progress: HashSet<RequestId>,
    cancelled: VecDeque<RequestId>,
}

impl Session {
    pub(super) fn new(roots: Roots) -> Self {
        Self {
            roots,
            begun: false,
            initialized: false,
            in_progress: HashSet::new(),
            cancelled: VecDeque::new(),
        }
    }

    /// Takes note of a message to the client.
    pub(super) fn answered(&mut self, message: &ServerJsonRpcMessage) {
        match message {
            JsonRpcMessage::Response(response) => self.in_progress.remove(&response.id),
            JsonRpcMessage::Error(error) => error
                .id
                .as_ref()
                .is_some_and(|id| self.in_progress.remove(id)),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => false,
        };
    }

    /// Understands a line.
    pub(super) fn take(&mut self, line: &[u8]) -> Taken {
        if line.trim_ascii().is_empty() {
            return Taken::Nothing;
        }
        let refuse = |id, text| Taken::Refused(id, ErrorData::invalid_request(text, None));
        let message = match serde_json::from_slice(line) {
            Ok(Value::Object(message)) => message,
            Ok(Value::Array(_)) => return refuse(None, "batches are not supported"),
            Ok(_) => return refuse(None, "a message is a JSON object"),
            Err(_) => {
                return Taken::Refused(None, ErrorData::parse_error("the line is not JSON", None));
            }
        };
        let id = message.get("id").and_then(id_of);
        match message.get("method") {
            None if message.contains_key("result") || message.contains_key("error") => {
                self.answer(message)
            }
            None => refuse(id, "a message has a method, or is an answer"),
            Some(Value::String(_)) if !message.contains_key("id") => self.notification(message),
            Some(_)
                if message
                    .get("jsonrpc")
                    .is_none_or(|version| version != "2.0") =>
            {
                refuse(id, "jsonrpc must be \"2.0\"")
            }
            Some(Value::String(method)) => match id {
                Some(id) => self.request(&method.clone(), id, message),
                None => refuse(None, "an id is a string or a whole number"),
            },
            Some(_) => refuse(id, "method must be a string"),
        }
    }

    fn request(&mut self, method: &str, id: RequestId, message: Map<String, Value>) -> Taken {
        let known = METHODS.contains(&method);
        let refuse = |error| Taken::Refused(Some(id.clone()), error);
        if self.in_progress.contains(&id) || self.cancelled.contains(&id) {
            return refuse(ErrorData::invalid_request(
                "this id is that of another request",
                None,
            ));
        }
        if self.in_progress.len() >= REQUESTS_MAX {
            return refuse(ErrorData::new(
                BUSY,
                "too many requests are in progress",
                None,
            ));
        }
        let request = match typed(message) {
            Some(JsonRpcMessage::Request(request)) => Some(request),
            _ => None,
        };
        let is_custom = |request: &JsonRpcRequest<ClientRequest>| {
            matches!(request.request, ClientRequest::CustomRequest(_))
        };
        // Parameters that do not fit make another request of one that is known.
        let Some(request) = request.filter(|request| !(known && is_custom(request))) else {
            let text = format!("the parameters of {method} are not as the protocol has them");
            return refuse(ErrorData::invalid_params(text, None));
        };
        match &request.request {
            ClientRequest::InitializeRequest(_) if self.initialized => {
                return refuse(ErrorData::invalid_request(
                    "the session is initialized",
                    None,
                ));
            }
            ClientRequest::InitializeRequest(_) => {
                self.initialized = true;
                self.begun = true;
            }
            ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => {}
            other => self.begun |= begins(other),
        }
        self.in_progress.insert(id);
        Taken::Message(Box::new(JsonRpcMessage::Request(request)))
    }

    fn notification(&mut self, message: Map<String, Value>) -> Taken {
        let Some(message @ JsonRpcMessage::Notification(_)) = typed(message).filter(|_| self.begun)
        else {
            return Taken::Nothing;
        };
        if let JsonRpcMessage::Notification(notification) = &message {
            match &notification.notification {
                ClientNotification::CancelledNotification(cancelled) => {
                    self.cancel(cancelled.params.request_id.as_ref());
                }
                // Here, since the service takes up messages side by side: a request that comes next must know of it.
                ClientNotification::RootsListChangedNotification(_) => self.roots.changed(),
                _ => {}
            }
        }
        Taken::Message(Box::new(message))
    }

    fn cancel(&mut self, id: Option<&RequestId>) {
        if let Some(id) = id.filter(|id| self.in_progress.remove(id)) {
            self.cancelled.push_back(id.clone());
            if self.cancelled.len() > CANCELLED_MAX {
                self.cancelled.pop_front();
            }
        }
    }

    fn answer(&self, message: Map<String, Value>) -> Taken {
        match typed(message).filter(|_| self.begun) {
            Some(message @ (JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_))) => {
                Taken::Message(Box::new(message))
            }
            _ => Taken::Nothing,
        }
    }
}

/// Whether a session without a handshake begins with this request.
fn begins(request: &ClientRequest) -> bool {
    let meta = request.get_meta();
    let version = meta.protocol_version();
    meta.missing_required_keys(&ProtocolVersion::V_2026_07_28)
        .is_empty()
        && version.is_some_and(|version| ProtocolVersion::KNOWN_VERSIONS.contains(&version))
}

fn typed(message: Map<String, Value>) -> Option<ClientJsonRpcMessage> {
    serde_json::from_value(Value::Object(message)).ok()
}

/// The id of a request, if it can be one.
pub(super) fn id_of(id: &Value) -> Option<RequestId> {
    match id {
        Value::String(text) => Some(RequestId::String(text.as_str().into())),
        Value::Number(number) => number.as_i64().map(RequestId::Number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session() -> Session {
        Session {
            begun: true,
            ..Session::new(Roots::new(false))
        }
    }

    /// The code of the refusal of a ping; none if it is taken.
    fn ping(session: &mut Session, id: usize) -> Option<ErrorCode> {
        let ping = json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
        match session.take(ping.to_string().as_bytes()) {
            Taken::Message(_) => None,
            Taken::Refused(_, error) => Some(error.code),
            Taken::Nothing => panic!("it is not answered"),
        }
    }

    fn answer(session: &mut Session, answer: Value) {
        let answer = serde_json::from_value(answer);
        session.answered(&answer.expect("an answer"));
    }

    #[test]
    fn more_requests_than_are_answered_at_a_time_are_refused() {
        let mut session = session();
        for id in 0..REQUESTS_MAX {
            assert_eq!(ping(&mut session, id), None);
        }
        assert_eq!(ping(&mut session, REQUESTS_MAX), Some(BUSY));
        answer(
            &mut session,
            json!({ "jsonrpc": "2.0", "id": 3, "result": {} }),
        );
        assert_eq!(ping(&mut session, REQUESTS_MAX), None);
        assert_eq!(ping(&mut session, 3), Some(BUSY));
        let error = json!({ "code": -1, "message": "no" });
        answer(
            &mut session,
            json!({ "jsonrpc": "2.0", "id": 4, "error": error }),
        );
        assert_eq!(ping(&mut session, 3), None);
    }

    #[test]
    fn only_so_many_ids_of_cancelled_requests_are_remembered() {
        let mut session = session();
        for id in 0..=CANCELLED_MAX {
            assert_eq!(ping(&mut session, id), None);
            let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
            assert!(matches!(
                session.take(cancel.to_string().as_bytes()),
                Taken::Message(_)
            ));
        }
        // The first one is forgotten, and no other.
        assert_eq!(ping(&mut session, 0), None);
        for id in 1..=CANCELLED_MAX {
            assert_eq!(ping(&mut session, id), Some(ErrorCode::INVALID_REQUEST));
        }
    }
}
