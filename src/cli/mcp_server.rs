//! `secretctl mcp-server`

use super::args::McpServerArgs;
use super::failure::Failure;
use super::output;
use super::unlock::{Access, told};
use crate::broker::AgentDoor;
use crate::mcp;

pub(super) fn run(access: &Access, args: McpServerArgs) -> Result<u8, Failure> {
    let project = match args.project {
        Some(project) => project,
        None => std::env::current_dir()?,
    };
    let door = AgentDoor::new(access.vault()?.0, &project, &access.outside());
    output::cautions(&door.opened()?);
    told(door.keep_retention());
    mcp::serve(door, args.agent_id)?;
    Ok(super::codes::DONE)
}
