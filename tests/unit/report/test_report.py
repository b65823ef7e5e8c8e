"""The report: one file that asks for nothing, and in which a text is only ever a text."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import pandas as pd
import pytest
from promptpool.analysis.average_benchmarks import benchmark_averages
from promptpool.analysis.score_table import by_task
from promptpool.errors import PromptpoolError
from promptpool.report.build_report import commands
from promptpool.report.map import map_content
from promptpool.report.pairs import pair_section
from promptpool.report.provenance import chain
from promptpool.report.scores import benchmark_sections, score_rows
from sample_report import ATTACK, build
from sample_tables import TASKS, sample_map, sample_pairs, sample_scores


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text of scripts apart from the rest."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.within = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if self.within == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> str:
    return build(tmp_path_factory.mktemp("calm")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> str:
    return build(tmp_path_factory.mktemp("attacked"), ATTACK).read_text(encoding="utf-8")


def test_a_text_with_markup_adds_no_element(calm, attacked):
    kinds = [[name for name, _ in Page(html).elements] for html in (calm, attacked)]
    assert kinds[0] == kinds[1]


def test_a_text_with_markup_is_shown_as_it_is(attacked):
    page = Page(attacked)
    # Summary, heat map's rows, ablation, question, pairs, reason, config, provenance.
    assert page.text.count(ATTACK) > 20
    assert "alert(" not in "".join(script for script in page.scripts if not script.lstrip().startswith("{"))


def test_the_headline_tells_gains_apart_from_scores_and_tasks_from_means(calm):
    head = calm.split('id="headline"')[1].split("</section>")[0]
    assert "<dt>best tuned - tfidf-svd</dt><dd>+9.0<small>" in head
    single = head.split("<details>")[1]
    assert "StdlibTopics" in single and "−2.0" in single and "+9.0" not in single


def test_the_verdict_comes_first_with_a_row_a_measure_and_search(calm, tmp_path):
    page = " ".join(calm.split())
    assert 0 < page.index("Better: tuned finds more") < page.index('id="headline"')
    table = page.partition("Verdict by measure")[2].partition("</table>")[0]
    assert table.count("<tr>") == 1 + 2 * 4
    searches = ["tuned", "untuned", "TF-IDF", "BM25"]
    assert re.findall(r"</th><td>([\w-]+)</td>", table) == searches * 2
    assert "71.2" in table and "+10.9" in table and "+6.9 to +14.9" in table
    assert "Verdict without labels" not in build(tmp_path / "none", verdict=None).read_text(encoding="utf-8")


def test_ablations_print_the_corrected_chance(calm):
    table = calm.split('id="ablations"')[1].split("</table>")[0]
    assert "p (Holm)" in table and "0.020" in table and "0.010" not in table


def test_ablations_print_wins_ranks_and_the_chance_of_being_first(calm):
    table = Page(calm.split('id="ablations"')[1].split("</table>")[0])
    heads = ["won", "tied", "lost", "rank", "its interval", "first", "chance of first"]
    assert all(head in table.text for head in heads)
    row = next(row for row in calm.split("<tr>") if 'scope="row">halves@80<' in row)
    assert re.findall(r">(\d)</td>", row)[:3] == ["2", "1", "0"] and re.search(r"\d\.\d to \d\.\d", Page(row).text)


def test_benchmarks_show_whole_averages_and_say_what_is_missing(calm):
    part = Page(calm.split('id="benchmarks"')[1].split("</section>")[0])
    told = " ".join(part.text.split())
    assert "Averages over all 3 tasks" in told
    # The second benchmark has a task that nobody scored: no average at all, and its name.
    assert told.count("Averages over all") == 1
    assert "107 variants have no average, because they lack Return the shortest path." in told
    assert "not measured here" in told and "99.9" in told


def test_published_averages_are_no_rows_of_any_table(calm):
    assert all("99.9" not in Page(table.split("</table>")[0]).text for table in calm.split("<table")[1:])


def test_a_benchmarks_best_rows_come_first_and_the_rest_is_counted():
    table = benchmark_averages(sample_scores(), {"own": dict.fromkeys(TASKS, "Clustering")})
    section = benchmark_sections(table, {"own": "MTEB(own)"}, {}, [])[0]
    values = [row["mean_task"] for row in section["rows"]]
    assert values == sorted(values, reverse=True) and len(values) == 50
    assert section["left_out"] == len(table) - 50 and section["lacking"] == 0 and not section["by_type"]


def test_every_table_has_a_caption(calm):
    tables = calm.split("<table")[1:]
    assert len(tables) >= 8 and all("<caption>" in table.split("</table>")[0] for table in tables)


def test_the_page_says_what_a_score_is(calm, tmp_path):
    assert "Scores are the\n  V-measure times 100" in calm
    fact = tmp_path / "topics" / "facts.json"
    fact.parent.mkdir()
    fact.write_text(json.dumps({"main_score": "accuracy"}))
    page = build(tmp_path / "page", facts=[fact]).read_text(encoding="utf-8")
    assert "main score (accuracy) × 100" in page and "V-measure" not in Page(page).text


def test_every_figure_tells_its_command(calm):
    assert calm.count("figures/tuned_steps.svg</code>") == 1 and calm.count('class="made"') == 8


def test_the_map_has_each_text_once_and_few_colours():
    table = sample_map(texts=80, labels=12)
    content = map_content(table)
    assert len(content["points"]) == 80 and all(len(point["at"]) == 2 for point in content["points"])
    assert [panel["title"] for panel in content["panels"]] == ["untuned", "halves@80"]
    colours = [label["colour"] for label in content["labels"]]
    assert len(set(colours[:8])) == 8 and len(set(colours[8:])) == 1 and colours[8] not in colours[:8]
    point = content["points"][7]
    own = table[(table["adapter"] == "halves") & (table["text"] == point["text"])].iloc[0]
    assert point["at"][1] == pytest.approx([own["x"], own["y"]], abs=1e-3)
    assert content["labels"][point["label"]]["name"] == own["label"]


def test_provenance_follows_sidecars_back(tmp_path):
    def beside(name: str, **content) -> str:
        (tmp_path / f"{name}.meta.json").write_text(json.dumps(content))
        return str(tmp_path / name)

    source = str(tmp_path / "own.csv")
    texts = beside("texts", digest="a" * 64, inputs={source: "f" * 64}, git_commit="1" * 40, packages={"mteb": "2"})
    scores = beside("scores", digest="b" * 64, inputs={texts: "a" * 64}, git_commit="2" * 40, packages={"mteb": "3"})
    (tmp_path / "torn.meta.json").write_text("{")
    told = chain([scores, str(tmp_path / "torn")])
    found = {row["artifact"]: row["digest"] for row in told["rows"]}
    assert found == {scores: "b" * 16, texts: "a" * 16, source: "f" * 16, str(tmp_path / "torn"): ""}
    assert len(told["commits"]) == 2 and told["packages"] == {"mteb": ["2", "3"]}


def test_commands_name_the_config_file_of_a_run_that_has_its_own():
    told = dict(commands("mine", ["steps"], [], "my study.yaml"))
    assert told["everything in this run"] == "snakemake --cores all --configfile 'my study.yaml'"
    assert told["the ablation steps"].endswith("--configfile 'my study.yaml' -- results/mine/ablations/steps.parquet")


def test_the_viewers_data_survives_the_escaping(attacked):
    page = Page(attacked)
    data = json.loads(
        next(script for script in page.scripts if script.lstrip().startswith("{") and '"sequences"' in script)
    )
    assert ATTACK in data["sequences"][0]["tokens"]
    assert data["texts"][0].startswith(ATTACK)


def test_the_page_asks_the_network_for_nothing(calm):
    page = Page(calm)
    asked = [value for tag, attributes in page.elements for name, value in attributes.items()
             if name in ("src", "href", "srcset", "poster", "action") and tag != "a"]  # fmt: skip
    assert asked and all(value.startswith("data:") for value in asked)
    assert not page.all("link") and not page.all("iframe")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", calm)
    policy = next(one["content"] for one in page.all("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'")


def test_links_in_the_page_lead_somewhere(calm):
    page = Page(calm)
    places = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    inner = [one["href"][1:] for one in page.all("a") if one["href"].startswith("#")]
    assert len(inner) >= 7 and set(inner) <= places
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_picture_says_what_it_shows(calm):
    pictures = Page(calm).all("img")
    assert len(pictures) == 8
    assert all(len(one["alt"]) > 30 for one in pictures)


def test_every_score_column_sorts_by_a_button_and_the_order_is_told(calm):
    head = calm.split('id="score-table"')[1].split("</thead>")[0]
    assert "<caption>" in head
    assert head.count("<th ") == head.count("<button type=") == 6 + 3
    assert head.count('aria-sort="descending"') == 1 and head.count('aria-sort="none"') == 8


def test_an_incomplete_variant_has_no_mean_and_comes_last():
    scores = sample_scores()
    best = score_rows(by_task(scores))[0]
    hole = (scores["task"] == "StdlibTopics") & (scores["step"] == best["step"])
    hole &= (scores["adapter"] == best["adapter"]) & (scores["pooling"] == best["pooling"])
    last = score_rows(by_task(scores[~(hole & (scores["prompt"] == best["prompt"]))]))[-1]
    assert [last[key] for key in ("adapter", "prompt", "pooling")] == [
        best[key] for key in ("adapter", "prompt", "pooling")
    ]
    assert pd.isna(last["mean"])


def test_the_demos_commands_name_its_profile_and_other_runs_do_not():
    demo, mine = commands("demo", ["steps"], []), commands("mine", ["steps"], ["model"])
    assert all("--workflow-profile workflow/profiles/demo" in command for _, command in demo)
    assert all("profile" not in command for _, command in mine)
    assert mine[-1][1] == "snakemake --cores all results/mine/models/model"


def test_a_run_without_training_has_no_empty_sections(tmp_path):
    none = dict(attention=[], pairs={}, training={}, ablations={}, benchmarks=None, text_map=None)
    page = Page(build(tmp_path, **none).read_text(encoding="utf-8"))
    headings = {attributes.get("id") for tag, attributes in page.elements if tag == "h2"}
    assert {"headline", "scores", "reproduce"} <= headings
    assert not headings & {"attention", "pairs", "training", "ablations", "benchmarks", "map"}


def test_a_large_grid_stays_under_eight_megabytes(tmp_path):
    grid = []
    base = sample_scores()
    for layer in range(-40, 0):
        grid.append(base[base["adapter"] != "baseline"].assign(layer=layer))
    path = tmp_path / "many.parquet"
    pd.concat(grid).to_parquet(path)
    out = build(tmp_path / "page", scores=path)
    assert out.stat().st_size < 8_000_000
    assert "1200 lowest rows are left out" in " ".join(out.read_text(encoding="utf-8").split())


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(PromptpoolError, match=r"nowhere\.parquet"):
        build(tmp_path, summary=tmp_path / "nowhere.parquet")
    assert not (tmp_path / "report.html").exists()


def test_each_style_shows_twenty_pairs_the_same_every_time(calm, tmp_path):
    assert calm.count('<div class="pair">') == 40
    again = build(tmp_path).read_text(encoding="utf-8")
    shown = [html.split('id="pairs"')[1].split("<section")[0] for html in (calm, again)]
    assert shown[0] == shown[1]


def test_a_pair_sets_counts_and_speed_are_told(calm):
    told = " ".join(Page(calm).text.split())
    assert "of 1,000 pairs accepted (86%); rejected: too short 9, Return the shortest path. 3." in told
    assert "The language model wrote 80,000 tokens, 812 a second. max_new_tokens cut 21 positives, of which 4" in told
    assert "Texts that tasks contain too, removed: 1 equal, 2 nearly" in told


def test_a_pair_set_without_a_language_model_or_styles_is_shown_without_their_numbers():
    section = pair_section("halves", sample_pairs(5, style="halves"), {"accepted": 5})
    assert section["speed"] is None and section["contamination"] is None and section["share"] is None
    assert [(style["name"], style["accepted"], len(style["sample"])) for style in section["styles"]] == [
        ("halves", 5, 5)
    ]
    section = pair_section("set", sample_pairs(0), {"asked": 3, "accepted": 0, "styles": {"detail": {"asked": 3}}})
    assert section["share"] == 0 and section["styles"][0]["sample"] == []


def test_cut_positives_and_the_reasons_of_a_server_are_shown():
    qc = {"rejected": {"filtered": 2, "thinking": 3, "cut": 1}, "cut": {"written": 7, "accepted": 6}}
    section = pair_section("set", sample_pairs(5), qc)
    assert section["rejected"] == [("thinking", 3), ("filtered", 2), ("cut", 1)] and section["cut"] == (7, 6)
    assert pair_section("set", sample_pairs(5), {"cut": {"written": 0, "accepted": 0}})["cut"] is None
    assert pair_section("set", sample_pairs(5), {})["cut"] is None


def test_queries_that_lost_their_text_are_counted_and_shown():
    lost = {"text": "which one", "positive": "x" * 1000, "rank": 77}
    trip = {"among": 1000, "within": 10, "asked": 50, "first": 31, "lost": 1, "samples": [lost]}
    section = pair_section("asked", sample_pairs(5), {"round_trip": trip, "held_out": True})
    assert section["held_out"] and section["round_trip"]["samples"][0]["positive"] == "x" * 599 + "…"
    assert {**section["round_trip"], "samples": []} == {**trip, "samples": []}
    plain = pair_section("set", sample_pairs(5), {})
    assert plain["round_trip"] is None and not plain["held_out"]


def test_long_texts_are_cut_in_the_report():
    table = sample_pairs(2).assign(positive="x" * 100_000)
    assert len(pair_section("set", table, {})["styles"][0]["sample"][0]["positive"]) == 600


def test_each_servers_result_is_a_row_with_what_to_send(calm):
    rows = serving_rows(calm)
    assert rows[0][1:6] == ["vLLM 1.2", "passed", "plain texts", "0.999999", "123"]
    assert rows[1][3] == "ids"
    assert rows[1][6].startswith("the prompt is lost; plain texts differ first at ")
    assert rows[2][1:6] == ["Text Embeddings Inference", "FAILED", "–", "–", "–"] and rows[2][6]


def serving_rows(page: str) -> list[list[str]]:
    section = re.search(r'<h2 id="serving">.*?</section>', page, re.DOTALL)[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)[1:]
    return [[unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)] for row in rows]
