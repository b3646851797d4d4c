//! The trait of policy modules, and how one is exported.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Decision, Problem, Request};

/// Decides on requests of agents. Each request gets a fresh instance: `configure` and then `decide`, once each, so nothing is
/// remembered from one to the next.
pub trait Policy: Sized + Send {
    /// Takes the `config` of the module's entry in the policy file, as JSON; `null` where there is none.
    ///
    /// # Errors
    /// What is wrong with it. No command runs then, and the person reads it: name all there is.
    fn configure(document: &str) -> Result<Self, Vec<Problem>>;

    /// Decides. [`Decision::allow`] leaves all to the policy file and other modules; whatever is stricter counts. A panic is a no.
    ///
    /// Not all requests run a command: see [`Purpose`](crate::Purpose).
    fn decide(&self, request: &Request) -> Decision;
}

impl Problem {
    /// `path` is the place in the document, such as `days[2]`; empty for the document as a whole.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// Makes a library a policy module that decides as a type does which implements [`Policy`]. A library has one of them.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        const _: () = {
            static STATE: $crate::state::State<$policy> = $crate::state::State::new();

            #[allow(dead_code, reason = "exported from WebAssembly alone")]
            struct Module;

            impl $crate::bindings::policy::exports::secretctl::guard::decisions::Guest for Module {
                fn configure(
                    document: $crate::state::String,
                ) -> $crate::state::Vec<$crate::Problem> {
                    STATE.configure(&document)
                }

                fn decide(request: $crate::Request) -> $crate::Decision {
                    STATE.decide(&request)
                }
            }

            #[cfg(target_family = "wasm")]
            $crate::bindings::policy::export_world_policy!(
                Module with_types_in $crate::bindings::policy
            );
        };
    };
}
