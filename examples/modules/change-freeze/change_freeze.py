"""A policy module: some commands do not run while changes are frozen.

config:
  commands: [terraform apply, kubectl]     # the first words; any of them
  freezes:
    - { from: 2026-12-19, to: 2027-01-03, reason: nobody is here to help }     # both days included, in the user's own time
"""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from wit_world import exports
from wit_world.exports.decisions import (
    Command,
    Decision,
    Decision_Allow,
    Decision_Deny,
    Denial,
    Grant,
    Moment,
    Network,
    Problem,
    Request,
    Workdir,
)

NO_LIMIT = 2**64 - 1


@dataclass
class Freeze:
    first: date
    last: date
    reason: str


@dataclass
class Wrong(Exception):
    path: str
    message: str


@dataclass
class Config:
    commands: list[list[str]]
    freezes: list[Freeze]


# What `configure` leaves for `decide`. Each call has its own `Decisions`, so that nothing can be kept there.
config: Config | None = None


class Decisions(exports.Decisions):
    def configure(self, document: str) -> list[Problem]:
        global config
        try:
            config = parsed(json.loads(document))
        except Wrong as wrong:
            return [Problem(wrong.path, wrong.message)]
        return []

    def decide(self, request: Request) -> Decision:
        # An exception is a no: a module that was not configured must not say yes.
        if config is None:
            raise RuntimeError("not configured")
        today = local_date(request.time)
        frozen = next((freeze for freeze in config.freezes if freeze.first <= today <= freeze.last), None)
        if frozen is None or request.command is None or not any(names(entry, request.command) for entry in config.commands):
            return Decision_Allow(everything(request))
        reason = f"changes are frozen until the end of {frozen.last}: {frozen.reason}"
        return Decision_Deny(Denial("freezes", reason, "take the dates or the command out of the configuration of this module"))


def names(entry: list[str], command: Command) -> bool:
    """Whether the command begins with the words of an entry, by any name of its program."""
    program, *arguments = entry
    files = [command.program.requested, command.program.path or "", *command.program.aliases]
    return name_of(program) in map(name_of, files) and command.arguments[: len(arguments)] == arguments


def name_of(file: str) -> str:
    return file.rsplit("/", 1)[-1]


def parsed(document) -> Config:
    config = fields(document, "", {"commands": list, "freezes": list})
    return Config(
        [words(entry, f"commands[{i}]") for i, entry in enumerate(config["commands"])],
        [freeze(entry, f"freezes[{i}]") for i, entry in enumerate(config["freezes"])],
    )


def fields(value, path: str, kinds: dict[str, type]) -> dict:
    if not isinstance(value, dict):
        raise Wrong(path, "should have " + ", ".join(kinds))
    for key in value.keys() - kinds.keys():
        raise Wrong(f"{path}.{key}".lstrip("."), "is none of " + ", ".join(kinds))
    for key, kind in kinds.items():
        if not isinstance(value.get(key), kind):
            raise Wrong(f"{path}.{key}".lstrip("."), "should be a list" if kind is list else "should be a text")
    return value


def words(entry, path: str) -> list[str]:
    if not isinstance(entry, str) or not entry.split():
        raise Wrong(path, "should be the first words of a command")
    return entry.split()


def freeze(entry, path: str) -> Freeze:
    entry = fields(entry, path, {"from": str, "to": str, "reason": str})
    first, last = day(entry["from"], f"{path}.from"), day(entry["to"], f"{path}.to")
    if last < first:
        raise Wrong(f"{path}.to", "is before from")
    return Freeze(first, last, entry["reason"])


def day(text: str, path: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Wrong(path, f"should be a date such as 2026-12-19: {error}") from None


def local_date(time: Moment) -> date:
    zone = timezone(timedelta(minutes=time.utc_offset_minutes))
    return datetime.fromtimestamp(time.unix_seconds, zone).date()


def everything(request: Request) -> Grant:
    """A yes that leaves all limits to the policy file."""
    keys = [key.name for key in request.keys]
    return Grant(keys, NO_LIMIT, NO_LIMIT, Network.ALLOW, Workdir.PROJECT, True, "")
