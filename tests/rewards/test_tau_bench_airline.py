"""`tool_use` with the airline's tools, on tables of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_shop import call, messages, truth

import rewards
from rewards.tau_bench.episode import Episode

DATE, NEXT = "2024-05-16", "2024-05-17"
PASSENGER = {"first_name": "Ada", "last_name": "Byron", "dob": "1980-12-10"}


def _flight(number: str, origin: str, destination: str, times: tuple[str, str]) -> dict[str, Any]:
    seats = {"basic_economy": 9, "economy": 2, "business": 0}
    prices = {"basic_economy": 50, "economy": 100, "business": 300}
    day = {"status": "available", "available_seats": seats, "prices": prices}
    return {
        "flight_number": number,
        "origin": origin,
        "destination": destination,
        "scheduled_departure_time_est": times[0],
        "scheduled_arrival_time_est": times[1],
        "dates": {DATE: day, NEXT: {"status": "cancelled"}},
    }


def write_airline(folder: Path) -> Path:
    flights = [
        _flight("HAT001", "JFK", "ORD", ("06:00:00", "08:00:00")),
        _flight("HAT002", "ORD", "SEA", ("09:00:00", "12:00:00")),
        _flight("HAT003", "ORD", "SEA", ("07:00:00", "10:00:00")),
    ]
    booked = {
        "origin": "JFK",
        "destination": "ORD",
        "flight_number": "HAT001",
        "date": DATE,
        "price": 90,
    }
    reservation = {
        "reservation_id": "ABC123",
        "user_id": "ada_1",
        "cabin": "economy",
        "flights": [booked],
        "passengers": [PASSENGER],
        "payment_history": [{"payment_id": "credit_card_1", "amount": 90}],
        "total_baggages": 1,
        "nonfree_baggages": 0,
    }
    methods = {
        "credit_card_1": {"source": "credit_card", "id": "credit_card_1"},
        "gift_card_1": {"source": "gift_card", "amount": 120, "id": "gift_card_1"},
        "certificate_1": {"source": "certificate", "amount": 80, "id": "certificate_1"},
    }
    tables = {
        "flights": {flight["flight_number"]: flight for flight in flights},
        "reservations": {"ABC123": reservation},
        "users": {"ada_1": {"payment_methods": methods, "reservations": ["ABC123"]}},
    }
    (folder / "airline").mkdir()
    for name, table in tables.items():
        (folder / "airline" / f"{name}.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_airline(tmp_path_factory.mktemp("tau")))


@pytest.fixture
def episode(folder) -> Episode:
    return Episode("airline", folder)


def book(payments: dict[str, int], **changes: Any) -> dict[str, Any]:
    arguments = {
        "user_id": "ada_1",
        "origin": "JFK",
        "destination": "SEA",
        "flight_type": "one_way",
        "cabin": "economy",
        "flights": [{"flight_number": name, "date": DATE} for name in ("HAT001", "HAT002")],
        "passengers": [PASSENGER],
        "payment_methods": [{"payment_id": k, "amount": v} for k, v in payments.items()],
        "total_baggages": 2,
        "nonfree_baggages": 1,
        "insurance": "yes",
    }
    return call("book_reservation", **{**arguments, **changes})


def _user(episode: Episode) -> dict[str, Any]:
    return json.loads(episode.step("get_user_details", {"user_id": "ada_1"}).text)


PAID = {"certificate_1": 80, "gift_card_1": 100, "credit_card_1": 100}  # 2 * 100 + 30 + 50


def test_booking_charges_and_uses_up(episode):
    made = episode.step("book_reservation", book(PAID)["kwargs"])
    assert json.loads(made.text)["flights"][1]["price"] == 100
    methods = _user(episode)["payment_methods"]
    assert "certificate_1" not in methods and methods["gift_card_1"]["amount"] == 20
    assert _user(episode)["reservations"] == ["ABC123", "HATHAT"]
    again = episode.step("book_reservation", book({"credit_card_1": 280})["kwargs"])
    assert json.loads(again.text)["reservation_id"] == "HATHAU"
    held = episode.step("get_reservation_details", {"reservation_id": "HATHAT"})
    assert held.text == made.text


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (book({"credit_card_1": 279}), "payment amount does not add up, total price is 280, but"),
        (book({"gift_card_1": 280}), "not enough balance in payment method gift_card_1"),
        (book({"paypal": 280}), "payment method paypal not found"),
        (book(PAID, user_id="eve"), "user not found"),
        (book(PAID, cabin="business"), "not enough seats on flight HAT001"),
        (book(PAID, flights=[{"flight_number": "X", "date": DATE}]), "flight X not found"),
        (
            book(PAID, flights=[{"flight_number": "HAT001", "date": NEXT}]),
            f"flight HAT001 not available on date {NEXT}",
        ),
        (
            book(PAID, flights=[{"flight_number": "HAT001", "date": "x"}]),
            "flight HAT001 not found on date x",
        ),
        (book({"certificate_1": 40}, payment_methods=[{"payment_id": "certificate_1"}]), ""),
        (call("cancel_reservation", reservation_id="X"), "reservation not found"),
        (call("get_reservation_details", reservation_id="X"), "user not found"),
        (
            call("update_reservation_passengers", reservation_id="ABC123", passengers=[]),
            "number of passengers does not match",
        ),
        (
            call(
                "update_reservation_baggages",
                reservation_id="ABC123",
                total_baggages=9,
                nonfree_baggages=3,
                payment_id="gift_card_1",
            ),
            "gift card balance is not enough",
        ),
        (
            call(
                "update_reservation_flights",
                reservation_id="ABC123",
                cabin="economy",
                flights=[],
                payment_id="certificate_1",
            ),
            "certificate cannot be used to update reservation",
        ),
    ],
    ids=range(14),
)
def test_refused_calls_write_nothing(episode, action, text):
    before = episode.data.hash()
    assert episode.step(action["name"], action["kwargs"]).text.startswith(f"Error: {text}")
    assert episode.data.hash() == before


def test_cancelling_and_bags_and_passengers(episode):
    bags = {"reservation_id": "ABC123", "total_baggages": 3, "nonfree_baggages": 2}
    text = episode.step("update_reservation_baggages", {**bags, "payment_id": "gift_card_1"}).text
    assert json.loads(text)["payment_history"][1] == {"payment_id": "gift_card_1", "amount": 100}
    assert _user(episode)["payment_methods"]["gift_card_1"]["amount"] == 20
    someone = {**PASSENGER, "first_name": "Ida"}
    episode.step(
        "update_reservation_passengers", {"reservation_id": "ABC123", "passengers": [someone]}
    )
    cancelled = json.loads(episode.step("cancel_reservation", {"reservation_id": "ABC123"}).text)
    assert cancelled["passengers"] == [someone] and cancelled["status"] == "cancelled"
    assert [p["amount"] for p in cancelled["payment_history"]] == [90, 100, -90, -100]


def test_flights_that_stay_keep_their_price(episode):
    flights = [{"flight_number": name, "date": DATE} for name in ("HAT001", "HAT002")]
    arguments = {
        "reservation_id": "ABC123",
        "cabin": "economy",
        "flights": flights,
        "payment_id": "gift_card_1",
    }
    changed = json.loads(episode.step("update_reservation_flights", arguments).text)
    assert [flight["price"] for flight in changed["flights"]] == [90, 100]
    assert changed["payment_history"][1] == {"payment_id": "gift_card_1", "amount": 100}


def test_flights_are_found(episode):
    route = {"origin": "JFK", "destination": "ORD"}
    direct = json.loads(episode.step("search_direct_flight", {**route, "date": DATE}).text)
    assert [flight["flight_number"] for flight in direct] == ["HAT001"]
    assert "dates" not in direct[0] and direct[0]["prices"]["economy"] == 100
    assert episode.step("search_direct_flight", {**route, "date": NEXT}).text == "[]"
    change = {"origin": "JFK", "destination": "SEA", "date": DATE}
    pairs = json.loads(episode.step("search_onestop_flight", change).text)
    assert [[f["flight_number"] for f in pair] for pair in pairs] == [["HAT001", "HAT002"]]
    assert len(json.loads(episode.step("list_all_airports", {}).text)) == 20


def test_certificates_are_sent_three_times_at_most(episode):
    sent = [
        episode.step("send_certificate", {"user_id": "ada_1", "amount": 50}).text for _ in range(4)
    ]
    assert sent[0] == "Certificate certificate_3221322 added to user ada_1 with amount 50."
    assert sent[3].startswith("Error: ")


def test_the_domain_is_the_ground_truths_or_an_option(folder):
    gold = json.loads(truth(book(PAID)))
    record = messages(book(PAID))
    named = json.dumps({**gold, "domain": "airline"})
    assert rewards.verify("tool_use", record, named, data=folder).passed
    assert rewards.verify(
        "tool_use", record, json.dumps(gold), data=folder, domain="airline"
    ).passed
    assert not rewards.verify("tool_use", messages("done"), named, data=folder).passed
    refused = rewards.verify("tool_use", record, named, data=folder, domain="bank")
    assert refused.reason == "verifier_error" and "unknown domain 'bank'" in refused.feedback
