"""The screen of `top`: a table of stages in the order of the records, the chosen one's details, and keys to act."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Header, Label, RichLog, Static

from papyra_flow.errors import PapyraFlowError, ServerError
from papyra_flow.observe.figures import Figures, Snapshot
from papyra_flow.spec.units import format_duration
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.tui import actions
from papyra_flow.tui.details import Details, look_closely
from papyra_flow.tui.partitions import partition_lines
from papyra_flow.tui.rows import BAD, COLUMNS, stage_row

EVERY_SECONDS = 1.0
Action: TypeAlias = Callable[[Server, Topology, StageSpec], Awaitable[str]]


class Question(ModalScreen[bool]):
    """Asks before something is done."""

    BINDINGS: ClassVar[list[BindingType]] = [("y", "answer(True)", "Yes"), ("n,escape", "answer(False)", "No")]
    CSS = "Question { align: center middle; } Question > Label { padding: 1 3; border: round $warning; width: auto; }"

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def compose(self) -> ComposeResult:
        """The question."""
        yield Label(Text(f"{self._words}?  y / n"))

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)


class Tap(ModalScreen[None]):
    """The newest records of a stage's input."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,t", "app.pop_screen", "Close")]
    CSS = "Tap > RichLog { border: round $accent; margin: 2 4; height: 1fr; }"

    def __init__(self, title: str, lines: list[str]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """The records, a line each."""
        log = RichLog(markup=False, wrap=True, id="tapped")
        log.border_title = self._title
        yield log
        yield Footer()

    def on_mount(self) -> None:
        """Write them once there is something to write on."""
        log = self.query_one(RichLog)
        for line in self._lines or ["it is empty"]:
            log.write(Text(clean(line)))


class Top(App[None]):
    """The screen itself."""

    TITLE = "papyra-flow"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #stages { height: auto; max-height: 60%; }
    #trouble { color: $error; text-style: bold; height: auto; padding: 0 1; }
    #details { padding: 0 1; border-top: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "tap", "Tap"),
        Binding("p", "pause", "Pause"),
        Binding("r", "resume", "Resume"),
        Binding("c", "claim", "Claim idle"),
        Binding("d", "replay", "Replay dead"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, server: Server, topology: Topology) -> None:
        super().__init__()
        self._server = server
        self._topology = topology
        self._figures = Figures(server, topology)
        self._names = [stage.name for stage in topology.in_order()]
        # Kept, not asked for by their ids: a look may come back when the screen has been closed, and they are gone.
        self._table: DataTable[Text] = DataTable(id="stages", cursor_type="row", zebra_stripes=True)
        self._trouble = Static(id="trouble")
        self._details = Static(id="details")
        self.sub_title = topology.pipeline

    def compose(self) -> ComposeResult:
        """Table, details, keys."""
        yield Header()
        for name in COLUMNS:
            self._table.add_column(Text(name, justify="left" if name in {"stage", "reads", ""} else "right"), key=name)
        yield self._table
        yield self._trouble
        with VerticalScroll():
            yield self._details
        yield Footer()

    async def on_mount(self) -> None:
        """Look at once, and then again and again."""
        await self.look()
        self.set_interval(EVERY_SECONDS, self.look)

    @property
    def stage(self) -> StageSpec:
        """The stage that is chosen."""
        return self._topology.stages[self._names[max(0, self._table.cursor_row)]]

    async def look(self) -> None:
        """Show the current state; if the server does not answer, say so and ask again."""
        try:
            snapshot = await self._figures.look()
            details = await look_closely(self._server, self._topology, self.stage)
        except ServerError as exc:
            if self._table.is_attached:
                self._trouble.update(Text(str(exc)))
            return
        if self._table.is_attached:
            self._trouble.update("")
            self._show(snapshot)
            self._details.update(details_text(details))

    def _show(self, snapshot: Snapshot) -> None:
        table = self._table
        for name in self._names:
            cells = stage_row(self._topology, snapshot, name)
            if name in table.rows:
                for column, cell in zip(COLUMNS, cells, strict=True):
                    table.update_cell(name, column, cell, update_width=True)
            else:
                table.add_row(*cells, key=name)

    async def on_data_table_row_highlighted(self) -> None:
        """Another stage was chosen."""
        if self._table.row_count:
            await self._details_now()

    async def _details_now(self) -> None:
        try:
            details = await look_closely(self._server, self._topology, self.stage)
        except ServerError:
            return
        if self._details.is_attached:
            self._details.update(details_text(details))

    # -- keys -------------------------------------------------------------------------------------------------

    async def action_tap(self) -> None:
        """Show the newest records of the stage's input."""
        try:
            lines = await actions.tap_stage(self._server, self._topology, self.stage)
        except PapyraFlowError as exc:
            self.notify(str(exc), severity="error", markup=False)
            return
        await self.push_screen(Tap(f"what {self.stage.name} reads", lines))

    async def action_pause(self) -> None:
        """Pause the stage."""
        await self._act(actions.pause_stage)

    async def action_resume(self) -> None:
        """Resume it."""
        await self._act(actions.resume_stage)

    def action_claim(self) -> None:
        """Free what is idle, after asking."""
        self._ask(f"Take idle pending entries of {self.stage.name} away from their consumers", actions.claim_stage)

    def action_replay(self) -> None:
        """Put its dead letters back, after asking."""
        self._ask(f"Put all dead letters of {self.stage.name} back", actions.replay_stage)

    def _ask(self, words: str, action: Action) -> None:
        async def answered(yes: bool | None) -> None:
            if yes:
                await self._act(action)

        self.push_screen(Question(words), answered)

    async def _act(self, action: Action) -> None:
        try:
            self.notify(await action(self._server, self._topology, self.stage), markup=False)
        except PapyraFlowError as exc:
            self.notify(str(exc), severity="error", markup=False)
        await self.look()


def details_text(details: Details) -> Text:
    """A stage's details, for the lower half of the screen."""
    text = Text()
    text.append(f"{details.stage}\n", "bold")
    for consumer in details.consumers:
        text.append(
            f"  {consumer.name}  pending {consumer.pending:,}  idle {format_duration(round(consumer.idle, 1))}\n"
        )
    if details.partitions is not None:
        for line in partition_lines(details.partitions):
            text.append(f"  {line}\n")
    elif not details.consumers:
        text.append("  no consumers\n")
    if details.pending:
        text.append("pending\n", "bold")
    for entry in details.pending:
        idle = format_duration(round(entry.idle, 1))
        text.append(f"  {entry.id.decode()}  {entry.consumer}  idle {idle}  delivered {entry.deliveries} times\n")
    if details.letters:
        text.append("last errors\n", "bold")
    for letter in details.letters:
        text.append(f"  {letter.id}  from {letter.origin} {letter.origin_id}\n")
        text.append(f"    {clean(letter.error)}\n", BAD)
    return text


def clean(text: str) -> str:
    """Text that can do nothing to a terminal."""
    return "".join(char if char.isprintable() else "·" for char in text)
