"""The drawing: a chart by matplotlib as SVG that belongs to a page, and as PNG for slides. The same data give the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from grading.contract.language import english

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Mapping[str, str] = {
    "ink": "#1d2430",
    "dim": "#566070",
    "line": "#d8dde5",
    "one": "#2f62b4",
    "two": "#b4540a",
    "good": "#2b7a43",
}
"""The colours of charts by their names in the style of a page, which has others for a dark screen."""

DPI = 250
"""Dots of a PNG for each inch."""

CHINESE = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "SimHei",
    "Microsoft YaHei",
)
"""Fonts with Chinese characters, for PNG files; the page has fonts of its own."""

Say = Callable[[str], str]
"""What words become in a chart: themselves, or English where no font has Chinese characters."""


@dataclass(frozen=True)
class Chart:
    """One chart, before it is drawn."""

    name: str
    """Of its PNG file, without the ending; and of its place in a page."""
    title: str
    """What it shows, as a heading."""
    words: str
    """What can be seen in it, for those who do not see it."""
    size: tuple[float, float]
    """Width and height in inches."""
    draw: Callable[[Figure, Say], None]
    """Draws it."""
    head: Sequence[str] = ()
    """The heads of the columns of `numbers`."""
    numbers: Sequence[Sequence[str]] = ()
    """What is drawn, as a table."""


def as_svg(chart: Chart) -> str:
    """The chart as an element of a page: its colours are names of the page's style, and its texts are texts."""
    file = io.StringIO()
    with _settings(chart):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        _drawn(chart, str).savefig(file, format="svg", transparent=True, metadata=metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # the size is the page's matter
    text = re.sub(
        r'^<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', text
    )
    # the style would be the whole page's, which has these rules for charts
    text = re.sub(r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    # all charts of a page share one name space
    text = re.sub(r'\bid="', f'id="{chart.name}-', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{chart.name}-", text).replace("xlink:href", "href")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    # the font is the page's, too
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    return re.sub(r"font-family: [^;\"]*;? ?", "", text).strip()


def as_png(chart: Chart) -> bytes:
    """The chart as a PNG file on white."""
    file = io.BytesIO()
    with _settings(chart):
        say = str if _has_chinese() else english
        _drawn(chart, say).savefig(file, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def plain_axes(figure: Figure, rows: int = 1, columns: int = 1) -> list[Any]:
    """The axes of a figure, without the lines that nobody needs."""
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=COLOURS["line"], linewidth=0.6)
        axes.set_axisbelow(True)
    return found


def _drawn(chart: Chart, say: Say) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=chart.size, layout="constrained")
    chart.draw(figure, say)
    return figure


@contextmanager
def _settings(chart: Chart) -> Iterator[None]:
    """matplotlib's own settings with ours, whatever the user's file says."""
    import matplotlib as mpl

    ink, dim = COLOURS["ink"], COLOURS["dim"]
    ours = {
        "svg.fonttype": "none",
        "svg.hashsalt": chart.name,
        "text.parse_math": False,
        "font.family": ["DejaVu Sans", *_fonts()],
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.edgecolor": dim,
        "axes.linewidth": 0.8,
        "axes.unicode_minus": True,
        "legend.frameon": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), ink),
    }
    with mpl.rc_context(), warnings.catch_warnings():
        # a character that no font has is a box, in PNG files only
        warnings.filterwarnings("ignore", message=".*Glyph .* missing")
        warnings.filterwarnings("ignore", message=".*does not have a glyph")
        mpl.rcdefaults()
        mpl.rcParams.update(ours)
        yield


def _has_chinese() -> bool:
    return bool(_fonts())


def _fonts() -> list[str]:
    """Those of `CHINESE` that are installed."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return [name for name in CHINESE if name in known]
