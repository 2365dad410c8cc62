"""The command `nixoci`, and `python -m nixoci`."""

import gc
import signal


def run() -> None:
    """Run the command line of this process, and exit."""
    # until all is imported, Ctrl-C ends the process at once, and not by a traceback
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # until a verb is loaded: modules make no garbage, and to look for it takes a tenth of the time
    from nixoci.cli import main  # noqa: PLC0415 - it is what takes the time

    main()


if __name__ == "__main__":
    run()
