"""Writing: the same request with the same seed gives the same text, whatever its batch; what can't write is named."""

import pytest
import torch
from promptpool.errors import PromptpoolError
from promptpool.generation.backend import Request, WriterSetup, encodable, open_backend, tidy
from promptpool.generation.transformers_backend import SeededSampling, TransformersBackend
from tiny import CHAT, tiny_model, tiny_tokenizer
from tiny_study import sentences

SAMPLING = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.95}
REQUESTS = [Request(text, False, seed) for seed, text in enumerate(sentences(3, 8)["text"])]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("writer") / "model", initializer_range=0.1, chat=True))


def opened(model: str, batch_size: int = 8, needs_chat: bool = False, **sampling: object) -> TransformersBackend:
    options = {"batch_size": batch_size}
    return open_backend(
        "transformers", WriterSetup(model, None, {**SAMPLING, **sampling}, options, device="cpu", needs_chat=needs_chat)
    )


def refused(model: str, **changes: object) -> str:
    with pytest.raises(PromptpoolError) as caught:
        opened(str(model), **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_a_text_does_not_depend_on_its_batch(model, temperature):
    written = [opened(model, size, temperature=temperature).write(REQUESTS) for size in (1, 3, 8)]
    assert written[0] == written[1] == written[2]
    assert len({answer.text for answer in written[0]}) > len(REQUESTS) / 2


def test_a_text_does_not_depend_on_the_order(model):
    straight = opened(model).write(REQUESTS)
    assert opened(model).write(REQUESTS[::-1]) == straight[::-1]


def test_another_seed_writes_another_text(model):
    request = REQUESTS[0]
    first, again, other = opened(model).write([request, request, Request(request.text, False, 99)])
    assert first == again and first.text != other.text


def test_greedy_ignores_the_seed(model):
    first, other = opened(model, temperature=0).write([REQUESTS[0], Request(REQUESTS[0].text, False, 99)])
    assert first == other


def test_draws_follow_the_distribution():
    scores = torch.tensor([2.0, 0.5, 1.0, -1.0, 0.0])
    rows = 40_000
    sampling = SeededSampling(range(rows), 1, 0.7, 1.0, torch.device("cpu"))
    picked = sampling(None, scores.expand(rows, -1)).argmax(-1)
    counted = torch.bincount(picked, minlength=5) / rows
    expected = torch.softmax(scores / 0.7, -1)
    # Five standard errors of the likeliest token's share.
    assert (counted - expected).abs().max() < 5 * (0.25 / rows) ** 0.5


def test_draws_within_top_p_follow_the_shares_of_what_is_left():
    scores = torch.tensor([0.1, 0.45, 0.05, 0.3, 0.1]).log()
    rows = 40_000
    picked = SeededSampling(range(rows), 1, 1.0, 0.7, torch.device("cpu"))(None, scores.expand(rows, -1)).argmax(-1)
    counted = torch.bincount(picked, minlength=5) / rows
    assert (counted - torch.tensor([0, 0.6, 0, 0.4, 0])).abs().max() < 5 * (0.25 / rows) ** 0.5


def test_a_text_ends_with_the_first_end_of_text(model):
    backend = opened(model, max_new_tokens=200)
    answers = backend.write(REQUESTS)
    assert any(answer.finished for answer in answers) and all("<|end|>" not in answer.text for answer in answers)
    for answer in answers:
        assert answer.finished == (answer.tokens < 200)


def test_progress_counts_up_to_all(model):
    seen = []
    opened(model, 5).write(REQUESTS, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (24, 24)


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(model, monkeypatch):
    wanted = opened(model).write(REQUESTS)
    backend, sizes = opened(model), []
    real = backend._generate

    def small_memory(prompts, seeds):
        sizes.append(len(prompts))
        if len(prompts) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(prompts, seeds)

    monkeypatch.setattr(backend, "_generate", small_memory)
    assert backend.write(REQUESTS) == wanted
    assert sizes[:3] == [8, 4, 2] and max(sizes[3:]) == 2


def test_a_single_prompt_that_does_not_fit_is_named(model, monkeypatch):
    backend = opened(model)

    def no_memory(prompts, seeds):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(backend, "_generate", no_memory)
    with pytest.raises(PromptpoolError, match=r"a single prompt of .* tokens does not fit into memory; use a smaller"):
        backend.write(REQUESTS)


def test_another_fault_of_torch_is_not_taken_for_want_of_memory(model, monkeypatch):
    backend = opened(model)

    def broken(prompts, seeds):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(backend, "_generate", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        backend.write(REQUESTS)


def test_a_prompt_longer_than_the_context_costs_no_other(model):
    long = Request("the oven and the bread " * 20_000, False, 1)
    backend = opened(model)
    backend.context = 1024
    answers = backend.write([REQUESTS[0], long, REQUESTS[1]])
    assert answers[1].text == "" and answers[1].prompt_tokens > 1024 and not answers[1].finished
    assert [answers[0], answers[2]] == opened(model).write(REQUESTS[:2])


def test_any_string_can_be_asked(model):
    strange = ["", "\ud800 alone", "quotes \"'` and\nlines\r\n\t", "日本語 العربية 🙂", "\0"]
    assert len(opened(model).write([Request(text, chat, 1) for text in strange for chat in (False, True)])) == 10


def test_a_chat_goes_through_the_models_template_and_a_plain_text_does_not(model):
    backend = opened(model, needs_chat=True)
    chat, plain = (backend.tokenizer.decode(backend._ids(Request("Say it", kind, 0))) for kind in (True, False))
    assert chat == "[user] Say it\n[assistant]" and plain == "<|start|>Say it"


def test_thinking_is_switched_off_in_the_template(tmp_path):
    folder = tiny_model(tmp_path / "thinker")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT + "{% if not enable_thinking %}<think></think>{% endif %}"
    tokenizer.save_pretrained(folder)
    backend = opened(str(folder), needs_chat=True)
    assert backend.tokenizer.decode(backend._ids(Request("x", True, 0))).endswith("[assistant]<think></think>")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  an answer \n", "an answer"),
        ("<think>\nhm\n</think>\n\nan answer", "an answer"),
        ("so, then\n</think>an answer", "an answer"),
        ("<think>never done", ""),
        ("1 < 2 and a <b>tag</b>", "1 < 2 and a <b>tag</b>"),
    ],
)
def test_an_answer_is_without_its_thinking(raw, text):
    assert tidy(raw) == text


def test_only_lone_surrogates_are_replaced():
    assert encodable("a\ud800b🙂é") == "a�b🙂é"


def test_an_encoder_is_refused(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    BertForMaskedLM(
        BertConfig(vocab_size=400, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    told = refused(tmp_path)
    assert told.startswith(f"{tmp_path}: BertForMaskedLM is an encoder, not a causal LM; name a causal LM")


def test_a_sequence_to_sequence_model_is_refused(tmp_path):
    from transformers import T5Config

    T5Config(vocab_size=400, d_model=8, num_layers=1, num_heads=1).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert "t5 is a sequence-to-sequence model, not a causal LM; name a causal LM" in refused(tmp_path)


def test_a_decoder_without_its_head_is_refused(tmp_path):
    from tiny import tiny_config
    from transformers import AutoModel

    AutoModel.from_config(tiny_config()).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert "it was saved as Qwen3Model, without a causal LM's head; name a causal LM" in refused(tmp_path)


def test_a_missing_chat_template_is_named_with_its_mend(tmp_path):
    told = refused(tiny_model(tmp_path / "base"), needs_chat=True)
    assert "no chat template" in told and "use an instruction-tuned model, or style continue" in told


def test_a_missing_model_is_named_with_its_mend(tmp_path):
    told = refused(tmp_path / "nowhere")
    assert told.startswith(f"{tmp_path / 'nowhere'}: no model can be read there") and "fix the path" in told


def test_an_unknown_backend_is_named():
    with pytest.raises(PromptpoolError, match="no backend named 'vlm'; use one of transformers, vllm, openai"):
        open_backend("vlm", WriterSetup("model", None, SAMPLING, {}, needs_chat=False))


def test_the_interface_needs_neither_torch_nor_transformers():
    import subprocess
    import sys

    code = (
        "import promptpool.generation.backend, sys; print(sorted({'torch', 'transformers', 'vllm'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[]"
