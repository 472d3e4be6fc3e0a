"""What a chunk of a LingBot World launches on a GPU: each kernel with its grid, its operations and its bytes.

The shapes follow from the configuration of the model, as the Rust code has them: pipeline/src/lingbot (dit, block, denoiser),
pipeline/src/wan/vae, ops/src/cuda/launch.rs. A test compares kernels and grids with what the emulated driver is asked for
(server/tests/gpu.rs). A chunk is one of many: its window is full, no prompt changes, keys are held.
"""
import collections
import dataclasses

BF16, F32 = 2, 4
PATCH, CAMERA_CHANNELS = 4, 384
TILE = 128  # rows and columns that a block of a product, a convolution or an attention has


@dataclasses.dataclass(frozen=True)
class Model:
    """One world: its transformer, its autoencoder, and how it is run."""

    heads: int
    head: int
    layers: int
    inner: int  # width inside the feed-forward
    chunk: int  # latent frames
    window: int  # latent frames that attention sees
    steps: int
    renoises: bool  # between two steps; otherwise the flow is followed
    text: int  # tokens of a prompt
    size: tuple = (832, 480)
    base: int = 96  # channels of the autoencoder's finest level
    multiples: tuple = (1, 2, 4, 4)
    residuals: int = 2  # residual blocks of a level; the decoder has one more
    doubles_time: tuple = (True, True, False)  # going up, coarsest first
    folded: int = 1  # pixels that are folded into channels, each way
    latent_channels: int = 16

    @property
    def width(self):
        return self.heads * self.head

    @property
    def latent(self):
        """Rows and columns of a latent frame."""
        factor = self.folded * 2 ** (len(self.multiples) - 1)
        return self.size[1] // factor, self.size[0] // factor

    @property
    def frame_tokens(self):
        rows, columns = self.latent
        return rows // 2 * (columns // 2)

    @property
    def tokens(self):
        return self.chunk * self.frame_tokens

    @property
    def keys(self):
        return self.window * self.frame_tokens

    @property
    def frames(self):
        """Video frames of a chunk."""
        return self.chunk * 2 ** sum(self.doubles_time)


# Shapes as published: config.json of the checkpoints. The 1.3B's chunk of 4 is that of its authors' command line.
LINGBOT_14B = Model(heads=40, head=128, layers=40, inner=13824, chunk=3, window=18, steps=4, renoises=True, text=512)
LINGBOT_1_3B = Model(heads=12, head=128, layers=30, inner=8960, chunk=4, window=18, steps=4, renoises=True, text=512)


@dataclasses.dataclass(frozen=True)
class Launch:
    """One kernel, or a copy on the device, and what it is for."""

    part: str  # the row of the table
    kernel: str
    grid: tuple
    operations: float  # multiplications and additions of products
    bytes: float  # read and written in device memory: each input and output once
    depth: int = 0  # of a product, for each output; keys, of an attention
    behind: float = 0.0  # bytes of the kernel behind a product whose gate a library does not apply


