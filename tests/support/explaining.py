"""Captured messages, diagnosed: what the tests of `postroad explain` share."""

import json
from time import time
from typing import Any

from ops.commands.dispatch import run_command
from ops.dead_letters.diagnosis import Diagnosis, Reader
from postroad.dead_letters.captured import CapturedMessage, MessageSource, read_messages
from postroad.security.keyring import KeyRing
from tests.support.captures import captured
from tests.support.letters import Letter

Keys = dict[str, KeyRing]
ASKED = MessageSource("request", "catalog")


def command(*arguments: str) -> int:
    return run_command(["explain", *arguments])


def as_read(letter: Letter, **changes: Any) -> CapturedMessage:
    (message,) = read_messages(json.dumps(captured(letter, **changes)))
    return message


def diagnosed(keys: KeyRing, letter: Letter) -> Diagnosis:
    return Reader(keys).diagnose(as_read(letter), ASKED, time())


def failures(diagnosis: Diagnosis) -> list[str]:
    return [each.code for each in diagnosis.findings if each.is_failure]
