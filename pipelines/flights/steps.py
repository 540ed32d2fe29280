"""The flights pipeline's own step: the distance that an aeroplane flies at least."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt
from typing import Any

EARTH_RADIUS_KM = 6371.0088  # the mean radius, by IUGG


def great_circle(flight: dict[str, Any]) -> dict[str, Any]:
    """Add `great_circle_km`, by the haversine formula on a sphere of the mean radius; None to an unknown airport."""
    start, end = flight["from_airport"], flight["airport"]
    if end is None:
        return {**flight, "great_circle_km": None}
    latitude_1, latitude_2 = radians(start["lat"]), radians(end["lat"])
    half_chord = (
        sin((latitude_2 - latitude_1) / 2) ** 2
        + cos(latitude_1) * cos(latitude_2) * sin(radians(end["lon"] - start["lon"]) / 2) ** 2
    )
    flight["great_circle_km"] = round(2 * EARTH_RADIUS_KM * asin(sqrt(half_chord)), 1)
    return flight