class Chunk:
    """Collects the launches of a chunk: `.launches` is a Counter."""

    def __init__(self, model):
        self.model = model
        self.launches = collections.Counter()
        self.condition()
        for step in range(model.steps):
            self.predict()
            self.sample(last=step + 1 == model.steps)
        self.remember()
        for _ in range(model.chunk):
            self.decode()

    def add(self, part, kernel, grid, bytes, operations=0.0, depth=0, times=1, behind=0.0):
        grid = (tuple(grid) + (1, 1, 1))[:3]
        self.launches[Launch(part, kernel, grid, float(operations), float(bytes), depth, float(behind))] += times

    # --- kinds of launches: a thread has four numbers, a block 256 threads

    def numbers(self, part, kernel, count, bytes, times=1):
        """One that goes over numbers. `bytes`: of one number, read and written."""
        self.add(part, kernel, [-(-count // 1024)], count * bytes, times=times)

    def rows(self, part, kernel, rows, width, bytes=2 * BF16):
        self.add(part, kernel, [rows], rows * width * bytes)

    def linear(self, part, rows, inputs, outputs, adds=False, gated=False):
        """A product with its bias, and perhaps its activation. `adds`: also to the hidden state. `gated`: times a gate before that."""
        size = rows * inputs + inputs * outputs + rows * outputs * (2 if adds else 1)
        grid = [-(-rows // TILE), -(-outputs // TILE)]
        bytes = size * BF16 + outputs * F32 * (2 if gated else 1)
        behind = 3 * rows * outputs * BF16 if gated else 0
        self.add(part, "linear_bf16", grid, bytes, 2.0 * rows * inputs * outputs, inputs, behind=behind)

    def attention(self, part, keys):
        m = self.model
        fast = m.head in (48, 64, 128)
        kernel = f"attention_{m.head}_bf16" if fast else "attention_any_bf16"
        size = 2 * m.tokens * m.width + 2 * keys * m.width
        grid = [-(-m.tokens // (TILE if fast else 16)), m.heads]
        self.add(part, kernel, grid, size * BF16, 4.0 * m.tokens * keys * m.width, keys)

    # --- the transformer

    def embed_patches(self, channels, part):
        """f32 latents to bf16 tokens: moved, then cast."""
        count = channels * PATCH * self.model.tokens
        self.numbers(part, "copy_strided_f32", count, 2 * F32)
        self.numbers(part, "cast_f32_bf16", count, F32 + BF16)

    def condition(self):
        """Once a chunk: mask and picture, camera rays, and what the camera does to each block."""
        m, part = self.model, "camera and condition, once a chunk"
        d, n = m.width, m.tokens
        rows, columns = m.latent
        fixed = m.latent_channels + 4
        self.numbers(part, "copy_strided_f32", fixed * m.chunk * rows * columns, 2 * F32)  # this chunk's piece
        self.embed_patches(CAMERA_CHANNELS, part)
        self.linear(part, n, CAMERA_CHANNELS * PATCH, d)
        self.linear(part, n, d, d)
        self.linear(part, n, d, d, adds=True)
        for _ in range(m.layers):
            self.linear(part, n, d, d)
            self.linear(part, n, d, d, adds=True)
            self.linear(part, n, d, d)
            self.numbers(part, "affine_bf16", n * d, 2 * BF16)
            self.linear(part, n, d, d)
        self.embed_patches(fixed, part)
        self.linear(part, n, fixed * PATCH, d)

    def embed(self):
        m = self.model
        self.embed_patches(m.latent_channels, "first and last layer")
        self.linear("first and last layer", m.tokens, m.latent_channels * PATCH, m.width, adds=True)

    def predict(self):
        m, part = self.model, "first and last layer"
        self.embed()
        for _ in range(m.layers):
            self.block()
        for _ in range(2):
            self.numbers(part, "cast_bf16_f32", m.width, F32 + BF16)
            self.numbers(part, "binary_f32", m.width, 3 * F32)
        self.rows(part, "layer_norm_bf16", m.tokens, m.width)
        self.linear(part, m.tokens, m.width, PATCH * m.latent_channels)
        self.numbers(part, "copy_strided_bf16", m.tokens * PATCH * m.latent_channels, 2 * BF16)

    def remember(self):
        """The pass over the clean chunk; its last block ends at the keys and values."""
        self.embed()
        for _ in range(self.model.layers - 1):
            self.block()
        self.modulate()
        self.keys_values()

    def sample(self, last):
        m = self.model
        rows, columns = m.latent
        count = m.latent_channels * m.chunk * rows * columns
        self.numbers("steps of the sampler", "cast_bf16_f32", count, F32 + BF16)
        self.numbers("steps of the sampler", "flow_step_f32", count, 3 * F32)
        if m.renoises and not last:
            self.numbers("steps of the sampler", "copy_strided_f32", count, 2 * F32)
            self.numbers("steps of the sampler", "renoise_f32", count, 3 * F32)

    def modulate(self):
        part, d = "norms, rotations", self.model.width
        self.numbers(part, "cast_bf16_f32", 6 * d, F32 + BF16)
        self.numbers(part, "binary_f32", 6 * d, 3 * F32)
        self.rows(part, "layer_norm_bf16", self.model.tokens, d)

    def keys_values(self):
        m = self.model
        n, d = m.tokens, m.width
        self.linear("queries, keys, values, output", n, d, d)
        self.linear("queries, keys, values, output", n, d, d)
        self.turn()
        # Into the window's buffers: keys and values of each latent frame.
        self.add("norms, rotations", "copy", [m.frame_tokens * d * BF16], 2 * m.frame_tokens * d * BF16, times=2 * m.chunk)

    def turn(self):
        """RMS norm and rotary positions: cosines and sines are f32, one of each for two channels of a head."""
        m = self.model
        table = m.tokens * m.head * F32
        self.add("norms, rotations", "rms_norm_rope_bf16", [m.tokens], 2 * m.tokens * m.width * BF16 + table)

    def block(self):
        m = self.model
        n, d = m.tokens, m.width
        norms, products = "norms, rotations", "queries, keys, values, output"
        self.modulate()
        self.linear(products, n, d, d)
        self.turn()
        self.keys_values()
        self.attention("attention to the window", m.keys)
        self.linear(products, n, d, d, adds=True, gated=True)
        self.numbers(norms, "scale_shift_bf16", n * d, 4 * BF16)
        self.rows(norms, "layer_norm_bf16", n, d)
        self.linear(products, n, d, d)
        self.rows(norms, "rms_norm_bf16", n, d)
        self.attention("attention to the prompt", m.text)
        self.linear(products, n, d, d, adds=True)
        self.rows(norms, "layer_norm_bf16", n, d)
        self.linear("feed-forward", n, d, m.inner)
        self.linear("feed-forward", n, m.inner, d, adds=True, gated=True)

    # --- the autoencoder's decoder: one latent frame that is not the first

    def conv(self, picture, inputs, outputs, window=3, side=3, adds=False, doubles=False, times=1):
        rows, columns = picture
        pixels, phases = rows * columns, 4 if doubles else 1
        side = 2 if doubles else side
        weights = phases * outputs * window * side * side * inputs
        written = phases * pixels * outputs * (2 if adds else 1)
        operations = 2.0 * phases * pixels * outputs * inputs * window * side * side
        grid = [-(-pixels // TILE), -(-outputs // TILE), phases]
        size = (window * pixels * inputs + weights + written) * BF16 + outputs * F32
        # Steps of the main loop: 32 channels of one tap.
        steps = window * side * side * -(-inputs // 32)
        self.add("convolutions of the decoder", "conv_bf16", grid, size, operations, steps, times)

    def norm(self, picture, channels, times=1):
        pixels = picture[0] * picture[1]
        part, size = "the decoder's norms and attention", 2 * pixels * channels * BF16
        self.add(part, "channel_norm_bf16", [-(-pixels // 8)], size, times=times)

    def residual(self, picture, inputs, outputs, times=1):
        self.norm(picture, inputs, times)
        self.conv(picture, inputs, outputs, times=times)
        if inputs != outputs:
            self.conv(picture, inputs, outputs, window=1, side=1, times=times)
        self.norm(picture, outputs, times)
        self.conv(picture, outputs, outputs, adds=True, times=times)

    def decode(self):
        m, part = self.model, "the decoder's norms and attention"
        picture = m.latent
        pixels, z = picture[0] * picture[1], m.latent_channels
        if m.chunk > 1:
            self.numbers(part, "copy_strided_f32", z * pixels, 2 * F32)
        self.numbers(part, "channel_affine_f32", z * pixels, 2 * F32)
        self.numbers(part, "cast_f32_bf16", z * pixels, F32 + BF16)
        self.numbers(part, "copy_strided_bf16", z * pixels, 2 * BF16)
        self.conv(picture, z, z, window=1, side=1)
        widest = m.base * m.multiples[-1]
        self.conv(picture, z, widest)
        self.residual(picture, widest, widest)
        self.norm(picture, widest)
        self.conv(picture, widest, 3 * widest, window=1, side=1)
        # One head as wide as the picture has channels: the kernel for any head, 16 queries a block.
        size = 4 * pixels * widest * BF16
        self.add(part, "attention_any_bf16", [-(-pixels // 16), 1], size, 4.0 * pixels * pixels * widest, pixels)
        self.conv(picture, widest, widest, window=1, side=1, adds=True)
        self.residual(picture, widest, widest)
        channels, frames = widest, 1
        for level, multiple in enumerate(reversed(m.multiples)):
            outputs = m.base * multiple
            for residual in range(m.residuals + 1):
                self.residual(picture, channels if residual == 0 else outputs, outputs, frames)
            channels = outputs
            if level == len(m.multiples) - 1:
                break
            if m.doubles_time[level]:
                self.conv(picture, channels, channels, window=3, side=1, times=2 * frames)
                frames *= 2
            self.conv(picture, channels, channels // 2, window=1, doubles=True, times=frames)
            picture, channels = (2 * picture[0], 2 * picture[1]), channels // 2
        self.norm(picture, channels, frames)
        colours = 3 * m.folded**2
        self.conv(picture, channels, colours, times=frames)
        numbers = picture[0] * picture[1] * colours
        if m.folded > 1:
            self.numbers(part, "copy_strided_bf16", numbers, 2 * BF16, times=frames)
        self.numbers(part, "to_rgb8_bf16", numbers, BF16 + 1, times=frames)
