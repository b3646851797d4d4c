import json
import unittest
from datetime import datetime

from wit_world.exports.decisions import Command, Decision_Allow, Decision_Deny, Key, Moment, Program, Purpose, Request

import change_freeze
from change_freeze import Decisions

CONFIG = {
    "commands": ["terraform apply", "kubectl", "./deploy.sh"],
    "freezes": [{"from": "2026-12-19", "to": "2027-01-03", "reason": "nobody is here to help"}],
}


def configured() -> Decisions:
    change_freeze.config = None
    assert Decisions().configure(json.dumps(CONFIG)) == []
    return Decisions()


def request(*words: str, at="2026-12-24T12:00:00+01:00", path=None, aliases=()) -> Request:
    moment = datetime.fromisoformat(at)
    minutes = int(moment.utcoffset().total_seconds() // 60)
    command = Command(Program(words[0], path or f"/usr/bin/{words[0]}", list(aliases)), list(words[1:]), [])
    key = Key("a/b", True, [])
    return Request(Purpose.INJECT, "test", [key], command, None, None, Moment(int(moment.timestamp()), minutes))


class ChangeFreeze(unittest.TestCase):
    def allows(self, request: Request) -> bool:
        decision = configured().decide(request)
        self.assertIsInstance(decision, (Decision_Allow, Decision_Deny))
        return isinstance(decision, Decision_Allow)

    def test_a_frozen_command_is_refused_with_the_reason(self):
        denial = configured().decide(request("terraform", "apply", "-auto-approve")).value
        self.assertEqual(denial.reason, "changes are frozen until the end of 2027-01-03: nobody is here to help")

    def test_another_command_keeps_all_its_keys(self):
        grant = configured().decide(request("terraform", "plan")).value
        self.assertEqual(grant.keys, ["a/b"])

    def test_the_days_are_the_users_own(self):
        for at, allowed in [
            ("2026-12-18T23:59:59+01:00", True),
            ("2026-12-19T00:00:00+01:00", False),
            ("2027-01-03T23:59:59+01:00", False),
            ("2027-01-04T00:00:00+01:00", True),
            ("2027-01-04T00:00:00+00:00", True),
        ]:
            self.assertEqual(self.allows(request("kubectl", "get", at=at)), allowed, at)

    def test_neither_a_path_nor_a_link_gets_around_it(self):
        self.assertFalse(self.allows(request("/opt/bin/kubectl", "get")))
        self.assertFalse(self.allows(request("k", "get", path="/usr/bin/kubectl")))
        self.assertFalse(self.allows(request("k", "get", aliases=["/usr/lib/kubectl"])))
        self.assertFalse(self.allows(request("./deploy.sh", path="/home/me/project/deploy.sh")))

    def test_a_look_at_keys_is_no_command(self):
        look = request("kubectl")
        look.command = None
        self.assertTrue(self.allows(look))

    def test_without_a_configuration_there_is_no_yes(self):
        change_freeze.config = None
        with self.assertRaises(RuntimeError):
            Decisions().decide(request("echo"))

    def test_what_is_wrong_is_named(self):
        freeze = CONFIG["freezes"][0]
        for config, path in [
            (None, ""),
            ({"commands": []}, "freezes"),
            ({**CONFIG, "command": []}, "command"),
            ({**CONFIG, "commands": ["kubectl", " "]}, "commands[1]"),
            ({**CONFIG, "freezes": [{**freeze, "to": "2026-13-01"}]}, "freezes[0].to"),
            ({**CONFIG, "freezes": [{**freeze, "to": "2026-12-18"}]}, "freezes[0].to"),
            ({**CONFIG, "freezes": [{**freeze, "reason": 7}]}, "freezes[0].reason"),
        ]:
            problems = Decisions().configure(json.dumps(config))
            self.assertEqual([problem.path for problem in problems], [path], config)


if __name__ == "__main__":
    unittest.main()
