"""The attentions of the zoo for one sequence without padding, from their equations, in quadratic time and with loops.

Each function takes the module (for its random numbers and sizes) and q, k, v [H, T, K] of one sequence, and returns
[H, T, K]. Nothing is shared with the code under test but the random buffers.
"""

import math

import torch


def scores_of(q, k):
    return torch.einsum("htk,hsk->hts", q, k) / math.sqrt(q.shape[-1])


def softmax(module, q, k, v, seen=None):
    weights = scores_of(q, k).exp()
    if seen is not None:
        weights = weights * seen
    return weights / weights.sum(-1, keepdim=True) @ v


def local(module, q, k, v):
    place = torch.arange(q.shape[1])
    return softmax(module, q, k, v, ((place - place.unsqueeze(1)).abs() <= module.sizes.block).to(q))


def kernelized(module, q, k, v):
    distance = torch.cdist(q, k) ** 2 / math.sqrt(q.shape[-1])
    return torch.exp(-distance / 2) @ v


def performer(module, q, k, v):
    def features(x):
        x = x / q.shape[-1] ** 0.25
        return torch.exp(x @ module.directions.to(x).t() - (x * x).sum(-1, keepdim=True) / 2)

    weights = features(q) @ features(k).transpose(-1, -2)
    return weights / weights.sum(-1, keepdim=True) @ v


def linformer(module, q, k, v):
    """With the padding to the full length written out."""
    rest = torch.zeros(q.shape[0], module.sizes.max_length - q.shape[1], q.shape[2], dtype=q.dtype)
    projection = module.projection.to(q)
    return softmax(module, q, projection @ torch.cat((k, rest), 1), projection @ torch.cat((v, rest), 1))


def nystromformer(module, q, k, v):
    length, count = q.shape[1], module.sizes.features
    segment = [i * count // max(length, count) for i in range(length)]
    members = [[i for i in range(length) if segment[i] == s] for s in sorted(set(segment))]
    q_means, k_means = (torch.stack([x[:, group].mean(1) for group in members], dim=1) for x in (q, k))
    between = scores_of(q_means, k_means).softmax(-1)
    columns, rows = between.sum(1).amax(-1), between.sum(2).amax(-1)
    inverse = between.transpose(1, 2) / (columns * rows).view(-1, 1, 1)
    identity = torch.eye(between.shape[-1], dtype=q.dtype)
    for _ in range(module.iterations):
        az = between @ inverse
        inverse = 0.25 * inverse @ (13 * identity - az @ (15 * identity - az @ (7 * identity - az)))
    return scores_of(q, k_means).softmax(-1) @ inverse @ (scores_of(q_means, k).softmax(-1) @ v)


def skyformer(module, q, k, v):
    """With the exact inverse; the module's iterations must have converged."""
    draws = module.draws
    places = [min(int(draw * q.shape[1]), q.shape[1] - 1) for draw in draws.tolist()]
    half = len(places) // 2
    landmarks = torch.cat((q[:, places[:half]], k[:, places[half:]]), dim=1)

    def kappa(x, y):
        return torch.exp(-(torch.cdist(x, y) ** 2) / math.sqrt(q.shape[-1]) / 2)

    middle = kappa(landmarks, landmarks) + module.gamma * torch.eye(len(places), dtype=q.dtype)
    return kappa(q, landmarks) @ torch.linalg.inv(middle) @ kappa(landmarks, k) @ v


def informer(module, q, k, v):
    length = q.shape[1]
    budget = min(length, max(1, module.factor * math.ceil(math.log(length))))
    sampled = [min(int(draw * length), length - 1) for draw in module.draws[:budget].tolist()]
    out = v.mean(1, keepdim=True).repeat(1, length, 1)
    scores = scores_of(q, k)
    for head in range(q.shape[0]):
        need = scores[head][:, sampled].amax(-1) - scores[head][:, sampled].mean(-1)
        for i in need.argsort(descending=True)[:budget]:
            out[head, i] = scores[head, i].softmax(-1) @ v[head]
    return out


def reformer(module, q, k, v):
    heads, length, _ = q.shape
    size, outs, totals = module.sizes.block, [], []
    for directions in module.directions.to(q):
        seen = torch.zeros(heads, length, length, dtype=torch.bool)
        for head in range(heads):
            projected = q[head] @ directions[head]
            bucket = torch.cat((projected, -projected), -1).argmax(-1).tolist()
            chunk = {i: place // size for place, i in enumerate(sorted(range(length), key=lambda i: (bucket[i], i)))}
            for i in range(length):
                for j in range(length):
                    seen[head, i, j] = chunk[j] in (chunk[i], chunk[i] - 1)
        keys = q / q.norm(dim=-1, keepdim=True)
        scores = scores_of(q, keys).masked_fill(torch.eye(length, dtype=torch.bool), -1e5)
        scores = scores.masked_fill(~seen, -torch.inf)
        outs.append(scores.softmax(-1) @ v)
        totals.append(scores.logsumexp(-1))
    shares = torch.stack(totals).softmax(0)
    return (shares.unsqueeze(-1) * torch.stack(outs)).sum(0)


def bigbird(module, q, k, v):
    heads, length, _ = q.shape
    size = module.sizes.block
    last = (length - 1) // size
    seen = torch.zeros(heads, length, length)
    for head in range(heads):
        for block in range(last + 1):
            some = {0, last, block - 1, block, block + 1} if 0 < block < last else set(range(last + 1))
            others = [other for other in range(last + 1) if other not in some]
            others.sort(key=lambda other, rank=module.ranks[head, block]: -float(rank[other]))
            for other in some.union(others[: module.sizes.random_blocks]):
                seen[head, block * size : (block + 1) * size, max(other, 0) * size : (other + 1) * size] = 1
    return softmax(module, q, k, v, seen.to(q))


NAIVE = {
    "softmax": softmax,
    "kernelized": kernelized,
    "skyformer": skyformer,
    "nystromformer": nystromformer,
    "performer": performer,
    "linformer": linformer,
    "informer": informer,
    "reformer": reformer,
    "bigbird": bigbird,
    "local": local,
}
