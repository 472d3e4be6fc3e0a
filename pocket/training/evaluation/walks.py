"""Long walks: how sharp they stay, and whether they look like anything the renderer draws.

Each world is walked along the same path as the renderer's, so what a sharp walk is, is known for every world: the renderer's
walk as the autoencoder gives it back.
"""

import torch
from tqdm import tqdm

from . import texture
from .subject import script_of

# From here on a walk is its own: nothing of the given picture is left in view.
SINCE = 15


def measured(evaluation):
    settings, subject = evaluation.settings, evaluation.subject
    found = evaluation.truth(settings.walk_seconds)
    fps, names = subject.policy["fps"], named([clip.scenes[0]["biome"] for clip in found])
    # The frame of every second, and the one before it.
    at = torch.arange(fps, fps * settings.walk_seconds + 1, fps)
    true = [clip.frames() for clip in found]
    known = [subject.through_autoencoder(video) for video in true]
    limits = texture.limits(torch.cat([texture.statistics(video[at - 1], video[at]) for video in true]))
    walk = evaluation.begin(found)
    video = walk_on(walk, script_of(settings.walk_seconds), at)
    report = {
        "seconds": settings.walk_seconds,
        "frames": {"renderer": inside(true, at, limits), "autoencoder": inside(known, at, limits)},
        "sharpness": sharpness(names, video, [frames[at] for frames in known]),
        "first minute": judged(video, limits),
    }
    evaluation.sheet("walks", torch.cat([torch.stack([clip[0] for clip in true])[:, None], video[:, shown(at), 1]], 1))
    if settings.late_seconds:
        later = torch.arange(fps * (settings.late_seconds - 60), fps * settings.late_seconds + 1, fps)
        late = walk_on(evaluation.begin(found), script_of(settings.late_seconds), later)
        report["late sharpness"] = sharpness(names, late, [frames[at] for frames in known])
        report["last minute"] = judged(late, limits) | {"seconds": settings.late_seconds}
        evaluation.sheet("walks-late", late[:, shown(later), 1])
    return report


def named(places):
    """Each world's name: that of its place, and a number where there are several."""
    return [place if places.count(place) == 1 else f"{place} {places[:i].count(place) + 1}" for i, place in enumerate(places)]


def walk_on(walk, keys, at):
    """u8 (B, len(at), 2, H, W, 3): these frames of a walk, each after the one before it. The others are not kept."""
    wanted, frames, count, before = set(at.tolist()), [], 0, None
    for held in tqdm(keys, desc="walk"):
        for frame in walk.step(held).unbind(1):
            if count in wanted:
                frames.append(torch.stack([before, frame], 1))
            before, count = frame, count + 1
    return torch.stack(frames, 1)


def shown(at):
    return [int(len(at) * share) for share in (0.03, 0.08, 0.17, 0.33, 0.5, 0.67, 0.83, 0.99)]


def sharpness(names, video, known):
    """Mean gradient from `SINCE` seconds on as a share of the autoencoder's on the renderer's walk, for each world."""
    since = min(SINCE, video.shape[1] // 2)
    return {
        name: float(texture.gradient(drawn[since:, 1]).mean() / texture.gradient(true[since:]).mean())
        for name, drawn, true in zip(names, video, known)
    }


def inside(videos, at, limits):
    """Share of frames all of whose statistics a rendered frame could have."""
    return float(torch.cat([texture.inside(texture.statistics(v[at - 1], v[at]), limits) for v in videos]).float().mean())


def judged(video, limits):
    """As `inside`, of what `walk_on` gives; and which statistics are to blame, each by its share of frames."""
    found = texture.statistics(*video.flatten(0, 1).unbind(1))
    low, high = limits
    outside = ((found < low) | (found > high)).float().mean(0)
    return {
        "inside": float(texture.inside(found, limits).float().mean()),
        "outside": dict(zip(texture.NAMES, outside.tolist())),
    }
