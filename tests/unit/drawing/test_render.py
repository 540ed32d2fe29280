"""Pictures of a topology: golden files, escapes, and nothing secret in them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.drawing.layout import lay_out
from papyra_flow.drawing.picture import Picture, picture
from papyra_flow.drawing.render import FORMATS, render
from papyra_flow.errors import UsageError
from papyra_flow.topology.build import build_topology
from tests.harness.browser import open_page
from tests.harness.pipelines import PipelineFolder

GOLDEN = Path(__file__).parent / "golden"
FLIGHTS = Path(__file__).parents[3] / "pipelines" / "flights.yml"


@pytest.mark.parametrize("format_", FORMATS)
def test_flights_are_drawn_as_they_were_looked_at(format_: str) -> None:
    """UPDATE_GOLDEN=1 writes the files anew; look at what changed before it is committed."""
    loaded = load_pipeline(FLIGHTS, environment={})
    seen = picture(build_topology(loaded), loaded.positions)
    drawn = json.dumps(seen.as_json(), indent=1) + "\n" if format_ == "json" else render(seen, format_)
    file = GOLDEN / f"flights.{format_}"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(drawn)
    assert drawn == file.read_text()


def test_a_picture_has_every_kind_of_node_and_edge(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in}, to: [{stream: s, when: 'x > 1'}, t]}
          b: {from: s, write: stdout}
        """
    )
    drawn = picture(folder.topology()).as_json()
    nodes, edges = drawn["nodes"], drawn["edges"]
    assert isinstance(nodes, list)
    assert isinstance(edges, list)
    assert {node["kind"] for node in nodes} == {"source", "stage", "stream", "sink", "dead"}
    assert {"from": "stage:a", "to": "stream:s", "when": "x > 1"} in edges
    ids = {node["id"] for node in nodes}
    assert all({edge["from"], edge["to"]} <= ids for edge in edges)


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "json"])
def test_passwords_never_get_into_a_picture(folder: PipelineFolder, format_: str) -> None:
    folder.pipeline(
        """\
        pipeline: p
        redis: redis://me:hunter2@localhost:1
        stages:
          a: {read: {stream: k, redis: "redis://u:hunter2@h:1/0?password=hunter2"}, process: [{filter: x}], to: s}
          b: {from: s, write: {stream: k2, redis: "redis://u:hunter2@h:1"}}
        """
    )
    loaded = load_pipeline(folder.file, environment={})
    drawn = picture(build_topology(loaded), loaded.positions)
    assert "hunter2" not in render(drawn, format_)
    assert "hunter2" not in json.dumps(drawn.as_json())


