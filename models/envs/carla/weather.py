"""The three weathers. The dynamic one is a law of its own: a sun that moves and storms that come and go."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

RATE = 0.1
"""How much of the law's unit step a control step takes."""

AZIMUTH_STEP, PHASE_STEP, STORM_STEP = 0.25, 0.008, 1.3
STORM_LOW, STORM_HIGH = -250.0, 100.0
DRY_START = -50.0
"""Storm level that an episode begins with when it is drawn at or below 0: otherwise most would stay dry throughout."""

FIXED = {"clear_noon": "ClearNoon", "wet_sunset": "WetSunset"}
"""Task → the preset of `carla.WeatherParameters`."""

DYNAMIC = "dynamic_weather"


@dataclass(frozen=True)
class DynamicWeather:
    """A state of the dynamic weather.

    Attributes:
        azimuth: of the sun, degrees in [0, 360).
        altitude: of the sun, degrees.
        phase: of the sun's rise and fall, radians.
        storm: level in [-250, 100].
        rising: whether the storm gathers.
    """

    azimuth: float
    altitude: float
    phase: float
    storm: float
    rising: bool = True

    @classmethod
    def drawn(cls, generator: np.random.Generator) -> DynamicWeather:
        """The state that an episode begins with. The altitude drawn is that of the first frame only."""
        azimuth = float(generator.uniform(0, 360))
        altitude = float(generator.uniform(0, 45))
        phase = float(generator.uniform(0, 2 * math.pi))
        storm = float(generator.uniform(STORM_LOW, STORM_HIGH))
        return cls(azimuth, altitude, phase, storm if storm > 0 else DRY_START)

    def after_step(self, rate: float = RATE) -> DynamicWeather:
        """The state a control step later."""
        phase = (self.phase + PHASE_STEP * rate) % (2 * math.pi)
        storm = self.storm + (STORM_STEP if self.rising else -STORM_STEP) * rate
        rising = self.rising
        if storm >= STORM_HIGH:
            storm, rising = STORM_HIGH, False
        elif storm <= STORM_LOW:
            storm, rising = STORM_LOW, True
        return replace(
            self,
            azimuth=(self.azimuth + AZIMUTH_STEP * rate) % 360.0,
            altitude=22.5 + 22.5 * math.cos(phase),
            phase=phase,
            storm=storm,
            rising=rising,
        )

    def parameters(self) -> dict[str, float]:
        """Fields of `carla.WeatherParameters`."""
        storm = self.storm
        clouds = _clamp(storm + 40, 0, 60)
        return {
            "cloudiness": clouds,
            "precipitation": _clamp(storm, 0, 80),
            "precipitation_deposits": _clamp(storm - 10 if self.rising else storm + 90, 0, 85),
            "wind_intensity": 5.0 if clouds <= 20 else 90.0 if clouds >= 70 else 40.0,
            "sun_azimuth_angle": self.azimuth,
            "sun_altitude_angle": self.altitude,
            "fog_density": 0.0,
            "wetness": _clamp(5 * storm, 0, 100),
        }


def _clamp(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))
