//! Asking a person: through the client where it can, else in another terminal.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
    ElicitationSchema, EnumSchema, PrimitiveSchemaDefinition, ServerRequest,
};
use rmcp::service::{PeerRequestOptions, RequestContext, RequestHandle};
use rmcp::{Peer, RoleServer};

use super::board::Board;
use crate::broker::{AgentDoor, Answer, By, Put, Unapproved};

/// The one thing that a client asks its user for.
const FIELD: &str = "answer";

/// Where questions go.
#[derive(Clone)]
pub(super) struct Approvals {
    board: Board,
    wait: Duration,
}

impl Approvals {
    /// Each question waits for so long; none is asked where that is nothing.
    pub(super) fn new(wait: Duration) -> Self {
        let board = Board::default();
        Self { board, wait }
    }

    /// Asks, and waits for the answer: until the time is over, or nobody wants it any more.
    pub(super) async fn ask(
        &self,
        door: &Arc<AgentDoor>,
        put: &Put,
        context: &RequestContext<RoleServer>,
        gone: impl Future<Output = ()>,
    ) -> Result<(Answer, By), Unapproved> {
        if self.wait.is_zero() {
            return Err(Unapproved::NoWay);
        }
        let mut elicited = None;
        let answered = async {
            match self.by_client(put, context, &mut elicited).await {
                Some(answer) => Ok((answer, By::Client)),
                None => Ok((self.in_terminal(door, put).await?, By::Terminal)),
            }
        };
        let answered = tokio::select! {
            answered = answered => answered,
            () = tokio::time::sleep(self.wait) => Err(Unapproved::TimedOut(self.wait)),
            () = gone => Err(Unapproved::Withdrawn),
        };
        if let (Some(handle), Err(why)) = (elicited, &answered) {
            // A client that has gone need not be told.
            let _ = handle.cancel(Some(why.to_string())).await;
        }
        answered
    }

    /// None if the client cannot ask its user. `asking` is what it is asked, as long as it has not answered.
    async fn by_client(
        &self,
        put: &Put,
        context: &RequestContext<RoleServer>,
        asking: &mut Option<RequestHandle<RoleServer>>,
    ) -> Option<Answer> {
        if !can_elicit(context) {
            return None;
        }
        let handle = asking.insert(elicit(&context.peer, put).await?);
        let answered = (&mut handle.rx).await;
        *asking = None;
        match answered {
            Ok(Ok(ClientResult::ElicitResult(result))) => Some(chosen(&result)),
            // It has not asked anybody.
            _ => None,
        }
    }

    async fn in_terminal(&self, door: &Arc<AgentDoor>, put: &Put) -> Result<Answer, Unapproved> {
        let mut pinned = match self.board.pin(door, put.posted()) {
            Ok(Some(pinned)) => pinned,
            Ok(None) => return Err(Unapproved::NoWay),
            Err(error) => {
                tell(&format!("nobody can be asked: {error}"));
                return Err(Unapproved::NoWay);
            }
        };
        tell("a command waits for an answer: secretctl approve");
        (&mut pinned.answer).await.map_err(|_| Unapproved::NoWay)
    }
}

/// Writes to the server's log, which is its standard error.
fn tell(text: &str) {
    // Where standard error is closed, there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "secretctl: {text}");
}

/// Whether the client asks its user with a form, which is what one means that does not say how.
fn can_elicit(context: &RequestContext<RoleServer>) -> bool {
    let capabilities = context.client_capabilities();
    let elicitation = capabilities.and_then(|capabilities| capabilities.elicitation);
    elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none())
}

/// None where the protocol does not let a server ask.
async fn elicit(peer: &Peer<RoleServer>, put: &Put) -> Option<RequestHandle<RoleServer>> {
    let words = Answer::ALL.map(|answer| answer.as_str().to_owned());
    let answers = EnumSchema::builder(words.to_vec()).untitled().build();
    let schema = ElicitationSchema::builder()
        .required_property(FIELD, PrimitiveSchemaDefinition::Enum(answers))
        .build();
    let request = ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: put.text(),
        requested_schema: schema.ok()?,
    });
    let request = ServerRequest::ElicitRequest(request);
    let options = PeerRequestOptions::no_options();
    peer.send_cancellable_request(request, options).await.ok()
}

/// What was chosen. Whatever is not one of the answers, and nothing else, is a no.
fn chosen(result: &ElicitResult) -> Answer {
    if result.action != ElicitationAction::Accept {
        return Answer::No;
    }
    let content = result
        .content
        .as_ref()
        .and_then(|content| content.as_object());
    let answer = content
        .filter(|content| content.len() == 1)
        .and_then(|content| content.get(FIELD))
        .and_then(|answer| serde_json::from_value(answer.clone()).ok());
    answer.unwrap_or(Answer::No)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_is_not_an_answer_is_a_no() {
        let result = |content| ElicitResult::new(ElicitationAction::Accept).with_content(content);
        for answer in Answer::ALL {
            let given = result(json!({ "answer": answer.as_str() }));
            assert_eq!(chosen(&given), answer);
        }
        for content in [
            json!({}),
            json!(null),
            json!("allow once"),
            json!(["allow once"]),
            json!({ "answer": "allow" }),
            json!({ "answer": "Allow once" }),
            json!({ "answer": true }),
            json!({ "answer": ["allow once"] }),
            json!({ "answer": "allow once", "and": "more" }),
            json!({ "Answer": "allow once" }),
        ] {
            assert_eq!(chosen(&result(content.clone())), Answer::No, "{content}");
        }
        for action in [ElicitationAction::Decline, ElicitationAction::Cancel] {
            let given = ElicitResult::new(action).with_content(json!({ "answer": "allow once" }));
            assert_eq!(chosen(&given), Answer::No);
        }
        assert_eq!(
            chosen(&ElicitResult::new(ElicitationAction::Accept)),
            Answer::No
        );
    }
}
