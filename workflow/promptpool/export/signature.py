"""Signatures of exported models by the OpenSSF library `model-signing`, which the extra `sign` installs.

The library signs the digests of all files. `model_signing verify` of its own command line reads the same signature.
"""

import os
import re
import socket
from pathlib import Path
from types import ModuleType

from ..artifacts.files import STAMP
from ..errors import PromptpoolError
from .contents import FOLDERS_BESIDE, SIGNATURE

PASSWORD = "PROMPTPOOL_KEY_PASSWORD"  # the environment variable that holds an encrypted key's password


def sign_export(folder: Path, private_key: str | None) -> Path:
    """Writes model.sig into an export. private_key: an elliptic-curve key in PEM; None signs by a login (Sigstore).

    Raises PromptpoolError if the library is missing, or if it can't sign.
    """
    signing = _library("signing")
    config = signing.Config().set_hashing_config(_hashing())
    try:
        if private_key:
            password = os.environ.get(PASSWORD, "").encode() or None  # model-signing 1.1.1 takes bytes, not its `str`
            config = config.use_elliptic_key_signer(private_key=private_key, password=password)
        else:
            config = config.use_sigstore_signer()
        config.sign(folder, folder / SIGNATURE)
    except Exception as error:  # the library has no base class of its own
        if not private_key and (why := _unreachable(error)):
            raise PromptpoolError(
                f"{folder}: can't be signed by a login: Sigstore can't be reached ({why}); sign where there is "
                "network, or give a key with --key"
            ) from None
        what = f"with {private_key}" if private_key else "by a login"
        raise PromptpoolError(f"{folder}: can't be signed {what}: {_reason(error)}; {_remedy(private_key)}") from None
    return folder / SIGNATURE


def require_signature(folder: Path, public_key: str | None, identity: str | None, issuer: str | None) -> str:
    """Who signed the export's files, in words. Raises PromptpoolError unless the key or the identity did.

    public_key: the key's PEM; or identity and issuer: of a login, as Sigstore's certificate names them.
    """
    path = folder / SIGNATURE
    verifying = _library("verifying")
    if not path.is_file():
        raise PromptpoolError(f"{path}: missing: nobody signed this export; ask its maker for a signature")
    try:
        config = verifying.Config()
        if public_key:
            config = config.use_elliptic_key_verifier(public_key=public_key)
        else:
            config = config.use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
        config.verify(folder, path)
    except Exception as error:
        if not public_key and (why := _unreachable(error)):
            raise PromptpoolError(
                f"{path}: can't be verified: Sigstore can't be reached ({why}); verify where there is network, and "
                "do not use the export before"
            ) from None
        who = public_key or f"{identity} ({issuer})"
        raise PromptpoolError(
            f"{path}: is no signature by {who} of these files: {_reason(error)}; do not use the export"
        ) from None
    return f"the key of {public_key}" if public_key else f"{identity}, as {issuer} knows them"


def _hashing():
    """All files of the model. Links are followed, because the hub's cache consists of them."""
    ignored = (SIGNATURE, STAMP, *FOLDERS_BESIDE)  # below the model's directory
    return _library("hashing").Config().set_ignored_paths(paths=ignored).set_allow_symlinks(True)


def _library(part: str) -> ModuleType:
    try:
        return __import__(f"model_signing.{part}", fromlist=[part])
    except ImportError as error:
        raise PromptpoolError(
            f"signatures need the package model-signing, which can't be imported ({error}); install it with "
            "pip install 'promptpool[sign]'"
        ) from None


def _unreachable(error: BaseException | None) -> str:
    """The reason if an error comes of the network, else nothing. Sigstore's own message names none."""
    while error is not None:
        network = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
        if network or type(error).__module__.partition(".")[0] in ("urllib3", "requests"):
            return _reason(error)
        error = error.__cause__ or error.__context__
    return ""


def _remedy(private_key: str | None) -> str:
    return (
        f"give an elliptic-curve key in PEM, and its password in {PASSWORD}" if private_key else "give a key with --key"
    )


def _reason(error: Exception) -> str:
    """Its message on one line, without digests: they would hide the names of the files."""
    text = re.sub(r"(: )?\\?[\"']?(Expected|Actual) '?Digest\(.*?\)'?,?", "", " ".join(str(error).split()))
    return text[:300] or type(error).__name__
