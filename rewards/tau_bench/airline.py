"""τ-bench's airline: its 14 tools.

What each tool reads, checks and writes follows sierra-research/tau-bench, envs/airline/tools, as
do the texts of its errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rewards.tau_bench.database import EpisodeData, Record
from rewards.tau_bench.toolbox import (
    Toolbox,
    ToolError,
    add_common_tools,
    integer,
    number,
    records,
    text,
)

TOOLS = Toolbox()
add_common_tools(TOOLS)

# Ids that the benchmark gives to what an episode adds, in this order.
_NEW_RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")
_NEW_CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")
_NOW = "2024-05-15T15:00:00"
_AIRPORTS = {
    "SFO": "San Francisco",
    "JFK": "New York",
    "LAX": "Los Angeles",
    "ORD": "Chicago",
    "DFW": "Dallas",
    "DEN": "Denver",
    "SEA": "Seattle",
    "ATL": "Atlanta",
    "MIA": "Miami",
    "BOS": "Boston",
    "PHX": "Phoenix",
    "IAH": "Houston",
    "LAS": "Las Vegas",
    "MCO": "Orlando",
    "EWR": "Newark",
    "CLT": "Charlotte",
    "MSP": "Minneapolis",
    "DTW": "Detroit",
    "PHL": "Philadelphia",
    "LGA": "LaGuardia",
}

_USER_ID = text("The user's id, such as 'sara_doe_496'.")
_RESERVATION_ID = text("The reservation's id, such as '8JX2WO'.")
_ORIGIN = text("Airport of departure in three letters, such as 'JFK'.")
_DESTINATION = text("Airport of arrival in three letters, such as 'LAX'.")
_DATE = text("The date as YYYY-MM-DD, such as '2024-05-01'.")
_CABIN = text("The cabin class.", "basic_economy", "economy", "business")
_TOTAL_BAGS = integer("How many bags in all.")
_PAID_BAGS = integer("How many of the bags are not free.")
_PAYMENT_ID = text("The id of one of the user's payment methods, such as 'gift_card_0000000'.")
_FLIGHTS = records(
    "Every flight of the reservation, unchanged ones too.",
    flight_number=text("The flight's number, such as 'HAT001'."),
    date=_DATE,
)
_PASSENGERS = records(
    "Every passenger.",
    first_name=text("The first name."),
    last_name=text("The last name."),
    dob=text("Date of birth as YYYY-MM-DD."),
)


@TOOLS.tool("A user's profile: payment methods, passengers, reservations.", user_id=_USER_ID)
def get_user_details(data: EpisodeData, user_id: str) -> str:
    return json.dumps(_found(data, "users", user_id, "user not found"))


@TOOLS.tool("A reservation with flights and payments.", reservation_id=_RESERVATION_ID)
def get_reservation_details(data: EpisodeData, reservation_id: str) -> str:
    # "user not found" is what the benchmark says here.
    return json.dumps(_found(data, "reservations", reservation_id, "user not found"))


@TOOLS.tool("All airports with their cities.")
def list_all_airports(data: EpisodeData) -> str:
    return json.dumps(_AIRPORTS)


@TOOLS.tool(
    "Direct flights with seats and prices on a day.",
    origin=_ORIGIN,
    destination=_DESTINATION,
    date=_DATE,
)
def search_direct_flight(data: EpisodeData, origin: str, destination: str, date: str) -> str:
    flights = (flight for _, flight in data.rows("flights"))
    wanted = (f for f in flights if (f["origin"], f["destination"]) == (origin, destination))
    return json.dumps([_on(flight, date) for flight in wanted if _available(flight, date)])


@TOOLS.tool(
    "Flights with one change of planes, with seats and prices, on a day.",
    origin=_ORIGIN,
    destination=_DESTINATION,
    date=_DATE,
)
def search_onestop_flight(data: EpisodeData, origin: str, destination: str, date: str) -> str:
    return json.dumps(list(_one_stop(data, origin, destination, date)))


def _one_stop(
    data: EpisodeData, origin: str, destination: str, date: str
) -> Iterator[list[Record]]:
    flights = [flight for _, flight in data.rows("flights")]
    arriving = [flight for flight in flights if flight["destination"] == destination]
    for first in flights:
        if first["origin"] != origin:
            continue
        overnight = "+1" in first["scheduled_arrival_time_est"]
        for second in arriving:
            if first["destination"] != second["origin"]:
                continue
            # The benchmark writes the next day without a leading zero.
            next_date = f"2024-05-{int(date[-2:]) + 1}" if overnight else date
            if first["scheduled_arrival_time_est"] > second["scheduled_departure_time_est"]:
                continue
            if _available(first, date) and _available(second, next_date):
                # It shows the second flight's seats and prices of the first day.
                yield [{**_on(first, date), "date": date}, {**_on(second, date), "date": next_date}]


@TOOLS.tool(
    "Book a reservation.",
    user_id=_USER_ID,
    origin=_ORIGIN,
    destination=_DESTINATION,
    flight_type=text("One way or there and back.", "one_way", "round_trip"),
    cabin=_CABIN,
    flights=_FLIGHTS,
    passengers=_PASSENGERS,
    payment_methods=records(
        "What is paid by which payment method; the amounts add up to the price.",
        payment_id=_PAYMENT_ID,
        amount=number("The amount in dollars."),
    ),
    total_baggages=_TOTAL_BAGS,
    nonfree_baggages=_PAID_BAGS,
    insurance=text("Whether travel insurance is bought.", "yes", "no"),
)
def book_reservation(
    data: EpisodeData,
    user_id: str,
    origin: str,
    destination: str,
    flight_type: str,
    cabin: str,
    flights: list[Record],
    passengers: list[Record],
    payment_methods: list[Record],
    total_baggages: int,
    nonfree_baggages: int,
    insurance: str,
) -> str:
    _found(data, "users", user_id, "user not found")
    user = data.edit("users", user_id)
    taken = [name for name in _NEW_RESERVATIONS[:-1] if data.find("reservations", name)]
    reservation_id = _NEW_RESERVATIONS[len(taken)]
    seats = len(passengers)
    price = sum(_book_flight(data, flight, cabin, seats) * seats for flight in flights)
    price += 30 * seats if insurance == "yes" else 0
    price += 50 * nonfree_baggages
    _check_payments(user, payment_methods, price)
    for payment in payment_methods:
        _take(user["payment_methods"], payment["payment_id"], payment["amount"])
    reservation = {
        "reservation_id": reservation_id,
        "user_id": user_id,
        "origin": origin,
        "destination": destination,
        "flight_type": flight_type,
        "cabin": cabin,
        "flights": flights,
        "passengers": passengers,
        "payment_history": payment_methods,
        "created_at": _NOW,
        "total_baggages": total_baggages,
        "nonfree_baggages": nonfree_baggages,
        "insurance": insurance,
    }
    data.add("reservations", reservation_id, reservation)
    user["reservations"].append(reservation_id)
    return json.dumps(reservation)


@TOOLS.tool("Cancel a whole reservation.", reservation_id=_RESERVATION_ID)
def cancel_reservation(data: EpisodeData, reservation_id: str) -> str:
    reservation = _reservation(data, reservation_id)
    paid = reservation["payment_history"]
    refunds = [{"payment_id": p["payment_id"], "amount": -p["amount"]} for p in paid]
    paid.extend(refunds)
    reservation["status"] = "cancelled"
    return json.dumps(reservation)


@TOOLS.tool(
    "Send a user a certificate. It cannot be taken back.",
    user_id=_USER_ID,
    amount=number("Its worth in dollars."),
)
def send_certificate(data: EpisodeData, user_id: str, amount: float) -> str:
    _found(data, "users", user_id, "user not found")
    methods = data.edit("users", user_id)["payment_methods"]
    for certificate in _NEW_CERTIFICATES:
        if certificate not in methods:
            methods[certificate] = {"source": "certificate", "amount": amount, "id": certificate}
            return f"Certificate {certificate} added to user {user_id} with amount {amount}."
    raise ToolError("no more certificates can be sent")


@TOOLS.tool(
    "Change the bags of a reservation.",
    reservation_id=_RESERVATION_ID,
    total_baggages=_TOTAL_BAGS,
    nonfree_baggages=_PAID_BAGS,
    payment_id=_PAYMENT_ID,
)
def update_reservation_baggages(
    data: EpisodeData,
    reservation_id: str,
    total_baggages: int,
    nonfree_baggages: int,
    payment_id: str,
) -> str:
    reservation = _reservation(data, reservation_id)
    price = 50 * max(0, nonfree_baggages - reservation["nonfree_baggages"])
    _charge(data, reservation, payment_id, price)
    reservation["total_baggages"] = total_baggages
    reservation["nonfree_baggages"] = nonfree_baggages
    return json.dumps(reservation)


@TOOLS.tool(
    "Change the flights or the cabin of a reservation.",
    reservation_id=_RESERVATION_ID,
    cabin=_CABIN,
    flights=_FLIGHTS,
    payment_id=_PAYMENT_ID,
)
def update_reservation_flights(
    data: EpisodeData, reservation_id: str, cabin: str, flights: list[Record], payment_id: str
) -> str:
    reservation = _reservation(data, reservation_id)
    seats = len(reservation["passengers"])
    price = 0
    for flight in flights:
        kept = _kept(reservation, flight, cabin)
        if kept is None:
            price += _book_flight(data, flight, cabin, seats) * seats
        else:
            flight.update({name: kept[name] for name in ("price", "origin", "destination")})
            price += kept["price"] * seats
    price -= sum(flight["price"] for flight in reservation["flights"]) * seats
    _charge(data, reservation, payment_id, price)
    # Like the benchmark, neither the reservation's cabin nor the flights' seats change.
    reservation["flights"] = flights
    return json.dumps(reservation)


@TOOLS.tool(
    "Change who flies; the number of passengers stays.",
    reservation_id=_RESERVATION_ID,
    passengers=_PASSENGERS,
)
def update_reservation_passengers(
    data: EpisodeData, reservation_id: str, passengers: list[Record]
) -> str:
    reservation = _reservation(data, reservation_id)
    if len(passengers) != len(reservation["passengers"]):
        raise ToolError("number of passengers does not match")
    reservation["passengers"] = passengers
    return json.dumps(reservation)


def _found(data: EpisodeData, table: str, key: Any, otherwise: str) -> Record:
    record = data.find(table, key)
    if record is None:
        raise ToolError(otherwise)
    return record


def _reservation(data: EpisodeData, reservation_id: str) -> Record:
    """The reservation, to be written to."""
    _found(data, "reservations", reservation_id, "reservation not found")
    return data.edit("reservations", reservation_id)


def _available(flight: Record, date: str) -> bool:
    return date in flight["dates"] and flight["dates"][date]["status"] == "available"


def _on(flight: Record, date: str) -> Record:
    """A flight without its other dates."""
    plain = {name: value for name, value in flight.items() if name != "dates"}
    return {**plain, **flight["dates"][date]}


def _book_flight(data: EpisodeData, flight: Record, cabin: str, seats: int) -> int:
    """Check that the flight can be booked, complete its record, and return the price of a seat."""
    name, date = flight["flight_number"], flight["date"]
    known = _found(data, "flights", name, f"flight {name} not found")
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


def _kept(reservation: Record, flight: Record, cabin: str) -> Record | None:
    """The reservation's own record of this flight, if it stays as it is."""
    if cabin != reservation["cabin"]:
        return None
    wanted = (flight["flight_number"], flight["date"])
    held = reservation["flights"]
    return next((f for f in held if (f["flight_number"], f["date"]) == wanted), None)


def _check_payments(user: Record, payments: list[Record], price: float) -> None:
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


def _take(methods: Record, name: str, amount: float) -> None:
    """Gift cards are charged, certificates used up."""
    if methods[name]["source"] == "gift_card":
        methods[name]["amount"] -= amount
    elif methods[name]["source"] == "certificate":
        del methods[name]


def _charge(data: EpisodeData, reservation: Record, payment_id: str, price: float) -> None:
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
