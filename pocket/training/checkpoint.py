"""A folder of weights in the published diffusers layout, with `causeway.json` at its root: read and written here.

Stored in f16, computed in f32: so what is measured is always what was stored, after a round trip.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from . import text
from .camera import Grid
from .dit import Dit
from .text import TextEncoder
from .vae import Vae

WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"
PIPELINE = {
    "_class_name": "LingBotWorldCausalDMDPipeline",
    "image_encoder": [None, None],
    "image_processor": [None, None],
    "transformer_2": [None, None],
    "scheduler": [None, None],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "CausalLingBotWorldTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
}


@dataclass
class Checkpoint:
    policy: dict
    dit: Dit
    vae: Vae
    text: TextEncoder
    tokenizer: Tokenizer

    @classmethod
    def load(cls, folder):
        folder = Path(folder)
        made = cls(
            json.loads((folder / "causeway.json").read_text()),
            filled(Dit, folder / "transformer", WEIGHTS),
            filled(Vae, folder / "vae", WEIGHTS),
            filled(TextEncoder, folder / "text_encoder", TEXT_WEIGHTS),
            Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json")),
        )
        for module in made.modules():
            module.eval().requires_grad_(False)
        return made

    def save(self, folder):
        folder = Path(folder)
        write_json(folder / "model_index.json", PIPELINE)
        write_json(folder / "causeway.json", self.policy)
        for name, module, file in (
            ("transformer", self.dit, WEIGHTS),
            ("vae", self.vae, WEIGHTS),
            ("text_encoder", self.text, TEXT_WEIGHTS),
        ):
            write_json(folder / name / "config.json", module.config)
            save_file(halved(module), folder / name / file, metadata={"format": "pt"})
        write_json(
            folder / "tokenizer" / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": "<pad>",
                "unk_token": "<unk>",
                "model_max_length": self.policy["text_len"],
            },
        )
        self.tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))

    def modules(self):
        return self.dit, self.vae, self.text

    @property
    def grid(self):
        return Grid.of(self.vae.config, self.dit.config)

    def to(self, device):
        for module in self.modules():
            module.to(device)
        return self

    @torch.no_grad()
    def context(self, prompts):
        """(B, text_len, text_dim)."""
        ids = text.token_ids(self.tokenizer, prompts, self.policy["text_len"])
        return self.text(ids.to(self.text.shared.weight.device))


def begin_from(config, part, module, file=WEIGHTS):
    """The weights of `config.start_from`, if there are any, into a new module of the same sizes."""
    if config.start_from:
        module.load_state_dict(weights(Path(config.start_from) / part / file))


def filled(kind, folder, file):
    module = kind(json.loads((folder / "config.json").read_text()))
    module.load_state_dict(weights(folder / file))
    return module


def weights(path):
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def halved(module):
    """Weights in f16. A value outside f16's range is an error, not an infinity in the file."""
    tensors = {name: tensor.detach().half().cpu().contiguous() for name, tensor in module.state_dict().items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} does not fit f16: its largest value is {module.state_dict()[name].abs().max()}")
    return tensors


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")
