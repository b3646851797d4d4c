//! The clients: where each keeps its configuration, in which form, and what it wants to be told of a server.

use std::path::{Path, PathBuf};

use super::document::Format;
use crate::cli::args::ClientName;
use crate::cli::places;

/// What is to be known of a client.
pub(super) struct Client {
    pub(super) name: ClientName,
    /// As on the command line.
    pub(super) id: &'static str,
    user: UserFile,
    /// The file of a project, from its root.
    project: Option<&'static str>,
    pub(super) format: Format,
    /// The table of servers, at the top of the file.
    pub(super) servers: &'static str,
    /// What the entry of a server has beside its command, unless it says otherwise already.
    pub(super) defaults: &'static [(&'static str, Default)],
    /// What the client puts the open project's directory in for; none where it starts servers there, or has no project.
    pub(super) workspace: Option<&'static str>,
}

/// A default that stands in an entry.
#[derive(Clone, Copy)]
pub(super) enum Default {
    Text(&'static str),
    Number(u32),
}

/// Where the user's own file is.
struct UserFile {
    /// The variable that names another directory for it.
    moved_by: Option<&'static str>,
    base: Base,
    path: &'static str,
}

enum Base {
    Home,
    /// The directory for settings: `~/.config`, or `~/Library/Application Support`.
    Settings,
}

/// All clients that are known.
pub(super) const CLIENTS: [Client; 6] = [
    Client {
        name: ClientName::ClaudeCode,
        id: "claude-code",
        user: UserFile {
            moved_by: Some("CLAUDE_CONFIG_DIR"),
            base: Base::Home,
            path: ".claude.json",
        },
        project: Some(".mcp.json"),
        format: Format::Json,
        servers: "mcpServers",
        defaults: &[],
        workspace: None,
    },
    Client {
        name: ClientName::ClaudeDesktop,
        id: "claude-desktop",
        user: UserFile {
            moved_by: None,
            base: Base::Settings,
            path: "Claude/claude_desktop_config.json",
        },
        project: None,
        format: Format::Json,
        servers: "mcpServers",
        defaults: &[],
        workspace: None,
    },
    Client {
        name: ClientName::Cursor,
        id: "cursor",
        user: UserFile {
            moved_by: None,
            base: Base::Home,
            path: ".cursor/mcp.json",
        },
        project: Some(".cursor/mcp.json"),
        format: Format::Json,
        servers: "mcpServers",
        defaults: &[],
        workspace: Some("${workspaceFolder}"),
    },
    Client {
        name: ClientName::Vscode,
        id: "vscode",
        user: UserFile {
            moved_by: None,
            base: Base::Settings,
            path: "Code/User/mcp.json",
        },
        project: Some(".vscode/mcp.json"),
        format: Format::Json,
        servers: "servers",
        defaults: &[("type", Default::Text("stdio"))],
        workspace: Some("${workspaceFolder}"),
    },
    Client {
        name: ClientName::Codex,
        id: "codex",
        user: UserFile {
            moved_by: Some("CODEX_HOME"),
            base: Base::Home,
            path: ".codex/config.toml",
        },
        project: Some(".codex/config.toml"),
        format: Format::Toml,
        servers: "mcp_servers",
        // Longer than a command takes without a time limit of its own, in seconds.
        defaults: &[("tool_timeout_sec", Default::Number(310))],
        workspace: None,
    },
    Client {
        name: ClientName::Gemini,
        id: "gemini",
        user: UserFile {
            moved_by: None,
            base: Base::Home,
            path: ".gemini/settings.json",
        },
        project: Some(".gemini/settings.json"),
        format: Format::Json,
        servers: "mcpServers",
        defaults: &[],
        workspace: None,
    },
];

impl Client {
    pub(super) fn of(name: ClientName) -> Option<&'static Self> {
        CLIENTS.iter().find(|client| client.name == name)
    }

    /// The user's own file; none without a home directory.
    pub(super) fn user_file(&self) -> Option<PathBuf> {
        let UserFile {
            moved_by,
            base,
            path,
        } = &self.user;
        if let Some(dir) = moved_by.and_then(places::absolute) {
            return Some(dir.join(Path::new(path).file_name()?));
        }
        let base = match base {
            Base::Home => places::home_dir(),
            Base::Settings => places::settings_dir(),
        };
        Some(base?.join(path))
    }

    /// The file of the project in `root`; none if this client has no such file.
    pub(super) fn project_file(&self, root: &Path) -> Option<PathBuf> {
        self.project.map(|path| root.join(path))
    }
}
