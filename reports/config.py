"""What `ipv-bench report --config FILE` can say: alignment, statistics, and figures of one's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import nearest_name
from reports.readers.base import ReadConfig, ReadOptions
from reports.readers.column_names import OPTIONAL, REQUIRED
from reports.readers.name_patterns import check_pattern
from reports.scores.align import GridConfig
from reports.scores.ends import FinalAt
from reports.scores.normalise import NormaliseConfig
from reports.scores.protocols import PROTOCOLS, ProtocolName
from reports.statistics.intervals import CONFIDENCE, Statistic

WIDTHS = {"one_column": 3.25, "two_columns": 6.75}
NARROWEST, WIDEST = 2.5, 24.0
"""Inches of a figure."""

Range = tuple[float, float]
Scores = Literal["normalised", "logged"]
"""normalised: on the suite's scale (returns of DMControl / 1000, CARLA's of each weather to [0, 1], shares of success
as they are), so that tasks can be pooled; logged: as the log has them."""
MACHINE_CHANGES = ["training.precision", "training.compile", "training.cuda_graph", "training.deterministic"]
"""Overrides that say how a run was computed."""


def figure_width(width: str | float) -> float:
    """A figure's width in points."""
    return 72 * (WIDTHS[width] if isinstance(width, str) else width)


class MethodLine(Config):
    """One line of a figure: which runs it is made of, and what it is called."""

    label: str
    """Name in the legend."""
    where: dict[str, Any]
    """Field → value that a run must have: `method`, `variant`, `pretraining.data`, any config field; `{any: [a, b]}`
    accepts several. Unset fields are not looked at."""
    usual: dict[str, Any] = {}
    """Conditions that a method fulfils by itself: runs must have them, commands that make runs do not say them."""
    on_task: dict[str, dict[str, Any]] = {}
    """Task → conditions beside `where` for its runs: for what was set on one task alone."""


class PanelConfig(Config):
    """Panels of a figure that show the same methods."""

    title: str = ""
    """Above the panel; empty: the task's name, or what is aggregated."""
    show: Literal["tasks", "aggregate"] = "tasks"
    """tasks: one panel per task; aggregate: one panel over all of them."""
    suite: str = ""
    """Task suite ("metaworld"); empty: the figure's."""
    tasks: list[str] = []
    """Tasks of the suite; empty: the figure's."""
    methods: list[MethodLine] = []
    """Lines; empty: the figure's."""
    where: dict[str, Any] = {}
    """Conditions for all lines of these panels, beside the figure's."""
    x_range: Range | None = None
    """Env steps shown; unset: the figure's."""
    y_range: Range | None = None
    """Scores shown; unset: the figure's."""
    y_label: str = ""
    """Name of the score with its unit; empty: the figure's."""
    scores: Scores | None = None
    """What is drawn; unset: the figure's."""


