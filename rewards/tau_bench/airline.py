"""τ-bench's airline: its 14 tools.

What each tool reads, checks and writes follows sierra-research/tau-bench, envs/airline/tools, as
do the texts of its errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from rewards.tau_bench.airline_booking import (
    available,
    book_flight,
    charge,
    check_payments,
    kept_flight,
    on_day,
    record_of,
    reservation_of,
    take,
)
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
    return json.dumps(record_of(data, "users", user_id, "user not found"))


@TOOLS.tool("A reservation with flights and payments.", reservation_id=_RESERVATION_ID)
def get_reservation_details(data: EpisodeData, reservation_id: str) -> str:
    # "user not found" is what the benchmark says here.
    return json.dumps(record_of(data, "reservations", reservation_id, "user not found"))


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
    return json.dumps([on_day(flight, date) for flight in wanted if available(flight, date)])


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
            if available(first, date) and available(second, next_date):
                # It shows the second flight's seats and prices of the first day.
                yield [
                    {**on_day(first, date), "date": date},
                    {**on_day(second, date), "date": next_date},
                ]


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
    record_of(data, "users", user_id, "user not found")
    user = data.edit("users", user_id)
    taken = [name for name in _NEW_RESERVATIONS[:-1] if data.find("reservations", name)]
    reservation_id = _NEW_RESERVATIONS[len(taken)]
    seats = len(passengers)
    price = sum(book_flight(data, flight, cabin, seats) * seats for flight in flights)
    price += 30 * seats if insurance == "yes" else 0
    price += 50 * nonfree_baggages
    check_payments(user, payment_methods, price)
    for payment in payment_methods:
        take(user["payment_methods"], payment["payment_id"], payment["amount"])
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
    reservation = reservation_of(data, reservation_id)
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
    record_of(data, "users", user_id, "user not found")
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
    reservation = reservation_of(data, reservation_id)
    price = 50 * max(0, nonfree_baggages - reservation["nonfree_baggages"])
    charge(data, reservation, payment_id, price)
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
    reservation = reservation_of(data, reservation_id)
    seats = len(reservation["passengers"])
    price = 0
    for flight in flights:
        kept = kept_flight(reservation, flight, cabin)
        if kept is None:
            price += book_flight(data, flight, cabin, seats) * seats
        else:
            flight.update({name: kept[name] for name in ("price", "origin", "destination")})
            price += kept["price"] * seats
    price -= sum(flight["price"] for flight in reservation["flights"]) * seats
    charge(data, reservation, payment_id, price)
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
    reservation = reservation_of(data, reservation_id)
    if len(passengers) != len(reservation["passengers"]):
        raise ToolError("number of passengers does not match")
    reservation["passengers"] = passengers
    return json.dumps(reservation)
