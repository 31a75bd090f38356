"""Pictures, the page and the document, from given figures."""

from __future__ import annotations

import re
from io import StringIO
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from pytest_rosey.bench import plots, table
from pytest_rosey.bench.drawing import Drawing, Linear, Log, apart
from pytest_rosey.bench.figures import Memory, Race
from pytest_rosey.bench.html_report import html_report
from pytest_rosey.bench.markdown_report import markdown_report
from tests.pytest_rosey.bench.given_run import a_run, a_whole_run, many, single, sized

SVG = "{http://www.w3.org/2000/svg}"

# -- drawing ----------------------------------------------------------------------------------


def test_a_logarithmic_scale() -> None:
    scale = Log(0.1, 1_000.0, 0, 400)
    assert [scale(value) for value in (0.1, 1, 10, 1_000)] == pytest.approx([0, 100, 200, 400])
    assert scale(0.001) == 0, "what lies beyond an end stays there"
    assert Log(100, 100, 0, 400)(100) == 200, "a single value stands in the middle"
    assert scale.ticks() == pytest.approx([0.1, 1, 10, 100, 1_000])


def test_a_scale_from_zero() -> None:
    scale = Linear(10.0, 50, 250)
    assert scale(5) == 150
    assert scale.ticks() == [0, 2, 4, 6, 8, 10]


def test_labels_are_moved_apart_in_their_order() -> None:
    assert apart([10, 100, 12], 15) == [10, 100, 25]


def test_words_in_a_picture_are_no_markup() -> None:
    picture = Drawing(10, 10, "a < b")
    picture.text(0, 0, "<script>")
    root = ET.fromstring(picture.svg())
    assert [element.text for element in root] == ["a < b", "<script>"]


# -- plots ------------------------------------------------------------------------------------


def test_speeds_tell_who_is_faster_by_how_much() -> None:
    run = a_run(
        [
            *single("get", legacy=0.1, plugin=0.5),
            *single("add", legacy=10.0, plugin=2.0),
            *single("delete", legacy=1.0, plugin=1.05),
            *many("add", 10, legacy=8.0, plugin=4.0),
            *sized("top", "legacy", _100=0.1, _100000=4.0),
            *sized("top", "plugin", _100=1.0, _100000=1.0),
        ]
    )
    get, add, delete, ten, large = plots.speeds(run)
    assert (large.name, large.factor) == ("top, 100,000 rows", "4.0 x")
    assert (get.name, get.verdict, get.factor) == ("get, 1 client", "slower", "5.0 x")
    assert (add.verdict, add.factor) == ("faster", "5.0 x")
    assert (add.before, add.after) == ("10 ms", "2 ms")
    assert delete.verdict == "equal"
    assert (ten.name, ten.factor, ten.before) == ("add, 10 clients", "2.0 x", "1,250/s")


def test_bars_of_the_faster_side_are_longer() -> None:
    found = plots.speeds(
        a_run([*single("get", legacy=0.1, plugin=0.5), *single("add", legacy=2.0, plugin=1.0)])
    )
    root = ET.fromstring(plots.speed_plot(found))
    slower, faster = root.findall(f"{SVG}rect")
    assert float(slower.attrib["width"]) > float(faster.attrib["width"])
    end_of_slower = float(slower.attrib["x"]) + float(slower.attrib["width"])
    assert end_of_slower == pytest.approx(float(faster.attrib["x"]), abs=0.2), "they meet at equal"


def test_layers_are_what_each_adds() -> None:
    run = a_run(single("get", echo=0.4, service=0.6, client=0.55, plugin=0.8))
    assert plots.layers(run, "get") == pytest.approx([0.0004, 0.0002, 0, 0.00025])
    assert plots.layers(run, "add") == []


def test_layers_together_are_what_the_plugin_takes() -> None:
    """Not their sum: the client was measured to be quicker than the service under it."""
    run = a_run(single("get", echo=0.4, service=0.6, client=0.55, plugin=0.8))
    assert "| get | 0.4 ms | 0.2 ms | 0.0 µs | 0.25 ms | 0.8 ms |" in markdown_report(run)
    root = ET.fromstring(plots.breakdown_plot(run))
    assert "0.8 ms" in {element.text for element in root.findall(f"{SVG}text[@font-weight]")}


def test_every_picture_is_well_formed_and_says_what_it_shows() -> None:
    run = a_whole_run()
    pictures = [
        plots.speed_plot(plots.speeds(run)),
        plots.breakdown_plot(run),
        plots.memory_plot(run),
        plots.latency_plots(run),
        plots.throughput_plots(run),
        plots.dataset_plots(run),
    ]
    roots = ET.fromstring(f"<all>{''.join(pictures)}</all>")
    assert len(roots) == 3 + 9 + 2 + 6
    assert all(root.attrib["role"] == "img" and root.attrib["aria-label"] for root in roots)


