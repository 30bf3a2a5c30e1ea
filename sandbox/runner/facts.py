"""What a chart shows, in words and numbers, read from the artists of a drawn figure: for those, people and models, who do not
see it.

Nothing of the person's is called for it, no formatter and no locator: tick labels are read as they were drawn. Matplotlib's
classes are told by their names, so that nothing is imported.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from itertools import pairwise
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_ALT, _FACTS = 600, 4_000
_CHARTS, _SERIES, _VALUES = 6, 12, 12
_NAMED_IN_ALT = 4
_GRID = 4_000_000
"""Values of a heatmap that are looked at: they are copied for it."""
_GREYS = frozenset(("gray", "grey", "gist_gray", "Greys", "binary", "gray_r"))

Reader = Callable[[float], str]


class Box(NamedTuple):
    """One box of a box plot: where it stands, whether it lies flat, its numbers, and a line that tells whether it is there."""

    place: float
    flat: bool
    stats: Any
    line: Any


_drawn_boxes: WeakKeyDictionary[Any, list[Box]] = WeakKeyDictionary()


class Series(NamedTuple):
    """What is said of one series: in a few words, and in full."""

    short: str
    full: str


def watch(axes: Any) -> None:
    """From now on `Axes.bxp` leaves behind the numbers that a box plot is drawn from: its lines alone do not tell them."""
    drawn = axes.bxp

    @wraps(drawn)
    def bxp(self: Any, bxpstats: Any, positions: Any = None, **options: Any) -> Any:
        value = drawn(self, bxpstats, positions, **options)
        with suppress(Exception):
            flat = options.get("orientation") == "horizontal" or options.get("vert") is False
            places = range(1, len(bxpstats) + 1) if positions is None else positions
            boxes = zip(places, bxpstats, value["medians"], strict=True)
            _drawn_boxes.setdefault(self, []).extend(Box(float(place), flat, stats, line) for place, stats, line in boxes)
        return value

    axes.bxp = bxp


def describe(figure: Any) -> tuple[str, str]:
    """Alt text of a sentence or two, and all that is known; never raises."""
    alt: list[str] = []
    full: list[str] = []
    charts: list[Any] = []
    with suppress(Exception):
        charts = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"][:_CHARTS]
        if title := figure.get_suptitle():
            alt, full = [f"'{title}'"], [f"'{title}'"]
    for axes in charts:
        with suppress(Exception):  # what is odd is left out
            heading, series = _heading(axes), list(_series(axes))
            short = [item.short for item in series[:_NAMED_IN_ALT]] + ["…"] * (len(series) > _NAMED_IN_ALT)
            alt.append("; ".join([heading, *short]))
            full += [heading, *(item.full for item in series)]
    return _line(". ".join(alt) or "Figure", _ALT), _line(". ".join(full), _FACTS)


def describe_plotly(figure: Any) -> tuple[str, str]:
    """The same of a plotly figure, from its traces; never raises."""
    heading, series = "Interactive chart", []
    with suppress(Exception):
        layout, traces = figure.layout, figure.data[:_SERIES]
        heading = f"Interactive {'/'.join(dict.fromkeys(map(_kind_of_trace, traces)))} chart"
        heading += f" '{layout.title.text}'" if layout.title.text else ""
        labels = [
            f"{letter} {axis.title.text}" for letter, axis in (("x", layout.xaxis), ("y", layout.yaxis)) if axis.title.text
        ]
        names = [str(trace.name) for trace in traces if trace.name] if len(traces) > 1 else []
        said = ([", ".join(labels)] if labels else []) + ([f"series {', '.join(names)}"] if names else [])
        heading += f": {'; '.join(said)}" if said else ""
        series = [item for trace in traces for item in _trace(trace, str(trace.name or "") if names else "")]
    short = [item.short for item in series[:_NAMED_IN_ALT]] + ["…"] * (len(series) > _NAMED_IN_ALT)
    return _line("; ".join([heading, *short]), _ALT), _line(". ".join([heading, *(item.full for item in series)]), _FACTS)


def _kind_of_trace(trace: Any) -> str:
    """Plotly calls a line a scatter chart too."""
    return "line" if trace.type in ("scatter", "scattergl") and trace.mode != "markers" else str(trace.type)


def _trace(trace: Any, name: str) -> Iterator[Series]:
    """A series from its values and their places; of a trace of another shape (a map, a surface) nothing is said."""
    numpy = sys.modules["numpy"]
    x, y, z, labels, shares = (getattr(trace, name, None) for name in ("x", "y", "z", "labels", "values"))
    if z is not None:
        return
    places, values = (labels, shares) if shares is not None else (x, y)
    if getattr(trace, "orientation", None) == "h":
        places, values = values, places
    with suppress(TypeError, ValueError):
        height = numpy.asarray(values, dtype=float)
        if height.ndim == 1 and numpy.isfinite(height).any():
            ends = (int(numpy.nanargmin(height)), int(numpy.nanargmax(height)))
            low, high = (f"{_number(height[end])} at {_place(end if places is None else places[end])}" for end in ends)
            extremes = f"lowest {low}, highest {high}"
            yield Series(f"{name} {extremes}".strip(), _full(name, f"{height.size:,} points, {extremes}"))


def _place(value: Any) -> str:
    return re.sub(r"T00:00:00(\.0+)?$", "", str(value))


def _line(text: str, limit: int) -> str:
    flat = re.sub(r"\s+", " ", text)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


# -- the chart as a whole


def _heading(axes: Any) -> str:
    title = axes.get_title() or axes.get_title(loc="left") or axes.get_title(loc="right")
    labels = [f"{letter} {label}" for letter, label in (("x", axes.get_xlabel()), ("y", axes.get_ylabel())) if label]
    names = [name for name in axes.get_legend_handles_labels()[1] if name] or list(_legend(axes).values())
    facts = ([", ".join(labels)] if labels else []) + ([f"series {', '.join(names[:8])}"] if names else [])
    text = _kind(axes) + (f" '{title}'" if title else "")
    return f"{text}: {'; '.join(facts)}" if facts else text


def _kind(axes: Any) -> str:
    bars = _containers(axes, "BarContainer")
    kinds = (
        ("3-D chart", axes.name == "3d"),
        ("Pie chart", bool(_wedges(axes))),
        ("Box plot", bool(_boxes(axes))),
        ("Heatmap", any(_is_heatmap(grid) for grid in _grids(axes))),
        ("Image", bool(axes.images)),
        ("Histogram", any(_touch(axes, bar) for bar in bars)),
        ("Bar chart", bool(bars)),
        ("Line chart", bool(_lines(axes))),
        ("Scatter chart", any(_is_a(item, "PathCollection") for item in axes.collections)),
        ("Bar chart", any(_is_a(patch, "Rectangle") for patch in axes.patches)),
    )
    return next((name for name, holds in kinds if holds), "Chart")


def _is_a(artist: Any, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(artist).__mro__)


def _containers(axes: Any, kind: str) -> list[Any]:
    return [item for item in axes.containers if _is_a(item, kind)][:_SERIES]


def _boxes(axes: Any) -> list[Box]:
    return [box for box in _drawn_boxes.get(axes, []) if box.line.axes is axes]


def _wedges(axes: Any) -> list[Any]:
    return [patch for patch in axes.patches if _is_a(patch, "Wedge")]


def _grids(axes: Any) -> list[Any]:
    return [*axes.images, *(item for item in axes.collections if _is_a(item, "QuadMesh"))]


def _is_heatmap(grid: Any) -> bool:
    return grid.get_array() is not None and grid.get_array().ndim == 2 and grid.get_cmap().name not in _GREYS


def _legend(axes: Any) -> dict[tuple[float, ...], str]:
    """The legend's names by colour: seaborn's lines and bars carry none of their own."""
    legend = axes.get_legend()
    if legend is None:
        return {}
    names = (text.get_text() for text in legend.get_texts())
    return {_colour(handle): name for handle, name in zip(legend.legend_handles, names, strict=False) if name}


def _colour(artist: Any) -> tuple[float, ...]:
    value = artist.get_facecolor() if hasattr(artist, "get_facecolor") else artist.get_color()
    colours = sys.modules["matplotlib.colors"].to_rgba_array(value)
    return tuple(round(float(part), 3) for part in colours[0][:3]) if len(colours) == 1 else ()


# -- its series


def _series(axes: Any) -> Iterator[Series]:
    if axes.name == "3d":
        return  # what its artists hold after drawing is the projection
    yield from _pie(axes)
    yield from _box_plot(axes)
    for grid in _grids(axes)[:2]:
        yield from _grid(axes, grid)
    for bar in _containers(axes, "BarContainer"):
        yield from _histogram(axes, bar) if _touch(axes, bar) else _bars(axes, bar)
    for line, label in _lines(axes):
        yield from _points(axes, _name(axes, line, label), line.get_xdata(orig=False), line.get_ydata(orig=False))
    for dots in [item for item in axes.collections if _is_a(item, "PathCollection")][:_SERIES]:
        places = dots.get_offsets()
        yield from _points(axes, _name(axes, dots, dots.get_label()), places[:, 0], places[:, 1])


def _lines(axes: Any) -> list[tuple[Any, str]]:
    """Lines of the data with their labels; none of a box plot, and none that only cross the chart (`axhline`)."""
    if _boxes(axes):
        return []
    held = [item for kind in ("ErrorbarContainer", "StemContainer") for item in _containers(axes, kind) if item[0] is not None]
    lines = [(item[0], item.get_label()) for item in held]
    lines += [(line, line.get_label()) for line in axes.lines if line.get_label() != "_nolegend_"]
    return [
        (line, label)
        for line, label in lines
        if line.get_transform().contains_branch_seperately(axes.transData) == (True, True) and len(line.get_xdata(orig=False))
    ][:_SERIES]


def _name(axes: Any, artist: Any, label: object) -> str:
    """Its own label, else the legend's; "" where it has neither (matplotlib's own labels begin with an underscore)."""
    known = str(label)
    return known if known and not known.startswith("_") else _legend(axes).get(_colour(artist), "")


def _points(axes: Any, name: str, xs: Any, ys: Any) -> Iterator[Series]:
    numpy = sys.modules["numpy"]
    x, y = (numpy.ma.filled(numpy.ma.asarray(values, dtype=float), numpy.nan) for values in (xs, ys))
    there = numpy.isfinite(x) & numpy.isfinite(y)
    if not there.all():
        x, y = x[there], y[there]  # a copy, which as many points as fit the memory once might not bear
    if not len(y):
        return
    across, up = _reader(axes, "x"), _reader(axes, "y")

    def at(index: int) -> str:
        return f"{up(y[index])} at {across(x[index])}"

    if len(y) == 1:
        yield Series(f"{name} {at(0)}".strip(), _full(name, f"one point, {at(0)}"))
        return
    extremes = f"lowest {at(int(y.argmin()))}, highest {at(int(y.argmax()))}"
    facts = f"{len(y):,} points, x from {across(x.min())} to {across(x.max())}, first {at(0)}, last {at(-1)}, {extremes}"
    yield Series(f"{name} {extremes}".strip(), _full(name, facts))


def _bars(axes: Any, bar: Any) -> Iterator[Series]:
    flat = bar.orientation == "horizontal"
    where, value_of = _reader(axes, "y" if flat else "x", ticks=True), _reader(axes, "x" if flat else "y")
    bars = [(_middle(patch, flat), float(patch.get_width() if flat else patch.get_height())) for patch in bar.patches]
    bars = [(place, value) for place, value in bars if value == value]
    if not bars:
        return
    low, high = min(bars, key=lambda it: it[1]), max(bars, key=lambda it: it[1])
    name = _name(axes, bar.patches[0], bar.get_label())

    def said(it: tuple[float, float]) -> str:
        return f"{where(it[0])} {value_of(it[1])}"

    extremes = f"highest {said(high)}" + (f", lowest {said(low)}" if len(bars) > 1 else "")
    values = ", ".join(map(said, bars[:_VALUES])) + (", …" if len(bars) > _VALUES else "")
    count = f"{len(bars):,} bar" + ("s" if len(bars) > 1 else "")
    yield Series(f"{name} {extremes}".strip(), _full(name, f"{count}, {extremes}: {values}"))


def _middle(patch: Any, flat: bool) -> float:
    return float(patch.get_y() + patch.get_height() / 2 if flat else patch.get_x() + patch.get_width() / 2)


def _touch(axes: Any, bar: Any) -> bool:
    """Whether each bar begins where the one before it ends, as a histogram's do."""
    patches = bar.patches
    if bar.orientation == "horizontal" or len(patches) < 3 or hasattr(axes.xaxis.units, "_mapping"):
        return False
    room = [float(after.get_x() - before.get_x() - before.get_width()) for before, after in pairwise(patches)]
    return max(map(abs, room)) < 1e-6 * abs(float(patches[-1].get_x() - patches[0].get_x()))


