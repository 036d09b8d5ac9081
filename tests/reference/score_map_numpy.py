"""The score maps once more, from the papers' formulas, in loops.

Features are (B, h, w, C), gradients (B, K, h, w, C), maps (B, K, h, w) before any ReLU.
"""

import itertools

import numpy as np

from tests.reference import cam_numpy


def cells(features):
    _, height, width, _ = features.shape
    return list(itertools.product(range(height), range(width)))


def weighted(features, gradients, weight):
    """Sum over channels of `weight(A, g)`, a number or (h, w), times the channel."""
    features, gradients = (np.asarray(x, "float64") for x in (features, gradients))
    batch, classes = gradients.shape[:2]
    maps = np.zeros((batch, classes, *features.shape[1:3]))
    for b, k, c in itertools.product(
        range(batch), range(classes), range(features.shape[3])
    ):
        channel = features[b, :, :, c]
        maps[b, k] += weight(channel, gradients[b, k, :, :, c]) * channel
    return maps


def grad_cam(features, gradients):
    """Selvaraju et al., 2017, eq. 1 and 2."""
    count = len(cells(features))
    return weighted(features, gradients, lambda a, g: sum(g.ravel()) / count)


def grad_cam_pp(features, gradients):
    """Chattopadhay et al., 2018, eq. 19, without the factor exp(logit)."""

    def weight(channel, gradient):
        total = 0.0
        for g in gradient.ravel():
            below = 2 * g**2 + sum(channel.ravel()) * g**3
            if below:
                total += g**2 / below * max(g, 0.0)
        return total

    return weighted(features, gradients, weight)


def x_grad_cam(features, gradients):
    """Fu et al., 2020."""

    def weight(channel, gradient):
        whole = sum(channel.ravel())
        pairs = zip(channel.ravel(), gradient.ravel(), strict=True)
        return sum(a / whole * g for a, g in pairs) if whole else 0.0

    return weighted(features, gradients, weight)


def layer_cam(features, gradients):
    """Jiang et al., 2021."""
    return weighted(features, gradients, lambda a, g: np.where(g > 0, g, 0.0))


def hires_cam(features, gradients):
    """Draelos and Carin, 2020."""
    return weighted(features, gradients, lambda a, g: g)


def score_cam(network, images, features, class_ids, baseline):
    """Wang et al., 2020; one masked image at a time."""
    batch, _, _, channels = features.shape
    maps = np.zeros((batch, len(class_ids[0]), *features.shape[1:3]))
    for b in range(batch):
        image = images[b].astype("float64")
        logits = []
        for c in range(channels):
            mask = cam_numpy.score_map(features[b, :, :, c], image.shape[:2])
            masked = baseline + mask[:, :, None] * (image - baseline)
            logits.append(np.asarray(network(masked[None].astype("float32")))[0])
        for k, class_id in enumerate(class_ids[b]):
            scores = np.array([logit[class_id] for logit in logits], "float64")
            scores -= np.asarray(network(np.zeros_like(image)[None]))[0][class_id]
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            for c in range(channels):
                maps[b, k] += shares[c] * features[b, :, :, c]
    return maps


def principal_component(features, place=0):
    """Wei et al., 2017: mean (C,), vector (C,), all at once by SVD."""
    every = np.concatenate([each.reshape(-1, each.shape[-1]) for each in features])
    every = every.astype("float64")
    mean = every.mean(axis=0)
    _, sizes, right = np.linalg.svd(every - mean, full_matrices=False)
    vector = right[place] * (-1 if right[place].sum() < 0 else 1)
    return mean, vector, sizes[place] ** 2 / (sizes**2).sum()


def ddt(features, mean, vector):
    """Wei et al., 2017: along the component, from the mean."""
    maps = np.zeros((len(features), 1, *features.shape[1:3]))
    for b, (y, x) in itertools.product(range(len(features)), cells(features)):
        for c in range(features.shape[3]):
            maps[b, 0, y, x] += vector[c] * (float(features[b, y, x, c]) - mean[c])
    return maps


def largest_component(mask):
    """(h, w): the largest 8-connected part, of equal ones the first met."""
    left, best = {tuple(cell) for cell in np.argwhere(mask)}, []
    for start in map(tuple, np.argwhere(mask)):
        if start not in left:
            continue
        part, todo = [], [start]
        left.remove(start)
        while todo:
            y, x = todo.pop()
            part.append((y, x))
            for step in itertools.product((y - 1, y, y + 1), (x - 1, x, x + 1)):
                if step in left:
                    left.remove(step)
                    todo.append(step)
        best = part if len(part) > len(best) else best
    kept = np.zeros(mask.shape, bool)
    for cell in best:
        kept[cell] = True
    return kept


