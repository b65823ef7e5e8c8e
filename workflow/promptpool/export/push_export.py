"""An exported model to the model hub, by the hub's own client: resumable, private unless asked otherwise.

`preupload_lfs_files` of huggingface_hub sends what the hub lacks of the large files, as chunks (Xet) or whole (LFS): a
second call sends only the rest. Then `create_commit` makes one commit of all files, on top of the one that was looked
at, so the repository never holds half a model and no commit is made twice. `upload_folder` may make several commits,
and repeats one whose answer was lost; version 2 has no `upload_large_folder`. What the client sends only once (a new
repository, a commit) is tried again here.
"""

import hashlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo

from ..artifacts.files import file_digest
from ..errors import PromptpoolError
from ..hub.hub_errors import TOKEN
from .push_plan import PushPlan

TRIES = 8  # of a step; the client itself tries most requests six times
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds, doubled each time
OF_THE_HUB = (".gitattributes",)  # of the hub's own, in every repository
Done = TypeVar("Done")


def push_export(plan: PushPlan, *, private: bool = True, update: bool = False) -> str:
    """Sends what the plan lists in one commit, and checks that the hub then has it. Returns the repository's page.

    update: whether a repository that holds other files becomes this export, and nothing else. Raises PromptpoolError,
    one line, for a refused token, a name that is taken, and a hub that can't be reached.
    """
    token = get_token()
    if not token:
        raise PromptpoolError(f"push: no token of the hub is set; log in with {TOKEN}")
    api = HfApi(endpoint=constants.ENDPOINT, token=token)
    with _one_line(plan.repository, token):
        _persist(lambda: api.create_repo(plan.repository, private=private, exist_ok=True))
        held = _persist(lambda: _held(api, plan.repository))
        page = f"{constants.ENDPOINT}/{plan.repository}"
        if not held.private and private:
            raise PromptpoolError(f"push: {page} is public; give --public, or another name")
        others = sorted(_files(held).keys() - set(OF_THE_HUB))
        if _whole(plan, held):
            print(f"{page} already holds these files; nothing was sent")
            return page
        if others and not update:
            raise PromptpoolError(
                f"push: {plan.repository} is taken: it holds {len(others)} files, such as {others[0]}; give another "
                "name, or --update to replace them all"
            )
        additions = [CommitOperationAdd(name, str(plan.folder / name)) for name in plan.files]
        removed = [CommitOperationDelete(name) for name in others if name not in plan.files]
        _persist(lambda: api.preupload_lfs_files(plan.repository, additions, free_memory=False))
        _persist(lambda: _commit(api, plan, [*additions, *removed], held.sha))
        differing = _differing(plan, _persist(lambda: _held(api, plan.repository)))
    if differing:
        raise PromptpoolError(f"push: {page} does not hold {differing[0]} as it was sent; push again with --update")
    return page


def _commit(api: HfApi, plan: PushPlan, operations: Sequence, parent: str | None) -> None:
    """Everything in one commit on top of `parent`. An earlier try may have made it, and only its answer was lost."""
    message = f"{plan.folder.resolve().name}, exported by promptpool"
    try:
        api.create_commit(plan.repository, operations, commit_message=message, parent_commit=parent)
    except HfHubHTTPError as error:
        if error.response.status_code not in (409, 412):
            raise
        if not _whole(plan, _held(api, plan.repository)):
            raise PromptpoolError(
                f"push: somebody else changed {plan.repository} meanwhile; look at it, and push again"
            ) from None


def _held(api: HfApi, repository: str) -> ModelInfo:
    try:
        return api.model_info(repository, files_metadata=True)
    except RepositoryNotFoundError:
        raise PromptpoolError(
            f"push: {repository} is taken, and this token may not see it; give another name"
        ) from None


def _files(held: ModelInfo) -> dict:
    return {file.rfilename: file for file in held.siblings or []}


def _whole(plan: PushPlan, held: ModelInfo) -> bool:
    """Whether the repository holds the plan's files, and none but its own beside them."""
    return _files(held).keys() - set(OF_THE_HUB) == set(plan.files) and not _differing(plan, held)


def _differing(plan: PushPlan, held: ModelInfo) -> list[str]:
    """The names of files that the repository lacks or has with other content."""
    there = _files(held)
    return [name for name in plan.files if name not in there or not _same(plan.folder / name, there[name])]


def _same(path: Path, file) -> bool:
    if file.size != path.stat().st_size:
        return False
    if file.lfs:
        return file.lfs.sha256 == file_digest(path)
    content = path.read_bytes()
    return file.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # git's id of a file


def _persist(step: Callable[[], Done]) -> Done:
    """Tries a step again after a fault of the connection or of the hub. Each try goes on where the last one ended."""
    for attempt in range(TRIES):
        try:
            return step()
        except Exception as error:
            if attempt == TRIES - 1 or not _passing(error):
                raise
            print(f"The connection to the hub failed ({_reason(error)}); trying again", file=sys.stderr)
        time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0))
    raise AssertionError  # the last try returns or raises


def _passing(error: Exception) -> bool:
    """Whether another try may succeed. The client wraps what it meets, so causes are looked at too."""
    for one in _causes(error):
        if isinstance(one, HfHubHTTPError):
            return one.response.status_code >= 500 or one.response.status_code in (408, 429)
        if isinstance(one, PromptpoolError | OfflineModeIsEnabled):
            return False
        if isinstance(one, httpx2.TransportError | ConnectionError | TimeoutError) or _of_xet(one):
            return True
    return False


def _of_xet(error: BaseException) -> bool:
    name = type(error).__name__
    return name.startswith("Xet") and name != "XetAuthenticationError"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _one_line(repository: str, token: str) -> Iterator[None]:
    try:
        yield
    except PromptpoolError:
        raise
    except Exception as error:
        status = next((one.response.status_code for one in _causes(error) if isinstance(one, HfHubHTTPError)), None)
        hub, reason = constants.ENDPOINT, _reason(error).replace(token, "***")
        if status == 401:
            line = f"{hub} refuses the token (401); renew it, or log in with {TOKEN}"
        elif status == 403:
            line = f"this token may not write to {repository} (403); give it the right to, or use another owner"
        elif isinstance(error, OfflineModeIsEnabled):
            line = "HF_HUB_OFFLINE is set; unset it to push"
        elif _passing(error):
            line = f"{hub} can't be reached ({reason}); run the same command again: what was sent is kept"
        else:
            line = f"{hub} does not take it ({reason}); see that the hub's client is up to date"
        raise PromptpoolError(f"push: {line}") from None


def _reason(error: Exception) -> str:
    last = list(_causes(error))[-1]
    return " ".join(f"{type(last).__name__}: {last}".split())[:200]