def test_texts_are_escaped_for_their_format(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in}, process: [{filter: 'x == "<b>&|`"'}], to: [{stream: s, when: 'y == "a|b]"'}, t]}
        """
    )
    mermaid = render(picture(folder.topology()), "mermaid")
    assert "<b>" not in mermaid
    assert "&#" not in mermaid.replace("#", "")
    assert "#60;b#62;" in mermaid
    assert r"\"<b>&|`\"" in render(picture(folder.topology()), "dot")
    for markup in ("svg", "html"):
        drawn = render(picture(folder.topology()), markup)
        assert "<b>" not in drawn
        assert "&lt;b&gt;&amp;|`" in drawn


def many(folder: PipelineFolder, stages: int) -> Picture:
    """A pipeline of many stages: a chain that is forked and joined now and then."""
    lines = [f"  s{n}: {{from: t{n}, process: [{{filter: x > {n}}}], to: t{n + 1}}}" for n in range(stages - 20)]
    lines += [f"  f{n}: {{from: t{n * 3}, to: t{n * 3 + 7}, group: g{n}}}" for n in range(20)]
    folder.file.write_text("pipeline: p\nstages:\n" + "\n".join(lines) + "\nstreams: {t0: {}}\n")
    return picture(folder.topology())


def test_a_hundred_stages_are_laid_out_without_one_lying_on_another(folder: PipelineFolder) -> None:
    layout = lay_out(many(folder, 100))
    boxes = layout.boxes
    assert sum(box.node.kind == "stage" for box in boxes) == 100
    for index, box in enumerate(boxes):
        assert 0 <= box.x <= box.x + box.width <= layout.width
        assert 0 <= box.y <= box.y + box.height <= layout.height
        for other in boxes[index + 1 :]:
            apart = (
                box.x + box.width <= other.x
                or other.x + other.width <= box.x
                or box.y + box.height <= other.y
                or other.y + other.height <= box.y
            )
            assert apart, f"{box.node.id} lies on {other.node.id}"
    by_id = {box.node.id: box for box in boxes}
    assert all(by_id[r.edge.source].x < by_id[r.edge.target].x for r in layout.routes), "an edge leads back"


def test_the_same_pipeline_is_always_drawn_the_same(folder: PipelineFolder) -> None:
    assert render(many(folder, 100), "svg") == render(many(folder, 100), "svg")


def test_a_template_of_the_users_own_draws_the_same_picture(folder: PipelineFolder) -> None:
    template = folder.write("mine.j2", "{% for node in picture.nodes %}{{ node.kind }} {{ node.label }};{% endfor %}\n")
    folder.pipeline("pipeline: p\nstages:\n  a: {read: stdin, to: s}\n")
    drawn = render(picture(folder.topology()), "mermaid", template=template)
    assert drawn == "source stdin;stage a;stream s;dead dead letters of a;"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{% for %}\n", "mine.j2:2: Expected"),
        ("a\n\n{{ nothing.here }}\n", "mine.j2:3: 'nothing' is undefined"),
    ],
)
def test_a_template_that_does_not_work_is_told_with_its_place(folder: PipelineFolder, text: str, message: str) -> None:
    template = folder.write("mine.j2", text)
    folder.pipeline("pipeline: p\nstages:\n  a: {read: stdin, to: s}\n")
    with pytest.raises(UsageError, match=message):
        render(picture(folder.topology()), "mermaid", template=template)


def test_a_stage_knows_its_lines_in_the_file_and_its_settings() -> None:
    loaded = load_pipeline(FLIGHTS, environment={})
    node = next(node for node in picture(build_topology(loaded), loaded.positions).nodes if node.id == "stage:enrich")
    first, last = node.yaml[0], node.yaml[-1]
    assert first[1] == "  enrich:"
    assert FLIGHTS.read_text().splitlines()[first[0] - 1] == "  enrich:"
    assert "stream: on_time" in last[1]
    assert node.settings["consumers"] == "2"


def test_the_page_works_in_a_browser_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    loaded = load_pipeline(FLIGHTS, environment={})
    file = tmp_path / "flights.html"
    file.write_text(render(picture(build_topology(loaded), loaded.positions), "html"))
    with open_page() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        svg = page.locator("#stage svg")
        assert page.locator(".node.stage").count() == 6
        page.locator('[data-id="stage:enrich"] .label').click()
        details = page.locator("#details")
        assert details.locator("h2").inner_text() == "stage enrich"
        assert "run: flights.steps:great_circle" in details.locator("pre").inner_text()
        assert page.locator(".edge.near").count() == 4
        before = svg.get_attribute("viewBox")
        svg.hover()
        page.mouse.wheel(0, -300)
        zoomed = svg.get_attribute("viewBox")
        assert zoomed != before
        page.mouse.down()
        page.mouse.move(200, 200)
        page.mouse.up()
        assert svg.get_attribute("viewBox") != zoomed
        page.keyboard.press("0")
        fitting = [float(part) for part in (svg.get_attribute("viewBox") or "").split()]
        assert fitting == pytest.approx([float(part) for part in (before or "").split()])
        page.keyboard.press("Escape")
        assert details.is_hidden()
        assert asked == [file.as_uri()]


def test_a_large_picture_begins_where_it_can_be_read(folder: PipelineFolder) -> None:
    file = folder.write("large.html", render(many(folder, 100), "html"))
    with open_page() as page:
        page.goto(file.as_uri())
        label = page.locator('[data-id="stage:s0"] .label').bounding_box()
        assert label is not None
        assert label["height"] >= 10
        assert 0 <= label["x"] < 1500
        page.keyboard.press("0")
        last = page.locator('[data-id="stage:s79"] .label').bounding_box()
        assert last is not None
        assert 0 <= last["x"] < 1500


def test_the_drawing_is_shown_by_a_browser_in_its_size(tmp_path: Path) -> None:
    loaded = load_pipeline(FLIGHTS, environment={})
    file = tmp_path / "flights.svg"
    seen = picture(build_topology(loaded))
    file.write_text(render(seen, "svg"))
    with open_page() as page:
        page.goto(file.as_uri())
        texts = page.locator("text.label").all_text_contents()
        assert {"ingest", "clean", "enrich", "late"} <= set(texts)
        # No text is wider than what it stands in.
        wide = page.evaluate(
            """() => [...document.querySelectorAll('.node > text')].filter(text => {
                const shapes = [...text.parentNode.querySelectorAll(':scope > rect, :scope > path')];
                const right = Math.max(...shapes.map(shape => shape.getBBox().x + shape.getBBox().width));
                return text.getBBox().x + text.getBBox().width > right;
            }).map(text => text.textContent)"""
        )
        assert wide == []


@pytest.fixture(scope="session")
def mermaid_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mermaid itself, as code hosts have it; skipped, with the reason, where it cannot be fetched."""
    npm, place = shutil.which("npm"), tmp_path_factory.mktemp("mermaid")
    if npm is None:
        pytest.skip("no npm on PATH, which fetches mermaid")
    command = [npm, "pack", "mermaid@^11 || ^12", "--fetch-retries=0", "--fetch-timeout=20000"]
    try:
        packed = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("mermaid cannot be fetched: npm does not come to an end")
    if packed.returncode:
        pytest.skip(f"mermaid cannot be fetched: {packed.stderr.strip().splitlines()[0]}")
    script = place / "mermaid.min.js"
    with tarfile.open(next(place.glob("*.tgz"))) as archive:
        found = archive.extractfile("package/dist/mermaid.min.js")
        assert found is not None
        script.write_bytes(found.read())
    return script


