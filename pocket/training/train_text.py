"""The stage `text`: a vocabulary from the prompts, then a text encoder that has read them.

Left to the transformer's loss alone, an encoder learns to forget: trained so, half of the landscapes could no longer be
told from what it made of their prompts, and no picture can show what its prompt does not say. So it reads first. Of
every word it is asked what the whole prompt is about, wherever the word stands, and which word it was.
"""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import nn

from . import clips, text
from .checkpoint import TEXT_WEIGHTS, begin_from
from .loop import Loop, load_average


def run(config, folder):
    scenes = [scene for clip in clips.folder(folder / "clips/train") for scene in clip.scenes]
    if config.data.pictures:
        scenes += [scene for clip in clips.folder(folder / "clips/pictures") for scene in clip.scenes]
    prompts = [scene["prompt"] for scene in scenes]
    words = text.tokenizer(prompts, config.text.vocabulary)
    words.save(str(folder / "tokenizer.json"))
    print(f"{len(set(prompts))} different prompts, {words.get_vocab_size()} words")

    ids = text.token_ids(words, prompts, config.policy["text_len"]).to(config.device)
    names = {kind: sorted({scene[kind] for scene in scenes}) for kind in clips.LABELS}
    labels = {
        kind: torch.tensor([of.index(scene[kind]) for scene in scenes], device=config.device) for kind, of in names.items()
    }
    reader = Reader(config, words.get_vocab_size(), names)
    if not config.text.forget:
        same_words(config.start_from, words)
        begin_from(config, "text_encoder", reader.encoder, TEXT_WEIGHTS)
    reader.to(config.device)
    loop = Loop(folder, "text", reader, config.text, config)

    def losses():
        draw = random.Random(config.seed * 1_000_003 + loop.step)
        rows = [draw.randrange(len(scenes)) for _ in range(config.text.batch)]
        said = text.as_people_write(ids[rows], config.dit)
        return reader.losses(said, {kind: of[rows] for kind, of in labels.items()})

    loop.run(losses, every=50)


def same_words(start_from, words):
    """An encoder's knowledge of a number is useful only while the number stands for the same word."""
    if start_from:
        earlier = Tokenizer.from_file(str(Path(start_from) / "tokenizer/tokenizer.json"))
        if earlier.get_vocab() != words.get_vocab():
            raise ValueError(f"text.forget is false, but the words of {start_from} are not those of this run's prompts")


class Reader(nn.Module):
    """The encoder, and the classifiers that it is trained with."""

    def __init__(self, config, vocabulary, names):
        super().__init__()
        self.encoder = encoder(config, vocabulary)
        self.about = nn.ModuleDict({kind: nn.Linear(config.text.width, len(of)) for kind, of in names.items()})
        self.word = nn.Linear(config.text.width, vocabulary)

    def losses(self, ids, labels):
        """ids (B, L); labels (B,) of each kind. `right`: share of words that know what their prompt is about."""
        said = ids != text.PAD
        rows = self.encoder(ids)[said]
        of_word = torch.arange(len(ids), device=ids.device).unsqueeze(1).expand_as(ids)[said]
        values = {"loss": F.cross_entropy(self.word(rows), ids[said])}
        right = []
        for kind, head in self.about.items():
            scores, true = head(rows), labels[kind][of_word]
            values["loss"] = values["loss"] + F.cross_entropy(scores, true)
            right.append((scores.argmax(1) == true).float().mean())
        return values | {"right": torch.stack(right).mean()}


def encoder(config, vocabulary):
    settings = config.text
    return text.TextEncoder(text.config(vocabulary, settings.width, settings.layers, settings.heads))


def tokenizer(folder):
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run the stage `text` first")
    return Tokenizer.from_file(str(path))


def trained(config, folder, words):
    """The encoder that this stage trained."""
    reader = nn.ModuleDict({"encoder": encoder(config, words.get_vocab_size())})
    return load_average(folder / "text.safetensors", reader).encoder
