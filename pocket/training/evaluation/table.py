"""The evaluation as a page: every row with its mark, and the figures behind it."""

from .likeness import TURNS

# What is asked of a world at 192x128; a share, decibels, or a count of walks.
MARKS = {
    "sharp": (0.70, 0.55),
    "returns": {"30": 22, "90": 20, "360": 18},
    "nearer": 23 / 24,
    "square": (18, 20 / 24),
    "ahead": 3,
    "turn": 0.10,
    "inside": 0.95,
    "text": {"biome": 0.9, "time": 0.9, "weather": 0.8},
    "events": 0.9,
    "still": 28,
}
KINDS = {"biome": "place", "time": "time of day", "weather": "weather"}


def markdown(found, drawn):
    lines = ["# Evaluation, as `python -m training evaluate` writes it", "", f"Drawn in {drawn}, from the f16 files.", ""]
    lines += [row("", "asked", "reached"), "|---|---|---|"]
    for name, of in SUMMARIES.items():
        if name in found:
            lines += [row(*cells) for cells in of(found[name])]
    missing = [name for name in SUMMARIES if name not in found]
    if missing:
        lines += ["", f"Not measured: {', '.join(missing)}."]
    for name, of in DETAILS.items():
        if name in found:
            lines += ["", *of(found[name])]
    return "\n".join(lines) + "\n"


def walks(found):
    median, worst = MARKS["sharp"]
    minutes = [("sharpness", "first minute", f"{found['seconds']} s")]
    if "late sharpness" in found:
        minutes.append(("late sharpness", "last minute", f"the last minute of {found['last minute']['seconds']} s"))
    for sharp, inside, named in minutes:
        shares = sorted(found[sharp].values())
        middle = (shares[(len(shares) - 1) // 2] + shares[len(shares) // 2]) / 2
        low = min(found[sharp], key=found[sharp].get)
        yield (
            f"sharpness, {named}: of the autoencoder's",
            f"≥ {percent(median)}, worst ≥ {percent(worst)}",
            f"{percent(middle)}, worst {percent(found[sharp][low])} ({low})",
        )
        yield (
            f"no stripes, bands or flicker, {named}: frames a renderer could have drawn",
            f"≥ {percent(MARKS['inside'])}",
            f"{percent(found[inside]['inside'])} (autoencoder {percent(found['frames']['autoencoder'])})",
        )


def returns(found):
    for degrees, asked in MARKS["returns"].items():
        of = found[degrees]
        yield (
            f"{degrees}° away and back: to the start; nearer to it than to the view away",
            f"≥ {asked} dB; ≥ {percent(MARKS['nearer'])}",
            f"{of['to the start']:.1f} dB; {of['nearer to the start than to the view away']} of {found['walks']} "
            f"(view away {of['away, to the start']:.1f} dB, another view in {percent(of['away is another view'])})",
        )


def square(found):
    decibels, share = MARKS["square"]
    return [
        (
            "a square walked round: to the start; nearer to it than to any other corner",
            f"≥ {decibels} dB; ≥ {percent(share)}",
            f"{found['to the start']:.1f} dB; {found['nearer to the start than to any other corner']} of {found['walks']}",
        )
    ]


def still(found):
    return [
        (
            f"nothing held for {found['seconds']} s: to the start",
            f"≥ {MARKS['still']} dB, no drift",
            f"{found['to the start']:.1f} dB, worst {found['worst world']:.1f}; "
            f"{found['lost since the tenth second']:.1f} dB lost since the tenth second",
        )
    ]


def likeness(found):
    ahead = list(found["ahead"]["model"])[-1]
    gain = found["ahead"]["model"][ahead] - found["ahead"]["first frame, frozen"][ahead]
    yield f"rollout, {ahead} frames ahead, above the frozen frame", f"≥ {MARKS['ahead']} dB", f"{gain:.1f} dB"
    of = found["autoencoder"]
    yield "autoencoder, all frames; last frame", "≥ 28 dB", f"{of['all frames']:.1f} dB; {of['last frame']:.1f} dB"


def keys(found):
    errors = {axis: [found[key]["median_error"] for key in TURNS if TURNS[key][0] == axis] for axis in ("yaw", "pitch")}
    told = ", ".join(f"{axis} {percent(max(of))}" for axis, of in errors.items())
    yield "turn of a held key: median error", f"≤ {percent(MARKS['turn'])}", told
    beats = [key for key in "wsad" if found[key]["model"] > max(found[key]["frozen"], found[key]["opposite"])]
    yield "a step beats the frozen frame and the opposite key", "each", f"{len(beats)} of 4 ({', '.join(beats)})"


def text(found):
    for kind, share in found["recognised"].items():
        yield (
            f"from text alone, {found['prompts']} prompts: {KINDS[kind]} recognised",
            f"≥ {percent(MARKS['text'][kind])}",
            f"{percent(share)} (of rendered pictures {percent(found['rendered pictures, recognised'][kind])})",
        )


def events(found):
    for kind, share in found["recognised"].items():
        yield (
            f"2 s after one of {found['events']} events: {KINDS[kind]} recognised",
            f"≥ {percent(MARKS['events'])}",
            f"{percent(share)} (before it {percent(found['recognised before it was said'][kind])})",
        )


def likeness_detail(found):
    ahead = list(found["ahead"]["model"])
    yield f"## Likeness: {found['clips']} held-out clips"
    yield ""
    yield row("PSNR to the truth, dB, frames ahead", *ahead)
    yield "|---" * (len(ahead) + 1) + "|"
    for name, values in found["ahead"].items():
        yield row(name, *(f"{values[at]:.1f}" for at in ahead))


def keys_detail(found):
    titles = ("key, held 2 s", "dB to the truth", "frozen", "opposite key", "turn, degrees", "in the truth", "error", "right way")
    yield "## Keys"
    yield ""
    yield row(*titles)
    yield "|---" * len(titles) + "|"
    for key, values in found.items():
        if isinstance(values, dict):
            yield key_row(key, values)


def key_row(key, values):
    decibels = [f"{values[name]:.1f}" if name in values else "–" for name in ("model", "frozen", "opposite")]
    turns = ["–"] * 4
    if key in TURNS:
        shown = (f"{values['median_deg']:.1f} of {values['asked_deg']:g}", f"{values['true_median_deg']:.1f}")
        turns = [*shown, percent(values["median_error"]), percent(values["right_way"])]
    return row(f"`{key}`", *decibels, *turns)


def walks_detail(found):
    yield "## Walks"
    yield ""
    yield "Sharpness of each world: " + ", ".join(f"{name} {percent(of)}" for name, of in found["sharpness"].items()) + "."
    yield ""
    blamed = {name: share for name, share in found["first minute"]["outside"].items() if share >= 0.01}
    told = ", ".join(f"{name} {percent(share)}" for name, share in sorted(blamed.items(), key=lambda of: -of[1])) or "none"
    yield f"Frames of the first minute outside the renderer's range, by statistic: {told}."


def wrong_detail(found):
    yield "## Read wrongly"
    yield ""
    for one in found["wrong"]:
        yield f"* \"{one['said']}\": " + "; ".join(of for kind, of in one.items() if kind != "said")


SUMMARIES = {
    "walks": walks,
    "returns": returns,
    "square": square,
    "still": still,
    "likeness": likeness,
    "keys": keys,
    "text": text,
    "events": events,
}
DETAILS = {"likeness": likeness_detail, "keys": keys_detail, "walks": walks_detail, "text": wrong_detail}


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def percent(share):
    return f"{100 * share:.0f} %"
