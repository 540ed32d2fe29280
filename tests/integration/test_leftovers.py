"""What a changed file leaves behind is said, and only that."""

from __future__ import annotations

import logging

import pytest
import redis

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import eventually

FILE = """\
    pipeline: p
    stages: {{ {stage}: {{from: {stream}, process: [{{filter: n >= 0}}], to: t, start: {start}}} }}
    streams: {{ {stream}: {{format: {form}}}, t: {{retain: all}} }}
    """


def changed(folder: PipelineFolder, *, stage: str = "a", stream: str = "s", start: str = "earliest",
            form: str = "json") -> PipelineFolder:  # fmt: skip
    return folder.pipeline(FILE.format(stage=stage, stream=stream, start=start, form=form))


@pytest.fixture
async def ran(folder: PipelineFolder, url: str, redis_client: redis.Redis) -> PipelineFolder:
    """A pipeline that has run, with three entries that came afterwards."""
    await changed(folder).run(url, drain=True)
    for n in range(3):
        redis_client.xadd("{p}:s", {"data": f'{{"n": {n}}}'})
    return folder


async def told(folder: PipelineFolder, url: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING):
        await folder.run(url, drain=True)
    messages = [record.getMessage() for record in caplog.records if record.name == "papyra_flow.run"]
    return [message for message in messages if not message.startswith("the server ")]  # which the tests' own one is


async def test_the_same_file_leaves_nothing_behind(
    ran: PipelineFolder, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await told(ran, url, caplog) == []
    assert await told(ran, url, caplog) == []


async def test_a_renamed_stage_leaves_its_group(
    ran: PipelineFolder, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = await told(changed(ran, stage="b"), url, caplog)
    assert "no stage in the file has the group 'a' on {p}:s, which has 3 entries not read" in message
    assert "`papyra-flow drop-group FILE s a`" in message


async def test_a_removed_stage_leaves_its_dead_letters(
    ran: PipelineFolder, url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.xadd("{p}:@dead:a", {"data": "{}"})
    redis_client.xgroup_destroy("{p}:s", "a")
    messages = await told(changed(ran, stage="b"), url, caplog)
    assert [message for message in messages if message.startswith("{p}:@dead:a has 1 entry that are dead letters")]


async def test_a_renamed_stream_leaves_its_entries(
    ran: PipelineFolder, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    messages = await told(changed(ran, stream="other"), url, caplog)
    (message,) = messages
    assert message.startswith("{p}:s has ")
    assert "that stream is not in the file" in message


async def test_a_changed_start_does_not_move_a_group_that_is_there(
    ran: PipelineFolder, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = await told(changed(ran, start="latest"), url, caplog)
    assert "`start` of 'a' changed from earliest to latest, but its group exists" in message
    assert await told(changed(ran, start="latest"), url, caplog) == [message], "said once"


async def test_a_changed_format_is_said_while_entries_of_the_old_one_are_there(
    ran: PipelineFolder, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = await told(changed(ran, form="fields"), url, caplog)
    assert "the format of 's' changed from json to fields: 3 entries" in message


async def test_a_changed_format_of_a_stream_that_is_done_is_no_trouble(
    ran: PipelineFolder, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ran.run(url, drain=True)
    assert await told(changed(ran, form="fields"), url, caplog) == []


async def test_the_plan_says_it_too(ran: PipelineFolder, url: str) -> None:
    found = changed(ran, start="latest").cli("plan", "pipeline.yml", "--json", "--redis", url)
    (message,) = found.json["warnings"]
    assert "its group exists" in message


async def test_a_pipeline_that_is_destroyed_under_its_workers_ends_them_with_a_sentence(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    changed(folder)
    worker = folder.start("run", "pipeline.yml", "--redis", url)
    try:
        eventually(lambda: redis_client.hlen("{p}:@workers"))
        folder.cli("destroy", "pipeline.yml", "--yes", "--redis", url)
        _, err = worker.communicate(timeout=HANGS_SECONDS)
    finally:
        worker.kill()
    assert worker.returncode == 1
    assert "the pipeline was removed from the server (`papyra-flow destroy`) while it ran" in err
    assert not redis_client.exists("{p}:s")