class FigureConfig(Config):
    """A figure of learning curves, described by what it shows, so that missing runs can be named."""

    title: str
    """Heading on the page."""
    caption: str = ""
    """Text below; the runs' `env_fingerprint` and how it was computed are added."""
    source: str = ""
    """Where the layout is from (paper and figure number)."""
    suite: str = ""
    """Task suite of all panels that name none."""
    tasks: list[str] = []
    """Tasks of all panels that name none."""
    methods: list[MethodLine] = []
    """Lines of all panels that name none."""
    where: dict[str, Any] = {}
    """Conditions for every line."""
    usual: dict[str, Any] = {}
    """Such conditions that the methods fulfil by themselves; see `MethodLine.usual`."""
    panels: list[PanelConfig] = Field([PanelConfig()], min_length=1)
    """What is drawn, in reading order."""
    columns: int = Field(3, ge=1)
    """Panels in a row."""
    seeds: Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = 8
    """Runs per task and method, of any seeds, or the seeds that must be there; what is not there is named as missing.
    All runs that fit are drawn, whatever their seeds."""
    x_range: Range | None = None
    """Env steps shown; unset: those of the runs."""
    y_range: Range | None = None
    """Scores shown; unset: those of the runs."""
    y_label: str = "score"
    """Name of the score with its unit."""
    scores: Scores = "normalised"
    """What is drawn. Aggregates over several tasks need one scale."""
    ignore_changes: list[str] | Literal["all"] = MACHINE_CHANGES
    """Overrides that a run may have although its line does not name them; `all`: any. With others a run is of no line,
    and a note says which: a line never mixes a method with a variant of it. A `where` that names `variant` decides."""
    statistic: Statistic = "iqm"
    """Statistic of the lines."""
    preset: str = "paper"
    """Preset of the commands that make missing runs."""

    @model_validator(mode="after")
    def _complete(self) -> FigureConfig:
        for index, panel in enumerate(self.panels):
            if panel.show == "aggregate" and (panel.scores or self.scores) == "logged":
                raise RefusedValueError(
                    f"panel {index + 1} pools tasks by scores as they are logged",
                    expected="one scale for all of them",
                    fix="set `scores: normalised`, or `show: tasks` for a panel of each",
                )
            if self.statistic == "optimality_gap" and (panel.scores or self.scores) == "logged":
                raise RefusedValueError(
                    f"panel {index + 1} shows the optimality gap of scores as they are logged, without a scale",
                    expected="normalised scores",
                    fix="set `scores: normalised`, or another statistic",
                )
            for name in ("suite", "tasks", "methods"):
                if not getattr(panel, name) and not getattr(self, name):
                    raise RefusedValueError(
                        f"panel {index + 1} has no {name}, and the figure has none either",
                        expected=f"`{name}` in one of the two",
                        fix=f"add `{name}` to the figure, for all of its panels",
                    )
            labels = [line.label for line in panel.methods or self.methods]
            twice = next((label for label in labels if labels.count(label) > 1), None)
            if twice is not None:
                raise RefusedValueError(
                    f"panel {index + 1} has two lines labelled {twice!r}",
                    expected="a label of its own for each line: it is the line's name",
                    fix="rename one of them",
                )
        return self

    def filled(self, panel: PanelConfig) -> PanelConfig:
        """The panel with the figure's values where it has none of its own."""
        return panel.model_copy(
            update={
                "suite": panel.suite or self.suite,
                "tasks": panel.tasks or self.tasks,
                "methods": panel.methods or self.methods,
                "where": {**self.where, **panel.where},
                "x_range": panel.x_range or self.x_range,
                "y_range": panel.y_range or self.y_range,
                "y_label": panel.y_label or self.y_label,
                "scores": panel.scores or self.scores,
            }
        )


