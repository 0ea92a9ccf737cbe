"""What Dagster prints of a failure comes out as its line and its reason."""

from __future__ import annotations

from vector_pipeline.cli.dagster_lines import DagsterLines

TICK = """\
2026-11-27 14:00:00 +0000 - dagster.daemon.SensorDaemon - ERROR - Sensor daemon caught an error
Traceback (most recent call last):
  File "/lib/dagster/_daemon/sensor.py", line 640, in _process_tick_generator
    yield from _evaluate_sensor(
dagster._core.errors.DagsterUserCodeProcessError: SensorExecutionError: Error occurred

Stack Trace:
  File "/lib/dagster/_grpc/impl.py", line 395, in get_external_sensor_execution
    with user_code_error_boundary(

The above exception was caused by the following exception:
vector_pipeline.defs.ticks.TickFailed: Postgres at postgresql://h/d does not answer; is it running?

Stack Trace:
  File "/lib/vector_pipeline/defs/sensors.py", line 51, in source_files_sensor
"""
OTHER = """\
2026-11-27 14:00:00 +0000 - dagster - ERROR - ingest - 12 - 34 - documents - STEP_FAILURE - Execution of step failed.

Traceback (most recent call last):
  File "/lib/other.py", line 1, in other
    raise KeyError(1)
KeyError: 1
"""
NEXT = "2026-11-27 14:00:30 +0000 - dagster - INFO - all is well"


def shown(*texts: str) -> list[str]:
    lines = DagsterLines()
    found = [line for text in texts for given in text.splitlines() for line in lines.feed(given)]
    return [*found, *lines.end()]


def test_a_failed_tick_is_its_line_and_its_reason() -> None:
    assert shown(TICK, NEXT) == [
        TICK.splitlines()[0],
        "  Postgres at postgresql://h/d does not answer; is it running?",
        NEXT,
    ]


def test_an_unexpected_error_is_its_line_and_the_last_thing_that_it_says() -> None:
    assert shown(OTHER, NEXT) == [OTHER.splitlines()[0], "", "  KeyError: 1", NEXT]
    assert shown(OTHER)[-1] == "  KeyError: 1"


def test_the_same_failure_is_shown_less_and_less_often() -> None:
    ticks = [TICK.replace("14:00:00", f"14:{minute:02d}:00") for minute in range(20)]
    lines = shown(*ticks)
    assert [line[14:16] for line in lines if "ERROR" in line] == ["00", "01", "03", "07", "15"]
    assert sum("does not answer" in line for line in lines) == 5


def test_what_is_no_failure_passes_as_it_is() -> None:
    text = ["something printed", f"\x1b[32m{NEXT}\x1b[0m", "  indented", ""]
    assert shown(*text[:3]) == text[:3]
