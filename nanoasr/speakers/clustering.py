"""Embeddings of windows -> which of them are of one voice: spectral clustering, the number of speakers found."""

import numpy as np

MAX_SPEAKERS = 10  # that are looked for; more can be asked for
_NEIGHBOURS, _LEAST_NEIGHBOURS, _MOST_NEIGHBOURS = 0.2, 6, 20  # that each window is connected to: a share of all
_MOST_WINDOWS = 1200  # in one similarity graph; the rest joins the speaker that it is nearest to
# Two clusters are one speaker if the windows of both are as similar to each other as within a cluster: by 92 % if both
# have 10 s of speech, by less where there is less evidence for two. Tuned on made-up conversations and on AMI.
_SAME_LEAST, _SAME, _EVIDENCE = 0.82, 0.92, 10.0


def cluster(embeddings: np.ndarray, seconds: float, speakers: int | None = None) -> np.ndarray:
    """Label each of the embeddings [N, D] with its speaker, from 0 up.

    seconds   of speech that a window stands for: the time from one to the next
    speakers  how many there are; None to find out
    """
    embeddings = normalized(embeddings)
    count = len(embeddings)
    if count > _MOST_WINDOWS:
        chosen = np.linspace(0, count - 1, _MOST_WINDOWS).round().astype(int)
        return nearest(embeddings, centroids(embeddings[chosen], cluster(embeddings[chosen], seconds, speakers)))
    if count <= (speakers or 3) or speakers == 1:
        return np.arange(count) if speakers and speakers > 1 else np.zeros(count, int)
    similarity = embeddings @ embeddings.T
    values, vectors = np.linalg.eigh(_laplacian(similarity))
    found = speakers or int(np.argmax(np.diff(values[: MAX_SPEAKERS + 1]))) + 1
    labels = _k_means(vectors[:, :found], found)
    return labels if speakers else _merge(labels, similarity, seconds)


def agglomerate(embeddings: np.ndarray, least: float) -> np.ndarray:
    """Label embeddings [N, D] of length 1 by joining the most similar two clusters while they are similar on average
    by `least`. For few windows, where spectral clustering has too few to compare."""
    similarity, sizes = embeddings @ embeddings.T, np.ones(len(embeddings))
    np.fill_diagonal(similarity, -1)
    labels = np.arange(len(embeddings))
    while len(labels) > 1:
        first, second = np.unravel_index(similarity.argmax(), similarity.shape)
        if similarity[first, second] < least:
            break
        weights = sizes[[first, second]] / sizes[[first, second]].sum()
        similarity[first] = similarity[:, first] = weights @ similarity[[first, second]]
        similarity[second] = similarity[:, second] = similarity[first, first] = -1
        sizes[first] += sizes[second]
        labels[labels == second] = first
    return np.unique(labels, return_inverse=True)[1]


def centroids(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the mean direction of each speaker's embeddings."""
    sums = np.eye(labels.max() + 1)[labels].T @ embeddings
    return normalized(sums)


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, D] of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-8)


def nearest(embeddings: np.ndarray, voices: np.ndarray) -> np.ndarray:
    """Return the index of the most similar voice for each embedding."""
    return np.argmax(embeddings @ voices.T, axis=1)


def _laplacian(similarity: np.ndarray) -> np.ndarray:
    """Compute the normalized Laplacian of the graph that connects each window to its nearest neighbours."""
    count = len(similarity)
    kept = min(max(_LEAST_NEIGHBOURS, round(count * _NEIGHBOURS)), _MOST_NEIGHBOURS, count)
    least = np.partition(similarity, count - kept, axis=1)[:, count - kept, None]
    graph = np.where(similarity >= least, np.maximum(similarity, 0), 0.0)
    graph = (graph + graph.T) / 2
    np.fill_diagonal(graph, 0)
    scale = 1 / np.sqrt(np.maximum(graph.sum(axis=1), 1e-9))
    return np.eye(count) - graph * scale[:, None] * scale


def _k_means(points: np.ndarray, count: int) -> np.ndarray:
    """Cluster points by their direction, from centres as far apart as can be; the same each time."""
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    best, labels = np.inf, np.zeros(len(points), int)
    for first in np.linspace(0, len(points) - 1, 5).astype(int):
        centres = points[[first]]
        for _ in range(count - 1):
            centres = np.vstack([centres, points[_distances(points, centres).min(axis=1).argmax()]])
        for _ in range(50):
            found = _distances(points, centres).argmin(axis=1)
            moved = np.array(
                [points[found == i].mean(axis=0) if (found == i).any() else centres[i] for i in range(count)]
            )
            if np.allclose(moved, centres):
                break
            centres = moved
        cost = float(_distances(points, centres).min(axis=1).sum())
        if cost < best - 1e-9:
            best, labels = cost, found
    return np.unique(labels, return_inverse=True)[1]


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.square(points[:, None] - centres).sum(axis=2)


def _merge(labels: np.ndarray, similarity: np.ndarray, seconds: float) -> np.ndarray:
    """Join clusters as long as two are too similar to be two speakers."""
    while (count := labels.max() + 1) > 1:
        members = np.eye(count)[labels]
        sizes = members.sum(axis=0)
        sums = members.T @ similarity @ members
        within = (np.diag(sums) - sizes) / np.maximum(sizes * (sizes - 1), 1)
        within[sizes == 1] = within[sizes > 1].mean() if (sizes > 1).any() else 1.0
        scale = np.sqrt(np.maximum(within, 1e-3))
        relative = sums / (sizes[:, None] * sizes) / (scale[:, None] * scale)
        evidence = np.minimum(np.minimum(sizes[:, None], sizes) * seconds / _EVIDENCE, 1)
        excess = relative - (_SAME_LEAST + (_SAME - _SAME_LEAST) * evidence)
        np.fill_diagonal(excess, -np.inf)
        first, second = np.unravel_index(excess.argmax(), excess.shape)
        if excess[first, second] < 0:
            break
        labels = np.unique(np.where(labels == second, first, labels), return_inverse=True)[1]
    return labels
