"""SIGTERM and a closed terminal end a command as Ctrl-C does: after the answers that are paid for are stored."""

from __future__ import annotations

import os
import signal
from types import FrameType


def end_like_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP (a closed terminal) interrupt this process as Ctrl-C does.

    A signal that the process was started to ignore stays ignored: SIGHUP under nohup, SIGINT in the background of a
    script. Dagster gives the handler of SIGINT to SIGTERM too, during a run and after it. So an ignored SIGINT gets a
    handler that does nothing for SIGINT and interrupts for SIGTERM.
    """
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    def hang_up(_: int, frame: FrameType | None) -> None:
        # A closed terminal cannot be written to any more.
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
