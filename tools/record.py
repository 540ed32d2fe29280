#!/usr/bin/env python3
"""Writes docs/operate/: a page for each of the operator's verbs, with what it really says on a pipeline in trouble.

    python tools/record.py

The outputs are recorded from a pipeline that is run here, so ids and times differ from run to run; run this again when
a verb says something else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from papyra_flow.streams.embedded.server import EmbeddedServer

FOLDER = Path(__file__).parents[1] / "docs" / "operate"
PIPELINE = """\
pipeline: shop
stages:
  ingest: {read: {jsonl: orders.jsonl}, to: orders}
  price: {from: orders, process: [{set: {total: price / quantity}}], to: priced}
  export: {from: priced, write: {jsonl: out.jsonl}}
"""


@dataclass(frozen=True)
class Page:
    """A verb's page: what it is for, and the calls whose outputs are shown."""

    verb: str
    title: str
    text: str
    calls: Sequence[str]


PAGES = (
    Page(
        "status", "Show a pipeline's state",
        "Shows each stage's group, pending entries, lag (entries not yet delivered), the oldest pending entry and the dead "
        "letters; each stream's key, length and size. `--watch` refreshes every second.",
        ("status shop.yml",),
    ),
    Page(
        "groups", "Show who reads what, and how far",
        "Like [XINFO GROUPS](https://redis.io/docs/latest/commands/xinfo-groups/), for all streams of the pipeline, or for any "
        "stream with `--stream KEY`. Replayed dead letters go to `STAGE@replay`.",
        ("groups shop.yml",),
    ),
    Page(
        "consumers", "Show the consumers",
        "Like [XINFO CONSUMERS](https://redis.io/docs/latest/commands/xinfo-consumers/), for a stage, all stages, or any group "
        "with `--stream KEY --group NAME`. A consumer's name contains host, process, stage and number. Workers remove "
        "dead consumers once their entries have been claimed.",
        ("consumers shop.yml price",),
    ),
    Page(
        "pending", "Show what is delivered but not acknowledged",
        "Like [XPENDING](https://redis.io/docs/latest/commands/xpending/): id, consumer, idle time and deliveries. "
        "Filter with `--consumer` and `--idle`, limit with `--count`.",
        ("pending shop.yml price --count 3",),
    ),
    Page(
        "claim", "Take entries away from a consumer",
        "Like [XCLAIM](https://redis.io/docs/latest/commands/xclaim/): releases all pending entries of a stage, or those with the "
        "given ids, to the next consumer that claims, without waiting for the claim time; `--to NAME` gives them to one "
        "consumer. Delivery counts stay. Nothing is lost: if the owner is still working on them, the first commit wins, and the "
        "other is discarded.",
        ("claim shop.yml price --consumer other.1.price.0", "claim shop.yml price --consumer other.1.price.0 --yes"),
    ),
    Page(
        "ack", "Acknowledge entries by hand",
        "Like [XACK](https://redis.io/docs/latest/commands/xack/). The stage will never process them, so this is refused without "
        "`--force`. Ids that are not pending are ignored.",
        ("ack shop.yml price {pending}", "ack shop.yml price {pending} --force"),
    ),
    Page(
        "delete", "Delete entries of a stream",
        "Like [XDEL](https://redis.io/docs/latest/commands/xdel/). Entries that some group has not acknowledged, pending or not "
        "yet delivered, are not deleted without `--force`.",
        ("delete shop.yml orders {pending}", "delete shop.yml orders {pending} --force"),
    ),
    Page(
        "trim", "Trim streams",
        "Like [XTRIM](https://redis.io/docs/latest/commands/xtrim/). Without options, it trims what every group has acknowledged. "
        "`--keep N` and `--before ID|TIME` trim more, and are refused without `--force` if that would lose entries.",
        ("trim shop.yml --yes", "trim shop.yml orders --keep 2", "trim shop.yml orders --keep 2 --force"),
    ),
    Page(
        "reset", "Move a group's position",
        "Like [XGROUP SETID](https://redis.io/docs/latest/commands/xgroup-setid/): `earliest`, `latest`, an entry id, or a time. "
        "Going back replays entries that are still there (see `retain`); going forward skips entries, which is "
        "refused without `--force`. Pending entries stay pending.",
        ("reset shop.yml price --to latest", "reset shop.yml price --to latest --force"),
    ),
    Page(
        "tap", "Show records without a group",
        "Prints one JSON line per record: the entry's id, the record, its headers. Options: `--from ID|TIME`, `--count N`, "
        "`--follow`. `dead:STAGE` names a stage's dead letters; a key with a colon is used as it is.",
        ("tap shop.yml orders --count 2",),
    ),
    Page(
        "dead", "Inspect and replay failed records",
        "`dead list` and `dead show` show what failed, why, where it came from and how often it was delivered. `dead replay` "
        "puts records back into the stage that failed, each once; select some with `--match TEXT` or `--id ID`. `dead drop` "
        "deletes them for good.",
        ("dead list shop.yml", "dead show shop.yml --count 1", "dead replay shop.yml --match division", "dead drop shop.yml --yes"),
    ),
    Page(
        "doctor", "Find problems before a run does",
        "Checks the server's version and clock, scripts, eviction, persistence and replicas; the user's permissions; keys "
        "of another type or slot; groups, streams and dead letters that are not in the file; pending entries that were "
        "delivered too often or that no worker takes; missing files and unreachable servers. Each finding says what to do. "
        "`doctor` changes nothing and needs no step functions. It exits with code 1 if there is a warning or an error.",
        ("doctor shop.yml",),
    ),
    Page(
        "drop-consumer", "Remove a consumer",
        "Like [XGROUP DELCONSUMER](https://redis.io/docs/latest/commands/xgroup-delconsumer/), which discards pending entries: so "
        "they are first released, with their delivery counts, to the next consumer that claims; `--to NAME` gives them to one. "
        "Workers remove dead consumers automatically: use this for one that they cannot detect.",
        ("drop-consumer shop.yml price other.2.price.0", "drop-consumer shop.yml price other.2.price.0 --force"),
    ),
    Page(
        "drop-group", "Remove a group",
        "Like [XGROUP DESTROY](https://redis.io/docs/latest/commands/xgroup-destroy/): a stage that was renamed or removed leaves "
        "its group behind, which keeps the stream from being trimmed. `run`, `plan` and `doctor` name such groups. If the "
        "group has unread or unacknowledged entries, or belongs to a stage in the file, removing it is refused without "
        "`--force`.",
        ("drop-group shop.yml priced audit", "drop-group shop.yml priced audit --force"),
    ),
    Page(
        "acl", "Print the user that a pipeline needs",
        "Prints a command for [ACL SETUSER](https://redis.io/docs/latest/commands/acl-setuser/) that permits what the pipeline "
        "needs on its server, and no more; and one for each other server that it reads or writes. `--operate` also permits "
        "the verbs on these pages. Replace PASSWORD with a password.",
        ("acl shop.yml",),
    ),
)  # fmt: skip


