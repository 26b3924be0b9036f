"""What our code computes for each array of a reference file, by the array's key."""

from __future__ import annotations

import torch
from torch import Tensor

from models.agents.behavior import ActorCritic, BehaviorDraws
from models.agents.lambda_return import lambda_return
from models.nets.cross_attention import FusionDraws, kept_tokens
from models.nets.distributions import balanced_kl, categorical_entropy, categorical_kl
from models.nets.rssm import Latents, State
from models.world_models.context import ContextDraws
from models.world_models.intrinsic_bonus import StreamNorm
from models.world_models.stacked import StackedDraws, StackedState, StackedWorldModel
from models.world_models.video import VideoDraws, VideoWorldModel
from tests.models.published.published_reference import DEVICE, Agent, Reference, state_arrays

SHORTCUTS = {"shortcut_32": 1, "shortcut_16": 2, "shortcut_8": 3}


def statistics(agent: Agent, prefix: str) -> dict[str, Tensor]:
    """Buffers of the vision part, under our names behind `prefix`."""
    return {f"{prefix}{name}": value.clone() for name, value in agent.named_buffers() if "running" in name}


def pretraining_pass(reference: Reference, mode: str) -> dict[str, Tensor]:
    """`eval:` or `train:` arrays of a pre-training file: latents by arg max."""
    agent = reference.agent()
    model = agent.world_model
    assert isinstance(model, VideoWorldModel)
    agent.train(mode == "train")
    draws = VideoDraws(Latents(), reference.context_draws())
    is_first, target = reference.tensor("in:is_first"), model.vision.scaling(reference.tensor("in:image"))
    with torch.no_grad():
        out = model.compute(target, draws, is_first)
        found = {"embed": out.embed, "feat": out.posterior.feat, "recon": out.prediction}
        found |= {name: out.context_maps[scale] for name, scale in SHORTCUTS.items() if out.context_maps}
        found |= state_arrays("", out.posterior, out.prior_logit)
        log_prob = -0.5 * (out.prediction - target).square().sum((2, 3, 4))
        found |= {"image_logprob": log_prob, "image_loss": -log_prob.mean()}
        for free in (0, 1, 3):
            found[f"kl_loss_free{free}"] = balanced_kl(out.posterior.logit, out.prior_logit, 0.8, float(free))[0]
        found["kl_value"] = categorical_kl(out.posterior.logit, out.prior_logit)
        found["post_entropy"] = categorical_entropy(out.posterior.logit)
        found["prior_entropy"] = categorical_entropy(out.prior_logit)
        found = {f"{mode}:{name}": value for name, value in found.items()}
        if mode == "train":
            found |= statistics(agent, "train:bn_after:")
        else:
            found |= _imagined(reference, model, out.posterior, out.context_maps)
            found |= _masked(reference, model, out.posterior, out.context_maps)
        # Last: the loss is a forward pass of its own, and moves the statistics once more.
        found[f"{mode}:total_loss"] = model(reference.tensor("in:image"), draws, is_first)[0]
    return found


def _imagined(
    reference: Reference, model: VideoWorldModel, posterior: State, maps: dict[int, Tensor]
) -> dict[str, Tensor]:
    start = posterior.map(lambda value: value[:, -1])
    states = model.action_free_rssm.imagine(start, None, Latents(), 4)
    frames = model.vision.decode(states.feat, maps, reference.context_draws())
    found = {"logit": states.logit, "stoch": states.stoch, "deter": states.deter, "recon": frames}
    return {f"eval:imagine_{name}": value for name, value in found.items()}


def _masked(
    reference: Reference, model: VideoWorldModel, posterior: State, maps: dict[int, Tensor]
) -> dict[str, Tensor]:
    draws = reference.context_draws()
    if draws is None:
        return {}
    found = {"eval:embed_policy": model.vision.embed(model.vision.scaling(reference.tensor("in:image")))}
    if reference.has("eval:mask_rand_8"):
        uniform = {scale: reference.tensor(f"eval:mask_rand_{size}") for scale, size in ((3, 8), (2, 16))}
        fusion = {scale: FusionDraws(kept_tokens(values, 0.75)) for scale, values in uniform.items()}
        masked = ContextDraws(draws.frame, None, fusion)
        found["eval:recon_masked75"] = model.vision.decode(posterior.feat, maps, masked)
    return found


