"""No secret is under version control: keys and tokens that look like those of known kinds."""

import re
import subprocess

import pytest

from tests.safeguards.listed import ROOT

SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb'|"d": ?"[\w-]{43}"'  # the private half of one of our own keys
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40}|\bglpat-[\w-]{20}"
    rb"|\bAIza[\w-]{35}|\bxox[abprs]-[\w-]{10}|\bsk_live_\w{16}"  # Google, Slack, Stripe
    rb"|\bpypi-AgE[\w-]{40}|\bnpm_[A-Za-z0-9]{36}"
    rb"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{40,}"  # a JSON Web Token
)
MADE_UP = {"tests/vectors/keys.json", "tests/vectors/token.json"}  # of published test vectors


def test_no_file_holds_a_secret() -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [name for name in filter(None, names.split("\0")) if (ROOT / name).is_file()]

    found = {name for name in files if SECRET.search((ROOT / name).read_bytes())}

    assert len(files) > 500
    assert found == MADE_UP


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN " + "EC PRIVATE KEY-----",
        '"d": "' + "x" * 43 + '"',
        "key=AKIA" + "A1" * 8,
        "ghp_" + "a" * 36,
        ".".join(["eyJ" + "a" * 20, "eyJ" + "b" * 20, "c" * 86]),
    ],
)
def test_what_looks_like_a_secret_is_found(text: str) -> None:
    assert SECRET.search(text.encode())
