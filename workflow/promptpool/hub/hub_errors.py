"""The hub's refusals, one line each: the entry of the config, what is wrong, and how to fix it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import PromptpoolError

TOKEN = "`hf auth login` or HF_TOKEN"


@contextmanager
def hub_errors_as_one_line(where: str, repo_type: str, repo: str, revision: str) -> Iterator[None]:
    """Turns errors of the hub's client about one repository into a PromptpoolError that begins with `where`."""
    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        raise PromptpoolError(_line(where, repo_type, repo, revision, error)) from error


def page(repo_type: str, repo: str) -> str:
    """The repository's page at the endpoint in use."""
    return f"{constants.ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{repo}"


def _line(where: str, repo_type: str, repo: str, revision: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError):
        remedy = "the token in use has no access yet" if get_token() else f"no token is set; log in with {TOKEN}"
        return f"{where}: {repo} is gated, and {remedy}; ask for access at {page(repo_type, repo)}"
    if isinstance(error, RevisionNotFoundError):
        return f"{where}: {repo} has no revision {revision!r}; see {page(repo_type, repo)}/commits/main"
    if isinstance(error, RepositoryNotFoundError):
        rights = "the token in use can't see it" if get_token() else f"it is private: then log in with {TOKEN}"
        what = {"model": "model", "dataset": "data set"}[repo_type]
        return f"{where}: {constants.ENDPOINT} has no {what} {repo!r}, or {rights}; fix its id"
    if status == 401:
        source = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "of `hf auth login`"
        return f"{where}: {constants.ENDPOINT} refuses the token {source} (401); renew it, or log in with {TOKEN}"
    if status == 403:
        return f"{where}: {constants.ENDPOINT} forbids {repo} to this token (403); give the token the right to read it"
    if status is not None:
        return f"{where}: {constants.ENDPOINT} answers {status} for {repo}; try again later"
    if isinstance(error, HFValidationError):
        return f"{where}: {repo!r} is not an id of the hub; write owner/name, or give an existing directory"
    if isinstance(error, OfflineModeIsEnabled) or constants.is_offline_mode():
        return f"{where}: {repo} is incomplete in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set; unset it once"
    if isinstance(error, httpx2.HTTPError | LocalEntryNotFoundError | ConnectionError | TimeoutError):
        return (
            f"{where}: {constants.ENDPOINT} can't be reached for {repo}; run `snakemake --cores all prefetch` "
            f"where it can, or set HF_ENDPOINT to a mirror"
        )
    reason = next(iter(str(error).split("\n")), "") or type(error).__name__
    return f"{where}: {repo} can't be downloaded into {constants.HF_HUB_CACHE}: {reason}"
