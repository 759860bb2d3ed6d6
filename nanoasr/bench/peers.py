"""Other packages' Fun-ASR-Nano with the weights of ours, to measure against.

On a Linux CPU mlx-audio profits from the BLAS that nanoasr gives to MLX, so there it is measured twice: in a process
of its own without it, as its users run it, and in this one with it. Run as a program, this file is that process.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from .. import backend
from ..audio.features import features
from ..audio.files import SAMPLE_RATE
from ..checkpoint.assemble import split_fused
from ..checkpoint.layouts import official_name
from ..checkpoint.load import Checkpoint
from ..checkpoint.writer import config_settings
from ..decode.prompt import build_prompt
from ..errors import NanoASRError, OptionError
from ..model.config import AdaptorConfig, EncoderConfig, LLMConfig, ModelConfig
from .stages import Subject, Work, clock, made_up_speech

_NEEDED = {
    "mlx-audio": ("mlx_audio.stt.models.fun_asr_nano.fun_asr_nano",),
    "transformers": ("torch", "transformers.models.fun_asr_nano.modeling_fun_asr_nano"),
}
STAGES = ("encoder", "adaptor", "decoding step", "transcription")


@dataclass(frozen=True)
class Contender:
    """Another package, ready to be timed on one recording. `notes`: what there is to say of it afterwards."""

    name: str
    works: Mapping[str, Work]
    notes: Callable[[], list[str]]


def check_installed(package: str) -> None:
    """NanoASRError, with what is missing, unless the package can be measured here."""
    for module in _NEEDED[package]:
        try:
            found = importlib.util.find_spec(module)  # imports what the module is in
        except ImportError as error:
            found, module = None, error.name or module
        if not found:
            raise NanoASRError(
                f"--against {package}: Python finds no {module} here; `pip install {package}` with all that it needs"
            )


@contextlib.contextmanager
def contenders(
    package: str, checkpoint: Checkpoint, subject: Subject, samples: np.ndarray, tokens: int
) -> Iterator[Sequence[Contender]]:
    """The ways to run a package, with the weights of `checkpoint`; `subject` says how to make them again."""
    if any(isinstance(module, (nn.QuantizedLinear, nn.QuantizedEmbedding)) for module in checkpoint.model.modules()):
        raise OptionError("--against compares networks that are not quantized")
    if package == "transformers":
        yield [backend.run(_transformers, checkpoint, samples, tokens)]
    elif backend.on_cpu and backend.blas_path:
        here = backend.run(_mlx_audio, checkpoint, samples, tokens, label=", our BLAS")
        with _process_of_its_own(subject, len(samples) / SAMPLE_RATE, tokens) as alone:
            yield [alone, here]
    else:
        yield [backend.run(_mlx_audio, checkpoint, samples, tokens)]


# mlx-audio


def _mlx_audio(
    checkpoint: Checkpoint, samples: np.ndarray, tokens: int, label: str = "", compare: bool = True
) -> Contender:
    from mlx_audio.lm.generate import generate_step
    from mlx_audio.stt.models.fun_asr_nano import fun_asr_nano

    ours, inputs = checkpoint.model, _inputs(checkpoint, samples)
    model = fun_asr_nano.FunASRNano(fun_asr_nano.FunASRNanoConfig.from_dict(config_settings(ours.config)))
    model.load_weights([(name, x) for name, x in _tensors(checkpoint).items() if not name.startswith("ctc")])
    model.eval()
    model._tokenizer = checkpoint.tokenizer
    # in the weights' type, which is the best case: what its own front end gives is float32 whatever the weights are
    heard = inputs.features.astype(ours.llm.model.norm.weight.dtype)
    lengths = mx.array([heard.shape[1]], dtype=mx.int32)
    mx.eval(heard, lengths)
    notes = []
    if compare:
        notes = _agreement("mlx-audio", ours.encode(inputs.features), model.audio_encoder(heard, lengths)[0])

    def write(ids: mx.array, embedded: mx.array) -> Iterator[int]:
        for token, _ in generate_step(prompt=ids, input_embeddings=embedded, model=model, max_tokens=tokens):
            yield int(token)

    def step() -> float:
        said = write(mx.zeros(inputs.embedded.shape[1], dtype=mx.int32), inputs.embedded[0])
        next(said)
        start = time.perf_counter()
        for _ in said:
            pass
        return (time.perf_counter() - start) / max(1, tokens - 1)

    def transcription() -> float:
        start = time.perf_counter()
        ids, embedded = model._build_inputs_embeds(samples, language=None, hotwords=None, itn=True)
        checkpoint.tokenizer.decode(list(write(ids[0], embedded[0])))
        return time.perf_counter() - start

    works = {
        "encoder": lambda: clock(lambda: model.audio_encoder(heard, lengths)[0]),
        "adaptor": lambda: clock(lambda: model.audio_adaptor(inputs.encoded, lengths)[0]),
        "decoding step": step,
        "transcription": transcription,
    }
    return Contender(_title("mlx-audio") + label, _on_worker(works), lambda: notes)


@contextlib.contextmanager
def _process_of_its_own(subject: Subject, seconds: float, tokens: int) -> Iterator[Contender]:
    order = json.dumps({"subject": asdict(subject), "seconds": seconds, "tokens": tokens})
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, order],
        env=os.environ | {"NANOASR_BLAS": "off"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(question: str) -> float:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{question}\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise NanoASRError("mlx-audio's own process ended before its time; stderr may say why")
        return float(answer)

    def notes() -> list[str]:
        return [f"peak memory of mlx-audio in a process of its own {ask('peak memory') / 1e6:,.0f} MB"]

    try:
        yield Contender(_title("mlx-audio"), {stage: lambda stage=stage: ask(stage) for stage in STAGES}, notes)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _serve(order: str) -> None:
    """Be that process: stages come in, one a line, and seconds go out."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed here is no answer
    wanted = json.loads(order)
    subject = Subject(**wanted["subject"] | {"config": _config(wanted["subject"]["config"])})
    checkpoint = backend.run(subject.load)
    samples = made_up_speech(wanted["seconds"])
    contender = backend.run(_mlx_audio, checkpoint, samples, wanted["tokens"], compare=False)
    for line in sys.stdin:
        stage = line.strip()
        print(backend.peak_memory() if stage == "peak memory" else contender.works[stage](), file=answers, flush=True)


