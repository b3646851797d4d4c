{
  "mcpServers": {
    "secretctl": {
      "command": "[PROGRAM]",
      "args": ["mcp-server"],
      "env": {
        "SECRETCTL_PASSWORD_COMMAND": "pass show 'my vault'"
      }
    }
  }
}
