"""A shop of our own in the form of τ-bench's tables, and a scripted episode in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MUG_RED, MUG_BLUE, MUG_GONE = "100001", "100002", "100003"
LAMP_SMALL, LAMP_LARGE = "200001", "200002"
PENDING, DELIVERED, OTHERS = "#W1", "#W2", "#W3"
ADA_CARD, ADA_GIFT, BEN_PAYPAL = "credit_card_1", "gift_card_1", "paypal_2"


def write_shop(folder: Path) -> Path:
    tables = {"users": _users(), "orders": _orders(), "products": _products()}
    for name, table in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(table))
    return folder


def call(name: str, **kwargs: Any) -> dict[str, Any]:
    """An action as the benchmark writes it."""
    return {"name": name, "kwargs": kwargs}


def truth(*actions: dict[str, Any], outputs: Sequence[str] = ()) -> str:
    return json.dumps({"actions": actions, "outputs": outputs})


def messages(*turns: str | dict[str, Any], arguments_as_text: bool = True) -> str:
    """A record of OpenAI-style messages: texts are replies, actions are tool calls."""
    record: list[dict[str, Any]] = [{"role": "system", "content": "policy"}]
    for place, turn in enumerate(turns):
        if isinstance(turn, str):
            record.append({"role": "assistant", "content": turn})
            record.append({"role": "user", "content": "go on"})
            continue
        arguments = json.dumps(turn["kwargs"]) if arguments_as_text else turn["kwargs"]
        function = {"name": turn["name"], "arguments": arguments}
        tool_call = {"id": f"call_{place}", "type": "function", "function": function}
        record.append({"role": "assistant", "content": None, "tool_calls": [tool_call]})
        record.append({"role": "tool", "tool_call_id": f"call_{place}", "content": "seen"})
    return json.dumps(record)


def _address(street: str, zip_code: str) -> dict[str, str]:
    return {
        "address1": street,
        "address2": "",
        "city": "Springfield",
        "country": "USA",
        "state": "IL",
        "zip": zip_code,
    }


def _users() -> dict[str, Any]:
    return {
        "ada_1": {
            "name": {"first_name": "Ada", "last_name": "Byron"},
            "address": _address("1 Elm Street", "62701"),
            "email": "ada@example.com",
            "payment_methods": {
                ADA_CARD: {"source": "credit_card", "id": ADA_CARD},
                ADA_GIFT: {"source": "gift_card", "balance": 20.0, "id": ADA_GIFT},
            },
            "orders": [PENDING, DELIVERED],
        },
        "ben_2": {
            "name": {"first_name": "Ben", "last_name": "Ortiz"},
            "address": _address("2 Oak Street", "62702"),
            "email": "ben@example.com",
            "payment_methods": {BEN_PAYPAL: {"source": "paypal", "id": BEN_PAYPAL}},
            "orders": [OTHERS],
        },
    }


def _item(name: str, item_id: str, price: float) -> dict[str, Any]:
    options = _products()[name.lower()]["variants"][item_id]["options"]
    return {
        "name": name,
        "product_id": name.lower(),
        "item_id": item_id,
        "price": price,
        "options": options,
    }


def _order(
    order_id: str, user: str, status: str, items: list[dict[str, Any]], method: str
) -> dict[str, Any]:
    amount = round(sum(item["price"] for item in items), 2)
    return {
        "order_id": order_id,
        "user_id": user,
        "address": _users()[user]["address"],
        "items": items,
        "status": status,
        "payment_history": [
            {"transaction_type": "payment", "amount": amount, "payment_method_id": method}
        ],
    }


def _orders() -> dict[str, Any]:
    two_mugs = [_item("Mug", MUG_RED, 8.5), _item("Mug", MUG_RED, 8.5)]
    lamp = [_item("Lamp", LAMP_SMALL, 30.0)]
    return {
        PENDING: _order(PENDING, "ada_1", "pending", two_mugs, ADA_GIFT),
        DELIVERED: _order(DELIVERED, "ada_1", "delivered", lamp, ADA_CARD),
        OTHERS: _order(OTHERS, "ben_2", "pending", [_item("Mug", MUG_BLUE, 9.0)], BEN_PAYPAL),
    }


def _variant(item_id: str, price: float, available: bool = True, **options: str) -> dict[str, Any]:
    return {"item_id": item_id, "options": options, "available": available, "price": price}


def _products() -> dict[str, Any]:
    mugs = (
        _variant(MUG_RED, 8.5, color="red"),
        _variant(MUG_BLUE, 9.75, color="blue"),
        _variant(MUG_GONE, 7.0, available=False, color="green"),
    )
    lamps = (_variant(LAMP_SMALL, 30.0, size="small"), _variant(LAMP_LARGE, 55.0, size="large"))
    return {
        "mug": _product("Mug", mugs),
        "lamp": _product("Lamp", lamps),
    }


def _product(name: str, variants: Sequence[dict[str, Any]]) -> dict[str, Any]:
    by_id = {variant["item_id"]: variant for variant in variants}
    return {"name": name, "product_id": name.lower(), "variants": by_id}


CANCEL = call("cancel_pending_order", order_id=PENDING, reason="no longer needed")
RETURN = call(
    "return_delivered_order_items",
    order_id=DELIVERED,
    item_ids=[LAMP_SMALL],
    payment_method_id=ADA_CARD,
)
ADDRESS = dict(
    address1="9 New Road", address2="", city="Peoria", state="IL", country="USA", zip="61601"
)
