"""How sharp a picture is, and whether it has stripes, bands or flicker that no rendered one has."""

import torch

GREY = torch.tensor([0.299, 0.587, 0.114])
NAMES = ("brightness", "contrast", "gradient", "edges across", "rows alike", "columns alike", "finest detail", "change")
# Of the renderer's frames this share is within the limits that are set from them.
WITHIN = 0.98


def grey(frames):
    """u8 (..., H, W, 3) -> (..., H, W), 0 to 255 (Rec. 601)."""
    return frames.float() @ GREY


def gradient(frames):
    """u8 (..., H, W, 3) -> (...): mean |difference| of grey levels of neighbours, across and down, added."""
    shade = grey(frames)
    return shade.diff(dim=-1).abs().mean((-1, -2)) + shade.diff(dim=-2).abs().mean((-1, -2))


def statistics(before, now):
    """Two successive frames, u8 (T, H, W, 3) each -> (T, 8). Of the second: mean and deviation of its grey levels; mean
    gradient; edges that run across as a share of all, and how alike the rows are, which stripes along the horizon raise;
    the same for columns; energy in the finest quarter of the spectrum. And how much changed between the two."""
    shade, past = grey(now), grey(before)
    flat = shade - shade.mean((-1, -2), keepdim=True)
    power = flat.pow(2).mean((-1, -2)) + 1.0
    down, across = shade.diff(dim=-2).abs().mean((-1, -2)), shade.diff(dim=-1).abs().mean((-1, -2))
    spectrum = torch.fft.rfft2(flat, norm="ortho").abs().pow(2)
    height, width = shade.shape[-2:]
    y, x = torch.fft.fftfreq(height).abs().unsqueeze(-1), torch.fft.rfftfreq(width)
    fine = (torch.maximum(y.expand(-1, len(x)), x.expand(height, -1)) > 0.375).float()
    return torch.stack(
        [
            shade.mean((-1, -2)),
            power.sqrt(),
            down + across,
            down / (down + across + 1e-3),
            flat.mean(-1).pow(2).mean(-1) / power,
            flat.mean(-2).pow(2).mean(-1) / power,
            (spectrum * fine).sum((-1, -2)) / (spectrum.sum((-1, -2)) + 1.0),
            (shade - past).abs().mean((-1, -2)),
        ],
        -1,
    )


def limits(true):
    """(N, k) of rendered frames -> lowest and highest of each that `WITHIN` of the frames keep all of: a frame is judged by
    all of its statistics, so each has wider limits than it would alone."""
    tight, loose = 0.0, (1 - WITHIN) / 2
    for _ in range(30):
        tail = (tight + loose) / 2
        kept = inside(true, (true.quantile(tail, 0), true.quantile(1 - tail, 0))).float().mean()
        tight, loose = (tail, loose) if kept >= WITHIN else (tight, tail)
    return true.quantile(tight, 0), true.quantile(1 - tight, 0)


def inside(found, within):
    """(N, k) -> (N,): whether all of a frame's statistics are."""
    low, high = within
    return ((found >= low) & (found <= high)).all(-1)
