"""τ-bench's retail shop: its 16 tools.

What each tool reads, checks and writes follows sierra-research/tau-bench, envs/retail/tools, as do
the texts of its errors.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from rewards.tau_bench.database import EpisodeData, Record
from rewards.tau_bench.toolbox import Toolbox, ToolError, add_common_tools, text, texts

TOOLS = Toolbox()
add_common_tools(TOOLS)

_ORDER_ID = text("The order's id with its leading '#', such as '#W0000000'.")
_USER_ID = text("The user's id, such as 'sara_doe_496'.")
_PAYMENT = text("The id of one of the user's payment methods, such as 'gift_card_0000000'.")
_ADDRESS: dict[str, Any] = {
    "address1": text("First line of the address, such as '12 Elm Street'."),
    "address2": text("Second line of the address, such as 'Suite 3'; may be empty."),
    "city": text("The city."),
    "state": text("The state in two letters, such as 'CA'."),
    "country": text("The country, such as 'USA'."),
    "zip": text("The zip code, such as '12345'."),
}
_CONFIRMED = "Tell the user the details and have them confirmed first. "


@TOOLS.tool("The user's id by email address.", email=text("The email address."))
def find_user_id_by_email(data: EpisodeData, email: str) -> str:
    wanted = email.lower()
    for user_id, user in data.rows("users"):
        if user["email"].lower() == wanted:
            return user_id
    raise ToolError("user not found")


@TOOLS.tool(
    "The user's id by name and zip code, for users who cannot be found by email.",
    first_name=text("The first name."),
    last_name=text("The last name."),
    zip=text("The zip code of the user's default address, such as '12345'."),
)
def find_user_id_by_name_zip(data: EpisodeData, first_name: str, last_name: str, zip: str) -> str:
    wanted = (first_name.lower(), last_name.lower(), zip)
    for user_id, user in data.rows("users"):
        name = user["name"]
        found = (name["first_name"].lower(), name["last_name"].lower(), user["address"]["zip"])
        if found == wanted:
            return user_id
    raise ToolError("user not found")


@TOOLS.tool("Name and product id of every type of product in the shop.")
def list_all_product_types(data: EpisodeData) -> str:
    return json.dumps(dict(sorted((p["name"], p["product_id"]) for _, p in data.rows("products"))))


@TOOLS.tool("A user's profile: address, payment methods, orders.", user_id=_USER_ID)
def get_user_details(data: EpisodeData, user_id: str) -> str:
    return json.dumps(_found(data, "users", user_id))


@TOOLS.tool(
    "A product with its variants, their options, prices and availability.",
    product_id=text("The product's id, such as '6086499569'; not an item's id."),
)
def get_product_details(data: EpisodeData, product_id: str) -> str:
    return json.dumps(_found(data, "products", product_id))


@TOOLS.tool("An order with its items, status and payments.", order_id=_ORDER_ID)
def get_order_details(data: EpisodeData, order_id: str) -> str:
    return json.dumps(_found(data, "orders", order_id))


@TOOLS.tool(
    _CONFIRMED + "Cancel a pending order. A gift card is refunded at once, other payment methods "
    "in 5 to 7 business days. Returns the order.",
    order_id=_ORDER_ID,
    reason=text("Why.", "no longer needed", "ordered by mistake"),
)
def cancel_pending_order(data: EpisodeData, order_id: str, reason: str) -> str:
    order = _order(data, order_id, "pending", "non-pending order cannot be cancelled")
    if reason not in ("no longer needed", "ordered by mistake"):
        raise ToolError("invalid reason")
    refunds = []
    for payment in order["payment_history"]:
        method_id = payment["payment_method_id"]
        refunds.append(_payment("refund", payment["amount"], method_id))
        if "gift_card" in method_id:
            _pay(_method(data, order, method_id), -payment["amount"])
    order["status"] = "cancelled"
    order["cancel_reason"] = reason
    order["payment_history"].extend(refunds)
    return json.dumps(order)


@TOOLS.tool(
    _CONFIRMED + "Change the shipping address of a pending order. Returns the order.",
    order_id=_ORDER_ID,
    **_ADDRESS,
)
def modify_pending_order_address(
    data: EpisodeData,
    order_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,
) -> str:
    order = _order(data, order_id, "pending", "non-pending order cannot be modified")
    order["address"] = _address(address1, address2, city, state, country, zip)
    return json.dumps(order)


@TOOLS.tool(
    _CONFIRMED + "Exchange items of a pending order for other variants of the same product; once "
    "per order, so with all items together. Returns the order.",
    order_id=_ORDER_ID,
    item_ids=texts("Ids of the items to be replaced, one for each piece."),
    new_item_ids=texts("Ids of the new items, in the same order."),
    payment_method_id=_PAYMENT,
)
def modify_pending_order_items(
    data: EpisodeData,
    order_id: str,
    item_ids: list[str],
    new_item_ids: list[str],
    payment_method_id: str,
) -> str:
    order = _order(data, order_id, "pending", "non-pending order cannot be modified")
    difference = _price_difference(data, order, item_ids, new_item_ids)
    method = _method(data, order, payment_method_id)
    _check_balance(method, difference, "the new item")
    kind = "payment" if difference > 0 else "refund"
    order["payment_history"].append(_payment(kind, abs(difference), payment_method_id))
    if method["source"] == "gift_card":
        _pay(method, difference)
    for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
        item = _item(order, item_id)
        variant = _found(data, "products", item["product_id"])["variants"][new_item_id]
        item.update(item_id=new_item_id, price=variant["price"], options=variant["options"])
    order["status"] = "pending (item modified)"
    return json.dumps(order)


@TOOLS.tool(
    _CONFIRMED + "Let a pending order be paid by another payment method. Returns the order.",
    order_id=_ORDER_ID,
    payment_method_id=_PAYMENT,
)
def modify_pending_order_payment(data: EpisodeData, order_id: str, payment_method_id: str) -> str:
    order = _order(data, order_id, "pending", "non-pending order cannot be modified")
    method = _method(data, order, payment_method_id)
    history = order["payment_history"]
    if len(history) > 1 or history[0]["transaction_type"] != "payment":
        raise ToolError("there should be exactly one payment for a pending order")
    old_id, amount = history[0]["payment_method_id"], history[0]["amount"]
    if old_id == payment_method_id:
        raise ToolError("the new payment method should be different from the current one")
    _check_balance(method, amount, "the order")
    history.append(_payment("payment", amount, payment_method_id))
    history.append(_payment("refund", amount, old_id))
    if method["source"] == "gift_card":
        _pay(method, amount)
    if "gift_card" in old_id:
        _pay(_method(data, order, old_id), -amount)
    return json.dumps(order)


@TOOLS.tool(
    _CONFIRMED + "Change a user's default address. Returns the user.",
    user_id=_USER_ID,
    **_ADDRESS,
)
def modify_user_address(
    data: EpisodeData,
    user_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,
) -> str:
    _found(data, "users", user_id)
    user = data.edit("users", user_id)
    user["address"] = _address(address1, address2, city, state, country, zip)
    return json.dumps(user)


@TOOLS.tool(
    _CONFIRMED + "Return items of a delivered order; return or exchange is possible once per "
    "order. Returns the order.",
    order_id=_ORDER_ID,
    item_ids=texts("Ids of the items to be returned, one for each piece."),
    payment_method_id=_PAYMENT,
)
def return_delivered_order_items(
    data: EpisodeData, order_id: str, item_ids: list[str], payment_method_id: str
) -> str:
    order = _order(data, order_id, "delivered", "non-delivered order cannot be returned")
    _method(data, order, payment_method_id)
    original = order["payment_history"][0]["payment_method_id"]
    if "gift_card" not in payment_method_id and payment_method_id != original:
        raise ToolError(
            "payment method should be either the original payment method or a gift card"
        )
    if _not_in_order(order, item_ids) is not None:
        raise ToolError("some item not found")
    order["status"] = "return requested"
    order["return_items"] = sorted(item_ids)
    order["return_payment_method_id"] = payment_method_id
    return json.dumps(order)


@TOOLS.tool(
    _CONFIRMED + "Exchange items of a delivered order for other variants of the same product; "
    "return or exchange is possible once per order. Returns the order.",
    order_id=_ORDER_ID,
    item_ids=texts("Ids of the items to be exchanged, one for each piece."),
    new_item_ids=texts("Ids of the new items, in the same order."),
    payment_method_id=_PAYMENT,
)
def exchange_delivered_order_items(
    data: EpisodeData,
    order_id: str,
    item_ids: list[str],
    new_item_ids: list[str],
    payment_method_id: str,
) -> str:
    order = _order(data, order_id, "delivered", "non-delivered order cannot be exchanged")
    difference = round(_price_difference(data, order, item_ids, new_item_ids), 2)
    method = _method(data, order, payment_method_id)
    _check_balance(method, difference, "the price difference")
    order["status"] = "exchange requested"
    order["exchange_items"] = sorted(item_ids)
    order["exchange_new_items"] = sorted(new_item_ids)
    order["exchange_payment_method_id"] = payment_method_id
    order["exchange_price_difference"] = difference
    return json.dumps(order)


def _found(data: EpisodeData, table: str, key: Any) -> Record:
    record = data.find(table, key)
    if record is None:
        raise ToolError(f"{table.removesuffix('s')} not found")
    return record


def _order(data: EpisodeData, order_id: Any, status: str, otherwise: str) -> Record:
    """The order to be written to, if it has this status."""
    if _found(data, "orders", order_id)["status"] != status:
        raise ToolError(otherwise)
    return data.edit("orders", order_id)


def _method(data: EpisodeData, order: Record, method_id: str) -> Record:
    """A payment method of the order's user, to be written to."""
    if method_id not in _found(data, "users", order["user_id"])["payment_methods"]:
        raise ToolError("payment method not found")
    return data.edit("users", order["user_id"])["payment_methods"][method_id]


