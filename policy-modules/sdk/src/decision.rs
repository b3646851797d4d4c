//! How decisions are made up.

use alloc::string::String;

use crate::{Decision, Denial, Grant, Network, Question, Request, Workdir};

impl Decision {
    /// A yes that tightens nothing: [`Grant::everything`].
    pub fn allow(request: &Request) -> Self {
        Self::Allow(Grant::everything(request))
    }

    /// A yes that tightens nothing, once a person has answered `text` with yes.
    pub fn ask(request: &Request, text: impl Into<String>) -> Self {
        Self::Ask(Question {
            text: text.into(),
            grant: Grant::everything(request),
        })
    }

    /// A no. `rule` is what a person looks up in the module's configuration; the module's name is put before it. `reason` is read
    /// by the agent, and must not tell whether a key exists that the request does not list.
    pub fn deny(rule: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Deny(Denial {
            rule: rule.into(),
            reason: reason.into(),
            remedy: String::new(),
        })
    }

    /// The same decision, and what a person could change to get another. Only a no has room for that; a yes stays as it is.
    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        if let Self::Deny(denial) = &mut self {
            denial.remedy = text.into();
        }
        self
    }

    /// The same decision by the name of a rule, which the audit log shows.
    pub fn rule(mut self, name: impl Into<String>) -> Self {
        *match &mut self {
            Self::Allow(grant) => &mut grant.rule,
            Self::Ask(question) => &mut question.grant.rule,
            Self::Deny(denial) => &mut denial.rule,
        } = name.into();
        self
    }

    /// Whether it is a no.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Deny(_))
    }
}

impl Grant {
    /// All keys of the request and no limit. To tighten one thing:
    ///
    /// ```
    /// # use secretctl_guard::{Decision, Grant, Request};
    /// # let request = Request::for_command("curl", &["example.com"]);
    /// let a_minute = Decision::Allow(Grant {
    ///     timeout_ms: 60_000,
    ///     ..Grant::everything(&request)
    /// });
    /// # assert_ne!(a_minute, Decision::allow(&request));
    /// ```
    pub fn everything(request: &Request) -> Self {
        Self {
            keys: request.keys.iter().map(|key| key.name.clone()).collect(),
            timeout_ms: u64::MAX,
            output_bytes: u64::MAX,
            network: Network::Allow,
            workdir: Workdir::Project,
            expand_arguments: true,
            rule: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_has_all_keys_and_no_limit() {
        let request = Request::for_command("npm", &["test"]).key("a").key("b");
        let Decision::Allow(grant) = Decision::allow(&request) else {
            panic!("a yes");
        };
        assert_eq!(grant.keys, ["a", "b"]);
        assert_eq!((grant.timeout_ms, grant.output_bytes), (u64::MAX, u64::MAX));
        assert_eq!(
            (grant.network, grant.workdir, grant.expand_arguments),
            (Network::Allow, Workdir::Project, true)
        );
    }

    #[test]
    fn a_remedy_is_of_a_no() {
        let request = Request::for_command("npm", &["test"]).key("a");
        let allowed = Decision::allow(&request);
        assert_eq!(allowed.clone().remedy("none"), allowed);
        let Decision::Deny(denial) = Decision::deny("rule", "reason").remedy("change it") else {
            panic!("a no");
        };
        assert_eq!(
            (&*denial.rule, &*denial.reason, &*denial.remedy),
            ("rule", "reason", "change it")
        );
    }

    #[test]
    fn every_decision_has_a_rule() {
        let request = Request::for_command("npm", &["test"]);
        let asked = Decision::ask(&request, "really?").rule("new");
        let Decision::Ask(question) = asked else {
            panic!("a question");
        };
        assert_eq!((&*question.text, &*question.grant.rule), ("really?", "new"));
        assert_eq!(
            Decision::deny("old", "no").rule("new"),
            Decision::deny("new", "no")
        );
        assert_ne!(
            Decision::allow(&request).rule("new"),
            Decision::allow(&request)
        );
    }
}
