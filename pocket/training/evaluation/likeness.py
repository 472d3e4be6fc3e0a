"""Likeness to the renderer's truth along the same path, and whether keys do what they say."""

import torch

from .. import clips, data, measure
from ..camera import motion
from ..camera import rays as rays_of

AHEAD = (4, 8, 16, 48)
TURNS = {"j": ("yaw", -1), "l": ("yaw", 1), "i": ("pitch", 1), "k": ("pitch", -1)}
OPPOSITE = dict(zip("wsadjlik", "swdaljki"))


def measured(evaluation):
    """dB at some frames ahead: the autoencoder, the model, and the baselines that it must beat."""
    settings, subject, source = evaluation.settings, evaluation.subject, evaluation.source
    place = data.prepared(evaluation.folder / "clips/held_out")
    source.clips(place, data.HELD_OUT, settings.clips, training=False)
    found = clips.folder(place)[: settings.clips]
    truth = torch.stack([clip.frames() for clip in found])
    made = torch.stack([subject.through_autoencoder(video) for video in truth])
    at = [frame for frame in AHEAD if frame < truth.shape[1]]
    steps = motion(torch.stack([clip.latent_poses for clip in found]))[:, : max(at) // 4 + 1]
    lens = torch.stack([clip.intrinsics for clip in found])
    back = steps.clone()
    back[..., :3, 3] *= -1

    def walked(steps):
        rays = rays_of(steps, lens, subject.policy["size"], subject.policy["camera"], subject.model.grid)
        walk, frames = evaluation.begin(found), []
        for i in range(rays.shape[1]):
            frames.append(walk.shown(rays[:, i]))
        return torch.cat(frames, 1)

    def row(frames, true=truth):
        likeness = measure.psnr(frames[:, at], true[:, at]).mean(0)
        return dict(zip(map(str, at), likeness.tolist()))

    model, likeness = walked(steps), measure.psnr(made, truth)
    shown = [0, *at]
    evaluation.sheet("likeness", torch.cat([video[:8, shown] for video in (truth, made, model)], 1))
    return {
        "clips": len(found),
        "autoencoder": {"all frames": float(likeness.mean()), "last frame": float(likeness[:, -1].mean())},
        "ahead": {
            "autoencoder": row(made),
            "model": row(model),
            "first frame, frozen": row(truth[:, :1].expand_as(truth)),
            # Compared with the autoencoder's output, so that only the transformer's error counts.
            "model, to the autoencoder's": row(model, made),
            "first frame, frozen, to the autoencoder's": row(made[:, :1].expand_as(made), made),
            "camera of another clip": row(walked(steps.roll(1, 0))),
            "moves reversed": row(walked(back)),
        },
    }


def keys(evaluation):
    """Each key held from first frames of worlds of their own, against the renderer's truth for the same key."""
    report = {}
    for key in data.KEYS:
        place = data.prepared(evaluation.folder / "clips/keys" / key)
        evaluation.source.held(place, "" if key == "none" else key, evaluation.settings.worlds)
        found = clips.folder(place)[: evaluation.settings.worlds]
        truth = torch.stack([clip.frames() for clip in found])

        def held(keys):
            return evaluation.begin(found).go([""] + [keys] * data.HELD)

        def likeness(video):
            return float(measure.psnr(video[:, -1], truth[:, -1]).mean())

        video = held("" if key == "none" else key)
        row = {"model": likeness(video), "frozen": likeness(truth[:, :1])}
        if key in OPPOSITE:
            row["opposite"] = likeness(held(OPPOSITE[key]))
        if key in TURNS:
            asked = evaluation.subject.policy["camera"][f"{TURNS[key][0]}_deg_per_latent"]
            model, true = (turns(frames, evaluation.subject.lens, key, asked) for frames in (video, truth))
            row |= {
                "asked_deg": asked,
                "true_median_deg": float(true.median()),
                "median_deg": float(model.median()),
                "median_error": float(((model - asked).abs() / asked).median()),
                "right_way": float((model > 0).float().mean()),
            }
        report[key] = row
    return report


def turns(videos, lens, key, asked):
    """Degrees a latent frame, positive where it is the right way."""
    axis, sign = TURNS[key]
    pairs = [(frames[4 * i], frames[4 * i + 4]) for frames in videos for i in range(data.HELD)]
    return sign * torch.tensor([measure.turn(*pair, lens, axis, 2.5 * asked) for pair in pairs])
