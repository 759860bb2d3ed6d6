"""The hypotheses of a beam search as a tree: beginnings that they share are one branch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go

from ..results.segments import Candidate, Segment
from ..results.words import split_words
from .style import BLUE, GREY, plain, styled


@dataclass
class _Node:
    word: str
    depth: int
    children: "dict[str, _Node]" = field(default_factory=dict)
    hypotheses: list[int] = field(default_factory=list)  # that pass through here, the best is 0
    y: float = 0.0


def beam_tree(segments: Sequence[Segment]) -> go.Figure | None:
    """Draw the hypotheses of the first segment that has several texts; None where there is none."""
    for segment in segments:
        texts = dict.fromkeys(candidate.text for candidate in segment.nbest)
        if len(texts) > 1:
            best = {candidate.text: candidate for candidate in reversed(segment.nbest)}
            return _drawn([best[text] for text in texts])
    return None


def _drawn(candidates: Sequence[Candidate]) -> go.Figure:
    root = _Node("", 0)
    for number, candidate in enumerate(candidates):
        node = root
        node.hypotheses.append(number)
        for piece in split_words(candidate.text):
            word = piece.text.strip()
            node = node.children.setdefault(word, _Node(word, node.depth + 1))
            node.hypotheses.append(number)
        node.children[""] = _Node("", node.depth + 1, hypotheses=[number])  # the end, where the score stands
    rows = iter(range(len(candidates)))
    nodes = list(_placed(root, rows))
    figure = go.Figure()
    for node in nodes:
        for child in node.children.values():
            is_best = 0 in child.hypotheses
            figure.add_scatter(
                x=[node.depth, node.depth + 0.35, child.depth], y=[node.y, child.y, child.y], mode="lines",
                line={"color": BLUE if is_best else GREY, "width": 3 if is_best else 1, "shape": "linear"},
                hoverinfo="skip",
            )  # fmt: skip
    ends = {node.hypotheses[0]: node for node in nodes if not node.children}
    labels = [f"log-probability {candidates[i].logprob:.2f}, score {candidates[i].score:.3f}" for i in ends]
    words = [node for node in nodes if node.word]
    figure.add_scatter(
        x=[node.depth - 0.3 for node in words], y=[node.y for node in words], mode="text",
        text=[plain(node.word, 24) for node in words], textposition="top center",
        customdata=[plain(candidates[node.hypotheses[0]].text, 200) for node in words],
        hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[ends[i].depth for i in ends], y=[ends[i].y for i in ends], mode="text", text=labels,
        textposition="middle right", textfont={"color": GREY}, hoverinfo="skip",
    )  # fmt: skip
    deepest = max(node.depth for node in nodes)
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False}
    figure.update_xaxes(**hidden, range=[0, deepest + 3.5]).update_yaxes(**hidden, autorange="reversed")
    return styled(figure, height=80 + 44 * len(candidates)).update_layout(width=max(700, 72 * deepest + 260))


def _placed(node: _Node, rows: Iterator[int]) -> Iterator[_Node]:
    """Give every node its height, leaves one below the other; the best hypothesis comes first."""
    if not node.children:
        node.y = next(rows)
    for child in node.children.values():
        yield from _placed(child, rows)
    if node.children:
        node.y = min(child.y for child in node.children.values())
    yield node