def sampled_pretraining(reference: Reference) -> tuple[Agent, dict[str, Tensor]]:
    """`sampled:` arrays of a pre-training file, and the agent (float64) whose gradients are those of the loss."""
    agent = reference.agent(torch.float64).train()
    model = agent.world_model
    assert isinstance(model, VideoWorldModel)
    forced = reference.tensor("sampled:post_sample").transpose(0, 1).double()
    draws = VideoDraws(Latents(forced=forced), reference.context_draws())
    image, is_first = reference.tensor("in:image"), reference.tensor("in:is_first").double()
    with torch.no_grad():
        out = reference.agent(torch.float64).train().world_model.compute(model.vision.scaling(image), draws, is_first)
    loss, metrics = model(image, draws, is_first)
    loss.backward()
    found = {f"sampled:{name}": metrics[name] for name in ("kl_loss", "image_loss")}
    found |= {"sampled:total_loss": loss.detach(), "sampled:grad_norm": gradient_norm(agent)}
    states = state_arrays("sampled:", out.posterior, out.prior_logit)
    found |= {name: value for name, value in states.items() if name.endswith(("logit", "deter"))}
    return agent, found


def gradient_norm(agent: Agent, names: tuple[str, ...] = ("world_model.",)) -> Tensor:
    """Norm of all gradients of parameters whose name starts with one of `names`."""
    found = [p.grad.norm() for name, p in agent.named_parameters() if name.startswith(names) and p.grad is not None]
    return torch.stack(found).norm()


