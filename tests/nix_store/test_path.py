import pytest

from nixoci.errors import StoreError
from nixoci.nix_store.path import (
    check_store_path,
    make_store_path,
    pack_hash_part,
    store_path_basename,
    store_path_hash,
    store_path_name,
)

HASH = "n67lcg14n0q7xc51d5sm6j6i40kpnvfk"
PATH = f"/nix/store/{HASH}-nginx-1.27"


def test_the_parts_of_a_path() -> None:
    assert store_path_basename(PATH) == f"{HASH}-nginx-1.27"
    assert (store_path_hash(PATH), store_path_name(PATH)) == (HASH, "nginx-1.27")
    assert make_store_path(pack_hash_part(PATH), "nginx-1.27") == PATH
    check_store_path(PATH)


@pytest.mark.parametrize(
    "text",
    [
        *["", "/nix/store", "result", f"{PATH}/bin", f"{PATH}\n", PATH.replace("n67", "e67"), f"/nix/store/{HASH}"],
        *[f"/nix/store/{HASH}-", f"/nix/store/{HASH}-a b", f"/nix/store/{HASH}-{'a' * 212}", f"/gnu/store/{HASH}-a"],
    ],
)
def test_something_else_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="not a path of the store /nix/store"):
        check_store_path(text)
