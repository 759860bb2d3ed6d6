"""mlx-audio's Fun-ASR-Nano with our weights, in this process or in its own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

import mlx.core as mx
import numpy as np

from .. import backend
from ..checkpoint.load import Checkpoint
from ..checkpoint.writer import config_settings
from ..errors import NanoASRError
from ..typed import build
from .contender import STAGES, Contender, encoder_difference, make_inputs, official_tensors, on_worker, title
from .subject import Subject, synthetic_speech
from .timing import seconds_until_read


def mlx_audio(
    checkpoint: Checkpoint, samples: np.ndarray, tokens: int, label: str = "", compare: bool = True
) -> Contender:
    """Build mlx-audio's model in this process; call on the worker thread."""
    from mlx_audio.lm.generate import generate_step
    from mlx_audio.stt.models.fun_asr_nano import fun_asr_nano

    ours, inputs = checkpoint.model, make_inputs(checkpoint, samples)
    model = fun_asr_nano.FunASRNano(fun_asr_nano.FunASRNanoConfig.from_dict(config_settings(ours.config)))
    model.load_weights([(name, x) for name, x in official_tensors(checkpoint).items() if not name.startswith("ctc")])
    model.eval()
    model._tokenizer = checkpoint.tokenizer
    # in the weights' dtype, which is the best case: its own front end always gives float32
    frames = inputs.features.astype(ours.llm.model.norm.weight.dtype)
    lengths = mx.array([frames.shape[1]], dtype=mx.int32)
    mx.eval(frames, lengths)
    notes = []
    if compare:
        notes = encoder_difference("mlx-audio", ours.encode(inputs.features), model.audio_encoder(frames, lengths)[0])

    def decode(ids: mx.array, embedded: mx.array) -> Iterator[int]:
        for token, _ in generate_step(prompt=ids, input_embeddings=embedded, model=model, max_tokens=tokens):
            yield int(token)

    def step() -> float:
        generated = decode(mx.zeros(inputs.embedded.shape[1], dtype=mx.int32), inputs.embedded[0])
        next(generated)
        start = time.perf_counter()
        for _ in generated:
            pass
        return (time.perf_counter() - start) / max(1, tokens - 1)

    def transcription() -> float:
        start = time.perf_counter()
        ids, embedded = model._build_inputs_embeds(samples, language=None, hotwords=None, itn=True)
        checkpoint.tokenizer.decode(list(decode(ids[0], embedded[0])))
        return time.perf_counter() - start

    works = {
        "encoder": lambda: seconds_until_read(lambda: model.audio_encoder(frames, lengths)[0]),
        "adaptor": lambda: seconds_until_read(lambda: model.audio_adaptor(inputs.encoded, lengths)[0]),
        "decoding step": step,
        "transcription": transcription,
    }
    return Contender(title("mlx-audio") + label, on_worker(works), lambda: notes)


@contextlib.contextmanager
def mlx_audio_process(subject: Subject, seconds: float, tokens: int) -> Iterator[Contender]:
    """Run mlx-audio in a process of its own, with the BLAS that its users get."""
    request = json.dumps({"subject": asdict(subject), "seconds": seconds, "tokens": tokens})
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()", request],
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
            raise NanoASRError("mlx-audio's process ended early; stderr may say why")
        return float(answer)

    def notes() -> list[str]:
        return [f"peak memory of mlx-audio in a process of its own {ask('peak memory') / 1e6:,.0f} MB"]

    try:
        yield Contender(title("mlx-audio"), {stage: lambda stage=stage: ask(stage) for stage in STAGES}, notes)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def serve() -> None:
    """Be that process: read stages from stdin, one a line, and answer with seconds, until it is killed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    request = json.loads(sys.argv[1])
    checkpoint = backend.run(build(Subject, request["subject"], "subject").load)
    samples = synthetic_speech(request["seconds"])
    contender = backend.run(mlx_audio, checkpoint, samples, request["tokens"], compare=False)
    for line in sys.stdin:
        stage = line.strip()
        print(backend.peak_memory() if stage == "peak memory" else contender.works[stage](), file=answers, flush=True)
