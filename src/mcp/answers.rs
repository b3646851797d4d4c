//! What the tools take and give: the shapes of their schemas.
//!
//! Integers have a format that clients know, which are those of OpenAPI: it has no unsigned ones.

pub(super) mod fields;
pub(super) mod look;
pub(super) mod run;
pub(super) mod score;

/// What a command may have missed in its jail, and who can change that.
pub(super) const OPENED: &str = "The command sees the system's programs and, of the home directory, only what the policy file \
    opens. A person can add directories of programs to trusted_dirs, other files to paths, and variables to env_pass.";
