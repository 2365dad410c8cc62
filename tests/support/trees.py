"""Trees for property tests: every kind of file, hardlinks, odd names, attributes at their limits."""

from __future__ import annotations

from hypothesis import strategies as st

from nixoci.tree.model import Inode, Kind

NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"A", b"a b", b"-", b"caf\xc3\xa9", b"\xff", b"a\\n", b"a\nb", b"n" * 120]),
    st.binary(min_size=1, max_size=255).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..") and name[:4] != b".wh."
    ),
)
_XATTRS = st.dictionaries(
    st.one_of(
        st.sampled_from([b"security.a", b"user.a", b"user.a b", b"user.\xff"]),
        st.binary(max_size=20)
        .filter(lambda name: b"=" not in name and b"\0" not in name)
        .map(lambda name: b"user.x" + name),
    ),
    st.binary(max_size=60),
    max_size=2,
)
IDS = st.one_of(st.sampled_from([0, 33, 1000, 0o7777777, 0o10000000, (1 << 32) - 2]), st.integers(0, (1 << 32) - 2))
TIMES = st.one_of(
    st.sampled_from([0, 1_700_000_000_000_000_000, -1, 1, 0o77777777777 * 10**9, 0o100000000000 * 10**9]),
    st.integers(-(1 << 62), 1 << 62),
)
TARGETS = st.one_of(
    st.sampled_from([b"a", b"/", b"..", b"-", b"/etc/x", b"t" * 101]),
    st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target),
)


@st.composite
def _attributes(draw: st.DrawFn, kind: Kind) -> Inode:
    xattrs = draw(_XATTRS)
    if kind not in (Kind.REGULAR, Kind.DIRECTORY):  # which have none of users
        xattrs = {name.replace(b"user.", b"trusted.", 1): value for name, value in xattrs.items()}
    return Inode(
        kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(IDS),
        gid=draw(IDS),
        mtime=draw(TIMES),
        xattrs=xattrs,
    )


@st.composite
def _files(draw: st.DrawFn) -> Inode:
    inode = draw(_attributes(draw(st.sampled_from([kind for kind in Kind if kind is not Kind.DIRECTORY]))))
    if inode.kind is Kind.REGULAR:
        inode.size = draw(st.one_of(st.integers(0, 2000), st.just((8 << 30) + 1)))
    elif inode.kind is Kind.SYMLINK:
        inode.target = draw(TARGETS)
    elif inode.kind in (Kind.CHARACTER, Kind.BLOCK):
        # a character device 0:0 is a whiteout, which no merged tree has
        first = 1 if inode.kind is Kind.CHARACTER else 0
        inode.device = draw(st.tuples(st.integers(first, 4095), st.integers(0, (1 << 20) - 1)))
    return inode


@st.composite
def trees(draw: st.DrawFn) -> Inode:
    """A root with up to a dozen names, some of them hardlinks; regular files have a size and no content."""
    root = draw(_attributes(Kind.DIRECTORY))
    directories = [root]
    files: list[Inode] = []
    for _ in range(draw(st.integers(0, 12))):
        parent, name = draw(st.sampled_from(directories)), draw(NAMES)
        if name in parent.children:
            continue
        choice = draw(st.sampled_from(["directory", "file", "file", "hardlink"]))
        if choice == "directory":
            inode = draw(_attributes(Kind.DIRECTORY))
            directories.append(inode)
        elif choice == "hardlink" and files:
            inode = draw(st.sampled_from(files))
        else:
            inode = draw(_files())
            files.append(inode)
        parent.children[name] = inode
    return root
