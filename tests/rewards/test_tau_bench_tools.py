"""τ-bench's retail tools, their database and schemas, on a shop of our own."""

from __future__ import annotations

import hashlib
import json

import pytest
from tiny_shop import (
    ADA_CARD,
    ADA_GIFT,
    ADDRESS,
    BEN_PAYPAL,
    CANCEL,
    DELIVERED,
    LAMP_LARGE,
    LAMP_SMALL,
    MUG_BLUE,
    MUG_GONE,
    MUG_RED,
    OTHERS,
    PENDING,
    RETURN,
    write_shop,
)

from rewards.tau_bench.database import open_database
from rewards.tau_bench.episode import Episode, schemas


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_shop(tmp_path_factory.mktemp("shop")))


@pytest.fixture
def episode(shop) -> Episode:
    return Episode("retail", shop)


def test_episodes_share_the_tables_and_nothing_else(shop):
    first, second = Episode("retail", shop), Episode("retail", shop)
    fresh = second.data.hash()
    first.step(CANCEL["name"], CANCEL["kwargs"])
    assert second.data.hash() == fresh != first.data.hash()
    assert first.data.differences(second.data) == [("orders", PENDING), ("users", "ada_1")]
    second.step(CANCEL["name"], CANCEL["kwargs"])
    assert first.data.hash() == second.data.hash() and not first.data.differences(second.data)


def test_the_hash_is_the_benchmarks(tmp_path):
    """Worked out by hand: the text of sorted pairs, whatever the order of keys in the file."""
    for name in ("orders", "products"):
        (tmp_path / f"{name}.json").write_text("{}")
    (tmp_path / "users.json").write_text('{"u": {"b": [1, "x"], "a": 2.0}}')
    text = "(('orders', ()), ('products', ()), ('users', (('u', (('a', 2.0), ('b', (1, 'x')))),)))"
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert open_database("retail", str(tmp_path)).hash() == expected


def test_cancelling_refunds_the_gift_card(episode):
    order = json.loads(episode.step(CANCEL["name"], CANCEL["kwargs"]).text)
    assert (order["status"], order["cancel_reason"]) == ("cancelled", "no longer needed")
    assert order["payment_history"][1]["transaction_type"] == "refund"
    user = json.loads(episode.step("get_user_details", {"user_id": "ada_1"}).text)
    assert user["payment_methods"][ADA_GIFT]["balance"] == 37.0


def test_modifying_items_pays_the_difference(episode):
    text = episode.step(
        "modify_pending_order_items",
        {
            "order_id": PENDING,
            "item_ids": [MUG_RED, MUG_RED],
            "new_item_ids": [MUG_BLUE, MUG_BLUE],
            "payment_method_id": ADA_GIFT,
        },
    ).text
    order = json.loads(text)
    assert order["status"] == "pending (item modified)"
    assert [item["item_id"] for item in order["items"]] == [MUG_BLUE, MUG_BLUE]
    assert order["payment_history"][1]["amount"] == 2.5
    user = json.loads(episode.step("get_user_details", {"user_id": "ada_1"}).text)
    assert user["payment_methods"][ADA_GIFT]["balance"] == 17.5


def test_the_payment_moves_to_another_method(episode):
    arguments = {"order_id": PENDING, "payment_method_id": ADA_CARD}
    history = json.loads(episode.step("modify_pending_order_payment", arguments).text)[
        "payment_history"
    ]
    assert [entry["transaction_type"] for entry in history] == ["payment", "payment", "refund"]
    user = json.loads(episode.step("get_user_details", {"user_id": "ada_1"}).text)
    assert user["payment_methods"][ADA_GIFT]["balance"] == 37.0


def test_an_exchange_and_a_return_are_requested(episode, shop):
    exchange = {
        "order_id": DELIVERED,
        "item_ids": [LAMP_SMALL],
        "new_item_ids": [LAMP_LARGE],
        "payment_method_id": ADA_CARD,
    }
    order = json.loads(episode.step("exchange_delivered_order_items", exchange).text)
    assert (order["status"], order["exchange_price_difference"]) == ("exchange requested", 25.0)
    fresh = Episode("retail", shop)
    assert json.loads(fresh.step(RETURN["name"], RETURN["kwargs"]).text)["return_items"] == [
        LAMP_SMALL
    ]


MODIFY, EXCHANGE = "modify_pending_order_items", "exchange_delivered_order_items"
BY_NAME, NOBODY = "find_user_id_by_name_zip", "Error: user not found"
GIVE_BACK, PAY = "return_delivered_order_items", "modify_pending_order_payment"


def _change(name: str, order: str, items: list[str], new: list[str] | None, method: str):
    arguments = {"order_id": order, "item_ids": items, "payment_method_id": method}
    return name, arguments if new is None else {**arguments, "new_item_ids": new}


GIVE_BACK, PAY = "return_delivered_order_items", "modify_pending_order_payment"


GIVE_BACK, PAY = "return_delivered_order_items", "modify_pending_order_payment"


