"""What the library logs while a command uses it."""

import logging

import structlog


def hide_logs() -> None:
    """Log nothing: what a service would log, a command says in one sentence."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