def _config(raw: dict) -> ModelConfig:
    parts = {"encoder": EncoderConfig, "adaptor": AdaptorConfig, "llm": LLMConfig}
    return ModelConfig(**{name: kind(**raw[name]) for name, kind in parts.items()}, audio_tokens=raw["audio_tokens"])


# transformers


def _transformers(checkpoint: Checkpoint, samples: np.ndarray, tokens: int) -> Contender:
    import torch
    from transformers import FunAsrNanoConfig, FunAsrNanoFeatureExtractor, FunAsrNanoForConditionalGeneration

    ours, inputs = checkpoint.model, _inputs(checkpoint, samples)
    device = "cpu" if backend.on_cpu else "cuda" if torch.cuda.is_available() else "mps"
    dtype = getattr(torch, checkpoint.dtype)
    config = FunAsrNanoConfig(**_transformers_settings(ours.config))
    with torch.device("meta"):
        names = list(FunAsrNanoForConditionalGeneration(config).state_dict())
    tensors = _tensors(checkpoint)
    for name, x in [item for item in tensors.items() if ".linear_q_k_v." in item[0]]:
        tensors |= {name.replace("q_k_v", letter): part for letter, part in zip("qkv", mx.split(x, 3), strict=True)}
    state = {}
    for name in names:
        official = official_name(name, ours.config)
        tensor = tensors["llm.model.embed_tokens.weight" if official == "llm.lm_head.weight" else official]
        state[name] = _torch(tensor.swapaxes(1, 2) if "fsmn" in name else tensor)
    model = FunAsrNanoForConditionalGeneration.from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    model = model.to(device).eval()
    heard, encoded, embedded = (_torch(x).to(device, dtype) for x in (inputs.features, inputs.encoded, inputs.embedded))
    mask = torch.ones(heard.shape[:2], dtype=torch.long, device=device)
    audio_ids = torch.full((1, heard.shape[1]), config.audio_token_id, device=device)
    words = build_prompt(checkpoint.tokenizer)
    before, after = (torch.tensor([ids], device=device) for ids in (words.prefix, words.suffix))
    prompt = torch.cat([before, audio_ids, after], dim=1)

    def run(work: Callable[[], object]) -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            result = work()
            result.reshape(-1)[-1].item()
            return time.perf_counter() - start

    def step() -> float:
        with torch.inference_mode():
            said = model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1)
            token = said.logits[:, -1:].argmax(-1)
            token.item()
            start = time.perf_counter()
            for _ in range(tokens - 1):
                said = model(input_ids=token, past_key_values=said.past_key_values, use_cache=True)
                token = said.logits[:, -1:].argmax(-1)
                token.item()
            return (time.perf_counter() - start) / max(1, tokens - 1)

    def transcription() -> torch.Tensor:
        x = heard if extractor is None else extractor(samples, sampling_rate=SAMPLE_RATE).input_features.to(device)
        return model.generate(
            input_ids=prompt,
            input_features=x.to(dtype),
            input_features_mask=mask,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
        )

    try:
        extractor, notes = FunAsrNanoFeatureExtractor(), []
    except ImportError:
        extractor, notes = None, ["transformers was given our features: its own need torchaudio, which is missing"]
    notes.append(f"transformers' LLM reads all {heard.shape[1]} audio frames, ours {inputs.audio_tokens}")
    with torch.inference_mode():
        theirs = model.model.audio_tower(heard, mask).last_hidden_state.float().cpu().numpy()
    notes += _agreement("transformers", ours.encode(inputs.features), mx.array(theirs))
    works = {
        "encoder": lambda: run(lambda: model.model.audio_tower(heard, mask).last_hidden_state),
        "adaptor": lambda: run(lambda: model.model.multi_modal_projector(encoded, mask)),
        "decoding step": step,
        "transcription": lambda: run(transcription),
    }
    return Contender(_title("transformers"), _on_worker(works), lambda: notes)