GIVE_BACK, PAY = "return_delivered_order_items", "modify_pending_order_payment"


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (("get_order_details", {"order_id": "W1"}), "Error: order not found"),
        (("get_user_details", {"user_id": 7}), "Error: user not found"),
        (("get_product_details", {"product_id": MUG_RED}), "Error: product not found"),
        (("find_user_id_by_email", {"email": "ADA@example.com"}), "ada_1"),
        (("find_user_id_by_email", {"email": "x"}), "Error: user not found"),
        ((BY_NAME, {"first_name": "ben", "last_name": "ORTIZ", "zip": "62702"}), "ben_2"),
        ((BY_NAME, {"first_name": "ben", "last_name": "ortiz", "zip": "1"}), NOBODY),
        (("list_all_product_types", {}), '{"Lamp": "lamp", "Mug": "mug"}'),
        (("think", {"thought": "hm"}), ""),
        (("transfer_to_human_agents", {"summary": "s"}), "Transfer successful"),
        (("fly", {}), "Unknown action fly"),
        (("cancel_pending_order", {"order_id": DELIVERED, "reason": "x"}),
         "Error: non-pending order cannot be cancelled"),
        (("modify_user_address", {"user_id": "eve", **ADDRESS}), "Error: user not found"),
        (("modify_pending_order_address", {"order_id": DELIVERED, **ADDRESS}),
         "Error: non-pending order cannot be modified"),
        (_change(MODIFY, PENDING, [MUG_RED] * 3, [MUG_BLUE] * 3, ADA_GIFT),
         f"Error: {MUG_RED} not found"),
        (_change(MODIFY, PENDING, [MUG_RED], [], ADA_GIFT),
         "Error: the number of items to be exchanged should match"),
        (_change(MODIFY, PENDING, [MUG_RED], [MUG_GONE], ADA_GIFT),
         f"Error: new item {MUG_GONE} not found or available"),
        (_change(MODIFY, PENDING, [MUG_RED], [LAMP_LARGE], ADA_GIFT),
         f"Error: new item {LAMP_LARGE} not found or available"),
        (_change(MODIFY, PENDING, [MUG_RED], [MUG_BLUE], BEN_PAYPAL),
         "Error: payment method not found"),
        (_change(EXCHANGE, PENDING, [], [], ADA_CARD),
         "Error: non-delivered order cannot be exchanged"),
        (_change(EXCHANGE, DELIVERED, [LAMP_SMALL], [LAMP_LARGE], ADA_GIFT),
         "Error: insufficient gift card balance to pay for the price difference"),
        (_change(GIVE_BACK, PENDING, [MUG_RED], None, ADA_CARD),
         "Error: non-delivered order cannot be returned"),
        (_change(GIVE_BACK, DELIVERED, [MUG_RED], None, ADA_CARD), "Error: some item not found"),
        ((PAY, {"order_id": PENDING, "payment_method_id": ADA_GIFT}),
         "Error: the new payment method should be different from the current one"),
        ((PAY, {"order_id": OTHERS, "payment_method_id": ADA_GIFT}),
         "Error: payment method not found"),
    ],
)  # fmt: skip
def test_tools_answer_as_the_benchmark_does(episode, step, text):
    before = episode.data.hash()
    assert episode.step(*step).text == text
    assert episode.data.hash() == before


def test_a_call_that_fails_half_way_leaves_nothing(episode, shop):
    odd = {"order_id": DELIVERED, "item_ids": [LAMP_SMALL], "payment_method_id": ADA_CARD}
    episode.step("return_delivered_order_items", {**odd, "item_ids": 3})
    episode.step("return_delivered_order_items", {**odd, "extra": 1})
    assert not episode.data.differences(open_database("retail", shop))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("2 * (3 + 4)", "14.0"),
        (" -7 // 2", "-4.0"),
        ("2**10 / 3", "341.33"),
        ("0.1 + 0.2", "0.3"),
        ("1 / 0", "Error: division by zero"),
        ("9**9**9", "Error: the result is too large"),
        ("9**9" * 100, "Error: the result is too large"),
        ("9" * 900, "Error: the result is too large"),
        ("1 +", "Error: invalid syntax"),
        ("__import__", "Error: invalid characters in expression"),
        ("2(3)", "Error: only numbers"),
        ("(-8)**0.5", "Error: the result is not a real number"),
        ("-" * 1000, "Error: "),
        ("(" * 500 + ")" * 500, "Error: "),
        ("1" * 1001, "Error: the expression has more than 1000 characters"),
    ],
    ids=range(15),
)
def test_calculate_is_arithmetic_and_bounded(episode, expression, text):
    answer = episode.step("calculate", {"expression": expression}).text
    assert answer.startswith(text) if text.startswith("Error") else answer == text


@pytest.mark.parametrize(("domain", "count"), [("retail", 16), ("airline", 14)])
def test_schemas_are_what_chat_templates_take(domain, count):
    tools = schemas(domain)
    assert len(tools) == count and len({t["function"]["name"] for t in tools}) == count
    for tool in tools:
        parameters = tool["function"]["parameters"]
        assert tool["type"] == "function" and tool["function"]["description"]
        assert parameters["required"] == list(parameters["properties"])
    assert json.loads(json.dumps(tools)) == tools
