//! The way of a command, and of the questions to a person that it waits for.

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::service::RequestContext;
use tokio::task::JoinHandle;

use super::Tools;
use crate::broker::{
    AgentDoor, Approved, Cancel, Progress, RunAnswer, RunError, RunRequest, Unanswered, Unapproved,
};
use crate::mcp::refusal::Refusal;

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
        progress: &Arc<Progress>,
        context: &RequestContext<RoleServer>,
    ) -> Result<RunAnswer, Refusal> {
        let (cancel, mut approved) = (Cancel::new(), None);
        let (gone, ended) = (self.gone(context), cancel.clone());
        let _watcher = Watcher(tokio::spawn(async move {
            gone.await;
            ended.cancel();
        }));
        let mut questions = 0;
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
                Ok(answer) => return Ok(answer),
                Err(unanswered) => unanswered,
            };
            // A person may take longer than others should wait for their commands.
            drop(place);
            let asked = self.approve(&door, &agent, *unanswered, questions, context);
            approved = Some(asked.await?);
            questions += 1;
        }
    }

    /// Asks a person. After the answer all is decided anew, so that what has changed meanwhile is asked again: once.
    async fn approve(
        &self,
        door: &Arc<AgentDoor>,
        agent: &str,
        unanswered: Unanswered,
        questions: usize,
        context: &RequestContext<RoleServer>,
    ) -> Result<Approved, Refusal> {
        if questions >= QUESTIONS_MAX {
            let changed =
                move |door: &AgentDoor| Err(door.unapproved(unanswered, Unapproved::Changed));
            return self.ask_at(door, agent, changed).await;
        }
        let put = self
            .ask_at(door, agent, move |door| door.put(unanswered))
            .await?;
        let gone = self.gone(context);
        let answer = self.approvals.ask(door, &put, context, gone).await;
        let answered = move |door: &AgentDoor| door.answered(put, answer);
        self.ask_at(door, agent, answered).await
    }

    /// Over when the request is cancelled or its client has gone.
    fn gone(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (token, mut closing) = (context.ct.clone(), self.running.0.subscribe());
        async move {
            tokio::select! {
                () = token.cancelled() => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        }
    }
}
