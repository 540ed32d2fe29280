"""Step functions of the pipeline: each takes a record as a dict, and returns what to forward."""

from papyra_flow import Dead


def add_total(order: dict) -> dict:
    """Add the order's total; an order of nothing, or less, goes to the dead letters."""
    if order["quantity"] <= 0:
        raise Dead(f"order {order['order']} has the quantity {order['quantity']}")
    return {**order, "total": round(order["quantity"] * order["price"], 2)}
