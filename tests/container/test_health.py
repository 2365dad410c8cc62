from __future__ import annotations

from typing import TYPE_CHECKING

from nixoci.container.health import Health, HealthTest
from nixoci.container.model import HealthcheckOptions
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
