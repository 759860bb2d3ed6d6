"""What the language model writes after given tokens: its own text from the start, or a "what if" from another token."""

from collections.abc import Sequence

from ..checkpoint.load import Checkpoint
from ..decode.generate import generate
from ..decode.request import Request
from ..decode.sampling import Sampling
from ..decode.text import TextStream
from ..families.nano import NanoInspection
from ..results.transcript import Alternative, Token


def continue_text(
    checkpoint: Checkpoint, x: NanoInspection, ids: Sequence[int] = (), sampling: Sampling | None = None
) -> list[Token]:
    """Return the tokens that follow `ids`, greedily; call on the worker thread."""
    llm, tokenizer = checkpoint.model.llm, checkpoint.tokenizer
    request = Request(x.embed(llm, ids), sampling or Sampling(), alternatives=bool(ids))
    [(_, written)] = generate(checkpoint.model, [request], tokenizer.end_ids)
    stream = TextStream(tokenizer)
    for token_id in ids:
        stream.token_text(token_id)
    tokens = []
    for i, (token_id, logprob) in enumerate(zip(written.ids, written.logprobs, strict=True)):
        others = written.alternatives[i] if written.alternatives else ()
        named = tuple(Alternative(other, tokenizer.decode([other]), share) for other, share in others)
        tokens.append(Token(token_id, stream.token_text(token_id), logprob, alternatives=named))
    return tokens