class ReportConfig(Config):
    """Everything about a report that is not a path."""

    title: str = "ipv-bench report"
    """Heading of the page."""
    figures: dict[str, FigureConfig] = {}
    """Name → figure of one's own, to be asked for with `--figures`; drawn without being asked when it is not given."""
    read: ReadConfig = ReadConfig()
    """What to read where a log has several scores."""
    names: str | list[str] = []
    """Where in a log's path the names stand that the log does not hold: "{suite}_{task}/{method}/{seed}", `{}` for
    anything, `{method=sac}` for what no path says. Of several patterns the first that fits is used."""
    columns: dict[str, str] = {}
    """Our name (method, variant, suite, task, seed, step, score, metric) → a table's name of the column."""
    normalise: NormaliseConfig = NormaliseConfig()
    """Scales on which tasks are pooled."""
    grid: GridConfig = GridConfig()
    """Alignment of the runs."""
    statistic: Statistic = "iqm"
    """Statistic of the curves."""
    confidence: float = Field(CONFIDENCE, gt=0, lt=1)
    """Coverage of the intervals."""
    resample_tasks: bool = False
    """Also draw tasks with replacement in aggregates: the uncertainty over a larger population of tasks."""
    final_window: float = Field(0.0, ge=0)
    """Final scores are means over the last so many env steps; 0: the last grid point."""
    protocol: ProtocolName = ""
    """A published rule for final scores (atari100k, atari200m, dmc100k, dmc500k); sets `grid.stop` unless that is
    given."""
    reach: list[float] = [0.5, 0.9]
    """Normalised scores for which the env steps until they are reached are tabulated."""
    final_at: FinalAt = "auto"
    """Env steps at which final scores are read. auto: the last step that all methods reached on the task, where they
    end within a fifth of each other, else each method at its own end; common, own: always the one or the other."""
    min_tasks: float = Field(0.25, ge=0, le=1)
    """Leave methods out of a suite's aggregates that were run on less than this share of its tasks: they would decide
    over which tasks all others are aggregated."""
    baseline: str = ""
    """Method that every other one is compared with: differences and probability of improvement; empty: improvement of
    each over each."""
    where: dict[str, Any] = {}
    """Only runs with these values are used."""
    width: Literal["one_column", "two_columns"] | float = "two_columns"
    """Width of figures on paper: of one column (3.25 inches), of two (6.75), or in inches. A panel alone never takes
    more than one column."""
    formats: list[Literal["pdf", "svg", "png"]] = Field(["pdf", "svg", "png"], min_length=1)
    """Files of each figure; fewer are drawn faster. Its values are always written as CSV."""
    figure_notes: bool = True
    """Write number of runs, meaning of the band and env steps into each figure, in small letters."""
    drawing_processes: int = Field(0, ge=0)
    """Processes that draw figures at once; 0: one per processor that may be used."""

    @field_validator("width")
    @classmethod
    def _wide_enough(cls, width: str | float) -> str | float:
        if not isinstance(width, str) and not NARROWEST <= width <= WIDEST:
            raise RefusedValueError(
                f"width {width:g} is not between {NARROWEST:g} and {WIDEST:g} inches",
                expected=f"one_column, two_columns, or {NARROWEST:g} to {WIDEST:g}",
                fix="set width to one of these",
            )
        return width

    @model_validator(mode="after")
    def _a_gap_has_a_scale(self) -> ReportConfig:
        if self.statistic == "optimality_gap":
            raise RefusedValueError(
                "statistic is optimality_gap, and scores of single tasks are shown as they were logged",
                expected="iqm, median or mean",
                fix="leave it out: the table of aggregates has that gap, and a figure of your own may draw it",
            )
        return self

    @model_validator(mode="after")
    def _stops_as_published(self) -> ReportConfig:
        if self.protocol and self.grid.stop is None:
            grid = self.grid.model_copy(update={"stop": PROTOCOLS[self.protocol].stop})
            object.__setattr__(self, "grid", grid)  # the config is frozen once it is built
        return self

    @property
    def read_options(self) -> ReadOptions:
        """What readers are asked for."""
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        return ReadOptions(metric=self.read.metric, names=names, columns=self.columns)

    @field_validator("names")
    @classmethod
    def _patterns(cls, names: str | list[str]) -> str | list[str]:
        for pattern in [names] if isinstance(names, str) else names:
            check_pattern(pattern)
        return names

    @field_validator("columns")
    @classmethod
    def _our_names(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in (*REQUIRED, *OPTIONAL):
                raise RefusedValueError(
                    f"columns has {name!r}, which is no name of ours",
                    expected=f"our name: the file's name; ours are {', '.join((*REQUIRED, *OPTIONAL))}",
                    fix=f"write columns: {{{nearest_name(name, (*REQUIRED, *OPTIONAL)) or 'score'}: the table's name}}",
                )
        return columns

    @field_validator("figures")
    @classmethod
    def _file_names(cls, figures: dict[str, FigureConfig]) -> dict[str, FigureConfig]:
        for name in figures:
            if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise RefusedValueError(
                    f"a figure is called {name!r}, and its name names files",
                    expected="letters, digits, - and _",
                    fix="give it such a name; what stands above it is its `title`",
                )
        return figures
