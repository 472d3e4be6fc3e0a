"""The text encoder, a small UMT5 under the names transformers gives it, and its word tokenizer.

Unlike T5, every layer has position biases of its own, and attention is not divided by the square root of the head size.
Rows past a prompt are zero, and the transformer reads them all the same: an empty prompt is zero rows alone.
"""

import math
import re

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import nn

PAD, UNKNOWN = 0, 1


class LayerNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, 1e-6)


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, self.heads = config["d_model"], config["num_heads"]
        inner = self.heads * config["d_kv"]
        self.q, self.k, self.v = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, width, bias=False)
        self.buckets, self.furthest = (
            config["relative_attention_num_buckets"],
            config["relative_attention_max_distance"],
        )
        self.relative_attention_bias = nn.Embedding(self.buckets, self.heads)

    def forward(self, x, mask):
        length = x.shape[1]
        at = torch.arange(length, device=x.device)
        bias = self.relative_attention_bias(bucket(at - at.unsqueeze(1), self.buckets, self.furthest)).permute(2, 0, 1)
        bias = bias.unsqueeze(0).masked_fill(~mask[:, None, None, :], torch.finfo(bias.dtype).min)
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1.0)
        return self.o(mixed.transpose(1, 2).flatten(2))


def bucket(ahead, buckets, furthest):
    """T5's: half for what follows; near distances exactly, far ones by their logarithm."""
    half = buckets // 2
    exact = half // 2
    distance = ahead.abs()
    far = (distance.clamp_min(1).float() / exact).log() / math.log(furthest / exact) * (half - exact)
    far = (exact + far.long()).clamp_max(half - 1)
    return torch.where(distance < exact, distance, far) + half * (ahead > 0)


class DenseReluDense(nn.Module):
    """The name is T5's; what is dense here is a gated GELU."""

    def __init__(self, config):
        super().__init__()
        width, inner = config["d_model"], config["d_ff"]
        self.wi_0, self.wi_1 = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class SubLayer(nn.Module):
    def __init__(self, name, module, width):
        super().__init__()
        self.add_module(name, module)
        self.layer_norm = LayerNorm(width)
        self.name = name

    def forward(self, x, *args):
        return x + getattr(self, self.name)(self.layer_norm(x), *args)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["d_model"]
        self.layer = nn.ModuleList(
            [
                SubLayer("SelfAttention", SelfAttention(config), width),
                SubLayer("DenseReluDense", DenseReluDense(config), width),
            ]
        )


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.block = nn.ModuleList(Layer(config) for _ in range(config["num_layers"]))
        self.final_layer_norm = LayerNorm(config["d_model"])


class TextEncoder(nn.Module):
    """`config` is text_encoder/config.json."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config["vocab_size"], config["d_model"])
        self.encoder = Encoder(config)

    def forward(self, ids):
        """ids (B, L), 0 past the prompt -> (B, L, d_model), zero past the prompt."""
        mask = ids != PAD
        x = self.shared(ids)
        for block in self.encoder.block:
            attention, dense = block.layer
            x = dense(attention(x, mask))
        return self.encoder.final_layer_norm(x) * mask.unsqueeze(-1)


def config(vocabulary, width, layers, heads):
    """text_encoder/config.json of a new encoder."""
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": width // heads,
        "d_ff": 2 * width,
        "num_layers": layers,
        "num_heads": heads,
        "relative_attention_num_buckets": 16,
        "relative_attention_max_distance": 32,
        "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu_new",
        "is_gated_act": True,
        "tie_word_embeddings": True,
        "pad_token_id": PAD,
        "eos_token_id": None,
    }


def tokenizer(prompts, limit):
    """Whole words, the most frequent `limit` of them. In a vocabulary this small, word pieces would be fragments of one or two letters."""
    counts = {}
    for prompt in prompts:
        for word in re.findall("[a-z0-9]+", prompt.lower()):
            counts[word] = counts.get(word, 0) + 1
    # By frequency, then by name: the same prompts in any order give the same numbers.
    words = sorted(counts, key=lambda word: (-counts[word], word))[:limit]
    vocabulary = {"<pad>": PAD, "<unk>": UNKNOWN} | {word: i + 2 for i, word in enumerate(sorted(words))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z0-9]+"), "removed")
    return made


def token_ids(tokenizer, prompts, length):
    """(B, length); longer prompts are cut."""
    rows = [tokenizer.encode(prompt).ids[:length] for prompt in prompts]
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows], dtype=torch.long)


def as_people_write(ids, settings):
    """Prompts, some of them in fewer words than the grammar's and some with words that nobody trained."""
    return forgetful(shortened(ids, settings.short_prompts), settings.unknown_words)


def shortened(ids, share):
    """A share of the prompts with words left out, from hardly any to hardly one that stays. The grammar says everything;
    people say "snowy mountains"."""
    amount = torch.rand(*ids.shape[:-1], 1) * (torch.rand(*ids.shape[:-1], 1) < share)
    lost = (torch.rand(ids.shape) < amount).to(ids.device) | (ids == PAD)
    kept_first = lost.to(torch.uint8).argsort(dim=-1, stable=True)
    return ids.masked_fill(lost, PAD).gather(-1, kept_first)


def forgetful(ids, share):
    """A share of the words unknown. Every word of a training prompt is in the vocabulary: without this, what an unknown
    one does would be left to chance."""
    lost = (torch.rand(ids.shape) < share).to(ids.device) & (ids != PAD)
    return ids.masked_fill(lost, UNKNOWN)