def main() -> None:
    """Run the pipeline into trouble, record every verb, and write the pages, or those that are named."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "shop.yml").write_text(PIPELINE)
        orders = [{"order": n, "price": 10 * n, "quantity": n % 4} for n in range(12)]
        (folder / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
        embedded = EmbeddedServer(folder, "shop")
        embedded.start()
        try:
            prepare(folder, embedded.url)
            for page in PAGES:
                text = written(page, folder, embedded.url)
                if page.verb in (sys.argv[1:] or [page.verb]):
                    (FOLDER / f"{page.verb}.md").write_text(text, encoding="utf-8")
        finally:
            embedded.leave()


def prepare(folder: Path, url: str) -> None:
    """Nine orders processed, three dead; five more, four of them held by two silent workers; a group without a reader."""
    with redis.Redis.from_url(url) as server:
        server.xgroup_create("{shop}:priced", "audit", "0", mkstream=True)
    call(folder, "run shop.yml")
    orders = [json.dumps({"order": n, "price": 10 * n, "quantity": 2}) for n in range(12, 17)]
    call(folder, "add shop.yml orders", *orders)
    with redis.Redis.from_url(url) as server:
        server.xreadgroup("price", "other.1.price.0", {"{shop}:orders": ">"}, count=3)
        server.xreadgroup("price", "other.2.price.0", {"{shop}:orders": ">"}, count=1)


def written(page: Page, folder: Path, url: str) -> str:
    """A page's text."""
    lines = [f"# `{page.verb}`: {page.title[0].lower()}{page.title[1:]}", "", page.text, ""]
    with redis.Redis.from_url(url, decode_responses=True) as server:
        pending = server.xpending_range("{shop}:orders", "price", "-", "+", 1)
    for template in page.calls:
        words = template.format(pending=pending[0]["message_id"] if pending else "")
        output = call(folder, words).rstrip()
        lines += ["```console", f"$ papyra-flow {words}", *(line.rstrip() for line in output.splitlines()), "```", ""]
    lines += [f"All options: [`{page.verb}`](../reference/commands.md).", ""]
    return "\n".join(lines)


def call(folder: Path, words: str, *more: str) -> str:
    """What a call says, on stdout and stderr; a question is answered with no."""
    command = [sys.executable, "-m", "papyra_flow", *words.split(), *more]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, input="n\n", check=False)
    return finished.stdout + finished.stderr


if __name__ == "__main__":
    main()
