"""What a newcomer does by mistake ends with one sentence and an exit code."""

from __future__ import annotations

import pytest

from tests.harness.pipelines import PipelineFolder


@pytest.fixture
def begun(folder: PipelineFolder) -> PipelineFolder:
    """What `init` writes."""
    folder.cli("init")
    return folder


def test_run_cannot_both_end_and_go_on(begun: PipelineFolder) -> None:
    finished = begun.cli("run", "pipeline.yml", "--drain", "--follow", code=2)
    assert finished.err == "papyra-flow: --drain and --follow are mutually exclusive\n"


def test_a_folder_with_the_name_of_a_pipeline_file_is_not_tested(begun: PipelineFolder) -> None:
    (begun.path / "folder.yml").mkdir()
    assert "2 passed, 0 failed" in begun.cli("test").out


def test_serve_names_the_port_that_it_cannot_have_once(begun: PipelineFolder) -> None:
    finished = begun.cli("serve", "pipeline.yml", "--host", "192.0.2.1", "--port", "1", code=2)
    assert finished.err == "papyra-flow: cannot listen on 192.0.2.1:1: Cannot assign requested address\n"


def test_destroy_says_what_it_removed(begun: PipelineFolder, url: str) -> None:
    begun.cli("run", "pipeline.yml", "--redis", url, code=3)
    first = begun.cli("destroy", "pipeline.yml", "--redis", url, "--yes").out
    assert first.startswith("removed ")
    assert first.endswith(" keys; files stay\n")
    second = begun.cli("destroy", "pipeline.yml", "--redis", url, "--yes").out
    assert second == "nothing to remove: the server has nothing of this pipeline\n"
