"""Lines of the library: through `logging`, unless the process has configured structlog."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = """
from postroad.logger import get_logger
log = get_logger("postroad.messaging.client")
{configure}
log.debug("event", name="auth.login.failed")
log.warning("reply refused", reason="expired", detail="100% late")
"""


def run(configure: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", LINES.format(configure=configure)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


REFUSED = "reply refused reason=expired detail=100% late"
WITH_NAMES = "import logging; logging.basicConfig(format='%(name)s %(levelname)s %(message)s')"
DEBUGGING = "import logging; logging.basicConfig(level='DEBUG', format='%(levelname)s %(message)s')"
SILENCED = "import logging; logging.getLogger('postroad').setLevel('ERROR')"
STRUCTLOG = """
import structlog
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer(sort_keys=True)],
    wrapper_class=structlog.make_filtering_bound_logger(30),
)
"""


@pytest.mark.parametrize(
    ("configure", "stdout", "stderr"),
    [
        ("", "", f"{REFUSED}\n"),
        (WITH_NAMES, "", f"postroad.messaging.client WARNING {REFUSED}\n"),
        (DEBUGGING, "", f"DEBUG event name=auth.login.failed\nWARNING {REFUSED}\n"),
        (SILENCED, "", ""),
        (STRUCTLOG, "detail='100% late' event='reply refused' reason='expired'\n", ""),
    ],
    ids=["by default", "with names", "debugging", "silenced", "structlog"],
)
def test_logging_goes_where_the_process_configured_it(
    configure: str, stdout: str, stderr: str
) -> None:
    assert run(configure) == (stdout, stderr)
