from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.health import Health, HealthTest
from nixoci.container.model import HealthcheckOptions
from nixoci.errors import ContainerError
from tests.container.samples import make_image, resolved

if TYPE_CHECKING:
    from pathlib import Path


def test_a_health_check_is_the_images_with_the_containers_changes(tmp_path: Path) -> None:
    image = {"Test": ["CMD-SHELL", "check"], "Interval": 5_000_000_000, "Retries": 7}
    tree = make_image(tmp_path, {"Cmd": ["x"], "Healthcheck": image})
    own = HealthcheckOptions(interval="1m30s", start_period="500ms")
    second = 1_000_000_000
    expected = Health(HealthTest(("check",), True), 90 * second, 30 * second, second // 2, 7)
    assert resolved(tree, healthcheck=own).health == expected
    assert resolved(tree, healthcheck=HealthcheckOptions(test=["NONE"])).health is None


@pytest.mark.parametrize(
    ("changes", "own", "says"),
    [
        ({"Retries": -2}, {"retries": 4}, "its health check has -2 retries; set healthcheck.retries to 1 or more"),
        (
            {"Interval": -5},
            {"interval": "5s"},
            "the interval of its health check, -5 ns, is too short; set healthcheck.interval",
        ),
        (
            {"Timeout": 999_999},
            {"timeout": "5s"},
            "the timeout of its health check, 999999 ns, is too short; set healthcheck.timeout",
        ),
        (
            {"StartPeriod": -1},
            {"start_period": "0s"},
            "the startPeriod of its health check, -1 ns, is too short; set healthcheck.startPeriod",
        ),
    ],
)
def test_numbers_of_an_image_that_cannot_be_are_named_and_replaced(
    tmp_path: Path, changes: dict[str, int], own: dict[str, Any], says: str
) -> None:
    tree = make_image(tmp_path, {"Cmd": ["x"], "Healthcheck": {"Test": ["CMD", "check"]} | changes})
    with pytest.raises(ContainerError) as caught:
        resolved(tree)
    assert str(caught.value) == f"containers.c.image: {says}"
    assert resolved(tree, healthcheck=HealthcheckOptions(**own)).health is not None
