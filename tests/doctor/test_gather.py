from __future__ import annotations

from nixoci.doctor.gather import subordinate_ids


def test_subordinate_ids_are_those_of_all_lines_of_a_user() -> None:
    lines = ["alice:100000:65536", "bob:165536:10", "1000:300000:4\n", "# comment", "alice:1", ""]
    assert subordinate_ids(lines, "alice", 1000) == 65540
    assert subordinate_ids(lines, "carol", 1002) == 0
