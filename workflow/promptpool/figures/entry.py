"""What an entry of the registry says of a figure, and what a study says of itself to an entry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

# The sections of report.html that can show figures, in the page's order.
SECTIONS = (
    "headline", "benchmarks", "ablations", "scores", "map", "attention", "training", "pairs", "further",
)  # fmt: skip
# The arguments that are read by a function of their own, `read_<argument>` in readers.py. Any other is one parquet.
READ = ("costs", "facts", "logs", "measure", "qc", "shown", "validations")


class StudyView(Protocol):
    """What an entry may ask of a study (study.Study)."""

    config: Mapping
    results: str

    def __getitem__(self, section: str) -> Mapping: ...
    def ablation_tasks(self, name: str) -> list[str]: ...
    def attention_states(self) -> list[tuple[str, str]]: ...
    def benchmarks(self) -> dict[str, dict[str, str]]: ...
    def map_spec(self) -> dict | None: ...


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure, or one figure for each of some names (each ablation, say).

    name: the file's name in figures/, without suffix; where there are several, `_` and the name in question follow.
    drawing: `module.function`, in this folder.
    inputs(study, name): the function's arguments, each with the files that it is read from. readers.py says how; an
        argument that is not in READ is one parquet, read as a DataFrame. name is "" for a single figure.
    options(study, name): the function's further arguments, of JSON's types.
    title, category: of the figure in Snakemake's report. section: of SECTIONS, where report.html shows the figure.
    caption: what a reader needs to know to read the figure, in reStructuredText that is plain text as well.
    alt: what it looks like, for those who do not see it.
    per: what the names are names of, "ablation" say; "" for a single figure.
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
        """The file's name without suffix, with Snakemake's wildcard `name` where there are several."""
        return f"{self.name}_{{name}}" if self.per else self.name

    @property
    def labels(self) -> dict[str, str]:
        """The figure's labels in Snakemake's report."""
        return {"figure": self.title} | ({self.per: "{name}"} if self.per else {})

    def files(self, study: StudyView) -> list[str]:
        """The file names, without suffix, of a study's figures of this kind."""
        return [self.pattern.format(name=name) for name in self.names(study)] if self.when(study) else []

    def code(self, study: StudyView, name: str = "") -> list[str]:
        """What the figure's digest starts at, as code_digest takes it: its drawing function and its readers."""
        readers = {f"figures.readers.read_{one if one in READ else 'table'}" for one in self.inputs(study, name)}
        return [f"figures.{self.drawing}", *sorted(readers)]
