"""Steps and connectors of other packages: registered by entry points, used by their name like our own."""

from __future__ import annotations

import json

from tests.harness.pipelines import PipelineFolder

PLUGIN = """\
    from typing import ClassVar
    from pydantic import Field
    from papyra_flow.connectors.base import ConnectorContext, Portion, SourceConfig
    from papyra_flow import SetupContext
    from papyra_flow.steps.base import Each, StepConfig

    class Shout(StepConfig):
        '''Say it louder.'''
        name: ClassVar[str] = "shout"
        main: ClassVar[str] = "field"
        field: str = Field(description="The field to shout.")
        marks: int = Field(1, ge=1, description="How many exclamation marks.")

        def build(self, context: SetupContext) -> Each:
            return Each(lambda r: {**r, self.field: r[self.field].upper() + "!" * self.marks})

    class Words(SourceConfig):
        '''Read the words of a sentence.'''
        name: ClassVar[str] = "words"
        main: ClassVar[str] = "sentence"
        because: ClassVar[str] = "the number of the next word moves with the words"
        sentence: str = Field(description="The sentence.")

        def open(self, context: ConnectorContext):
            return Reader(self.sentence.split())

    class Reader:
        def __init__(self, words):
            self.words = words
        async def start(self, checkpoint):
            self.next = int(checkpoint or 0)
            return checkpoint
        async def read(self, count):
            words = self.words[self.next : self.next + count]
            self.next += len(words)
            return Portion([b'{"w":"%s"}' % w.encode() for w in words], str(self.next), self.next >= len(self.words))
        async def close(self):
            pass
    """


def test_a_plugin_is_used_validated_and_in_the_schema(folder: PipelineFolder) -> None:
    folder.write("site/plugin.py", PLUGIN)
    folder.write("site/plug-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    folder.write(
        "site/plug-1.0.dist-info/entry_points.txt",
        """\
        [papyra_flow.steps]
        shout = plugin:Shout
        broken = plugin:Nowhere

        [papyra_flow.sources]
        words = plugin:Words
        """,
    )
    path = str(folder.path / "site")
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {words: to be or not}, process: [{shout: w, marks: 2}], write: {jsonl: out.jsonl}}
        """
    )
    folder.cli("run", "pipeline.yml", PYTHONPATH=path)
    assert [record["w"] for record in folder.output("out.jsonl")] == ["TO!!", "BE!!", "OR!!", "NOT!!"]
    assert "How many exclamation marks." in json.dumps(folder.cli("schema", PYTHONPATH=path).json)
    folder.pipeline(folder.file.read_text().replace("marks: 2", "marks: 0"))
    assert "greater than or equal to 1, not 0" in folder.cli("validate", "pipeline.yml", code=2, PYTHONPATH=path).err
    folder.pipeline(folder.file.read_text().replace("{shout: w, marks: 0}", "broken"))
    told = folder.cli("validate", "pipeline.yml", code=2, PYTHONPATH=path).err
    assert "the step 'broken' cannot be used: plugin:Nowhere cannot be imported" in told
