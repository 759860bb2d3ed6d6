"""transformers' Fun-ASR-Nano with our weights, in PyTorch."""

import time
from collections.abc import Callable
from dataclasses import asdict

import mlx.core as mx
import numpy as np

from .. import backend
from ..audio.files import SAMPLE_RATE
from ..checkpoint.layouts import official_name
from ..checkpoint.load import Checkpoint
from ..decode.prompt import build_prompt
from ..errors import OptionError
from ..model.config import ModelConfig
from .contender import Contender, encoder_difference, make_inputs, official_tensors, on_worker, title


def transformers(checkpoint: Checkpoint, samples: np.ndarray, tokens: int) -> Contender:
    """Build transformers' model; call on the worker thread."""
    import torch
    from transformers import FunAsrNanoConfig, FunAsrNanoFeatureExtractor, FunAsrNanoForConditionalGeneration

    ours, inputs = checkpoint.model, make_inputs(checkpoint, samples)
    device = "cpu" if backend.on_cpu else "cuda" if torch.cuda.is_available() else "mps"
    dtype = getattr(torch, checkpoint.dtype)
    config = FunAsrNanoConfig(**_transformers_settings(ours.config))
    with torch.device("meta"):
        names = list(FunAsrNanoForConditionalGeneration(config).state_dict())
    tensors = official_tensors(checkpoint)
    for name, x in [item for item in tensors.items() if ".linear_q_k_v." in item[0]]:
        tensors |= {name.replace("q_k_v", letter): part for letter, part in zip("qkv", mx.split(x, 3), strict=True)}
    state = {}
    for name in names:
        official = official_name(name, ours.config)
        tensor = tensors["llm.model.embed_tokens.weight" if official == "llm.lm_head.weight" else official]
        state[name] = _torch(tensor.swapaxes(1, 2) if "fsmn" in name else tensor)
    model = FunAsrNanoForConditionalGeneration.from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    model = model.to(device).eval()
    frames, encoded, embedded = (
        _torch(x).to(device, dtype) for x in (inputs.features, inputs.encoded, inputs.embedded)
    )
    mask = torch.ones(frames.shape[:2], dtype=torch.long, device=device)
    audio_ids = torch.full((1, frames.shape[1]), config.audio_token_id, device=device)
    ids = build_prompt(checkpoint.tokenizer)
    before, after = (torch.tensor([part], device=device) for part in (ids.prefix, ids.suffix))
    prompt = torch.cat([before, audio_ids, after], dim=1)

    def run(work: Callable[[], object]) -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            result = work()
            result.reshape(-1)[-1].item()
            return time.perf_counter() - start

    def step() -> float:
        with torch.inference_mode():
            output = model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1)
            token = output.logits[:, -1:].argmax(-1)
            token.item()
            start = time.perf_counter()
            for _ in range(tokens - 1):
                output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
                token = output.logits[:, -1:].argmax(-1)
                token.item()
            return (time.perf_counter() - start) / max(1, tokens - 1)

    def transcription() -> torch.Tensor:
        x = frames if extractor is None else extractor(samples, sampling_rate=SAMPLE_RATE).input_features.to(device)
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
        extractor, notes = None, ["transformers was given our features: torchaudio, which its own need, is missing"]
    notes.append(f"transformers' LLM reads all {frames.shape[1]} audio frames, ours {inputs.audio_tokens}")
    with torch.inference_mode():
        theirs = model.model.audio_tower(frames, mask).last_hidden_state.float().cpu().numpy()
    notes += encoder_difference("transformers", ours.encode(inputs.features), mx.array(theirs))
    works = {
        "encoder": lambda: run(lambda: model.model.audio_tower(frames, mask).last_hidden_state),
        "adaptor": lambda: run(lambda: model.model.multi_modal_projector(encoded, mask)),
        "decoding step": step,
        "transcription": lambda: run(transcription),
    }
    return Contender(title("transformers"), on_worker(works), lambda: notes)


def _transformers_settings(config: ModelConfig) -> dict:
    encoder, adaptor, llm = config.encoder, config.adaptor, asdict(config.llm)
    theta = llm.pop("rope_theta")
    del llm["dropout"]
    if adaptor.downsample_rate != 1:
        raise OptionError("--against transformers: its adaptor cannot stack frames, as this checkpoint's does")
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