def finetuning_inputs(reference: Reference, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, action, reward and is_first of a fine-tuning file."""
    action, reward, is_first = (reference.tensor(f"in:{name}").to(dtype) for name in ("action", "reward", "is_first"))
    return reference.tensor("in:image"), action, reward, is_first


def finetuning_pass(reference: Reference, mode: str) -> dict[str, Tensor]:
    """`eval:` or `train:` arrays of a fine-tuning file: latents by arg max, empty bonus queue."""
    agent = reference.agent()
    model = agent.world_model
    assert isinstance(model, StackedWorldModel)
    agent.train(mode == "train")
    image, action, reward, is_first = finetuning_inputs(reference, torch.float32)
    context = reference.context_draws()
    draws = StackedDraws(Latents(), Latents(), context)
    with torch.no_grad():
        target = model.vision.scaling(image)
        maps = model.vision.context_maps(target, context)
        out = model.observe(model.vision.embed(target), action, is_first, draws)
        assert out.action_free is not None
        assert out.action_free_prior is not None
        feat = out.posterior.feat
        found = {"embed": out.embed, "reward_pred": model.reward_head(feat)}
        found |= {name: maps[scale] for name, scale in SHORTCUTS.items() if maps}
        found |= state_arrays("af_", out.action_free, out.action_free_prior)
        found |= state_arrays("", out.posterior, out.prior_logit)
        if model.aux_reward_head is not None:
            found["aux_reward_pred"] = model.aux_reward_head(feat)
        found["recon"] = model.vision.decode(feat, maps, context)
    fresh = reference.agent().train(mode == "train")
    with torch.no_grad():
        loss, metrics, _ = fresh.world_model(image, action, reward, is_first, draws)
        bonus_model = reference.agent().world_model
        assert isinstance(bonus_model, StackedWorldModel)
        bonus = bonus_model.intrinsic_bonus(out.action_free.feat)
    found["reward_with_bonus"] = reward[:, : bonus.shape[1]] + reference.config_of_ours.intrinsic.beta * bonus
    found |= {"total_loss": loss, "kl_loss": metrics["kl_loss"], "af_kl_loss": metrics["action_free_kl_loss"]}
    found |= {f"wm_{name}": metrics[name] for name in ("kl_loss", "image_loss", "reward_loss", "aux_reward_loss")}
    found["wm_af_kl_loss"] = metrics["action_free_kl_loss"]
    found = {f"{mode}:{name}": value for name, value in found.items()}
    return found | (statistics(fresh, "train:bn_after2:") if mode == "train" else {})


def policy_actions(reference: Reference) -> dict[str, Tensor]:
    """`policy:` arrays: three steps of acting with most likely latents and the policy's mode."""
    agent = reference.agent().eval()
    model = agent.world_model
    assert isinstance(model, StackedWorldModel)
    image, action, _, is_first = finetuning_inputs(reference, torch.float32)
    previous, state, actions = torch.zeros_like(action[:, 0]), None, []
    with torch.no_grad():
        for t in range(3):
            state = model.observe_step(image[:, t], previous, is_first[:, t], state, None)
            assert isinstance(state, StackedState)
            previous = agent.behavior.actor(state.upper.feat).loc
            actions.append(previous)
    return {"policy:eval_actions": torch.stack(actions, 1)}


def sampled_finetuning(reference: Reference) -> tuple[Agent, dict[str, Tensor]]:
    """`sampled:` arrays of a fine-tuning file, and the agent (float64) with the gradients."""
    agent = reference.agent(torch.float64).train()
    latents = [Latents(forced=reference.tensor(f"sampled:{name}").transpose(0, 1).double())
               for name in ("af_post_sample", "post_sample")]  # fmt: skip
    draws = StackedDraws(latents[0], latents[1], reference.context_draws())
    loss, metrics, posterior = agent.world_model(*finetuning_inputs(reference, torch.float64), draws)
    loss.backward()
    names = ("kl_loss", "image_loss", "reward_loss", "aux_reward_loss")
    found = {f"sampled:{name}": metrics[name] for name in names if name in metrics}
    found |= {"sampled:total_loss": loss.detach(), "sampled:af_kl_loss": metrics["action_free_kl_loss"]}
    found |= {"sampled:post_logit": posterior.logit, "sampled:post_deter": posterior.deter}
    found |= {f"ac:start_{name}": getattr(posterior, name) for name in ("stoch", "deter", "logit")}
    lower = tuple(f"world_model.{name}" for name in ("vision.encoder", "vision.context_encoder", "action_free_rssm"))
    upper = tuple(f"world_model.{name}" for name in ("vision.decoder", "rssm", "reward_head", "aux_reward_head"))
    found["sampled:grad_norm_enc"] = gradient_norm(agent, lower)
    found["sampled:grad_norm_model"] = gradient_norm(agent, upper)
    return agent, found


def bonus_arrays(reference: Reference) -> dict[str, Tensor]:
    """`bonus:` arrays: four calls one after the other, from an empty queue."""
    model = reference.agent().world_model
    assert isinstance(model, StackedWorldModel)
    bonus, found = model.intrinsic_bonus, {}
    assert bonus is not None
    bonus.queue.zero_()
    bonus.norm.magnitude.fill_(1.0)
    for call in range(4):
        raw = bonus.raw(reference.tensor(f"bonus:feat{call}"))
        plain = reference.tensor(f"bonus:reward{call}")[:, : raw.shape[1]]
        found[f"bonus:raw_mean{call}"] = raw.mean()
        found[f"bonus:out{call}"] = plain + reference.config_of_ours.intrinsic.beta * bonus.norm(raw)
        found[f"bonus:n{call}"] = torch.tensor(raw.shape[1])
        found[f"bonus:queue{call}"] = bonus.queue.clone()
        found[f"bonus:step{call}"] = bonus.count.clone()
        found[f"bonus:mag{call}"] = bonus.norm.magnitude.clone()
    return found


def stream_norm_arrays(reference: Reference) -> dict[str, Tensor]:
    """`streamnorm:` arrays: three calls each, with the options that the JSON states."""
    found = {}
    for key in [key for key in reference.keys if key.startswith("streamnorm:") and key.endswith("_in0")]:
        name, o = key.removesuffix("_in0"), reference.options(key)
        norm = StreamNorm(o["momentum"], o.get("init", 1.0), o["eps"], o["scale"]).to(DEVICE)
        call = 0
        while reference.has(f"{name}_in{call}"):
            found[f"{name}_out{call}"] = norm(reference.tensor(f"{name}_in{call}"))
            found[f"{name}_mag{call}"] = norm.magnitude.clone()
            call += 1
    return found


def maths_arrays(reference: Reference) -> dict[str, Tensor]:
    """`lambda:`, `actor:` and `critic:` arrays."""
    parts = [reference.tensor(f"lambda:{name}").t() for name in ("reward", "value", "pcont")]
    returns = lambda_return(parts[0], parts[1], parts[2], reference.tensor("lambda:bootstrap"), 0.95)
    behavior, feat = reference.agent().behavior, reference.tensor("actor:feat")
    with torch.no_grad():
        policy = behavior.actor(feat)
        return {
            "lambda:return": returns.t(),
            "actor:mode": policy.loc,
            "actor:scale": policy.scale,
            "actor:entropy": policy.entropy(),
            "actor:log_prob": policy.log_prob(reference.tensor("actor:x")),
            "actor:mean": policy.mean(),
            "actor:sample": policy.sample(reference.tensor("actor:u")),
            "critic:value": behavior.critic(feat),
            "critic:target_value": behavior.slow_critic(feat),
        }


def behavior_arrays(reference: Reference) -> dict[str, Tensor]:
    """`ac:` arrays: imagination with recorded draws, losses and gradients.

    The published critic regresses onto targets that the actor's loss has changed in place; here that quirk is
    reproduced from outside, and `ac:target` is checked unchanged.
    """
    agent = reference.agent()
    model, behavior = agent.world_model, agent.behavior
    assert isinstance(model, StackedWorldModel)
    start = State(*(reference.tensor(f"ac:start_{name}").flatten(0, 1) for name in ("stoch", "deter", "logit")))
    draws = BehaviorDraws(reference.tensor("ac:u"), Latents(forced=reference.tensor("ac:stoch_sample")))
    imagined = behavior.imagine(model.rssm, model.reward_head, start, draws)
    target = behavior.target(imagined)
    before = target.detach().clone()
    actor_loss, entropy = behavior.actor_loss(imagined, target)
    assert torch.equal(before, target)
    seen = before.clone()
    with torch.no_grad():
        policy = behavior.actor(imagined.states.feat[:, :-2])
        seen[:, 1:] += behavior.config.entropy * policy.entropy()
    critic_loss, value = behavior.critic_loss(imagined, seen)
    states = imagined.states
    found = {f"seq_{name}": getattr(states, name) for name in ("feat", "stoch", "deter", "logit")}
    found |= {f"seq_{name}": getattr(imagined, name) for name in ("action", "discount", "weight", "reward")}
    found |= {"target": before, "target_seen_by_critic": seen}
    found = {f"ac:{name}": value.detach().transpose(0, 1) for name, value in found.items()}
    found |= {"ac:actor_loss": actor_loss, "ac:critic_loss": critic_loss, "ac:metric_actor_ent": entropy}
    found |= {"ac:metric_critic": value.mean(), "ac:metric_critic_target": before.mean()}
    found["ac:metric_critic_slow"] = imagined.value.mean()
    found |= _behavior_gradients(behavior, actor_loss, critic_loss)
    return {name: value.detach() for name, value in found.items()}


def _behavior_gradients(behavior: ActorCritic, actor_loss: Tensor, critic_loss: Tensor) -> dict[str, Tensor]:
    found = {}
    for name, module, loss in (("actor", behavior.actor, actor_loss), ("critic", behavior.critic, critic_loss)):
        names, parameters = zip(*module.named_parameters(), strict=True)
        for key, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
            found[f"ac:grad_{name}:behavior.{name}.{key}"] = gradient
    return found
