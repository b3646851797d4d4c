//! The way of a command, and of the questions to a person that it waits for.

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::service::RequestContext;
use tokio::task::JoinHandle;

use super::{Tools, closing};
use crate::broker::{
    AgentDoor, Approved, By, Cancel, Progress, RunAnswer, RunError, RunRequest, Unanswered,
    Unapproved,
};
use crate::mcp::refusal::Refusal;
use crate::mcp::rounds::{Answered, Retry, Round};

/// Questions about one request: what has changed while a person thought is asked about once more.
const QUESTIONS_MAX: usize = 2;

/// Waits for the end of a request, until it is dropped.
struct Watcher(JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tools {
    /// Runs a command, with a person's approval where the policy wants it.
    pub(super) async fn answer(
        &self,
        agent: String,
        request: RunRequest,
        retry: Option<Retry>,
        progress: &Arc<Progress>,
        context: &RequestContext<RoleServer>,
    ) -> Result<Answered<RunAnswer>, Refusal> {
        let cancel = Cancel::new();
        let (gone, ended) = (self.gone(context), cancel.clone());
        let _watcher = Watcher(tokio::spawn(async move {
            gone.await;
            ended.cancel();
        }));
        let (mut approved, mut questions) = self.resumed(&agent, retry).await?;
        loop {
            let place = self.queue.enter(context).await?;
            let (request, cancel, progress) =
                (request.clone(), cancel.clone(), Arc::clone(progress));
            let yes = approved.take();
            let run = move |door: &Arc<AgentDoor>, agent: &str| match door
                .run(agent, &request, yes, &cancel, &progress)
            {
                Err(RunError::Unanswered(unanswered)) => Ok(Err((Arc::clone(door), unanswered))),
                ended => ended.map(Ok),
            };
            let (door, unanswered) = match self.ask(agent.clone(), run).await? {
                Ok(answer) => return Ok(Answered::Done(answer)),
                Err(unanswered) => unanswered,
            };
            // A person may take longer than others should wait for their commands.
            drop(place);
            let asked = self.approve(&door, &agent, *unanswered, questions, context);
            match asked.await? {
                Answered::Done(yes) => approved = Some(yes),
                Answered::Asks(question) => return Ok(Answered::Asks(question)),
            }
            questions += 1;
        }
    }

    /// What has come of the request so far, if it was sent before: a person's yes, and how many questions there were. One whose
    /// question waits no longer is as good as new.
    async fn resumed(
        &self,
        agent: &str,
        retry: Option<Retry>,
    ) -> Result<(Option<Approved>, usize), Refusal> {
        let round = |retry: Retry| Some((self.approvals.round(&retry)?, retry.answer));
        let Some((round, answer)) = retry.and_then(round) else {
            return Ok((None, 0));
        };
        let Round {
            door,
            put,
            questions,
        } = round;
        let answered = move |door: &AgentDoor| door.answered(put, Ok((answer, By::Client)));
        let approved = self.ask_at(&door, agent, answered).await?;
        Ok((Some(approved), questions))
    }

    /// Asks a person. After the answer all is decided anew, so that what has changed meanwhile is asked again: once.
    async fn approve(
        &self,
        door: &Arc<AgentDoor>,
        agent: &str,
        unanswered: Unanswered,
        questions: usize,
        context: &RequestContext<RoleServer>,
    ) -> Result<Answered<Approved>, Refusal> {
        if questions >= QUESTIONS_MAX {
            let changed =
                move |door: &AgentDoor| Err(door.unapproved(unanswered, Unapproved::Changed));
            return self.ask_at(door, agent, changed).await;
        }
        let put = self
            .ask_at(door, agent, move |door| door.put(unanswered))
            .await?;
        if let Some(form) = self.approvals.form_in_answer(&put, context) {
            let round = Round {
                door: Arc::clone(door),
                put,
                questions: questions + 1,
            };
            let running = self.running.enter();
            let question = self.approvals.in_answer(form, round, running);
            return Ok(Answered::Asks(question));
        }
        let gone = self.gone(context);
        let answer = self.approvals.ask(door, &put, context, gone).await;
        let answered = move |door: &AgentDoor| door.answered(put, answer);
        self.ask_at(door, agent, answered).await.map(Answered::Done)
    }

    /// Over when the request is cancelled or its client has gone.
    fn gone(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (token, closing) = (context.ct.clone(), closing(self.running.enter()));
        async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = closing => {}
            }
        }
    }
}
