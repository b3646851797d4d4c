"""The agent door as the official Python SDK sees it. Usage: client.py PATH-OF-SECRETCTL

Makes a throw-away vault and policy, starts `secretctl mcp-server` on them, and fails on the first answer that is not as documented.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mcp import ClientSession, StdioServerParameters, stdio_client

SECRET = "sk-live-4f9Qx27LmZp8w"
PASSWORD = "correct horse battery staple"
POLICY = """\
version: 1
default_action: deny
allowed_commands:
  - ./show.sh
  - echo
denied_commands: [rm]
"""
SHOW = """\
#!/bin/sh
echo "the key is $API_KEY"
printf %s "$API_KEY" | base64 >&2
exit 7
"""
TOOLS = {"secret_list", "secret_exists", "secret_get_masked", "secret_run"}


def secretctl(program: str, environment: dict[str, str], *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [program, *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, (arguments, done.returncode, done.stderr)
    return done.stdout


def prepare(program: str, base: Path) -> tuple[dict[str, str], Path]:
    """A vault with two secrets, a policy, and a project with a script that prints what it was given."""
    (base / "password").write_text(PASSWORD + "\n")
    vault, project = base / "vault", base / "project"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "SECRETCTL_VAULT_DIR": str(vault),
        "SECRETCTL_PASSWORD_FILE": str(base / "password"),
    }
    secretctl(program, environment, "init")
    secretctl(program, environment, "set", "API_KEY", "--tags", "test", "--notes", "of the test", stdin=SECRET)
    secretctl(program, environment, "set", "aws/access_key", stdin="AKIA-of-nobody")
    policy = vault / "mcp-policy.yaml"
    policy.touch(mode=0o600)
    policy.write_text(POLICY)
    project.mkdir()
    script = project / "show.sh"
    script.write_text(SHOW)
    script.chmod(0o755)
    return environment, project


class Agent:
    def __init__(self, session: ClientSession):
        self.session = session
        self.seen: list[str] = []

    async def ask(self, tool: str, arguments: dict) -> dict:
        """The structured answer of a call that must succeed."""
        result = await self.session.call_tool(tool, arguments)
        self.seen.append(result.model_dump_json())
        assert not result.is_error, (tool, result)
        [block] = result.content
        assert json.loads(block.text) == result.structured_content, "text and structure say different things"
        return result.structured_content

    async def refusal(self, tool: str, arguments: dict) -> str:
        """The text of a call that must be refused."""
        result = await self.session.call_tool(tool, arguments)
        self.seen.append(result.model_dump_json())
        assert result.is_error, (tool, result)
        [block] = result.content
        return block.text


async def talk(agent: Agent) -> None:
    tools = {tool.name: tool for tool in (await agent.session.list_tools()).tools}
    assert set(tools) == TOOLS, set(tools)
    for tool in tools.values():
        assert tool.title or tool.annotations.title, tool.name
        assert tool.input_schema["type"] == "object" and tool.output_schema["type"] == "object", tool.name
        assert tool.annotations.read_only_hint == (tool.name != "secret_run"), tool.name

    assert await agent.ask("secret_list", {}) == {"keys": ["API_KEY", "aws/access_key"]}
    listed = await agent.ask("secret_list", {"tag": "test", "include_metadata": True})
    assert listed["keys"] == ["API_KEY"]
    [metadata] = listed["secrets"]
    assert metadata["tags"] == ["test"] and metadata["has_notes"] and not metadata["has_url"], metadata

    found = await agent.ask("secret_exists", {"key": "aws/*"})
    assert found["exists"] is True and found["matches"] == ["aws/access_key"], found
    found = await agent.ask("secret_exists", {"key": "NO_SUCH_KEY"})
    assert found == {"exists": False, "matches": []}, found

    masked = await agent.ask("secret_get_masked", {"key": "API_KEY"})
    assert masked["masked_value"] == "********" + SECRET[-4:] and masked["notes"] == "of the test", masked

    shown = await agent.ask("secret_run", {"keys": ["API_KEY"], "command": "./show.sh"})
    assert shown["stdout"] == "the key is [REDACTED:API_KEY]\n", shown
    assert shown["stderr"] == "[REDACTED:API_KEY]\n", shown
    assert shown["exit_code"] == 7 and shown["sanitized"] and not shown["timed_out"], shown
    counts = {(one["key"], one["form"]): one["count"] for one in shown["redactions"]}
    assert counts == {("API_KEY", "raw"): 1, ("API_KEY", "base64"): 1}, counts

    echoed = await agent.ask("secret_run", {"keys": ["API_KEY"], "command": "echo 'Bearer $API_KEY' $HOME"})
    assert echoed["stdout"] == "Bearer [REDACTED:API_KEY] $HOME\n", echoed

    for command, reason in [
        ("printenv API_KEY", "command not allowed: printenv"),
        ("rm -rf .", "denied_commands[0]: rm"),
        ("curl https://example.com", "default_action: deny"),
    ]:
        refusal = await agent.refusal("secret_run", {"keys": ["API_KEY"], "command": command})
        assert reason in refusal, (command, refusal)
    refusal = await agent.refusal("secret_run", {"keys": ["NO_SUCH_KEY"], "command": "echo x"})
    assert "secret not found: NO_SUCH_KEY" in refusal, refusal


def ensure_nothing_leaked(seen: list[str]) -> None:
    encoded = base64.b64encode(SECRET.encode()).decode().rstrip("=")
    for text in seen:
        for hidden in (SECRET, encoded, SECRET.encode().hex(), PASSWORD):
            assert hidden not in text, f"{hidden} was shown: {text}"


async def main(program: str) -> None:
    with tempfile.TemporaryDirectory() as base:
        environment, project = prepare(program, Path(base))
        server = StdioServerParameters(command=program, args=["mcp-server"], env=environment, cwd=project)
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            hello = await session.initialize()
            assert hello.server_info.name == "secretctl", hello
            agent = Agent(session)
            await talk(agent)
        ensure_nothing_leaked(agent.seen)

        runs = json.loads(secretctl(program, environment, "audit", "export"))
        runs = [(one["command"], one["result"]) for one in runs if one["action"] == "secret.run"]
        assert runs == [
            ("./show.sh", "success"),
            ("echo 'Bearer $API_KEY' $HOME", "success"),
            ("printenv API_KEY", "denied"),
            ("rm -rf .", "denied"),
            ("curl https://example.com", "denied"),
            ("echo x", "error"),
        ], runs
        secretctl(program, environment, "audit", "verify")
    print(f"ok: {len(agent.seen)} answers were as documented, and none showed the secret")


if __name__ == "__main__":
    asyncio.run(main(str(Path(sys.argv[1]).resolve())))
