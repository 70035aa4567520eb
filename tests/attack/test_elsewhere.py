"""What was tried against netd too, and is repeated by tests of the suite, which `make check` runs."""

import ast

import pytest

from tests.attack.conftest import Row
from tests.source_tree import ROOT

ELSEWHERE = {
    "a reload more often than the heartbeat": (
        "systemd/test_units.py",
        "test_watchdog_does_not_end_a_netd_that_reloads_continuously",
    ),
    "a line that a rotation tears": ("telemetry/test_sink.py", ""),
    "unixgram clients that are replaced by links": (
        "transport/datagram/test_unixgram.py",
        "test_client_cannot_make_netd_write_to_another_socket",
    ),
    "listeners that are replaced by links": ("transport/test_listen.py", ""),
    "messages of a taken-over worker": ("daemon/test_rejected_messages.py", ""),
    "shared memory that a taken-over worker filled": (
        "shared/test_table.py",
        "test_settle_removes_all_that_a_worker_wrote",
    ),
    "rights of a worker": ("test_privileges.py", "test_process_has_no_privileges_after_it_has_dropped_them"),
    "seals of shared memory": ("shared/test_memory.py", "test_shared_memory_cannot_be_truncated_or_extended"),
    "memory of a control group": (
        "daemon/test_resource_limits.py",
        "test_worker_ends_when_memory_runs_out_and_is_replaced",
    ),
    "no worker at all": (
        "daemon/test_heartbeat.py",
        "test_netd_without_a_worker_is_not_ready_and_does_not_notify_the_watchdog",
    ),
    "configs of random text": ("test_fuzz.py", "test_invalid_config_raises_problems_and_no_other_exception"),
    "datagrams to broadcast and multicast": (
        "transport/datagram/test_reply_guard.py",
        "test_non_unicast_datagram_gets_no_answer",
    ),
    "IPv6 of every scope": ("transport/datagram/test_origins.py", ""),
    "a clock that was set, in the page's history": (
        "daemon/supervisor/test_history.py",
        "test_times_are_by_the_clock_as_it_is_at_the_report",
    ),
    "text from the config on the page in Chromium": (
        "services/metrics/test_page.py",
        "test_text_from_the_config_is_shown_as_text",
    ),
    "a hostile netd and netd top": (
        "cli/test_hostile_netd.py",
        "test_top_gives_the_terminal_back_where_an_answer_is_none_of_netd",
    ),
    "resets and closes, with netd talk": ("cli/test_talk_end.py", "test_reset_by_the_other_end_exits_with_1"),
    "files of the history of netd talk": ("client/talk/test_history.py", "test_file_that_is_not_regular_is_left_alone"),
    "output that cannot be written": ("cli/test_main.py", "test_closed_or_full_output_changes_no_exit_code"),
    "wrong and endless answers, with netd probe": ("client/probe/test_faults.py", "test_endless_line_takes_no_memory"),
    "odd times, with netd probe": ("client/probe/test_questions.py", "test_text_time_has_the_seconds"),
    "names with many addresses": (
        "client/probe/test_targets.py",
        "test_targets_keep_their_order_and_have_all_addresses",
    ),
    "Ctrl-C in netd probe": ("cli/probe/test_command.py", "test_interrupted_run_prints_its_figures"),
    "a hostile crowd for minutes": ("test_soak.py", ""),
}
"""What was tried, and the file below tests/ that repeats it, with its test or, if there are several, without."""


@pytest.mark.parametrize("what", ELSEWHERE)
def test_elsewhere(row: Row, what: str) -> None:
    path, name = ELSEWHERE[what]
    tree = ast.parse((ROOT / "tests" / path).read_text())
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not name or name in tests
    row("repeated by the suite", f"tests/{path} {name}")
