"""The stage `refine`: to draw in few steps what the model of the stage `dit` draws in many.

In four steps that model draws the mean of all it could have drawn: haze. So a copy of it, the student, draws in few
steps; a critic, another copy, learns the flow of what the student draws; and the student is moved to where the teacher,
who stays as he was, would have it rather than the critic: distribution matching distillation (Yin et al., 2024,
<https://arxiv.org/abs/2405.14867>). All three are told the same past, so a frame is matched given what went before: mostly a
walk of the student's own (Huang et al., 2025, <https://arxiv.org/abs/2506.08009>), as it will be in the server.
"""

import torch
from torch import nn

from . import flow
from .batches import Batches
from .latents import Latents
from .loop import Loop, load_average
from .sampler import Stream, schedule, shifted
from .train_text import tokenizer


class Models(nn.Module):
    """Student, critic and teacher. Prompts are encoded by the teacher's text encoder."""

    def __init__(self, config, words, folder):
        super().__init__()
        self.student, self.critic = (taught(config, words, folder) for _ in range(2))
        for model in (self.student, self.critic):
            model.text.requires_grad_(False)


def taught(config, words, folder):
    model = flow.Model(config, words.get_vocab_size())
    return load_average(folder / "dit.safetensors", model).to(config.device)


def trained(config, words, folder):
    """What this stage has left, or the one before it where this one was not asked for. Weights between teacher and student
    draw what is in between (Wortsman et al., 2022, <https://arxiv.org/abs/2109.01903>): the student's are sharper, the
    teacher's last longer."""
    model, refined = taught(config, words, folder), folder / "refine.safetensors"
    if refined.exists():
        if config.refine is None:
            raise ValueError(f"{refined} is there, but no table [refine] says how much of it is kept")
        student = flow.Model(config, words.get_vocab_size())
        load_average(refined, nn.ModuleDict({"student": student}))
        with torch.no_grad():
            for weight, of_student in zip(model.parameters(), student.to(config.device).parameters()):
                weight.lerp_(of_student, config.refine.kept)
    return model


def run(config, folder):
    settings, words = config.refine, tokenizer(folder)
    batches = Batches(Latents.load(config, folder, words), config)
    teacher, models = taught(config, words, folder).requires_grad_(False), Models(config, words, folder)
    loop = Loop(folder, "refine", models, settings, config)

    def losses():
        clips = batches.draw(loop.step, settings.batch)
        if clips.starts:
            past = rollout(models.student, clips, int(torch.randint(clips.clean.shape[2], ())))
        else:
            past = flow.context_noise(clips.clean, config.dit.context_noise, config.dit.context_noise_share)
        past = flow.worn(past, settings.worn_past)
        pictures = batches.pictures(loop.step, settings.pictures)
        # The critic must follow the student: it learns at every step, the student at some.
        with torch.set_grad_enabled(loop.step % settings.critic_steps == 0):
            walked, single = drawn(models.student, clips, past), drawn(models.student, pictures, None)
        # In the middle of a session the first frame has no past to be drawn from.
        of_clips = match(models.critic, teacher, clips, past, walked, 0 if clips.starts else clips.pinned + 1)
        of_pictures = match(models.critic, teacher, pictures, None, single, 0)
        error = (walked - clips.clean)[:, :, 1:].pow(2).mean()
        values = {"loss": settings.anchor * error, "error": error}
        for name, (critic, student, gap) in (("", of_clips), ("_pictures", of_pictures)):
            values["loss"] = values["loss"] + critic + student
            values |= {f"critic{name}": critic, f"gap{name}": gap}
        return values

    loop.run(losses, every=10)


@torch.no_grad()
def rollout(model, batch, given):
    """`given` true frames, then the model's own, drawn along the same path as in streaming."""
    contexts = model.text(batch.ids.flatten(0, 1)).unflatten(0, batch.ids.shape[:2])
    rows = torch.arange(len(contexts), device=contexts.device)
    # A clip is no longer than the condition, so every frame has one of its own here.
    stream = Stream(model.dit, model.policy, batch.condition, None, TorchNoise(rows))
    frames = []
    for frame in range(batch.clean.shape[2]):
        stream.context = contexts[rows, batch.prompt_of_frame[:, frame]]
        camera = None if batch.camera is None else batch.camera[:, frame]
        if frame < given:
            frames.append(batch.clean[:, :, frame])
            stream.remember(frames[-1].unsqueeze(2), camera)
        else:
            frames.append(stream.next(camera)[0])
    return torch.stack(frames, 2).float()


class TorchNoise:
    """Training needs no noise that others can draw again."""

    def __init__(self, rows):
        self.rows = rows

    def draw(self, shape):
        return torch.randn(len(self.rows), *shape, device=self.rows.device)


def match(critic, teacher, batch, past, made, since):
    """Of frames that the student made, from `since` on: the critic's loss, the student's, and how far critic and teacher
    are apart, as a share of what the teacher would change."""
    levels = shifted(critic.policy, 0.02 + 0.96 * torch.rand(batch.prompt_of_frame.shape, device=made.device))
    noise, still = torch.randn_like(made), made.detach()
    noisy = flow.blend(still, levels, noise)
    told = flow.flow_at(critic, batch, past, noisy, levels)
    loss = (told - (noise - still)).pow(2)[:, :, since:].mean()
    with torch.no_grad():
        ends = [flow.finished(noisy, levels, of).float() for of in (told, flow.flow_at(teacher, batch, past, noisy, levels))]
        toward = (ends[1] - ends[0]) / (still - ends[1]).abs().mean((1, 3, 4), keepdim=True).clamp_min(1e-3)
    return loss, -(made * toward)[:, :, since:].mean(), toward[:, :, since:].abs().mean()


def drawn(student, batch, past):
    """What a step of the sampler makes of each frame, begun with what the step before it made."""
    visited = torch.tensor([sigma for _, sigma in schedule(student.policy)], device=batch.clean.device)
    at = torch.randint(len(visited), batch.prompt_of_frame.shape, device=visited.device)
    begun = flow.guesses(student, batch, past, visited[(at - 1).clamp_min(0)])
    noisy = flow.blend(begun, visited[at], torch.randn_like(begun))
    return flow.finished(noisy, visited[at], flow.flow_at(student, batch, past, noisy, visited[at]))
