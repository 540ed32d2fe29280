"""A pipeline in Python, which runs as it is: `python examples/shop.py`, or by the command:

papyra-flow run examples/shop.py:pipeline --processes 2
papyra-flow test examples/shop.py:pipeline
"""

from __future__ import annotations

from papyra_flow import Dead, Pipeline

Order = dict[str, float]


def add_total(order: Order) -> Order:
    """Add the order's total; an order of nothing goes to the dead letters."""
    if order["quantity"] == 0:
        raise Dead(f"order {order['order']} has the quantity 0")
    return {**order, "total": round(order["quantity"] * order["price"], 2)}


def number(orders: list[Order]) -> list[Order]:
    """Number the orders of a batch: a function of a list takes the batch as a whole."""
    return [{**order, "number": number} for number, order in enumerate(orders)]


pipeline = (
    Pipeline("shop", description="Orders, priced")
    .defaults(retry={"attempts": 3, "backoff": "200ms..5s"})
    .stage(
        "ingest",
        read={"generate": {"count": 1000, "fields": {"order": "n", "quantity": "n % 10", "price": "1.0 + n % 7"}}},
        to="orders",
    )
    .stage(
        "price",
        from_="orders",
        process=[add_total, {"filter": "total > 5"}, number],
        to=[{"stream": "large", "when": "total >= 50"}, "small"],
        consumers=2,
    )
    .stage("export_large", from_="large", write={"jsonl": "out/large.jsonl"})
    .stage("export_small", from_="small", write={"jsonl": "out/small.jsonl"})
    .case(
        "an order is priced",
        input={"orders": [{"order": 1, "quantity": 3, "price": 2.5}, {"order": 2, "quantity": 0, "price": 1.0}]},
        expect={"small": [{"order": 1, "total": 7.5}]},
        dead={"price": [{"error": "has the quantity 0"}]},
        partial=True,
    )
)

if __name__ == "__main__":
    print(pipeline.run().outcome)
