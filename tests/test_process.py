"""Programs that are written to and read from while they run."""

import sys

import pytest

from nixoci.errors import ProcessError
from nixoci.process import HungUpError, converse, feed
from tests.support.hang import no_hang

ECHO = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read(3)[::-1])"]


def test_a_conversation() -> None:
    with converse(ECHO) as program:
        program.write(b"abc")
        program.flush()
        assert program.read(3) == b"cba"
        with pytest.raises(HungUpError):
            program.read(1)


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_that_hangs_up_has_failed(code: int) -> None:
    end = [sys.executable, "-c", f"import sys; print('enough', file=sys.stderr); sys.exit({code})"]
    with pytest.raises(ProcessError, match=f"exit code {code}: enough") as caught, converse(end) as program:
        program.read(1)
    assert caught.value.stderr == "enough\n"
    with pytest.raises(ProcessError, match=f"exit code {code}: enough"), converse(end) as program:
        program.write(bytes(10 << 20))
    with pytest.raises(ProcessError, match=f"exit code {code}: enough"), feed(end) as pipe:
        pipe.write(bytes(10 << 20))


def test_a_program_is_ended_where_the_block_fails() -> None:
    with no_hang(), pytest.raises(ValueError, match="ours"), converse(["sleep", "infinity"]):
        raise ValueError("ours")