def _histogram(axes: Any, bar: Any) -> Iterator[Series]:
    across, up = _reader(axes, "x"), _reader(axes, "y")
    patches, name = bar.patches, _name(axes, bar.patches[0], bar.get_label())
    fullest = max(patches, key=lambda patch: float(patch.get_height()))
    left, right = fullest.get_x(), fullest.get_x() + fullest.get_width()
    peak = f"most ({up(fullest.get_height())}) between {across(left)} and {across(right)}"
    ends = across(patches[0].get_x()), across(patches[-1].get_x() + patches[-1].get_width())
    total = sum(float(patch.get_height()) for patch in patches)
    counted = f"{up(total)} values in " if total == round(total) else ""
    full = f"{counted}{len(patches)} bins from {ends[0]} to {ends[1]}, {peak}"
    yield Series(f"{name} from {ends[0]} to {ends[1]}, {peak}".strip(), _full(name, full))


def _pie(axes: Any) -> Iterator[Series]:
    wedges = _wedges(axes)
    if not wedges:
        return
    shares = [abs(wedge.theta2 - wedge.theta1) / 360 for wedge in wedges]
    names = [_name(axes, wedge, wedge.get_label()) or f"slice {number}" for number, wedge in enumerate(wedges, 1)]
    ranked = sorted(zip(shares, names, strict=True), key=lambda it: -it[0])
    said = [f"{name} {share:.1%}" for share, name in ranked[:_VALUES]]
    ends = f"largest {said[0]}" + (f", smallest {ranked[-1][1]} {ranked[-1][0]:.1%}" if len(ranked) > 1 else "")
    yield Series(ends, f"{len(wedges)} slices: {', '.join(said)}" + (", …" if len(ranked) > _VALUES else ""))


