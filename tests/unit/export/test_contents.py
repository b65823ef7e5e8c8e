"""contents.json: what it lists, and that `promptpool verify` names each file of an export that was tampered with."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from promptpool.artifacts.files import file_digest, seal_of, write_sidecar
from promptpool.cli.command import main
from promptpool.data.build_corpus import build_corpus
from promptpool.errors import PromptpoolError
from promptpool.export.base_licence import package_licence
from promptpool.export.contents import CONTENTS, faults_of_export, read_contents
from promptpool.export.materials import corpus_facts
from tiny_export import export


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "1_Pooling/config.json",
             "modules.json", "README.md", "promptpool.json"],
)  # fmt: skip
def test_one_flipped_bit_is_refused_by_the_files_name(copy, name, capsys):
    assert main(["verify", str(copy)]) == 0
    flip(copy / name)
    assert main(["verify", str(copy)]) == 1
    assert f"{copy / name}: changed" in capsys.readouterr().out


def test_every_file_of_an_export_is_listed(exported):
    there = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()} - {CONTENTS}
    listed = read_contents(exported)["files"]
    assert set(listed) == there and "model.safetensors" in there
    assert all(one["sha256"] == file_digest(exported / name) for name, one in listed.items())
    assert all(one["bytes"] == (exported / name).stat().st_size for name, one in listed.items())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling_mine.py", "1_Pooling/extra.json", ".github/x"])
def test_a_file_that_was_added_is_refused_by_name(copy, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("x")
    (fault,) = faults_of_export(copy)
    assert fault.startswith(f"{copy / name}: added")


def test_a_linked_directory_that_was_added_is_refused(copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", copy / "2_Dense")
    os.symlink(tmp_path / "elsewhere", copy / ".cache")  # a real directory of this name is the hub client's
    assert [fault.partition(":")[0] for fault in faults_of_export(copy)] == [
        str(copy / ".cache"),
        str(copy / "2_Dense"),
    ]


def test_a_missing_file_is_refused_by_name(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "modules.json").unlink()
    (copy / "modules.json").mkdir()
    assert [fault.split(": ")[:2] for fault in faults_of_export(copy)] == [
        [
            str(copy / "modules.json"),
            "missing, and contents.json lists it; get the export again from where it was made",
        ],
        [
            str(copy / "tokenizer.json"),
            "missing, and contents.json lists it; get the export again from where it was made",
        ],
    ]


@pytest.mark.parametrize("change", ["digest", "licence", "cut", "list", "empty"])
def test_a_list_that_was_changed_is_refused(copy, change, capsys):
    path = copy / CONTENTS
    content = json.loads(path.read_text())
    if change == "digest":
        content["files"]["config.json"]["sha256"] = "0" * 64
    elif change == "licence":
        content["made_from"]["base_model"]["licence"] = {"license": "mit"}
    text = json.dumps(content)
    path.write_text({"cut": text[:-9], "list": "[1]", "empty": ""}.get(change, text))
    assert main(["verify", str(copy)]) == 2
    assert f"{path}: damaged" in capsys.readouterr().err


def test_what_git_and_the_hubs_client_leave_is_no_fault(copy):
    for name in (".gitattributes", ".git/HEAD", ".cache/huggingface/x.lock", ".snakemake_timestamp"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("x")
    assert faults_of_export(copy) == []


def test_a_directory_without_the_list_or_with_a_later_format_is_refused(copy, tmp_path):
    with pytest.raises(PromptpoolError, match="no such directory"):
        read_contents(tmp_path / "nowhere")
    later = json.loads((copy / CONTENTS).read_text()) | {"format": 2}
    (copy / CONTENTS).write_text(json.dumps({**later, "seal": seal_of(later)}))
    with pytest.raises(PromptpoolError, match="has format 2, not 1"):
        read_contents(copy)
    (copy / CONTENTS).unlink()
    with pytest.raises(PromptpoolError, match=r"contents\.json: missing"):
        read_contents(copy)


def test_it_says_what_went_in_and_names_no_path_of_this_machine(base, adapter, given, tmp_path):
    (tmp_path / "corpora").mkdir()
    texts = tmp_path / "corpora/lines.parquet"
    (tmp_path / "mine.csv").write_text("text\n" + "\n".join(f"the cat sat on the mat number {i}" for i in range(30)))
    spec = {"source": "file", "path": str(tmp_path / "mine.csv"), "column": "text", "positive": None}
    build_corpus(str(texts), spec)
    pairs = {"rewritten": {"corpus": "lines", "model": "/models/secret/writer-7b"}}
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    out = export(tmp_path / "out", base, adapter, {**given, "pairs": pairs, "corpora": [str(texts)]})
    (base / "README.md").unlink()
    found = read_contents(out)
    made = found["made_from"]
    assert made["base_model"]["id"] == base.name and made["base_model"]["licence"] == {"license": "mit"}
    assert len(made["base_model"]["sha256"]) == 64
    weights = file_digest(adapter / "adapter_model.safetensors")
    assert made["adapter"] == {"name": "tuned", "step": 3, "sha256": weights}
    assert made["pairs"] == [{"name": "rewritten", "corpus": "lines", "written_by": "writer-7b"}]
    (corpus,) = made["corpora"]
    assert corpus["files"] == {"mine.csv": file_digest(tmp_path / "mine.csv")}
    assert (corpus["name"], corpus["texts"], corpus["languages"]) == ("lines", 30, ["en"])
    assert found["made_with"]["sentence-transformers"]
    assert str(tmp_path) not in (out / CONTENTS).read_text() and "/models" not in (out / CONTENTS).read_text()


def test_equal_exports_have_equal_lists(exported, base, adapter, given, tmp_path):
    again = export(tmp_path / "out", base, adapter, given)
    assert (again / CONTENTS).read_bytes() == (exported / CONTENTS).read_bytes()


def test_a_corpus_of_docstrings_has_versions_and_licences(tmp_path):
    spec = {"source": "docstrings", "packages": ["yaml", "tqdm"], "labelled": [], "task_share": 0.0}
    build_corpus(str(tmp_path / "docs.parquet"), spec)
    facts = corpus_facts(str(tmp_path / "docs.parquet"))
    assert set(facts["versions"]) == {"yaml", "tqdm"} and facts["languages"] == ["en"]
    assert "MIT" in facts["licences"]["yaml"] and "MPL-2.0" in facts["licences"]["tqdm"]
    assert package_licence("stdlib", "3.11") == "PSF-2.0" and package_licence("yaml", "0.0") is None


def test_a_corpus_of_the_hub_has_its_commit_and_licence(tmp_path, monkeypatch):
    path = tmp_path / "hub.parquet"
    pd.DataFrame({"text": ["Der Fluss war in jenem Winter früh zugefroren.", "Ich mag keine kalten Füße."]}).to_parquet(
        path
    )
    write_sidecar(path, spec={"source": "hub"}, hub={"owner/texts": "c" * 40})
    (tmp_path / "card").mkdir()
    (tmp_path / "card/README.md").write_text("---\nlicense: other\nlicense_name: mine\n---\n")
    monkeypatch.setattr(
        "promptpool.export.base_licence._from_hub",
        lambda *given: tmp_path / "card/README.md" if given[2] == "dataset" else None,
    )
    facts = corpus_facts(str(path))
    assert facts["commits"] == {"owner/texts": "c" * 40} and facts["licences"] == {"owner/texts": "mine"}
    assert facts["languages"] == ["de"]


# --- signatures --------------------------------------------------------------------------------------


def test_without_the_library_one_line_says_what_to_install(copy, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "model_signing", None)
    assert main(["sign", str(copy), "--key", "key.pem"]) == 2
    assert "pip install 'promptpool[sign]'" in capsys.readouterr().err
    assert main(["verify", str(copy), "--key", "key.pub"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_signer_is_a_key_or_an_identity_with_its_issuer(copy, capsys):
    for given in (["--identity", "me@example.org"], ["--key", "k", "--identity", "me", "--issuer", "https://x"]):
        assert main(["verify", str(copy), *given]) == 2
        assert "--identity together with --issuer" in capsys.readouterr().err


@pytest.mark.parametrize("network", [True, False])
def test_a_login_without_network_is_said_to_be_that(copy, capsys, monkeypatch, network):
    """Sigstore's own error names no network, and one that is down says nothing against a signature."""

    class Config:
        def __getattr__(self, name: str):
            return lambda *_, **__: self._refuse() if name in ("sign", "verify") else self

        def _refuse(self) -> None:
            try:
                raise ConnectionRefusedError(111, "Connection refused") if network else ValueError("another signer")
            except (OSError, ValueError) as error:
                raise RuntimeError("Failed to refresh TUF metadata") from error

    for part in ("", ".signing", ".verifying", ".hashing"):
        monkeypatch.setitem(sys.modules, f"model_signing{part}", SimpleNamespace(Config=Config))
    assert main(["sign", str(copy)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "give a key with --key" in said
    assert ("Sigstore can't be reached ([Errno 111] Connection refused)" in said) is network
    (copy / "model.sig").write_text("{}")
    assert main(["verify", str(copy), "--identity", "me@example.org", "--issuer", "https://x"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("can't be verified" in said) is network
    assert ("is no signature by me@example.org (https://x)" in said) is not network


@pytest.fixture
def keys(tmp_path) -> tuple[Path, Path, Path]:
    """A private key, its public key, and another's public key."""
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    paths = []
    for name in ("mine", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        for end, content in (("pem", private), ("pub", public)):
            paths.append(tmp_path / f"{name}.{end}")
            paths[-1].write_bytes(content)
    return paths[0], paths[1], paths[3]


def test_a_signature_is_verified_by_its_key_alone(copy, keys, capsys, monkeypatch):
    private, public, other = keys
    assert main(["verify", str(copy), "--key", str(public)]) == 2 and "nobody signed" in capsys.readouterr().err
    monkeypatch.chdir(copy.parent)
    assert main(["sign", copy.name, "--key", str(private)]) == 0
    (copy / ".snakemake_timestamp").write_text("")
    assert main(["verify", str(copy), "--key", str(public)]) == 0
    assert f"Signed by the key of {public}" in capsys.readouterr().out
    assert main(["verify", str(copy)]) == 0 and "was not checked" in capsys.readouterr().out
    assert main(["verify", str(copy), "--key", str(other)]) == 2 and "no signature by" in capsys.readouterr().err
    assert main(["sign", str(copy), "--key", str(public)]) == 2 and "can't be signed" in capsys.readouterr().err


def test_an_encrypted_key_signs_with_its_password(copy, tmp_path, keys, capsys, monkeypatch):
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(keys[0].read_bytes(), None)
    how = form.BestAvailableEncryption(b"open")
    locked = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, how)
    (tmp_path / "locked.pem").write_bytes(locked)
    assert main(["sign", str(copy), "--key", str(tmp_path / "locked.pem")]) == 2
    assert "its password in PROMPTPOOL_KEY_PASSWORD" in capsys.readouterr().err
    monkeypatch.setenv("PROMPTPOOL_KEY_PASSWORD", "open")
    assert main(["sign", str(copy), "--key", str(tmp_path / "locked.pem")]) == 0
    assert main(["verify", str(copy), "--key", str(keys[1])]) == 0


def test_a_forged_export_passes_its_own_digests_and_not_the_signature(copy, keys, capsys):
    private, public, _ = keys
    assert main(["sign", str(copy), "--key", str(private)]) == 0
    flip(copy / "model.safetensors")
    content = json.loads((copy / CONTENTS).read_text())
    content["files"]["model.safetensors"]["sha256"] = file_digest(copy / "model.safetensors")
    (copy / CONTENTS).write_text(json.dumps({**content, "seal": seal_of(content)}))
    assert main(["verify", str(copy)]) == 0  # digests find damage, not forgery
    assert main(["verify", str(copy), "--key", str(public)]) == 2
    error = capsys.readouterr().err
    assert "'model.safetensors'" in error and "'contents.json'" in error and "igest" not in error


def test_the_librarys_own_command_reads_the_signature(copy, keys):
    import subprocess
    import sys

    private, public, _ = keys
    assert main(["sign", str(copy), "--key", str(private)]) == 0
    given = ["--signature", str(copy / "model.sig"), "--public_key", str(public)]
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(copy), *given]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
