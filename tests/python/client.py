"""The agent door as the official Python SDK sees it. Usage: client.py PATH-OF-SECRETCTL TRANSCRIPT

Makes a throw-away vault and policy, starts `secretctl mcp-server` on them, and fails on the first answer that is not as documented.
What it was shown is written to the file TRANSCRIPT, without what differs from run to run.
"""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
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
  - npm
  - curl
denied_commands: [rm]
env_aliases:
  staging:
    - { pattern: "db/*", target: "staging/db/*" }
"""
SHOW = """\
#!/bin/sh
echo "the key is $API_KEY"
printf %s "$API_KEY" | base64 >&2
exit 7
"""
PACKAGE = """\
{ "name": "project", "version": "1.0.0", "scripts": { "test": "node -e \\"console.log('key ' + process.env.API_KEY)\\"" } }
"""
SECRETS = {
    "GITHUB_TOKEN": "ghp_0123456789abcdefABCDEF",
    "aws/access_key": "AKIA-of-nobody",
    "aws/secret_key": "wJalrXUtnFEMI/K7MDENG",
    "staging/db/password": "password-of-staging",
}
TOOLS = {
    "secret_exists",
    "secret_get_field",
    "secret_get_masked",
    "secret_list",
    "secret_list_fields",
    "secret_run",
    "secret_run_with_bindings",
    "security_score",
}


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
    for key, value in SECRETS.items():
        secretctl(program, environment, "set", key, stdin=value)
    policy = vault / "mcp-policy.yaml"
    policy.touch(mode=0o600)
    policy.write_text(POLICY)
    project.mkdir()
    (project / "package.json").write_text(PACKAGE)
    script = project / "show.sh"
    script.write_text(SHOW)
    script.chmod(0o755)
    return environment, project


class Agent:
    def __init__(self, session: ClientSession):
        self.session = session
        self.seen: list[str] = []
        self.transcript: list[str] = []

    async def call(self, tool: str, arguments: dict):
        result = await self.session.call_tool(tool, arguments)
        self.seen.append(result.model_dump_json())
        self.transcript += [f"{tool} {json.dumps(arguments)}", *(block.text for block in result.content)]
        return result

    async def ask(self, tool: str, arguments: dict) -> dict:
        """The structured answer of a call that must succeed."""
        result = await self.call(tool, arguments)
        assert not result.is_error, (tool, result)
        [block] = result.content
        assert json.loads(block.text) == result.structured_content, "text and structure say different things"
        return result.structured_content

    async def refusal(self, tool: str, arguments: dict) -> str:
        """The text of a call that must be refused."""
        result = await self.call(tool, arguments)
        assert result.is_error, (tool, result)
        [block] = result.content
        return block.text


async def talk(agent: Agent) -> None:
    tools = {tool.name: tool for tool in (await agent.session.list_tools()).tools}
    assert set(tools) == TOOLS, set(tools)
    for tool in tools.values():
        assert tool.title or tool.annotations.title, tool.name
        assert tool.input_schema["type"] == "object" and tool.output_schema["type"] == "object", tool.name
        assert tool.annotations.read_only_hint == (not tool.name.startswith("secret_run")), tool.name

    assert await agent.ask("secret_list", {}) == {"keys": sorted(["API_KEY", *SECRETS])}
    listed = await agent.ask("secret_list", {"tag": "test", "include_metadata": True})
    assert listed["keys"] == ["API_KEY"]
    [metadata] = listed["secrets"]
    assert metadata["tags"] == ["test"] and metadata["has_notes"] and not metadata["has_url"], metadata

    found = await agent.ask("secret_exists", {"key": "aws/*"})
    assert found["exists"] is True and found["matches"] == ["aws/access_key", "aws/secret_key"], found
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
        ("id -u", "default_action: deny"),
    ]:
        refusal = await agent.refusal("secret_run", {"keys": ["API_KEY"], "command": command})
        assert reason in refusal, (command, refusal)
    refusal = await agent.refusal("secret_run", {"keys": ["NO_SUCH_KEY"], "command": "echo x"})
    assert "secret not found: NO_SUCH_KEY" in refusal, refusal


class Echo(BaseHTTPRequestHandler):
    """A service that answers with the token it was given, and remembers it."""

    tokens: list[str] = []

    def do_GET(self) -> None:
        token = self.headers["Authorization"]
        self.tokens.append(token)
        body = f"hello {token}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def scenarios(agent: Agent) -> None:
    """What the documentation shows an agent doing, with real programs."""
    test = await agent.ask("secret_run", {"keys": ["API_KEY"], "command": "npm test", "cwd": "."})
    assert test["exit_code"] == 0 and test["stdout"].endswith("\nkey [REDACTED:API_KEY]\n"), test

    command = "echo $AWS_ACCESS_KEY $AWS_SECRET_KEY"
    both = await agent.ask("secret_run", {"keys": ["aws/*"], "command": command})
    assert both["stdout"] == "[REDACTED:aws/access_key] [REDACTED:aws/secret_key]\n", both

    arguments = {"keys": ["db/*"], "command": "echo $DB_PASSWORD", "env": "staging"}
    staging = await agent.ask("secret_run", arguments)
    assert staging["stdout"] == "[REDACTED:staging/db/password]\n", staging

    with HTTPServer(("127.0.0.1", 0), Echo) as service:
        threading.Thread(target=service.handle_request).start()
        url = f"http://127.0.0.1:{service.server_port}/user/repos"
        command = f"curl -sS -H 'Authorization: Bearer $GITHUB_TOKEN' {url}"
        answer = await agent.ask("secret_run", {"keys": ["GITHUB_TOKEN"], "command": command})
    assert answer["stdout"] == "hello Bearer [REDACTED:GITHUB_TOKEN]\n", answer
    assert Echo.tokens == ["Bearer " + SECRETS["GITHUB_TOKEN"]], Echo.tokens


async def without_a_policy(agent: Agent, policy: Path) -> None:
    """A policy file that others could read stops everything until it is mended."""
    policy.chmod(0o644)
    refusal = await agent.refusal("secret_run", {"keys": ["API_KEY"], "command": "echo x"})
    assert "has mode 0644, not 0600" in refusal, refusal
    refusal = await agent.refusal("secret_exists", {"key": "API_KEY"})
    assert refusal.startswith("no secret is shown, since the policy file "), refusal
    policy.chmod(0o600)
    assert await agent.ask("secret_run", {"keys": ["API_KEY"], "command": "echo x"})


def ensure_nothing_leaked(seen: list[str]) -> None:
    encoded = base64.b64encode(SECRET.encode()).decode().rstrip("=")
    for text in seen:
        for hidden in (SECRET, encoded, SECRET.encode().hex(), PASSWORD, *SECRETS.values()):
            assert hidden not in text, f"{hidden} was shown: {text}"


def normal(text: str, base: str) -> str:
    """A text without what differs from run to run and from machine to machine."""
    text = text.replace(base, "HOME")
    for differs, instead in [
        (r'("duration_ms":)\d+', r"\g<1>0"),
        (r'("enforcement":)\{[^}]*\}', r"\g<1>{}"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"127\.0\.0\.1:\d+", "SERVICE"),
        (r'("stderr":)"npm notice[^"]*"', r'\g<1>""'),
    ]:
        text = re.sub(differs, instead, text)
    return text


async def main(program: str, transcript: Path) -> None:
    with tempfile.TemporaryDirectory() as base:
        environment, project = prepare(program, Path(base))
        server = StdioServerParameters(command=program, args=["mcp-server"], env=environment, cwd=project)
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            hello = await session.initialize()
            assert hello.server_info.name == "secretctl", hello
            agent = Agent(session)
            await talk(agent)
            await scenarios(agent)
            await without_a_policy(agent, Path(environment["SECRETCTL_VAULT_DIR"]) / "mcp-policy.yaml")
        ensure_nothing_leaked(agent.seen)
        transcript.write_text("".join(f"{normal(line, base)}\n" for line in agent.transcript))

        runs = json.loads(secretctl(program, environment, "audit", "export"))
        runs = [(one["command"], one["result"]) for one in runs if one["action"] == "secret.run"]
        runs, later = runs[:6], runs[6:]
        assert runs == [
            ("./show.sh", "success"),
            ("echo 'Bearer $API_KEY' $HOME", "success"),
            ("printenv API_KEY", "denied"),
            ("rm -rf .", "denied"),
            ("id -u", "denied"),
            ("echo x", "error"),
        ], runs
        assert len(later) == 6, later
        secretctl(program, environment, "audit", "verify")
    print(f"ok: {len(agent.seen)} answers were as documented, and none showed the secret")


if __name__ == "__main__":
    asyncio.run(main(str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])))
