//! Asking a person: through the client where it can, else in another terminal.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
    ElicitationSchema, EnumSchema, InputRequiredResult, PrimitiveSchemaDefinition, ServerRequest,
};
use rmcp::service::{PeerRequestOptions, RequestContext, RequestHandle};
use rmcp::{Peer, RoleServer};
use tokio::sync::watch;

use super::board::Board;
use super::rounds::{Retry, Round, Rounds, asks_in_answers};
use super::tools::closing;
use crate::broker::{AgentDoor, Answer, By, Put, Unapproved};
use crate::text::say;

/// The one thing that a client asks its user for.
pub(super) const FIELD: &str = "answer";

/// Where questions go.
#[derive(Clone)]
pub(super) struct Approvals {
    board: Board,
    rounds: Rounds,
    wait: Duration,
}

impl Approvals {
    /// Each question waits for so long; none is asked where that is nothing.
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            board: Board::default(),
            rounds: Rounds::default(),
            wait,
        }
    }

    /// The question for a client that is asked in the answer to its request.
    pub(super) fn form_in_answer(
        &self,
        put: &Put,
        context: &RequestContext<RoleServer>,
    ) -> Option<ElicitRequest> {
        let is_asked = asks_in_answers(context) && can_elicit(context) && !self.wait.is_zero();
        is_asked.then(|| form(put)).flatten()
    }

    /// The answer that asks. The question waits for the request to be sent again, until the time is over or the server ends.
    pub(super) fn in_answer(
        &self,
        form: ElicitRequest,
        round: Round,
        running: watch::Receiver<bool>,
    ) -> InputRequiredResult {
        let (state, question) = self.rounds.ask(form, round);
        let (rounds, wait) = (self.rounds.clone(), self.wait);
        tokio::spawn(async move {
            let why = tokio::select! {
                () = tokio::time::sleep(wait) => Unapproved::TimedOut(wait),
                () = closing(running.clone()) => Unapproved::Withdrawn,
            };
            let unanswered = rounds.take(&state);
            let record =
                move || unanswered.map(|Round { door, put, .. }| door.answered(put, Err(why)));
            // Nobody is there to be refused what was asked for.
            let _ = tokio::task::spawn_blocking(record).await;
        });
        question
    }

    /// The question that a request is sent again for.
    pub(super) fn round(&self, retry: &Retry) -> Option<Round> {
        self.rounds.take(&retry.state)
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
                say(&format!("secretctl: nobody can be asked: {error}"));
                return Err(Unapproved::NoWay);
            }
        };
        say("secretctl: a command waits for an answer: secretctl approve");
        (&mut pinned.answer).await.map_err(|_| Unapproved::NoWay)
    }
}

/// Whether the client asks its user with a form, which is what one means that does not say how.
fn can_elicit(context: &RequestContext<RoleServer>) -> bool {
    let capabilities = context.client_capabilities();
    let elicitation = capabilities.and_then(|capabilities| capabilities.elicitation);
    elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none())
}

fn form(put: &Put) -> Option<ElicitRequest> {
    let words = Answer::ALL.map(|answer| answer.as_str().to_owned());
    let answers = EnumSchema::builder(words.to_vec()).untitled().build();
    let schema = ElicitationSchema::builder()
        .required_property(FIELD, PrimitiveSchemaDefinition::Enum(answers))
        .build();
    Some(ElicitRequest::new(
        ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: put.text(),
            requested_schema: schema.ok()?,
        },
    ))
}

/// None where the protocol does not let a server ask.
async fn elicit(peer: &Peer<RoleServer>, put: &Put) -> Option<RequestHandle<RoleServer>> {
    let request = ServerRequest::ElicitRequest(form(put)?);
    let options = PeerRequestOptions::no_options();
    peer.send_cancellable_request(request, options).await.ok()
}

/// What was chosen. Whatever is not one of the answers, and nothing else, is a no.
pub(super) fn chosen(result: &ElicitResult) -> Answer {
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
