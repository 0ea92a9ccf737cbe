"""The pipeline, and a sensor that posts a line to a webhook when a run fails.

ALERT_WEBHOOK=https://… dagster dev -f examples/alerts.py
"""

import json
import os
import urllib.request

import dagster as dg

from vector_pipeline import build_definitions


def summary(context: dg.RunFailureSensorContext) -> str:
    """The failed steps with their error messages, which say what to do."""
    run = context.dagster_run
    arrival = run.tags.get("dagster/partition")
    reasons = []
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        description = failure.user_failure_data.description if failure.user_failure_data else None
        reasons.append(f"{event.step_key}: {description or failure.error_display_string.strip().splitlines()[0]}")
    # Without a failed step the run's process was lost; the sensor requests it again.
    what = f"{run.job_name}{f' of arrival {arrival}' if arrival else ''}"
    return f"{what} failed: {'; '.join(reasons) or context.failure_event.message}"


@dg.run_failure_sensor(default_status=dg.DefaultSensorStatus.RUNNING)
def post_failure(context: dg.RunFailureSensorContext) -> None:
    """Post the summary as {"text": …}, which Slack, Mattermost and Teams take."""
    body = json.dumps({"text": summary(context)}).encode()
    request = urllib.request.Request(os.environ["ALERT_WEBHOOK"], body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


@dg.definitions
def defs() -> dg.Definitions:
    """The pipeline of the environment, and the alert beside it."""
    return dg.Definitions.merge(build_definitions(), dg.Definitions(sensors=[post_failure]))