def _box_plot(axes: Any) -> Iterator[Series]:
    for place, flat, stats, _ in _boxes(axes)[:_SERIES]:
        value = _reader(axes, "x" if flat else "y")
        name = _reader(axes, "y" if flat else "x", ticks=True)(place)
        low, first, middle, third, high = (value(float(stats[key])) for key in ("whislo", "q1", "med", "q3", "whishi"))
        box = f"median {middle}, quartiles {first} and {third}, whiskers {low} and {high}"
        if count := len(stats.get("fliers", ())):
            box += f", {count} outlier" + ("s" if count > 1 else "")
        yield Series(f"{name} median {middle}", _full(name, box))


def _grid(axes: Any, grid: Any) -> Iterator[Series]:
    numpy = sys.modules["numpy"]
    values = grid.get_array()
    if values is None:
        return
    if values.ndim != 2:
        size = f"{values.shape[1]:,} by {values.shape[0]:,} pixels"
        yield Series(size, size)
        return
    shape = f"{values.shape[0]:,} rows by {values.shape[1]:,} columns"
    if values.size > _GRID:
        yield Series(shape, shape)
        return
    values = numpy.ma.filled(numpy.ma.asarray(values, dtype=float), numpy.nan)
    if not numpy.isfinite(values).any():
        return
    offset = 0.5 if _is_a(grid, "QuadMesh") else 0.0
    rows, columns = _ticks(axes.yaxis), _ticks(axes.xaxis)

    def at(flat: int) -> str:
        row, column = divmod(flat, values.shape[1])
        place = rows.get(row + offset) or f"row {row}", columns.get(column + offset) or f"column {column}"
        return f"{_number(values[row, column])} at {', '.join(place)}"

    extremes = f"lowest {at(int(numpy.nanargmin(values)))}; highest {at(int(numpy.nanargmax(values)))}"
    yield Series(extremes, f"{shape}, {extremes}")


