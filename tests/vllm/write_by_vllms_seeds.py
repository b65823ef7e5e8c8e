"""vllm_worker, but vLLM itself draws by each request's seed: the other side of bench_seeds.py, run where vLLM is."""

import vllm_worker


class Engine(vllm_worker.Engine):
    """No processor of ours, and seeds as vLLM takes them."""

    def __init__(self, settings: dict):
        vllm_worker.seeded_draws = lambda: "vllm.v1.sample.logits_processor:MinPLogitsProcessor"  # idle without min_p
        super().__init__(settings)
        self.draws = False


if __name__ == "__main__":
    vllm_worker.Engine = Engine
    vllm_worker.main()
