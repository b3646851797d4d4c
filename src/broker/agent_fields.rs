//! What an agent may see of a secret's fields: names, and the values of plain ones.

use super::agent::AgentDoor;
use super::short::AGENT_MIN_BYTES;
use super::{Broker, RunError};
use crate::audit::Action;
use crate::name::{FieldName, SecretName};
use crate::policy::Purpose;
use crate::vault::{Entry, Field, Fields};

/// The fields of a secret without their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldList {
    /// The secret's name.
    pub key: SecretName,
    /// Names, and whether the values may never be shown.
    pub fields: Vec<(String, bool)>,
    /// Variables, and the fields that they get.
    pub bindings: Vec<(String, String)>,
}

impl AgentDoor {
    /// The fields of a secret, and which variables they go into.
    pub fn fields(&self, agent: &str, name: &SecretName) -> Result<FieldList, RunError> {
        let entry = self.one(agent, Purpose::Reference, name);
        let keys = vec![name.clone()];
        let entry = self.recorded(agent, Action::SecretListFields, keys, entry)?;
        let metadata = entry.metadata;
        let field = |field: crate::vault::FieldInfo| (field.name.into(), field.sensitive);
        let binding = |(env, field): (crate::name::EnvName, FieldName)| {
            (env.as_str().to_owned(), field.into())
        };
        Ok(FieldList {
            key: entry.name,
            fields: metadata.fields.into_iter().map(field).collect(),
            bindings: metadata.bindings.into_iter().map(binding).collect(),
        })
    }

    /// The value of a field that is marked as not sensitive. The secret's sensitive values are hidden in it.
    ///
    /// # Errors
    /// Among others when it is sensitive: then nothing is told of the value.
    pub fn field(
        &self,
        agent: &str,
        name: &SecretName,
        field: &FieldName,
    ) -> Result<String, RunError> {
        let found = (self.one(agent, Purpose::Masked, name))
            .and_then(|entry| plain_value(&self.broker, &entry, field));
        self.recorded(agent, Action::SecretGetField, vec![name.clone()], found)
    }

    /// A secret that the agent may use for `purpose`.
    fn one(&self, agent: &str, purpose: Purpose, name: &SecretName) -> Result<Entry, RunError> {
        let visible = self.visible_one(agent, purpose, name)?;
        visible.ok_or_else(|| RunError::SecretNotFound(name.to_string()))
    }
}

fn plain_value(broker: &Broker, entry: &Entry, wanted: &FieldName) -> Result<String, RunError> {
    let (key, field) = (entry.name.clone(), wanted.clone());
    let infos = &entry.metadata.fields;
    let Some(info) = infos.iter().find(|info| info.name == field) else {
        let fields = infos.iter().map(|info| info.name.clone()).collect();
        return Err(RunError::NoSuchField { key, field, fields });
    };
    // Of a sensitive one, the value is not even read.
    if info.sensitive {
        return Err(RunError::SensitiveField { key, field });
    }
    let fields =
        (broker.vault().reveal(&key)?).ok_or_else(|| RunError::SecretNotFound(key.to_string()))?;
    let is_plain = |one: &&Field| one.name == field && !one.sensitive;
    let Some(found) = fields.iter().find(is_plain) else {
        return Err(RunError::SensitiveField { key, field });
    };
    let Ok(mut text) = String::from_utf8(found.value.expose().to_vec()) else {
        return Err(RunError::NotText { key, field });
    };
    if !hide_own(broker, &key, &fields, &mut [&mut text])? {
        return Err(RunError::TooShort(key));
    }
    Ok(text)
}

/// Hides a secret's sensitive values in texts that stand beside them. Not, and false, if one of them is too short to be hidden.
pub(super) fn hide_own(
    broker: &Broker,
    key: &SecretName,
    fields: &Fields,
    texts: &mut [&mut String],
) -> Result<bool, RunError> {
    let values: Vec<_> = (fields.sensitive())
        .map(|value| (key.as_str(), value))
        .collect();
    if (values.iter()).any(|(_, value)| value.len() < AGENT_MIN_BYTES) {
        return Ok(false);
    }
    broker.hide_in(&values, texts)?;
    Ok(true)
}
