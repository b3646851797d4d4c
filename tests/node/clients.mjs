// The agent door as others' clients see it: the TypeScript SDK, the inspector, and Claude Code.
//
// Usage: node clients.mjs PATH-OF-SECRETCTL DIRECTORY
//
// Makes a throw-away vault and policy, lets each client connect, list the tools and run a command with a secret, and writes down what it
// was shown in DIRECTORY, one file for each client. What differs from run to run is replaced. Packages are looked for beside this file, so
// that .ci/run copies it to where it installs them.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const SECRET = "sk-live-4f9Qx27LmZp8w";
const PASSWORD = "correct horse battery staple";
const POLICY = "version: 1\nallowed_commands: [./show.sh, echo]\n";
const SHOW = '#!/bin/sh\necho "the key is $API_KEY"\nprintf %s "$API_KEY" | base64 >&2\n';
const RUN = { keys: ["API_KEY"], command: "./show.sh" };
const REFUSED = { keys: ["API_KEY"], command: "printenv API_KEY" };
/// Longest time for one program of a client.
const TIMEOUT_MS = 120_000;

const program = realpathSync(process.argv[2]);
const directory = resolve(process.argv[3]);
const home = realpathSync(mkdtempSync(join(tmpdir(), "secretctl-clients-")));
const project = join(home, "project");
const environment = {
  PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
  HOME: home,
  SECRETCTL_VAULT_DIR: join(home, "vault"),
  SECRETCTL_PASSWORD_FILE: join(home, "password"),
};

function secretctl(args, input = "") {
  return execFileSync(program, args, { env: environment, input, encoding: "utf8", timeout: TIMEOUT_MS, stdio: "pipe" });
}

function prepare() {
  mkdirSync(project);
  writeFileSync(environment.SECRETCTL_PASSWORD_FILE, `${PASSWORD}\n`, { mode: 0o600 });
  secretctl(["init"]);
  secretctl(["set", "API_KEY", "--tags", "test", "--notes", "of the test"], SECRET);
  writeFileSync(join(environment.SECRETCTL_VAULT_DIR, "mcp-policy.yaml"), POLICY, { mode: 0o600 });
  writeFileSync(join(project, "show.sh"), SHOW);
  chmodSync(join(project, "show.sh"), 0o755);
}

/// A text without what differs from run to run and from machine to machine.
function normal(text) {
  return text
    .replaceAll(program, "SECRETCTL")
    .replaceAll(home, "HOME")
    .replaceAll(environment.PATH, "PATH")
    .replaceAll(/(\\?"duration_ms\\?": ?)\d+/g, "$10")
    .replaceAll(/(\\?"enforcement\\?": ?)\{[^}]*\}/g, "$1{}")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replaceAll(/("version": ?)"\d+\.\d+\.\d+"/g, '$1"VERSION"');
}

function keep(client, transcript) {
  const text = `${transcript.map(normal).join("\n")}\n`;
  for (const hidden of [SECRET, Buffer.from(SECRET).toString("base64"), PASSWORD]) {
    assert(!text.includes(hidden), `${client} was shown ${hidden}`);
  }
  assert(text.includes("the key is [REDACTED:API_KEY]") || client === "claude", `${client}: ${text}`);
  writeFileSync(join(directory, `${client}.txt`), text);
  console.log(`ok: ${client}`);
}

async function sdk() {
  const transport = new StdioClientTransport({ command: program, args: ["mcp-server"], env: environment, cwd: project });
  const client = new Client({ name: "sdk", version: "1" });
  await client.connect(transport);
  const transcript = [JSON.stringify(client.getServerVersion()), client.getInstructions()];
  const { tools } = await client.listTools();
  tools.sort((a, b) => a.name.localeCompare(b.name));
  transcript.push(...tools.map((tool) => `${tool.name}: ${tool.title} ${JSON.stringify(tool.annotations)}`));
  for (const [name, args] of [
    ["secret_list", { include_metadata: true }],
    ["secret_exists", { key: "API_*" }],
    ["secret_get_masked", { key: "API_KEY" }],
    ["secret_list_fields", { key: "API_KEY" }],
    ["secret_get_field", { key: "API_KEY", field: "value" }],
    ["secret_run", RUN],
    ["secret_run", REFUSED],
    ["secret_run_with_bindings", { key: "API_KEY", command: "echo x" }],
    ["secret_run", { keys: ["API_KYE"], comand: "echo x" }],
    ["secret_run", { keys: ["API_KYE"], command: "echo x" }],
  ]) {
    // The SDK holds structured answers against the output schemas.
    const answer = await client.callTool({ name, arguments: args });
    const [{ text }] = answer.content;
    const { structuredContent } = answer;
    if (structuredContent) assert.deepEqual(JSON.parse(text), structuredContent);
    const outcome = answer.isError ? "error" : "success";
    const shown = structuredContent ? JSON.stringify(structuredContent, null, 1) : text;
    transcript.push(`${name} ${JSON.stringify(args)}: ${outcome}`, shown);
  }
  const progress = [];
  await client.callTool({ name: "secret_run", arguments: RUN }, undefined, { onprogress: (report) => progress.push(report) });
  await client.close();
  keep("sdk", transcript);
}

/// Runs a program of a client, and gives what it printed.
function client(name, args, status = 0) {
  const path = join(import.meta.dirname, "node_modules", ".bin", name);
  const done = spawnSync(path, args, { env: environment, cwd: project, encoding: "utf8", timeout: TIMEOUT_MS });
  assert.equal(done.status, status, `${name} ${args.join(" ")}: ${done.error ?? ""}${done.stdout}${done.stderr}`);
  return `$ ${name} ${args.join(" ")}\n${done.stdout}${done.stderr}`;
}

function inspector() {
  const variables = Object.entries(environment).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  const ask = (args, status) => client("mcp-inspector", ["--cli", program, "mcp-server", ...variables, "--cwd", project, ...args], status);
  const call = (args) =>
    Object.entries(args).flatMap(([name, value]) => [
      "--tool-arg",
      `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
    ]);
  const run = (args) => ["--method", "tools/call", "--tool-name", "secret_run", ...call(args)];
  // Strict: it looks for what other clients may not understand of the schemas.
  keep("inspector", [ask(["--method", "tools/list", "--strict"]), ask(run(RUN)), ask(run(REFUSED), 5)]);
}

function claude() {
  const server = JSON.stringify({ type: "stdio", command: program, args: ["mcp-server"], env: environment });
  keep("claude", [client("claude", ["mcp", "add-json", "--scope", "user", "secretctl", server]), client("claude", ["mcp", "list"])]);
}

try {
  prepare();
  mkdirSync(directory, { recursive: true });
  await sdk();
  inspector();
  claude();
} finally {
  rmSync(home, { recursive: true });
}
