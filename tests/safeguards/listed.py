"""Each safeguard: how it is taken out, and which tests fail without it.

docs/guarantees.md shows this list; ``python -m tests.safeguards`` tries it.
"""

from dataclasses import dataclass

PUBLISHER = "shared/messaging/publisher.py"
CLIENT = "shared/messaging/client.py"
WORKER = "shared/messaging/worker.py"
BACKGROUND = "shared/messaging/background.py"
ENVELOPE = "shared/messaging/envelope.py"
CHECKS = "shared/messaging/checks.py"
CONNECTION = "shared/messaging/connection.py"
TOPOLOGY = "shared/messaging/topology.py"

BROKER_TESTS = "tests/conformance/test_broker.py"
WORK_TESTS = "tests/conformance/test_work.py"
CLIENT_TESTS = "tests/unit/test_client.py"
WORKER_TESTS = "tests/unit/test_worker.py"
SECURITY_TESTS = "tests/integration/test_security.py"
RECOVERY_TESTS = "tests/integration/test_recovery.py"
OUTBOX_TESTS = "tests/integration/auth/test_outbox.py"


@dataclass(frozen=True)
class Edit:
    """A text that is in a file once, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Safeguard:
    """Something that may not be missing; each of the tests fails when it is."""

    name: str
    taken_out: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


SAFEGUARDS = (
    Safeguard(
        "publisher confirms",
        "a message counts as confirmed once it is sent",
        (
            Edit(
                PUBLISHER,
                "self._unconfirmed[self._last_tag] = (properties.message_id, on_outcome, now)",
                "asyncio.get_running_loop().call_soon(on_outcome, Outcome.CONFIRMED)",
            ),
            Edit(
                PUBLISHER,
                "message_id, on_outcome, _ = self._unconfirmed.pop(tag)",
                "message_id, on_outcome = None, lambda _: None",
            ),
        ),
        (
            f"{BROKER_TESTS}::test_a_full_queue_refuses",
            f"{BROKER_TESTS}::test_what_is_unconfirmed_when_the_connection_is_cut_is_lost",
        ),
    ),
    Safeguard(
        "time limit of a confirm",
        "a confirm is waited for without end",
        (Edit(PUBLISHER, "if is_late and self.state", "if False and self.state"),),
        (
            f"{RECOVERY_TESTS}::test_a_broker_that_confirms_nothing_is_not_waited_for_until_its_"
            "heart_has_stopped",
        ),
    ),
    Safeguard(
        "`mandatory`",
        "messages are published without it",
        (Edit(PUBLISHER, "mandatory=True", "mandatory=False"),),
        (f"{BROKER_TESTS}::test_a_message_without_a_queue_is_returned",),
    ),
    Safeguard(
        "a full queue refuses",
        "the policy's `reject-publish`",
        (
            Edit(
                TOPOLOGY,
                '"max-length": RPC_MAX_LENGTH,\n                "overflow": "reject-publish",',
                '"max-length": RPC_MAX_LENGTH,',
            ),
        ),
        (
            f"{BROKER_TESTS}::test_a_full_queue_refuses",
            f"{CLIENT_TESTS}::test_a_call_into_a_full_queue_is_overloaded",
        ),
    ),
    Safeguard(
        "ack after the reply",
        "a request is acked when it arrives",
        (
            Edit(
                WORKER,
                "            self._handling.begin(self._answer",
                "            delivery.ack()\n            self._handling.begin(self._answer",
            ),
            Edit(WORKER, "answer.delivery.hand_back()", "pass"),
            Edit(WORKER, "answer.delivery.dead_letter()", "pass"),
            Edit(WORKER, "answer.delivery.ack()", "pass"),
        ),
        (
            f"{WORKER_TESTS}::test_a_request_whose_reply_was_lost_is_answered_again",
            "tests/integration/test_worker_process.py::"
            "test_another_worker_answers_what_a_killed_one_held",
        ),
    ),
    Safeguard(
        "inbox",
        "every message is the first of its id",
        (Edit("shared/storage/inbox.py", "return noted.first() is not None", "return True"),),
        (
            "tests/integration/catalog/test_inbox.py::test_a_message_is_new_once",
            "tests/integration/catalog/test_syncs.py::"
            "test_the_same_message_at_two_workers_at_once_is_stored_once",
        ),
    ),
    Safeguard(
        "outbox: written with its reason",
        "messages are written in a transaction of their own",
        (
            Edit(
                "shared/storage/outbox.py",
                "transaction.connection.execute(self.table.insert(), rows)",
                "with transaction.connection.engine.begin() as own:\n"
                "            own.execute(self.table.insert(), rows)",
            ),
        ),
        (f"{OUTBOX_TESTS}::test_a_sign_in_that_dies_before_its_commit_is_neither_done_nor_told",),
    ),
    Safeguard(
        "outbox: kept until confirmed",
        "a message is deleted once it was tried",
        (Edit("shared/storage/relay.py", "if outcome is None\n", "if True\n"),),
        (f"{OUTBOX_TESTS}::test_every_event_arrives_though_the_broker_fails_now_and_then",),
    ),
    Safeguard(
        "deadline: what is late",
        "a request whose deadline has passed is handled",
        (
            Edit(
                "shared/messaging/admission.py",
                "if claims.exp <= time():\n            raise Late",
                "pass",
            ),
        ),
        (
            f"{WORKER_TESTS}::test_a_request_that_arrives_late_is_not_handled",
            f"{SECURITY_TESTS}::test_a_late_request_is_dropped_without_an_answer",
        ),
    ),
    Safeguard(
        "deadline: what is old, or too far ahead",
        "the check of `exp`",
        (Edit(CHECKS, "    check_deadline,\n", ""),),
        (f"{SECURITY_TESTS}::test_a_worker_refuses_one_who_would",),
    ),
    Safeguard(
        "deadline of work",
        "the bound on how long an event or a job may live",
        (Edit(CHECKS, "if claims.exp > now + EVENT_LIFETIME_S + LEEWAY_S:", "if False:"),),
        (
            "tests/hostile/test_limits.py::"
            "test_work_that_would_outlive_the_memory_of_inboxes_is_refused",
        ),
    ),
    Safeguard(
        "replay store",
        "a copy is taken for new",
        (
            Edit(
                "shared/messaging/admission.py",
                "if not is_new and not delivery.redelivered:",
                "if False:",
            ),
        ),
        (f"{SECURITY_TESTS}::test_a_worker_answers_a_request_once_and_refuses_its_copy",),
    ),
    Safeguard(
        "a redelivery is no replay",
        "a request that comes again is refused as a copy",
        (
            Edit(
                "shared/messaging/admission.py",
                "if not is_new and not delivery.redelivered:",
                "if not is_new:",
            ),
        ),
        (f"{WORKER_TESTS}::test_a_redelivered_request_is_no_replay",),
    ),
    Safeguard(
        "recovery: of connections",
        "a connection is made once",
        (
            Edit(
                CONNECTION,
                "in itertools.cycle(self._login.settings.broker_urls):",
                "in self._login.settings.broker_urls:",
            ),
        ),
        (
            "tests/conformance/test_consuming.py::"
            "test_a_consumer_goes_on_when_the_broker_comes_back",
            f"{RECOVERY_TESTS}::test_calls_work_again_after_the_broker_was_killed_and_restarted",
        ),
    ),
    Safeguard(
        "recovery: of consumers",
        "nobody hears that the broker ended a consumer",
        (
            Edit(
                "shared/messaging/consumer.py",
                'channel.add_on_cancel_callback(lambda _: connection.fail("the broker ended the '
                'consumer"))',
                "channel.add_on_cancel_callback(lambda _: None)",
            ),
        ),
        (f"{RECOVERY_TESTS}::test_calls_work_again_after_the_queue_was_deleted_and_made_anew",),
    ),
    Safeguard(
        "an unknown outcome is told",
        "calls under way are left waiting when their connection goes",
        (Edit(CLIENT, "waiting.fail(OutcomeUnknown())", "pass"),),
        (
            f"{CLIENT_TESTS}::"
            "test_a_call_under_way_when_the_connection_is_cut_has_an_unknown_outcome",
        ),
    ),
    Safeguard(
        "a reply's signature",
        "it is not checked",
        (
            Edit(
                ENVELOPE,
                "if not self._is_authentic(",
                'if read.claims.typ != "reply" and not self._is_authentic(',
            ),
        ),
        (
            "tests/hostile/test_envelopes.py::"
            "test_what_was_changed_on_its_way_is_refused_or_means_the_same",
        ),
    ),
    Safeguard(
        "a reply's request (`rid`)",
        "a reply is given to the first who waits",
        (
            Edit(
                CLIENT,
                'self._waiting.get(claims.rid or "")',
                "next(iter(self._waiting.values()), None)",
            ),
        ),
        (f"{CLIENT_TESTS}::test_a_reply_to_another_request_does_not_count_as_ours",),
    ),
    Safeguard(
        "a reply's sender and method",
        "anybody may answer",
        (
            Edit(
                CLIENT,
                "elif (waiting.service, waiting.method) != (claims.iss, claims.op):",
                "elif False:",
            ),
        ),
        (
            f"{CLIENT_TESTS}::test_a_reply_by_another_service_is_refused",
            f"{CLIENT_TESTS}::test_a_reply_to_another_method_is_refused",
        ),
    ),
    Safeguard(
        "a request's signature",
        "its code is not compared",
        (Edit(ENVELOPE, "return hmac.compare_digest(", "return True or hmac.compare_digest("),),
        (
            f"{SECURITY_TESTS}::test_a_worker_refuses_one_who_would",
            "tests/unit/test_vectors.py::test_what_should_be_refused_is_for_that_reason",
        ),
    ),
    Safeguard(
        "an event's, a job's and a redrive's signature",
        "its code is not verified",
        (
            Edit(
                "shared/messaging/keyring.py",
                "        except InvalidSignature:\n            return False",
                "        except InvalidSignature:\n            return True",
            ),
        ),
        (
            "tests/unit/test_envelope.py::test_a_changed_event_is_refused",
            f"{WORK_TESTS}::test_a_dishonest_message_is_refused",
        ),
    ),
    Safeguard(
        "sender check (`user_id`)",
        "anybody may send in anybody's name",
        (
            Edit(
                CHECKS,
                "if properties.user_id != claims.iss:",
                "if False:",
            ),
        ),
        (
            f"{SECURITY_TESTS}::test_a_worker_refuses_one_who_would",
            f"{WORK_TESTS}::test_a_dishonest_message_is_refused",
        ),
    ),
    Safeguard(
        "CC check",
        "headers `CC` and `BCC` are not looked for",
        (Edit(CHECKS, 'if "CC" in headers or "BCC" in headers:', "if False:"),),
        (f"{SECURITY_TESTS}::test_a_worker_refuses_one_who_would",),
    ),
    Safeguard(
        "delivery limit",
        "the policy's `delivery-limit`",
        (Edit(TOPOLOGY, '"delivery-limit": DELIVERY_LIMIT,', ""),),
        (f"{WORK_TESTS}::test_what_kills_its_workers_ends_as_a_dead_letter",),
    ),
    Safeguard(
        "dead letters",
        "the policy's `dead-letter-exchange`",
        (Edit(TOPOLOGY, '"dead-letter-exchange": DEAD,', ""),),
        (
            "tests/conformance/test_consuming.py::"
            "test_a_rejected_message_goes_to_the_dead_letter_queue",
            f"{SECURITY_TESTS}::test_a_worker_refuses_one_who_would",
        ),
    ),
    Safeguard(
        "put aside before the ack",
        "failed work is acked while it is being put aside",
        (
            Edit(
                BACKGROUND,
                "            await self._put_aside(work)",
                "            self._aside = asyncio.create_task(self._put_aside(work))",
            ),
        ),
        (f"{WORK_TESTS}::test_a_worker_that_cannot_put_work_aside_holds_on_to_it",),
    ),
    Safeguard(
        "copied before the ack",
        "a dead letter is acked before its copy is confirmed",
        (
            Edit(
                "shared/messaging/redriving.py",
                "if outcome is not Outcome.CONFIRMED:",
                "if False:",
            ),
        ),
        ("tests/conformance/test_redrive.py::test_where_the_queue_is_gone_a_letter_is_not_moved",),
    ),
    Safeguard(
        "retry delays",
        "the wait queues' `message-ttl`",
        (Edit(TOPOLOGY, '"message-ttl": ttl_ms,', ""),),
        (f"{WORK_TESTS}::test_what_fails_is_tried_again_under_the_same_id",),
    ),
    Safeguard(
        "last attempt",
        "failed work is tried without end",
        (Edit(BACKGROUND, "work.attempt < LAST_ATTEMPT", "work.attempt < 99"),),
        (f"{WORK_TESTS}::test_after_its_last_attempt_it_is_a_dead_letter",),
    ),
    Safeguard(
        "a job finds its queue",
        "a job that was returned counts as published",
        (
            Edit(
                "shared/messaging/posting.py",
                '(kind == "event" and outcome is Outcome.RETURNED)',
                "outcome is Outcome.RETURNED",
            ),
        ),
        (f"{WORK_TESTS}::test_a_job_without_a_queue_is_not_published",),
    ),
    Safeguard(
        "unreadable headers",
        "a header that pika cannot read ends the connection",
        (Edit("shared/messaging/amqp.py", "if kind != FRAME_HEADER:", "if True:"),),
        (
            "tests/hostile/test_on_rabbitmq.py::"
            "test_some_hundred_hostile_messages_cost_nobody_an_answer",
        ),
    ),
)
