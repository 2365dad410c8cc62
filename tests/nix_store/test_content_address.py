"""Content addresses and the paths that real Nix gave them."""

import pytest

from nixoci.errors import StoreError
from nixoci.nix_store.content_address import addressed_path

TEXT = "/nix/store/n67lcg14n0q7xc51d5sm6j6i40kpnvfk-t"
BY_NIX = [
    (
        "/nix/store/4h18vfq8z1r9qyjxpg4sq44x66j2gaxv-t2",
        "text:sha256:0dwk5nsjcrfvmdnkc311p0i95n0srcc2p7m5ay9ry2ks72mhdr7i",
        [TEXT],
    ),
    (TEXT, "text:sha256:10a83a91g1r50bdw8g4hn47m7j7m6angpabwc80l9c16nx11cw9d", []),
    ("/nix/store/634cb89llbh53s7nc8nxx5x6bk6a5f9h-h", "fixed:md5:4jqlbi14cxf6wpcajbphm40hax", []),
    (
        "/nix/store/8n9x1jdd1wzm0wmry0xhpv37gx29hjds-hd",
        "fixed:r:sha256:09aaf7m6ski8gf9yznvds98gphsddkbdvph1541a1vigdrbx8wrk",
        [],
    ),
    (
        "/nix/store/ngf9c307ygwd3d2rlq4j6qr15l4yj7pv-hd",
        (
            "fixed:r:sha512:3j0hmk9lh82d3z0bbc1yaarc3fr7vy3c462cn8yxnvk5zg7f4lxidgaskv5i7hbnl73770s17b6jhrng8a6xx41iq1"
            "ilg49zp3mapdi"
        ),
        [],
    ),
    ("/nix/store/vl5gbgpiaicbvzd8ab44048nncwyqdf4-h", "fixed:sha1:9m1skbnr5i43n3yypvda5s65vhfwdx5a", []),
    (
        "/nix/store/zfr2s5dqcvfa98vjvxawlpjb6n29riqq-h",
        "fixed:sha256:094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic",
        [],
    ),
]


@pytest.mark.parametrize(("path", "address", "references"), BY_NIX, ids=[case[1][:20] for case in BY_NIX])
def test_it_is_the_path_that_nix_made(path: str, address: str, references: list[str]) -> None:
    name = path[44:]
    assert addressed_path(address, name=name, references=references, to_itself=False) == path
    changed = address[:-1] + ("0" if address[-1] != "0" else "1")
    assert addressed_path(changed, name=name, references=references, to_itself=False) != path


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "text:sha1:" + "0" * 32,
        "fixed:sha256:" + "0" * 51,
        "fixed:r:sha256:" + "z" * 52,
        "fixed:sha256:" + "e" * 52,
        "fixed:x:sha256:" + "0" * 52,
        "fixed:sha256:" + "0" * 52 + "\n",
    ],
)
def test_something_else_is_refused(address: str) -> None:
    with pytest.raises(StoreError, match="is not a"):
        addressed_path(address, name="x", references=[], to_itself=False)
