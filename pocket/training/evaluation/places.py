"""Whether a place is still there: after looking away and back, after a walk round a square, after standing still."""

import torch

from ..measure import psnr

AWAY = (30, 90, 360)
# Latent frames of walking before the view that is to be kept, and steps along a side of the square.
WALKED, SIDE = 20, 12
# A view away that is this like the first one says nothing by being left (dB).
DIFFERENT = 16.0


def turned(evaluation, degrees):
    """How many latent frames a turn takes."""
    return round(degrees / evaluation.subject.policy["camera"]["yaw_deg_per_latent"])


def setting_out(evaluation):
    """After some seconds of walking ahead: a walk and its picture, (B, H, W, 3)."""
    walk = evaluation.begin(evaluation.truth(evaluation.settings.walk_seconds), evaluation.settings.seeds)
    return walk, walk.go([""] + ["w"] * WALKED)[:, -1]


def returns(evaluation):
    walk, start = setting_out(evaluation)
    report, pictures = {"walks": len(start)}, [start]
    for degrees in AWAY:
        steps, there = turned(evaluation, degrees), walk.fork()
        if degrees == 360:
            half = there.go(["l"] * (steps // 2))[:, -1]
            away, back = half, there.go(["l"] * (steps - steps // 2))[:, -1]
        else:
            away, back = there.go(["l"] * steps)[:, -1], there.go(["j"] * steps)[:, -1]
        likeness, left = psnr(back, start), psnr(away, start)
        report[str(degrees)] = {
            "to the start": float(likeness.mean()),
            "away, to the start": float(left.mean()),
            "away is another view": float((left < DIFFERENT).float().mean()),
            "nearer to the start than to the view away": int((likeness > psnr(back, away)).sum()),
        }
        pictures += [away, back]
    evaluation.sheet("returns", torch.stack(pictures, 1)[:: evaluation.settings.seeds])
    return report


def square(evaluation):
    walk, start = setting_out(evaluation)
    corners = [start]
    for _ in range(4):
        corners.append(walk.go(["w"] * SIDE + ["l"] * turned(evaluation, 90))[:, -1])
    end, others = corners[-1], torch.stack(corners[1:-1], 1)
    home = psnr(end, start)
    evaluation.sheet("square", torch.stack(corners, 1)[:: evaluation.settings.seeds])
    return {
        "walks": len(start),
        "to the start": float(home.mean()),
        "nearer to the start than to any other corner": int((home > psnr(end[:, None], others).amax(1)).sum()),
    }


def still(evaluation):
    """Nothing held: like the first picture that was drawn, and how much is lost from the tenth second to the last."""
    found = evaluation.truth(evaluation.settings.walk_seconds)
    walk = evaluation.begin(found)
    begun = walk.step("")[:, 0]
    seconds = []
    for _ in range(evaluation.settings.still_seconds):
        seconds.append(walk.go([""] * 4)[:, -1])
    likeness = torch.stack([psnr(frame, begun) for frame in seconds], 1)
    tenth = min(9, len(seconds) - 1)
    evaluation.sheet("still", torch.stack([begun, seconds[tenth], seconds[-1]], 1))
    return {
        "seconds": len(seconds),
        "to the start": float(likeness[:, -1].mean()),
        "worst world": float(likeness[:, -1].min()),
        "lost since the tenth second": float((likeness[:, tenth] - likeness[:, -1]).mean()),
    }
