//! What the rating of the vault takes and gives.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::broker::{Issue, Score};

/// Names that one issue lists.
const KEYS_MAX: usize = 100;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct ScoreInput {
    /// Whether to name the secrets in question.
    #[serde(default)]
    pub(in crate::mcp) include_keys: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct ScoreOutput {
    /// From 0 to 100: the mean of the components.
    #[schemars(with = "i32")]
    score: u32,
    /// From 0 to 100 each: expiry, age, policy, confinement, files.
    #[schemars(with = "BTreeMap<String, i32>")]
    components: BTreeMap<&'static str, u32>,
    /// What is wrong, the worst first.
    issues: Vec<IssueOutput>,
    /// What a person could do about it.
    suggestions: Vec<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct IssueOutput {
    component: &'static str,
    description: String,
    /// Points taken off from the component.
    #[schemars(with = "i32")]
    weight: u32,
    /// Names of secrets, at most 100, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

impl ScoreOutput {
    pub(in crate::mcp) fn new(score: Score, include_keys: bool) -> Self {
        let issue = |issue: &Issue| IssueOutput {
            component: issue.component.as_str(),
            description: issue.fact.clone(),
            weight: issue.weight,
            keys: if include_keys {
                issue.keys.iter().take(KEYS_MAX).cloned().collect()
            } else {
                Vec::new()
            },
        };
        let components = score.components.iter();
        Self {
            score: score.score,
            components: components
                .map(|(component, points)| (component.as_str(), *points))
                .collect(),
            issues: score.issues.iter().map(issue).collect(),
            suggestions: score.issues.iter().map(|issue| issue.suggestion).collect(),
        }
    }
}
