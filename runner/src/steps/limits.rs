//! Resource limits.
#![forbid(unsafe_code)]

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::plan::Limits;

/// The number of processes is limited only where the run has a user of its own or a user namespace:
/// elsewhere the kernel counts all processes of the user, and none of root's. Address space is not
/// limited: node and Go reserve far more than they use.
pub(crate) fn set(limits: &Limits, counts_processes: bool) -> rustix::io::Result<()> {
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, u64::from(limits.open_files))?;
    if counts_processes {
        lower(Resource::Nproc, u64::from(limits.processes))?;
    }
    match limits.file_size_bytes {
        Some(bytes) => lower(Resource::Fsize, bytes),
        None => Ok(()),
    }
}

/// Soft and hard limit: a hard one above would be taken by programs that raise their own (node,
/// Java).
fn lower(resource: Resource, to: u64) -> rustix::io::Result<()> {
    let limit = Some(getrlimit(resource).maximum.unwrap_or(u64::MAX).min(to));
    setrlimit(
        resource,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )
}