def _full(name: str, facts: str) -> str:
    return f"{name}: {facts}" if name else facts


# -- values as an axis writes them


def _reader(axes: Any, letter: str, ticks: bool = False) -> Reader:
    """From a number on this axis to what stands for it: a category, a date, the tick's label (with `ticks`), or itself."""
    axis = axes.xaxis if letter == "x" else axes.yaxis
    names = {float(place): str(name) for name, place in (getattr(axis.units, "_mapping", None) or {}).items()}
    dates = _dates(axis)
    near = (_ticks(axis) | names) if ticks and not dates else names
    other = dates or _number

    def read(value: float) -> str:
        place = min(near, key=lambda place: abs(place - value), default=value)
        return near[place] if place in near and abs(place - value) < (0.5 if ticks else 1e-6) else other(value)

    return read


def _ticks(axis: Any) -> dict[float, str]:
    """The labels that were drawn, unless they are numbers: those may be written relative to an offset."""
    if _is_a(axis.major.formatter, "ScalarFormatter") or _is_a(axis.major.formatter, "LogFormatter"):
        return {}
    fixed = len(axis.major.locator.locs) if _is_a(axis.major.locator, "FixedLocator") else None  # more are left from before
    return {float(tick.get_loc()): tick.label1.get_text() for tick in axis.majorTicks[:fixed] if tick.label1.get_text()}


def _dates(axis: Any) -> Reader | None:
    converter = type(axis.get_converter()).__name__ if hasattr(axis, "get_converter") else type(axis.converter).__name__
    pandas, freq = sys.modules.get("pandas"), getattr(axis, "freq", None)
    if pandas and freq is not None and "Period" in converter:
        return lambda value: str(pandas.Period(ordinal=round(value), freq=freq))
    if "Date" in converter:
        return lambda value: re.sub(r" 00:00$", "", f"{sys.modules['matplotlib.dates'].num2date(value):%Y-%m-%d %H:%M}")
    return None


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) < 1e15 and value == round(value) else f"{value:.6g}"
