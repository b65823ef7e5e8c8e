"""An entry of the registry of figures, and what it can ask of a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

# The sections of report.html that can show figures, in the order of the page.
SECTIONS = (
    "headline", "benchmarks", "ablations", "scores", "map", "attention", "training", "pairs", "further",
)  # fmt: skip
# Arguments with a reader of their own, `read_<argument>` in readers.py. Any other argument is one parquet.
READ = ("costs", "facts", "logs", "measure", "qc", "shown", "validations")


class StudyView(Protocol):
    """What an entry may ask of a study (study.Study)."""

    config: Mapping
    results: str

    def __getitem__(self, section: str) -> Mapping: ...
    def ablation_tasks(self, name: str) -> list[str]: ...
    def adapter(self, training: str) -> Mapping: ...
    def attention_states(self) -> list[tuple[str, str]]: ...
    def benchmarks(self) -> dict[str, dict[str, str]]: ...
    def map_spec(self) -> dict | None: ...
    def omitted_texts(self) -> int: ...
    def trainings(self) -> list[str]: ...
    def weighs_values(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure, or one figure for each of several names (each ablation, say).

    name: the file's name in figures/, without suffix. If there are several, `_` and the name of each follow.
    drawing: `module.function`, in this folder.
    inputs(study, name): the function's arguments, each with the files that it is read from by readers.py. An argument
        that is not in READ is one parquet, read as a DataFrame. name is "" for a single figure.
    options(study, name): the function's further arguments, of JSON types.
    title, category: the figure's, in Snakemake's report. section: where report.html shows it, one of SECTIONS.
    caption: what a reader needs to read the figure, in reStructuredText that also works as plain text.
    alt: what the figure looks like, for those who can't see it.
    per: what the names stand for, such as "ablation"; "" for a single figure.
    names(study): the names for which a study has the figure.
    when(study): whether a study has it at all.
    """

    name: str
    drawing: str
    inputs: Callable[[StudyView, str], Mapping[str, Sequence[str]]]
    title: str
    category: str
    section: str
    caption: str
    alt: str
    options: Callable[[StudyView, str], Mapping] = lambda study, name: {}
    per: str = ""
    names: Callable[[StudyView], Sequence[str]] = lambda study: [""]
    when: Callable[[StudyView], bool] = lambda study: True

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise ValueError(f"figure {self.name}: no section is called {self.section!r}; known: {', '.join(SECTIONS)}")

    @property
    def pattern(self) -> str:
        """The file's name without suffix, with Snakemake's wildcard `name` if there are several."""
        return f"{self.name}_{{name}}" if self.per else self.name

    @property
    def labels(self) -> dict[str, str]:
        """The figure's labels in Snakemake's report."""
        return {"figure": self.title} | ({self.per: "{name}"} if self.per else {})

    def files(self, study: StudyView) -> list[str]:
        """The file names, without suffix, of this entry's figures in a study."""
        return [self.pattern.format(name=name) for name in self.names(study)] if self.when(study) else []

    def code(self, study: StudyView, name: str = "") -> list[str]:
        """The starting points of the figure's digest, for code_digest: its drawing function and its readers."""
        readers = {f"figures.readers.read_{one if one in READ else 'table'}" for one in self.inputs(study, name)}
        return [f"figures.{self.drawing}", *sorted(readers)]
