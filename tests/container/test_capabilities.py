from __future__ import annotations

import pytest

from nixoci.container.capabilities import DEFAULT_CAPABILITIES, OTHER_CAPABILITIES, parse_capabilities
from nixoci.errors import ContainerError


def test_changes_apply_to_podmans_defaults() -> None:
    made = parse_capabilities("o", {"NET_ADMIN": True, "CAP_KILL": False})
    assert set(made.bounding) == {*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"} - {"CAP_KILL"}
    assert made.added == ("CAP_NET_ADMIN",)
    assert not made.may_mount


def test_all_comes_before_single_names_in_any_order() -> None:
    for changes in ({"ALL": False, "CHOWN": True}, {"CHOWN": True, "ALL": False}):
        assert parse_capabilities("o", changes).bounding == ("CAP_CHOWN",)
    everything = parse_capabilities("o", {"ALL": True})
    assert set(everything.bounding) == {*DEFAULT_CAPABILITIES, *OTHER_CAPABILITIES}
    assert everything.may_mount


@pytest.mark.parametrize("name", ["FLY", "net_admin", "", "CAP_CAP_KILL"])
def test_a_name_that_is_no_capability_is_refused(name: str) -> None:
    with pytest.raises(ContainerError, match=f"^o: no capability '{name}'"):
        parse_capabilities("o", {name: True})