def discriminant(features, is_object, shrinkage):
    """Fisher's: weights (C,), bias, share; all cells at once, no running sums."""
    cells, marks = features.reshape(-1, features.shape[-1]), is_object.reshape(-1)
    cells = cells.astype("float64")
    inside, outside = cells[marks], cells[~marks]
    apart = [each - each.mean(axis=0) for each in (inside, outside)]
    covariance = sum(x.T @ x for x in apart) / len(cells)
    covariance += shrinkage * np.diag(covariance).mean() * np.eye(len(covariance))
    weights = np.linalg.inv(covariance) @ (inside.mean(axis=0) - outside.mean(axis=0))
    middle = (inside.mean(axis=0) + outside.mean(axis=0)) / 2
    bias = np.log(len(inside) / len(outside)) - weights @ middle
    return weights, bias, len(inside) / len(cells)


def foreground(features, rounds, shrinkage):
    """A component's largest positive part, then the discriminant's, over and over.

    Of the first three components, the first whose last guess is at most 0.75 times as
    likely in the outermost cells as inside; the first of all if there is none.
    """
    every = []
    for place in range(min(3, features.shape[-1])):
        mean, vector, _ = principal_component(features, place)
        maps = ddt(features, mean, vector)[:, 0]
        for _ in range(rounds):
            is_object = np.array([largest_component(each > 0) for each in maps])
            found = discriminant(features, is_object, shrinkage)
            maps = features.astype("float64") @ found[0] + found[1]
        every.append(found)
        height, width = features.shape[1:3]
        outermost, inside = [], []
        for y, x in itertools.product(range(height), range(width)):
            is_edge = y in (0, height - 1) or x in (0, width - 1)
            (outermost if is_edge else inside).append(is_object[:, y, x].mean())
        if np.mean(outermost) <= 0.75 * np.mean(inside):
            return found
    return every[0]


def foreground_by_class(features, class_ids, num_classes, rounds, shrinkage):
    """`foreground`, then for each class its own object and the common background.

    The mean of the objects of a class, over its images, is drawn towards that of all
    object cells by the random effects of a one-way analysis of variance, where the
    common covariance is the identity. Returns weights, biases, trusts and share.
    """
    general, bias, _ = foreground(features, rounds, shrinkage)
    weights, biases = np.tile(general, (num_classes, 1)), np.full(num_classes, bias)
    for _ in range(rounds):
        pairs = zip(features.astype("float64"), class_ids, strict=True)
        maps = [image @ weights[k] + biases[k] for image, k in pairs]
        is_object = np.array([largest_component(each > 0) for each in maps])
        inside, outside = (
            features[kind].astype("float64") for kind in (is_object, ~is_object)
        )
        apart = [each - each.mean(axis=0) for each in (inside, outside)]
        covariance = sum(x.T @ x for x in apart) / is_object.size
        covariance += shrinkage * np.diag(covariance).mean() * np.eye(len(covariance))
        white = np.linalg.inv(np.linalg.cholesky(covariance))
        objects = [[] for _ in range(num_classes)]
        for image, marks, class_id in zip(features, is_object, class_ids, strict=True):
            if marks.any():
                mean = image[marks].astype("float64").mean(axis=0)
                objects[class_id].append(white @ (mean - inside.mean(axis=0)))
        groups = [np.array(each) for each in objects if each]
        every, counts = np.concatenate(groups), np.array([len(x) for x in groups])
        total, mean = counts.sum(), every.mean(axis=0)
        between = sum(len(x) * ((x.mean(0) - mean) ** 2).sum() for x in groups)
        within = sum(((x - x.mean(axis=0)) ** 2).sum() for x in groups)
        within /= total - len(groups)
        each = (total - (counts**2).sum() / total) / (len(groups) - 1)
        of_classes = max(between / (len(groups) - 1) - within, 0) / each
        trusts = [len(x) * of_classes / (len(x) * of_classes + within) for x in objects]
        share = is_object.mean()
        for class_id, (whitened, trust) in enumerate(zip(objects, trusts, strict=True)):
            shift = np.mean(whitened, axis=0) if whitened else 0 * mean
            shifted = inside.mean(axis=0) + trust * np.linalg.solve(white, shift)
            apart = shifted - outside.mean(axis=0)
            weights[class_id] = np.linalg.inv(covariance) @ apart
            middle = (shifted + outside.mean(axis=0)) / 2
            biases[class_id] = np.log(share / (1 - share)) - weights[class_id] @ middle
    return weights, biases, trusts, share