def _check_balance(method: Record, amount: float, what: str) -> None:
    if method["source"] == "gift_card" and method["balance"] < amount:
        raise ToolError(f"insufficient gift card balance to pay for {what}")


def _pay(method: Record, amount: float) -> None:
    method["balance"] = round(method["balance"] - amount, 2)


def _payment(kind: str, amount: float, method_id: str) -> Record:
    return {"transaction_type": kind, "amount": amount, "payment_method_id": method_id}


def _address(
    address1: str, address2: str, city: str, state: str, country: str, zip: str
) -> dict[str, str]:
    return {
        "address1": address1,
        "address2": address2,
        "city": city,
        "state": state,
        "country": country,
        "zip": zip,
    }


def _item(order: Record, item_id: str) -> Record:
    return next(item for item in order["items"] if item["item_id"] == item_id)


def _not_in_order(order: Record, item_ids: list[str]) -> str | None:
    """The first item of which more is asked for than the order has."""
    held = Counter(item["item_id"] for item in order["items"])
    asked = Counter(item_ids)
    return next((item for item in item_ids if asked[item] > held[item]), None)


def _price_difference(
    data: EpisodeData, order: Record, item_ids: list[str], new_item_ids: list[str]
) -> float:
    """New prices less old ones, the items checked. Not rounded: one of its users does not."""
    lacking = _not_in_order(order, item_ids)
    if lacking is not None:
        raise ToolError(f"{lacking} not found")
    if len(item_ids) != len(new_item_ids):
        raise ToolError("the number of items to be exchanged should match")
    difference = 0
    for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
        item = _item(order, item_id)
        variant = _found(data, "products", item["product_id"])["variants"].get(new_item_id)
        if variant is None or not variant["available"]:
            raise ToolError(f"new item {new_item_id} not found or available")
        difference += variant["price"] - item["price"]
    return difference
