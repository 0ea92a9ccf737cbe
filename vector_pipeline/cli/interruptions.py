"""What ends a command that pays: SIGTERM and a closed terminal do it as Ctrl-C does, after paid answers are stored."""

from __future__ import annotations

import os
import signal
from types import FrameType


def end_like_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP (a closed terminal) interrupt this process as Ctrl-C does.

    What this process was started to ignore it goes on to ignore: SIGHUP under nohup, SIGINT in the background of a
    script. Dagster gives the handler of SIGINT to SIGTERM during and after a run, so in the latter case SIGINT gets one
    that tells them apart.
    """
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    def hang_up(_: int, frame: FrameType | None) -> None:
        # Nobody reads them any more, and to write there would be an error.
        null = os.open(os.devnull, os.O_WRONLY)
        for terminal in terminals:
            os.dup2(null, terminal)
        os.close(null)
        handler = signal.getsignal(signal.SIGTERM)
        if callable(handler):
            handler(signal.SIGTERM, frame)

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt_unless_ctrl_c)
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _interrupt_unless_ctrl_c)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)


def _interrupt_unless_ctrl_c(sent: int, _: FrameType | None) -> None:
    if sent != signal.SIGINT:
        raise KeyboardInterrupt
