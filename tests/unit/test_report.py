"""The report: one file that asks for nothing, and in which a text is only ever a text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from promptpool import figures
from promptpool.errors import PromptpoolError
from promptpool.report import build_report, commands, score_rows
from promptpool.report_pairs import pair_section
from promptpool.score_table import by_task
from sample_tables import (
    sample_ablation,
    sample_attention,
    sample_attention_summary,
    sample_pairs,
    sample_qc,
    sample_scores,
    sample_set,
    sample_shown,
    sample_steps,
    sample_summary,
    sample_training,
)

ATTACK = "</script><script>alert('x')</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"


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


def build(folder: Path, words: str = "Return the shortest path.", **changed) -> Path:
    """A report of sample tables, `words` put wherever a run's data can hold words."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, table: pd.DataFrame) -> Path:
        table.to_parquet(folder / f"{name}.parquet")
        return folder / f"{name}.parquet"

    attention = sample_attention(texts=3, text=words).to_pandas()
    attention["tokens"] = [[*tokens[:5], words, *tokens[6:]] for tokens in attention["tokens"]]
    moved = sample_attention_summary(texts=3)
    drawn = {"heat_map": (figures.heat_map, sample_scores()),
             "ablation_steps": (figures.ablation, sample_steps()),
             "training_curves": (figures.training_curves, sample_training()),
             "attention_bars": (figures.attention_bars, sample_shown()),
             "attention_spans": (figures.attention_spans, moved),
             "pairs_qc": (figures.pairs_qc, sample_qc())}  # fmt: skip
    for name, (draw, table) in drawn.items():
        draw(table, folder / name)
    qc = folder / "qc.json"
    counts = sample_set(2) | {"rejected": {words: 3, "too_short": 9}}
    counts["styles"] = {"detail": {**counts["styles"]["detail"], "rejected": {words: 3}}, words: {"accepted": 30}}
    counts["contamination"]["tasks"] = {words: 1}
    qc.write_text(json.dumps(counts))
    written = pd.concat([sample_pairs(style="detail"), sample_pairs(30, style=words)], ignore_index=True)
    prompts = sample_ablation("prompts", "none", {"none": 0.0, words: 0.06})
    given = dict(
        run="demo",
        summary=write("summary", sample_summary().assign(label=words)),
        scores=write("scores", sample_scores().replace({"prompt": {"eol": words}})),
        ablations={"steps": write("steps", sample_steps()), "prompts": write("prompts", prompts)},
        attention=[write("attention", attention), write("moved", moved)],
        pairs={"rewritten": (write("pairs", written.assign(positive=words)), qc)},
        training={name: write(f"training-{name}", log) for name, log in sample_training().items()},
        figures={name: folder / f"{name}.svg" for name in drawn},
        config={"run": "demo", "prompts": {"eol": words}, "ablations": {"prompts": {"question": words}}},
        provenance={"packages": {"torch": "2"}, "note": words, "git_commit": None},
    )
    out = folder / "report.html"
    build_report(out, **(given | changed))
    return out


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


def test_ablations_print_the_corrected_chance(calm):
    table = calm.split('id="ablations"')[1].split("</table>")[0]
    assert "p (Holm)" in table and "0.020" in table and "0.010" not in table


def test_the_viewers_data_survives_the_escaping(attacked):
    page = Page(attacked)
    data = json.loads(next(script for script in page.scripts if script.lstrip().startswith("{")))
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
    assert len(pictures) == 6
    assert all(len(one["alt"]) > 30 for one in pictures)


def test_every_score_column_sorts_by_a_button_and_the_order_is_told(calm):
    head = calm.split('id="score-table"')[1].split("</thead>")[0]
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
    page = Page(build(tmp_path, attention=[], pairs={}, training={}, ablations={}).read_text(encoding="utf-8"))
    headings = {attributes.get("id") for tag, attributes in page.elements if tag == "h2"}
    assert {"headline", "scores", "reproduce"} <= headings
    assert not headings & {"attention", "pairs", "training", "ablations"}


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
    assert "The language model wrote 80,000 tokens, 812 a second." in told
    assert "Texts that tasks hold too, taken out: 1 equal, 2 nearly" in told


def test_a_pair_set_without_a_language_model_or_styles_is_shown_without_their_numbers():
    section = pair_section("halves", sample_pairs(5, style="halves"), {"accepted": 5})
    assert section["speed"] is None and section["contamination"] is None and section["share"] is None
    assert [(style["name"], style["accepted"], len(style["sample"])) for style in section["styles"]] == [
        ("halves", 5, 5)
    ]
    section = pair_section("set", sample_pairs(0), {"asked": 3, "accepted": 0, "styles": {"detail": {"asked": 3}}})
    assert section["share"] == 0 and section["styles"][0]["sample"] == []


def test_long_texts_are_cut_in_the_report():
    table = sample_pairs(2).assign(positive="x" * 100_000)
    assert len(pair_section("set", table, {})["styles"][0]["sample"][0]["positive"]) == 600
