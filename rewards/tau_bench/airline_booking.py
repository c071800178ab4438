"""What the airline's tools look up, check and charge."""

from __future__ import annotations

from typing import Any

from rewards.tau_bench.database import EpisodeData, Record
from rewards.tau_bench.toolbox import ToolError


def record_of(data: EpisodeData, table: str, key: Any, otherwise: str) -> Record:
    record = data.find(table, key)
    if record is None:
        raise ToolError(otherwise)
    return record


def reservation_of(data: EpisodeData, reservation_id: str) -> Record:
    """The reservation, to be written to."""
    record_of(data, "reservations", reservation_id, "reservation not found")
    return data.edit("reservations", reservation_id)


def available(flight: Record, date: str) -> bool:
    return date in flight["dates"] and flight["dates"][date]["status"] == "available"


def on_day(flight: Record, date: str) -> Record:
    """A flight without its other dates."""
    plain = {name: value for name, value in flight.items() if name != "dates"}
    return {**plain, **flight["dates"][date]}


def book_flight(data: EpisodeData, flight: Record, cabin: str, seats: int) -> int:
    """Check that the flight can be booked, complete its record, and return the price of a seat."""
    name, date = flight["flight_number"], flight["date"]
    known = record_of(data, "flights", name, f"flight {name} not found")
    if date not in known["dates"]:
        raise ToolError(f"flight {name} not found on date {date}")
    day = known["dates"][date]
    if day["status"] != "available":
        raise ToolError(f"flight {name} not available on date {date}")
    if day["available_seats"][cabin] < seats:
        raise ToolError(f"not enough seats on flight {name}")
    price = day["prices"][cabin]
    flight.update(price=price, origin=known["origin"], destination=known["destination"])
    return price


def kept_flight(reservation: Record, flight: Record, cabin: str) -> Record | None:
    """The reservation's own record of this flight, if it stays as it is."""
    if cabin != reservation["cabin"]:
        return None
    wanted = (flight["flight_number"], flight["date"])
    held = reservation["flights"]
    return next((f for f in held if (f["flight_number"], f["date"]) == wanted), None)


def check_payments(user: Record, payments: list[Record], price: float) -> None:
    methods = user["payment_methods"]
    for payment in payments:
        name = payment["payment_id"]
        if name not in methods:
            raise ToolError(f"payment method {name} not found")
        limited = methods[name]["source"] in ("gift_card", "certificate")
        if limited and methods[name]["amount"] < payment["amount"]:
            raise ToolError(f"not enough balance in payment method {name}")
    paid = sum(payment["amount"] for payment in payments)
    if paid != price:
        raise ToolError(f"payment amount does not add up, total price is {price}, but paid {paid}")


def take(methods: Record, name: str, amount: float) -> None:
    """Gift cards are charged, certificates used up."""
    if methods[name]["source"] == "gift_card":
        methods[name]["amount"] -= amount
    elif methods[name]["source"] == "certificate":
        del methods[name]


def charge(data: EpisodeData, reservation: Record, payment_id: str, price: float) -> None:
    """Pay for a change of a reservation, or be refunded; certificates cannot."""
    user_id = reservation["user_id"]
    methods = data.edit("users", user_id)["payment_methods"]
    if payment_id not in methods:
        raise ToolError("payment method not found")
    method = methods[payment_id]
    if method["source"] == "certificate":
        raise ToolError("certificate cannot be used to update reservation")
    if method["source"] == "gift_card":
        if method["amount"] < price:
            raise ToolError("gift card balance is not enough")
        method["amount"] -= price
    if price != 0:
        reservation["payment_history"].append({"payment_id": payment_id, "amount": price})
