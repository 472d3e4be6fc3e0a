"""Prompts: worlds from a text alone, and what two seconds make of a change.

The sentences of `prompts.json` were written from what a user might type, with no look at the grammar that training draws
its prompts from. Each says what must be recognised in the picture; what it does not say is not asked.
"""

import json
from pathlib import Path

import torch

KINDS = ("biome", "time", "weather")
TWO_SECONDS, SETTLED = 8, 8


def sentences():
    return json.loads(Path(__file__).with_name("prompts.json").read_text())


def text(evaluation):
    asked = evaluation.chosen(sentences()["alone"])
    frames = []
    for first in range(0, len(asked), 20):
        some = asked[first : first + 20]
        seeds = [evaluation.config.seed + first + i for i in range(len(some))]
        walk = evaluation.subject.begin(None, [one["say"] for one in some], seeds)
        frames.append(walk.go([""] * (TWO_SECONDS + 1))[:, -1])
    frames = torch.cat(frames)
    evaluation.sheet("text", grid(frames))
    return {
        "prompts": len(asked),
        "recognised": right(evaluation.classifier, frames, asked),
        "rendered pictures, recognised": rendered(evaluation),
        "wrong": wrong(evaluation.classifier, frames, asked),
    }


def events(evaluation):
    """Said after some walking in a world that is not like it."""
    found = evaluation.truth(evaluation.settings.walk_seconds)
    asked = evaluation.chosen(sentences()["events"])
    starts = [
        next((clip for clip in found[i % len(found) :] + found if differs(clip.scenes[0], one)), found[i % len(found)])
        for i, one in enumerate(asked)
    ]
    walk = evaluation.begin(starts)
    before = walk.go([""] + ["w"] * SETTLED)[:, -1]
    walk.say([one["say"] for one in asked])
    after = walk.go(["w"] * TWO_SECONDS)[:, -1]
    evaluation.sheet("events", torch.stack([before, after], 1))
    return {
        "events": len(asked),
        "recognised": right(evaluation.classifier, after, asked),
        "recognised before it was said": right(evaluation.classifier, before, asked),
        "wrong": wrong(evaluation.classifier, after, asked),
    }


def differs(scene, wanted):
    """Whether nothing of what is asked for is there already."""
    return all(scene[kind] != wanted[kind] for kind in KINDS if kind in wanted)


def named(classifier, frames):
    """What a picture shows, of each kind."""
    scores = classifier(frames.to(next(classifier.parameters()).device))
    return [
        {kind: classifier.names[kind][int(of[i].argmax())] for kind, of in scores.items()} for i in range(len(frames))
    ]


def right(classifier, frames, asked):
    """Of each kind, the share that was recognised of what was asked for."""
    hits = {kind: [] for kind in KINDS}
    for found, wanted in zip(named(classifier, frames), asked):
        for kind in KINDS:
            if kind in wanted:
                hits[kind].append(found[kind] == wanted[kind])
    return {kind: sum(of) / len(of) for kind, of in hits.items() if of}


def wrong(classifier, frames, asked):
    """What was taken for something else."""
    return [
        {"said": wanted["say"]} | {kind: f"{wanted[kind]}, not {found[kind]}" for kind in missed}
        for found, wanted in zip(named(classifier, frames), asked)
        if (missed := [kind for kind in KINDS if kind in wanted and found[kind] != wanted[kind]])
    ]


def rendered(evaluation):
    """How good the classifier is, on pictures of worlds it has not seen."""
    tested = evaluation.labelled[1]
    frames = torch.cat([clip.frames(0, 1) for clip in tested])
    return right(evaluation.classifier, frames, [clip.scenes[0] for clip in tested])


def grid(frames, columns=10):
    """(N, H, W, 3) -> (rows, columns, H, W, 3); what is over is black."""
    missing = -len(frames) % columns
    return torch.cat([frames, frames.new_zeros(missing, *frames.shape[1:])]).unflatten(0, (-1, columns))
