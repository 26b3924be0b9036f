"""OpenDRIVE text of the route that the CARLA tasks drive, drawn straight: our own, not CARLA's.

Town04's motorway is followed through the roads 45, 103, 46, 659, 47, 558, 48, 887, 49, 717, 50. Here these lie one
after the other along the x axis, with the same numbers, lane numbers and directions: the reference lines of 659, 558,
887 and 717 run against the traffic, so that their lanes are 1 to 4. Shoulders are lanes -5 and 1 (or 5 and -1).
"""

from __future__ import annotations

from dataclasses import dataclass

LANE_WIDTH = 3.5
SHOULDER_WIDTH = 3.0
NUM_LANES = 4


@dataclass(frozen=True)
class Road:
    """A straight road.

    Attributes:
        number: its id.
        length: metres.
        start: x of the end that the traffic comes from, metres.
        against: whether the reference line runs against the traffic.
    """

    number: int
    length: float
    start: float
    against: bool


def _in_a_row(lengths: dict[int, float], against: frozenset[int]) -> tuple[Road, ...]:
    roads, start = [], 0.0
    for number, length in lengths.items():
        roads.append(Road(number, length, start, number in against))
        start += length
    return tuple(roads)


ROUTE = _in_a_row(
    {
        45: 584.0,
        103: 51.0,
        46: 177.0,
        659: 59.0,
        47: 118.0,
        558: 35.0,
        48: 82.0,
        887: 30.0,
        49: 60.0,
        717: 30.0,
        50: 60.0,
    },
    frozenset({659, 558, 887, 717}),
)
"""The roads of the task's route in order; their lengths hold the stretches on which traffic is placed."""


def open_drive(roads: tuple[Road, ...] = ROUTE) -> str:
    """The roads as OpenDRIVE 1.4, linked end to end."""
    parts = [_road(roads, place) for place in range(len(roads))]
    header = '<header revMajor="1" revMinor="4" name="route" north="0" south="0" east="0" west="0"/>'
    return f'<?xml version="1.0"?><OpenDRIVE>{header}{"".join(parts)}</OpenDRIVE>'


def _road(roads: tuple[Road, ...], place: int) -> str:
    road = roads[place]
    before = roads[place - 1] if place else None
    after = roads[place + 1] if place + 1 < len(roads) else None
    ahead, behind = (before, after) if road.against else (after, before)
    x, heading = (road.start + road.length, 3.141592653589793) if road.against else (road.start, 0.0)
    links = _road_link("predecessor", behind, road) + _road_link("successor", ahead, road)
    return (
        f'<road name="r{road.number}" length="{road.length}" id="{road.number}" junction="-1"><link>{links}</link>'
        f'<type s="0" type="motorway"><speed max="90" unit="km/h"/></type>'
        f'<planView><geometry s="0" x="{x}" y="0" hdg="{heading}" length="{road.length}"><line/></geometry></planView>'
        f'<elevationProfile><elevation s="0" a="0" b="0" c="0" d="0"/></elevationProfile><lateralProfile/>'
        f'<lanes><laneSection s="0">{_lanes(road, behind, ahead)}</laneSection></lanes></road>'
    )


def _road_link(kind: str, other: Road | None, road: Road) -> str:
    if other is None:
        return ""
    comes_first = other.start < road.start
    # Of a neighbour that the traffic comes through first, the end that the traffic leaves touches this road.
    leaves_at_end = not other.against
    contact = "end" if comes_first == leaves_at_end else "start"
    return f'<{kind} elementType="road" elementId="{other.number}" contactPoint="{contact}"/>'


def _lanes(road: Road, behind: Road | None, ahead: Road | None) -> str:
    """Four driving lanes, numbered from the middle outwards, and a shoulder on each side."""
    drives = {_side(road) * number: ("driving", LANE_WIDTH) for number in range(1, NUM_LANES + 1)}
    shoulders = {
        _side(road) * (NUM_LANES + 1): ("shoulder", SHOULDER_WIDTH),
        -_side(road): ("shoulder", SHOULDER_WIDTH),
    }
    lanes = drives | shoulders
    left = "".join(
        _lane(number, lanes[number], road, behind, ahead) for number in sorted(lanes, reverse=True) if number > 0
    )
    right = "".join(
        _lane(number, lanes[number], road, behind, ahead) for number in sorted(lanes, reverse=True) if number < 0
    )
    centre = '<lane id="0" type="none" level="false"><link/></lane>'
    return f"<left>{left}</left><center>{centre}</center><right>{right}</right>"


def _lane(number: int, kind: tuple[str, float], road: Road, behind: Road | None, ahead: Road | None) -> str:
    def same(other: Road) -> int:
        return number * (_side(road) * _side(other))

    links = f'<predecessor id="{same(behind)}"/>' if behind else ""
    links += f'<successor id="{same(ahead)}"/>' if ahead else ""
    mark = '<roadMark sOffset="0" type="broken" weight="standard" color="standard" width="0.15" laneChange="both"/>'
    return (
        f'<lane id="{number}" type="{kind[0]}" level="false"><link>{links}</link>'
        f'<width sOffset="0" a="{kind[1]}" b="0" c="0" d="0"/>{mark}</lane>'
    )


def _side(road: Road) -> int:
    """Sign of the driving lanes' numbers."""
    return 1 if road.against else -1
