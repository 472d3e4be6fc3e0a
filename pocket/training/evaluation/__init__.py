"""The stage `evaluate`: the exported folder against the renderer, by measures that neither stripes nor haze can please.

Everything is drawn by the streaming sampler from the f16 files. Each row of the table is a file of its own,
`evaluation/ROW.json`: a row that is there is not drawn again, so a run that was stopped goes on, and deleting a file does its
row over. `evaluation.md` has all rows that are there; pictures lie beside their rows, and are to be looked at.

Nothing here may be used to choose a setting: worlds and prompts are held out, for the last look only.
"""

import functools
import json
import time

import torch
from PIL import Image

from .. import clips, data, measure
from ..checkpoint import Checkpoint, write_json
from . import likeness, places, table, walks, words
from .subject import Subject, script_of

ROWS = {
    "likeness": likeness.measured,
    "keys": likeness.keys,
    "walks": walks.measured,
    "returns": places.returns,
    "square": places.square,
    "still": places.still,
    "text": words.text,
    "events": words.events,
}


def run(config, folder):
    if unknown := set(config.evaluate.rows) - set(ROWS):
        raise ValueError(f"evaluate.rows has {', '.join(sorted(unknown))}, but must be of {', '.join(ROWS)}")
    out = data.prepared(folder / "evaluation")
    evaluation = Evaluation(config, folder, out)
    for name in config.evaluate.rows:
        if not (out / f"{name}.json").exists():
            began = time.process_time()
            found = ROWS[name](evaluation)
            write_json(out / f"{name}.json", found | {"processor_seconds": round(time.process_time() - began)})
            print(f"evaluate {name}: {time.process_time() - began:.0f} s of processor time", flush=True)
    found = {name: json.loads((out / f"{name}.json").read_text()) for name in ROWS if (out / f"{name}.json").exists()}
    (folder / "evaluation.md").write_text(table.markdown(found, drawn(evaluation.subject.policy)))
    print((folder / "evaluation.md").read_text())


def drawn(policy):
    """How the pictures were drawn."""
    count = policy["steps"] if isinstance(policy["steps"], int) else len(policy["steps"])
    size = "×".join(map(str, policy["size"]))
    return f"{size}, {policy.get('sampler', 'renoise')}, {count} step{'s' if count > 1 else ''}, shift {policy['shift']:g}"


class Evaluation:
    """What the rows share. `settings` is the preset's table `[evaluate]`."""

    def __init__(self, config, folder, out):
        self.config, self.folder, self.out, self.settings = config, folder, out, config.evaluate
        self.subject = Subject(Checkpoint.load(folder / "weights").to(config.device), config.device)
        self.source = data.source(config)

    @functools.cached_property
    def labelled(self):
        """Rendered pictures with labels: those that classifiers learn from, and others to test them on."""
        made = []
        for name, first, count in (("learned", data.LABELLED, self.settings.pictures), ("tested", data.TESTED, 200)):
            place = data.prepared(self.out / "pictures" / name)
            self.source.pictures(place, first, min(count, self.settings.pictures))
            made.append(clips.folder(place))
        return made

    @functools.cached_property
    def classifier(self):
        kinds = ("biome", "time", "weather")
        return measure.trained_classifier(
            self.labelled[0], kinds, self.settings.classifier_steps, self.config.device, self.config.seed
        )

    def chosen(self, asked):
        """The preset's number of these prompts, spread over all."""
        count = self.settings.prompts or len(asked)
        return [asked[i * len(asked) // count] for i in range(count)]

    def truth(self, seconds):
        """The renderer's walks of the scripted path through every world, of so many seconds: where all walks begin."""
        keys, made = script_of(seconds), data.prepared(self.out / f"walks-{seconds}")
        found = []
        for place, start in enumerate(self.source.starts(self.settings.worlds)):
            # Worlds of one seed differ in their looks.
            out = data.prepared(made / f"{place}") / clips.name(start.seed)
            if not out.exists():
                self.source.walk(out, start, keys)
            found.append(clips.Clip.open(out))
            if start.prompt:
                found[-1].scenes[0]["prompt"] = start.prompt
        return found

    def begin(self, found, seeds=1):
        """Walks from the first pictures of clips, each from so many seeds of noise."""
        pictures = torch.cat([clip.frames(0, 1) for clip in found for _ in range(seeds)])
        prompts = [clip.scenes[0]["prompt"] for clip in found for _ in range(seeds)]
        return self.subject.begin(pictures, prompts, [self.config.seed + i % seeds for i in range(len(prompts))])

    def sheet(self, name, rows):
        """A picture of rows of pictures, (rows, columns, H, W, 3), enlarged twice."""
        whole = Image.fromarray(rows.transpose(1, 2).flatten(2, 3).flatten(0, 1).numpy())
        whole.resize((2 * whole.width, 2 * whole.height), Image.NEAREST).save(self.out / f"{name}.png")
