"""The video autoencoder: Wan 2.1's causal layers under the names diffusers gives them, small enough for a CPU.

There is no 3-D convolution in it. A causal 3x3x3 convolution is one 2-D convolution over three neighbouring frames
stacked as channels, which is exact and several times faster on a CPU. So frames are kept as (B, T, C, H, W) inside.
The same code runs a whole clip at once or one latent frame at a time: a `Memory` is all the difference.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Memory(dict):
    """What a stream remembers: for each layer, the last frames it saw."""


class CausalConv(nn.Module):
    """A convolution over time and space that never looks ahead. Before the first frame there are zeros."""

    def __init__(self, inputs, outputs, size, stride=1):
        super().__init__()
        time, space = size
        self.weight = nn.Parameter(torch.empty(outputs, inputs, time, space, space))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.time, self.pad, self.stride = time, space // 2, stride
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x, memory=None):
        """x: (B, T, C, H, W). With stride 2 the caller provides the past and no frame is put in front."""
        kernel = self.weight.transpose(1, 2).flatten(1, 2)
        past = self.time - 1
        if past and self.stride == 1:
            seen = memory.get(self) if memory is not None else None
            if seen is None and memory is None and x.shape[1] == 1:
                # One picture: the older taps would only meet zeros.
                return frames(F.conv2d, x, self.weight[:, :, -1], self.bias, padding=self.pad)
            if seen is None:
                seen = x.new_zeros(x.shape[0], past, *x.shape[2:])
            x = torch.cat([seen.to(x.dtype), x], 1)
            if memory is not None:
                memory[self] = x[:, -past:]
        count = (x.shape[1] - self.time) // self.stride + 1
        if self.time > 1:
            last = (count - 1) * self.stride + 1
            x = torch.cat([x[:, tap : tap + last : self.stride] for tap in range(self.time)], 2)
        return frames(F.conv2d, x, kernel, self.bias, padding=self.pad)


def frames(function, x, *args, **named):
    """Apply a function of pictures to every frame of (B, T, C, H, W)."""
    y = function(x.flatten(0, 1), *args, **named)
    return y.view(x.shape[0], x.shape[1], *y.shape[1:])


class ChannelNorm(nn.Module):
    """Every pixel's channels to length sqrt(C). The shape of gamma is a name's worth of history: Wan has both."""

    def __init__(self, channels, over_time=True):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1, 1) if over_time else torch.ones(channels, 1, 1))

    def forward(self, x):
        length = x.float().pow(2).sum(-3, keepdim=True).sqrt().clamp_min(1e-12)
        return (x.float() / length * math.sqrt(x.shape[-3]) * self.gamma.view(-1, 1, 1)).to(x.dtype)


class Residual(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = ChannelNorm(inputs), CausalConv(inputs, outputs, (3, 3))
        self.norm2, self.conv2 = ChannelNorm(outputs), CausalConv(outputs, outputs, (3, 3))
        self.conv_shortcut = CausalConv(inputs, outputs, (1, 1)) if inputs != outputs else None

    def forward(self, x, memory=None):
        y = self.conv1(F.silu(self.norm1(x)), memory)
        y = self.conv2(F.silu(self.norm2(y)), memory)
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """One head over the pixels of each frame."""

    def __init__(self, channels):
        super().__init__()
        self.norm = ChannelNorm(channels, over_time=False)
        self.to_qkv, self.proj = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        qkv = self.to_qkv(self.norm(x).flatten(0, 1))
        q, k, v = qkv.flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        mixed = self.proj(mixed.reshape(-1, *x.shape[2:]))
        return x + mixed.view_as(x)


class Middle(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.resnets = nn.ModuleList([Residual(channels, channels), Residual(channels, channels)])
        self.attentions = nn.ModuleList([Attention(channels)])

    def forward(self, x, memory=None):
        x = self.attentions[0](self.resnets[0](x, memory))
        return self.resnets[1](x, memory)


class Down(nn.Module):
    """Half the size; where `time`, also half the frames but for the first, which stands alone."""

    def __init__(self, channels, time):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        self.time_conv = CausalConv(channels, channels, (3, 1), stride=2) if time else None

    def forward(self, x):
        x = frames(self.resample, x)
        if self.time_conv is None or x.shape[1] == 1:
            return x
        return torch.cat([x[:, :1], self.time_conv(x)], 1)


class Up(nn.Module):
    """Twice the size; where `time`, also twice the frames but for the first of the stream."""

    def __init__(self, channels, time):
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest-exact"), nn.Conv2d(channels, channels // 2, 3, padding=1)
        )
        self.time_conv = CausalConv(channels, 2 * channels, (3, 1)) if time else None

    def forward(self, x, memory=None):
        if self.time_conv is not None:
            alone = 1
            if memory is not None:
                alone = 0 if self in memory else 1
                memory[self] = True
            first, rest = x[:, :alone], x[:, alone:]
            if rest.shape[1]:
                even, odd = self.time_conv(rest, memory).chunk(2, 2)
                rest = torch.stack([even, odd], 2).flatten(1, 2)
            x = torch.cat([first, rest], 1)
        return frames(self.resample, x)


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        widths = [config["base_dim"] * m for m in [1, *config["dim_mult"]]]
        self.conv_in = CausalConv(config["in_channels"], widths[0], (3, 3))
        self.down_blocks = nn.ModuleList()
        for level, (width, wider) in enumerate(zip(widths, widths[1:])):
            for i in range(config["num_res_blocks"]):
                self.down_blocks.append(Residual(width if i == 0 else wider, wider))
            if level + 2 < len(widths):
                self.down_blocks.append(Down(wider, config["temperal_downsample"][level]))
        self.mid_block = Middle(wider)
        self.norm_out, self.conv_out = ChannelNorm(wider), CausalConv(wider, 2 * config["z_dim"], (3, 3))

    def forward(self, x):
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(self.mid_block(x))))


class UpBlock(nn.Module):
    def __init__(self, inputs, outputs, count, up):
        super().__init__()
        self.resnets = nn.ModuleList([Residual(inputs if i == 0 else outputs, outputs) for i in range(count)])
        self.upsamplers = nn.ModuleList([] if up is None else [Up(outputs, up)])

    def forward(self, x, memory=None):
        for layer in [*self.resnets, *self.upsamplers]:
            x = layer(x, memory)
        return x


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        widths = [config["decoder_base_dim"] * m for m in config["dim_mult"][::-1]]
        doubles_time = config["temperal_downsample"][::-1]
        self.conv_in = CausalConv(config["z_dim"], widths[0], (3, 3))
        self.mid_block = Middle(widths[0])
        self.up_blocks = nn.ModuleList()
        inputs = widths[0]
        for level, width in enumerate(widths):
            up = doubles_time[level] if level + 1 < len(widths) else None
            self.up_blocks.append(UpBlock(inputs, width, config["num_res_blocks"] + 1, up))
            inputs = width // 2
        self.norm_out, self.conv_out = ChannelNorm(width), CausalConv(width, config["out_channels"], (3, 3))

    def forward(self, x, memory=None):
        x = self.mid_block(self.conv_in(x, memory), memory)
        for block in self.up_blocks:
            x = block(x, memory)
        return self.conv_out(F.silu(self.norm_out(x)), memory)


class Vae(nn.Module):
    """`config` is vae/config.json. Latents are (B, C, T, h, w) as everywhere outside, not normalised."""

    def __init__(self, config):
        super().__init__()
        self.config, self.patch, z = config, config["patch_size"], config["z_dim"]
        self.encoder, self.quant_conv = Encoder(config), CausalConv(2 * z, 2 * z, (1, 1))
        self.post_quant_conv, self.decoder = CausalConv(z, z, (1, 1)), Decoder(config)

    def encode(self, video):
        """(B, 3, T, H, W) in -1..1, T = 1 + 4n -> mean and log variance of the latents."""
        p = self.patch
        x = video.transpose(1, 2).unflatten(-1, (-1, p)).unflatten(-3, (-1, p))
        # A pixel's place in its patch becomes channels: column before row, as in Wan 2.2.
        x = x.permute(0, 1, 2, 6, 4, 3, 5).flatten(2, 4)
        return self.quant_conv(self.encoder(x)).transpose(1, 2).chunk(2, 1)

    def decode(self, latents, memory=None):
        """(B, C, T, h, w) -> (B, 3, T', H, W). A memory makes it the next part of a stream."""
        p = self.patch
        x = self.decoder(self.post_quant_conv(latents.transpose(1, 2)), memory)
        x = x.unflatten(2, (-1, p, p)).permute(0, 1, 2, 5, 4, 6, 3)
        return x.flatten(-2).flatten(-3, -2).transpose(1, 2)

    def normalised(self, latents):
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def denormalised(self, latents):
        mean, std = self._statistics(latents)
        return latents * std + mean

    def sees(self, video):
        """The mean of the latents, as `encode` has it. An encoder that looks back at nothing is shown only the pictures
        it sees: a tenth of the work."""
        return (self.encode if self.looks_back() else self.encode_pictures)(video)[0]

    def looks_back(self):
        """Whether a latent frame holds more than the last of its pictures."""
        layers = [m for m in self.encoder.modules() if isinstance(m, CausalConv) and m.time > 1]
        steps = [m.time_conv for m in self.encoder.modules() if isinstance(m, Down) and m.time_conv is not None]
        alike = all(torch.equal(m.weight[:, :, -1, 0, 0], torch.eye(len(m.weight)).to(m.weight)) for m in steps)
        return not alike or any(m.weight[:, :, :-1].any() for m in layers) or any(m.bias.any() for m in steps)

    def encode_pictures(self, video):
        """As `encode`, each latent frame from the last of its pictures alone."""
        pictures = video[:, :, ::4].transpose(1, 2).flatten(0, 1).unsqueeze(2)
        return [x.squeeze(2).unflatten(0, (len(video), -1)).transpose(1, 2) for x in self.encode(pictures)]

    @torch.no_grad()
    def forget_time(self):
        """Every latent frame is the last of its four pictures, and decodes to four of it. So whatever is learned from
        pictures holds for video of any length, and time is learned as what is missing from there."""
        for module in self.modules():
            if isinstance(module, CausalConv) and module.time > 1:
                module.weight[:, :, :-1] = 0
            if isinstance(module, (Down, Up)) and module.time_conv is not None:
                conv = module.time_conv
                conv.weight[:], conv.bias[:] = 0, 0
                for copy in conv.weight[:, :, -1, 0, 0].split(conv.weight.shape[1]):
                    copy.fill_diagonal_(1)

    def _statistics(self, like):
        named = (self.config["latents_mean"], self.config["latents_std"])
        return (torch.tensor(v, device=like.device, dtype=torch.float32).view(-1, 1, 1, 1) for v in named)


def config(settings):
    """vae/config.json of a new autoencoder from a preset's table `[vae]`: `fold` x `fold` pixels become channels at once,
    and are then halved twice."""
    base, z, fold = settings.base, settings.channels, settings.fold
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": base,
        "decoder_base_dim": base,
        "z_dim": z,
        "dim_mult": [1, 2, 4],
        "num_res_blocks": 1,
        "temperal_downsample": [True, True],
        "patch_size": fold,
        "in_channels": 3 * fold**2,
        "out_channels": 3 * fold**2,
        "attn_scales": [],
        "dropout": 0.0,
        "is_residual": False,
        "scale_factor_temporal": 4,
        "scale_factor_spatial": 4 * fold,
        "latents_mean": [0.0] * z,
        "latents_std": [1.0] * z,
    }