def _transformers_settings(config: ModelConfig) -> dict:
    encoder, adaptor, llm = config.encoder, config.adaptor, asdict(config.llm)
    theta = llm.pop("rope_theta")
    del llm["dropout"]
    if adaptor.downsample_rate != 1:
        raise OptionError("--against transformers: it has no adaptor that stacks frames, as this checkpoint's does")
    return {
        "audio_config": {
            "hidden_size": encoder.output_size,
            "num_attention_heads": encoder.attention_heads,
            "intermediate_size": encoder.linear_units,
            "num_hidden_layers": encoder.num_blocks + encoder.tp_blocks,
            "num_timestamp_prediction_layers": encoder.tp_blocks,
            "fsmn_kernel_size": encoder.kernel_size,
        },
        "adaptor_config": {
            "hidden_size": adaptor.llm_dim,
            "num_attention_heads": adaptor.attention_heads,
            "intermediate_size": adaptor.llm_dim // 4,
            "num_hidden_layers": adaptor.n_layer,
            "layer_norm_eps": adaptor.norm_eps,
            "projector_hidden_size": adaptor.ffn_dim,
        },
        "text_config": llm
        | {"model_type": "qwen3", "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
        | {"bos_token_id": None, "eos_token_id": None},
        "audio_token_id": config.llm.vocab_size - 1,
    }


def _torch(x: mx.array):
    import torch

    if x.dtype == mx.bfloat16:
        return torch.from_numpy(np.array(x.view(mx.uint16)).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(x))


# what both need


@dataclass(frozen=True)
class _Inputs:
    features: mx.array  # [1, T', 560]
    encoded: mx.array  # [1, T', D], made up: how long the adaptor takes does not depend on it
    embedded: mx.array  # [1, P, L], as long as our prompt, made up too
    audio_tokens: int


def _inputs(checkpoint: Checkpoint, samples: np.ndarray) -> _Inputs:
    model, prompt = checkpoint.model, build_prompt(checkpoint.tokenizer)
    heard = features(mx.array(samples), cmvn=checkpoint.cmvn)[None]
    count, dtype = model.audio_token_count(heard.shape[1]), model.llm.model.norm.weight.dtype
    length = len(prompt.prefix) + count + len(prompt.suffix)
    encoded = mx.random.normal((1, heard.shape[1], model.config.encoder.output_size), dtype)
    embedded = mx.random.normal((1, length, model.config.llm.hidden_size), dtype)
    mx.eval(heard, encoded, embedded)
    return _Inputs(heard, encoded, embedded, count)


def _tensors(checkpoint: Checkpoint) -> dict[str, mx.array]:
    """The network's tensors under their official names, which mlx-audio keeps."""
    flat = tree_flatten(checkpoint.model.parameters())
    return {part: x for name, value in flat for part, x in split_fused(name, value, checkpoint.layout).items()}


def _agreement(peer: str, ours: mx.array, theirs: mx.array) -> list[str]:
    ours, theirs = ours.astype(mx.float32), theirs.astype(mx.float32)
    difference = (mx.abs(ours - theirs).max() / mx.abs(ours).max()).item()
    return [f"the encoders of nanoasr and {peer} differ by at most {difference:.1e} of the largest value"]


def _on_worker(works: Mapping[str, Work]) -> dict[str, Work]:
    return {stage: lambda work=work: backend.run(work) for stage, work in works.items()}


def _title(package: str) -> str:
    return f"{package} {metadata.version(package)}"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _serve(sys.argv[1])
    os._exit(0)  # without waiting for work that nobody wants any more
