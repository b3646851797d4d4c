//! The log as its owner reads and keeps it.

use super::{AgentDoor, Broker, PersonDoor, RunError};
use crate::audit::{AuditError, Filter, Followed, Follower, Pruned, Record};

impl Broker {
    /// Removes the records that are kept no longer, if the owner has set a time and some are older by more than a day.
    fn keep_retention(&self) -> Result<Option<Pruned>, RunError> {
        let vault = self.vault();
        match self.log.outdated(vault.connection()) {
            // Whoever asks what is wrong with the log gets that far, and whoever wants to write a record does not.
            Err(AuditError::NoHead | AuditError::ForgedHead) | Ok(None) => return Ok(None),
            Ok(Some(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let pruned = self.log.keep_retention(vault.begin()?, self.source)?;
        // Nobody has asked for it now, and the next one empties it.
        vault.empty_journal();
        Ok(pruned)
    }
}

impl PersonDoor {
    /// Records of the log, oldest first.
    pub fn audit_list(&self, filter: &Filter) -> Result<Vec<Record>, RunError> {
        let broker = &self.broker;
        let vault = broker.vault();
        broker.learn_epochs(&vault)?;
        let records = broker.log.list(vault.connection(), filter)?;
        vault.require_current()?;
        Ok(records)
    }

    /// Hands over records of the log one by one, oldest first, and ends with what `take` returns as an error.
    pub fn audit_each<E: From<RunError>>(
        &self,
        filter: &Filter,
        mut take: impl FnMut(&Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let broker = &self.broker;
        let vault = broker.vault();
        broker.learn_epochs(&vault)?;
        let take = |record: &Record| take(record).map_err(Taken::Theirs);
        let read = broker.log.each(vault.connection(), filter, take);
        read.map_err(Taken::into)
    }

    /// Hands over what came to the log since the follower's last call.
    pub fn audit_follow<E: From<RunError>>(
        &self,
        follower: &mut Follower,
        filter: &Filter,
        mut take: impl FnMut(Followed) -> Result<(), E>,
    ) -> Result<(), E> {
        let broker = &self.broker;
        let vault = broker.vault();
        broker.learn_epochs(&vault)?;
        let take = |followed: Followed| take(followed).map_err(Taken::Theirs);
        let read = follower.poll(&broker.log, vault.connection(), filter, take);
        read.map_err(Taken::into)
    }

    /// What [`PersonDoor::audit_prune`] would remove.
    pub fn audit_prunable(&self, before_ns: i64) -> Result<Option<Pruned>, RunError> {
        let broker = &self.broker;
        Ok(broker
            .log
            .prunable(broker.vault().connection(), before_ns)?)
    }

    /// Removes the records in front of the first one that is not older, and records that. Says as well whether they are gone from the
    /// database's journal.
    pub fn audit_prune(&self, before_ns: i64) -> Result<Option<(Pruned, bool)>, RunError> {
        let broker = &self.broker;
        let vault = broker.vault();
        let pruned = broker.log.prune(vault.begin()?, before_ns, broker.source)?;
        Ok(pruned.map(|pruned| (pruned, vault.empty_journal())))
    }

    /// How long records are kept, in seconds; none for ever.
    pub fn audit_retention(&self) -> Result<Option<u64>, RunError> {
        let broker = &self.broker;
        Ok(broker.log.retention_seconds(broker.vault().connection())?)
    }

    /// Sets how long records are kept, and records it as `text`.
    pub fn set_audit_retention(&self, seconds: Option<u64>, text: String) -> Result<(), RunError> {
        let broker = &self.broker;
        let vault = broker.vault();
        Ok(broker
            .log
            .set_retention(vault.begin()?, seconds, text, broker.source)?)
    }

    /// Removes the records that are kept no longer. For each process that has unlocked the vault.
    pub fn keep_retention(&self) -> Result<Option<Pruned>, RunError> {
        self.broker.keep_retention()
    }
}

impl AgentDoor {
    /// As [`PersonDoor::keep_retention`].
    pub fn keep_retention(&self) -> Result<Option<Pruned>, RunError> {
        self.broker.keep_retention()
    }
}

/// Whose error ended the reading.
enum Taken<E> {
    Ours(RunError),
    Theirs(E),
}

impl<E> From<AuditError> for Taken<E> {
    fn from(error: AuditError) -> Self {
        Self::Ours(error.into())
    }
}

impl<E: From<RunError>> Taken<E> {
    fn into(self) -> E {
        match self {
            Self::Ours(error) => error.into(),
            Self::Theirs(error) => error,
        }
    }
}
