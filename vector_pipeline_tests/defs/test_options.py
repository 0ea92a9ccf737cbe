"""What a host project decides: unknown names are refused, and what it leaves open stays as the pipeline has it."""

from __future__ import annotations

import dagster as dg
import pytest

from vector_pipeline.defs.names import SCHEDULES, SENSORS
from vector_pipeline.defs.options import DagsterOptions
from vector_pipeline.errors import ConfigurationError


def test_a_switch_of_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'law_backfill_schedule' is not a sensor or schedule") as refused:
        DagsterOptions(switches={"law_backfill_schedule": False})
    assert all(name in str(refused.value) for name in (*SENSORS, *SCHEDULES))


@pytest.mark.parametrize("name", SENSORS)
@pytest.mark.parametrize("default", [True, False])
def test_a_switch_decides_before_the_default_of_a_sensor(name: str, default: bool) -> None:
    running, stopped = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    assert DagsterOptions().sensor_status(name, default) is (running if default else stopped)
    assert DagsterOptions(switches={name: not default}).sensor_status(name, default) is (stopped if default else running)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_on_unless_it_is_switched_off(name: str) -> None:
    assert DagsterOptions().schedule_status(name) is dg.DefaultScheduleStatus.RUNNING
    assert DagsterOptions(switches={name: False}).schedule_status(name) is dg.DefaultScheduleStatus.STOPPED


def test_a_switch_of_one_name_leaves_the_others() -> None:
    options = DagsterOptions(switches={"scan_schedule": False})
    assert options.schedule_status("backfill_schedule") is dg.DefaultScheduleStatus.RUNNING
    assert options.sensor_status("source_files_sensor") is dg.DefaultSensorStatus.RUNNING