def test_mermaid_draws_what_is_written_for_it(folder: PipelineFolder, mermaid_script: Path) -> None:
    """Every kind of node and edge, and texts that mean something to mermaid, shown as they are."""
    folder.pipeline(
        """\
        pipeline: p
        stages:
          end: {read: {jsonl: in}, process: [{filter: 'x == "<b>&|`"'}], to: [{stream: graph, when: 'y == "a|b]"'}, t]}
          b: {from: [graph, t], process: [{set: {z: "- 1", w: "'1. #quot; %% x'"}}], consumers: 3, write: stdout}
        """
    )
    seen = picture(folder.topology())
    drawings = {"hostile": render(seen, "mermaid"), "flights": (GOLDEN / "flights.mermaid").read_text()}
    with open_page() as page:
        page.add_script_tag(path=mermaid_script)
        page.evaluate("mermaid.initialize({startOnLoad: false})")
        shown = {
            name: page.evaluate(
                """async text => {
                    document.body.innerHTML = (await mermaid.render('drawing', text)).svg;
                    const all = selector => [...document.querySelectorAll(selector)];
                    return [all('.node').length, all('.edgePaths path').length, document.body.textContent];
                }""",
                text,
            )
            for name, text in drawings.items()
        }
    assert shown["hostile"][:2] == [len(seen.nodes), len(seen.edges)]
    assert shown["flights"][:2] == [drawings["flights"].count(":::"), drawings["flights"].count("->")]
    words = re.sub(r"\s", "", shown["hostile"][2])
    for text in ("""filter:x=="<b>&|`\"""", """y=="a|b]\"""", "3consumers", "deadlettersofend"):
        assert text in words


@pytest.mark.parametrize(
    ("format_", "mark"),
    [
        ("mermaid", '(["count'), ("dot", "shape=box3d"), ("svg", 'class="state"'), ("html", 'class="state"'),
        ("ascii", "╔══"), ("json", '"keyed": true'),
    ],
)  # fmt: skip
def test_a_stage_with_state_has_a_mark_and_says_what_it_keeps(folder: PipelineFolder, format_: str, mark: str) -> None:
    folder.pipeline(
        """\
        pipeline: p
        streams: {orders: {partitions: 4, by: customer, time: at}}
        stages:
          count: {from: orders, process: [aggregate: {by: customer, window: 1m, fields: {n: count()}}], to: minutes}
          last: {from: orders, process: [table: customer], to: newest}
        """
    )
    drawn = render(picture(folder.topology()), format_)
    assert mark in drawn
    assert "state by customer, 1m windows" in drawn
    if format_ != "ascii":  # where streams are lines, and have no room for more
        assert "upsert by customer" in drawn
        assert "4 partitions by customer" in drawn