def test_lines_go_through_the_sizes_in_order() -> None:
    run = a_run(sized("get", "plugin", _100=1.0, _1000=2.0, _10000=4.0))
    root = ET.fromstring(plots.dataset_plots(run))
    line = root.find(f"{SVG}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert points == sorted(points)
    heights = [y for _, y in points]
    assert heights == sorted(heights, reverse=True), "more time is higher"


# -- the page ---------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself() -> None:
    page = html_report(a_whole_run())
    assert "<script" not in page
    assert "<link" not in page
    addresses = set(re.findall(r"https?://[^\"' <]*", page))
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_the_page_shows_first_who_is_faster() -> None:
    page = html_report(a_whole_run())
    assert page.index("slower on the service") < page.index("<svg")
    assert "<b>6.0 x</b>slower on the service" in page
    assert "<b>9.0 x</b>faster on the service" in page
    assert "<b>99 lost</b>by the legacy plugin" in page
    assert "A &lt;fast&gt; one" in page
    assert "PostgreSQL: not here" in page


def test_the_page_of_one_side_leaves_comparisons_out() -> None:
    page = html_report(a_run(single("get", legacy=1.0, sqlite=0.1), command="legacy"))
    assert "comparisons" not in page
    assert "Targets" not in page
    assert page.count("<svg") == 1


def test_the_table_on_a_terminal() -> None:
    console = Console(width=200, file=StringIO(), record=True)
    table.show(a_whole_run(), console)
    text = console.export_text()
    assert "get by id, p50" in text
    assert "100 votes at once, legacy: score 1" in text
    assert "Left out: PostgreSQL: not here" in text


# -- the document -----------------------------------------------------------------------------


def test_claims_stand_beside_what_was_measured() -> None:
    text = markdown_report(a_whole_run())
    line = "| Add Quote | 12.3 (18.5) → 8.7 (12.1), 29% faster | 9.00 (9.00) | 1.00 (1.00) |"
    assert f"{line} 89% faster |" in text
    assert "| Get Quote | 5.4 (8.2) → 4.1 (6.3), 24% faster | 0.10 (0.10) | 0.60 (0.60) |" in text


def test_the_tiers_are_recommended_by_what_they_cost() -> None:
    text = markdown_report(a_whole_run())
    assert "One client: p50 / p95 / p99 in ms.\n\n| operation | legacy |" in text
    assert "KV for one value under a name that you know (kv get 0.55 ms and kv set" in text


def test_a_claim_that_does_not_hold_is_said_to_and_why() -> None:
    text = markdown_report(a_whole_run())
    assert "- Get Quote: claimed 24% faster, measured 6.0 x slower: each get crosses NATS" in text
    assert "- Add Quote: claimed" not in text
    assert "kept 1 of 100 votes" in text
    assert "Does not hold: the plugin needs 36 MB and the service 60 MB" in text


def test_claims_that_hold_are_said_to() -> None:
    part = markdown_report(a_whole_run()).partition("### 14.3")[2].partition("### 14.4")[0]
    assert "| Writes (add) | 81 → 115, +42% | 1,250 | 5,000 | +300% |" in part
    assert "All of it holds." in part


def test_nothing_is_said_to_hold_that_was_not_measured() -> None:
    text = markdown_report(a_run(single("get", plugin=1.0), command="service"))
    assert "KV for one value" not in text
    assert "holds." not in text
    assert "share one connection: a commit" not in text
    assert "| 100 votes at once, legacy | score 87 |  |  | not measured |" in text


def test_what_was_measured_is_said_to_hold() -> None:
    text = markdown_report(a_run(many("add", 10, legacy=8.0, plugin=2.0)))
    part = text.partition("### 14.3")[2].partition("### 14.4")[0]
    assert "What was measured holds." in part
    assert "All of it holds." not in text
    assert "share one connection: a commit" in part


def test_growing_tables_are_held_against_the_claim() -> None:
    """41 ms instead of 68 is claimed for 1,000 quotes, 78 instead of 145 for 10,000."""
    found = sized("search", "legacy", _1000=1.0, _10000=1.0)
    found += sized("search", "plugin", _1000=0.9, _10000=0.5)
    part = markdown_report(a_run(found)).partition("### 14.8")[2].partition("### 14.6")[0]
    assert "- A search among 1,000 quotes: claimed 40% faster, measured 10% faster: the" in part
    assert "A search among 10,000 quotes" not in part
    assert part.count("Both read every quote") == 1


def test_each_side_is_held_against_its_claim_about_races() -> None:
    races = [Race("legacy", 100, 88), Race("plugin", 200, 199)]
    part = markdown_report(a_run(races=races)).partition("### 14.4")[2].partition("### 14.5")[0]
    assert (
        "- 200 votes at once, plugin: claimed a score of 100, but it kept 199 of 200 votes.\n"
        in part
    )
    assert "- 100 votes at once, legacy" not in part
    assert "of the votes at once, legacy kept 88 of 100, plugin kept 199 of 200" in markdown_report(
        a_run(races=races)
    )


def test_memory_holds_from_the_figures_alone() -> None:
    counts = {"rows": 2_000, "operations": 200}
    memory = [
        Memory("legacy", 90, 91, 92, **counts),
        Memory("plugin", 34, 35, 36, **counts),
        Memory("service", 50, 51, 52, **counts),
    ]
    part = markdown_report(a_run(memory=memory)).partition("### 14.5")[2]
    less = "the plugin needs 36 MB and the service 52 MB, the legacy plugin 92 MB; 24% less is"
    assert f"Does not hold: {less} claimed." in part
    memory[0] = Memory("legacy", 90, 91, 122, **counts)
    part = markdown_report(a_run(memory=memory)).partition("### 14.5")[2]
    assert "Holds: 88 MB together against 122 MB." in part
    assert "2,000 quotes (claimed: with 10,000)" in part
    assert "200 searches and as many gets" in part


def test_what_was_not_measured_is_said() -> None:
    text = markdown_report(a_whole_run())
    assert "| 1,000,000 | 2,800 → 890 |  |  | not measured |" in text


def test_the_claims_are_about_one_plugin() -> None:
    run = a_run(single("get", plugin=1.0), plugin="trivia", races=[Race("plugin", 9, 9)])
    text = markdown_report(run)
    assert "product document" not in text
    for word in ("aiosqlite", "idempotency key", "legacy plugin"):
        assert word not in text + html_report(run)
    assert "## Targets" in text
