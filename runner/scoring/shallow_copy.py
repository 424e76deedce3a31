"""The shallow copy: one layer of each kind that a model has, in fp32. On it, right and wrong results can be told apart.

A bf16 model's own rounding changes a LoRA gradient by up to 0.4, more than many mistakes do, and no tolerance separates the
two. A few layers in fp32 round to 1e-5, and every known mistake changes their results by 0.02 or more.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch

from runner.model.compat import body, decoder_layers
from runner.scoring.scorer import LabelScorer

FEWEST_LAYERS, MOST_LAYERS = 2, 6
"""Fewest layers that are copied, and most kinds of them: no known family has more than six kinds."""

LOGITS = 32
"""Rows of the output head that are copied, the labels' first. With more rows, fewer differences cancel out by chance."""


def shallow_copy(scorer: LabelScorer, device: Any = None) -> LabelScorer:
    """A scorer of a few layers of the same model, with its weights, its adapter and its kind of attention, in fp32 and without
    dropout. B matrices that are zero, as before training, get small random values.

    `device`: where it computes; None: where the model does. It needs the memory of a few layers in fp32; the embedding is
    shared. Raises LookupError where the layers cannot be found, and the model's own errors where it cannot be copied."""
    model, decoder = scorer.model, body(scorer.model)
    layers, chosen = decoder_layers(model), layers_of_each_kind(model)
    config = copy.deepcopy(model.config)
    renamed = getattr(config, "attribute_map", {})  # GPT-2 calls it n_layer
    config.__dict__[renamed.get("num_hidden_layers", "num_hidden_layers")] = len(chosen)
    if getattr(config, "layer_types", None):
        config.__dict__["layer_types"] = [config.layer_types[number] for number in chosen]
    instead: dict[int, Any] = {id(layer): None for number, layer in enumerate(layers) if number not in chosen}
    instead |= {id(module): _Lookup(module) for module in decoder.modules() if isinstance(module, torch.nn.Embedding)}
    instead[id(model.config)] = config
    small = copy.deepcopy(decoder, dict(instead))
    # on 4.38 it was made for the whole model
    small.__dict__.pop("_update_causal_mask", None)
    _replace_layers(small, layers, chosen)
    whole = copy.copy(model)
    whole.__dict__.update(config=config, _modules=dict(model._modules))
    whole._modules[model.base_model_prefix] = small
    device = device or scorer.label_ids.device
    whole.set_output_embeddings(_rows_of(model.get_output_embeddings(), scorer.label_ids).to(device))
    # only the decoder: the other modules are the model's own
    _fill_zero_b(small.float().to(device))
    head_rows = tuple(range(whole.get_output_embeddings().out_features))
    # without steps the copy's logits are those of all its rows at every node
    tree = dataclasses.replace(scorer.prompt.tree, steps=())
    return LabelScorer(whole, dataclasses.replace(scorer.prompt, label_ids=head_rows, tree=tree)).eval()


def layers_of_each_kind(model: Any) -> list[int]:
    """The number of the first layer of each kind, in order: of each type of attention, with an adapter and without.

    Raises LookupError where the layers cannot be found."""
    kinds: dict[Any, int] = {}
    types = getattr(model.config, "layer_types", None)
    for number, layer in enumerate(decoder_layers(model)):
        kinds.setdefault((types and types[number], *_traits(layer)), number)
    first = [*kinds.values()][:MOST_LAYERS]
    # only some outputs of the last layer are compared: it must not be the only layer of its kind
    if first[-1] + 1 < model.config.num_hidden_layers:
        first.append(first[-1] + 1)
    others = (number for number in range(model.config.num_hidden_layers) if number not in first)
    return sorted([*first, *(number for number, _ in zip(others, range(FEWEST_LAYERS - len(first))))])


def _traits(layer: Any) -> list[Any]:
    """The traits that make a kind of layer: the classes of its modules, their switches and their windows."""
    found: list[Any] = []
    for name, module in layer.named_modules():
        switches = {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, (bool, str)) or ("window" in key and isinstance(value, (int, type(None))))
        }
        switches.pop("training", None)
        found.append((name, type(module).__name__, tuple(sorted(switches.items(), key=str))))
    return found


def _replace_layers(small: Any, layers: Any, chosen: list[int]) -> None:
    """Keeps only the chosen layers and numbers them again from 0: a cache finds a layer by its number."""
    for parent in small.modules():
        for name, module in parent._modules.items():
            if isinstance(module, torch.nn.ModuleList) and len(module) == len(layers):
                kept = torch.nn.ModuleList([module[number] for number in chosen])
                for number, layer in enumerate(kept):
                    for part in layer.modules():
                        if hasattr(part, "layer_idx"):
                            part.layer_idx = number
                parent._modules[name] = kept
                return


class _Lookup(torch.nn.Module):
    """An embedding of the whole model, in fp32, without a copy of its table."""

    def __init__(self, embedding: torch.nn.Embedding) -> None:
        super().__init__()
        # in a tuple it is not a submodule, so it is neither cast nor moved
        self.shared = (embedding,)

    def __getattr__(self, name: str) -> Any:
        """PEFT reads attributes of an embedding, such as `padding_idx`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["shared"][0], name)

    def forward(self, ids: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        (embedding,) = self.shared
        return embedding(ids.to(embedding.weight.device), *rest, **named).float().to(ids.device)


def _rows_of(head: Any, label_ids: torch.Tensor) -> torch.nn.Linear:
    """A head of the labels' rows and of others, spread evenly over the vocabulary. Raises LookupError for another class."""
    if type(head) is not torch.nn.Linear:
        raise LookupError(f"a head of class {type(head).__name__} may compute more than one matrix product")
    weight = head.weight
    known = set(label_ids.tolist())
    others = [number for number in range(0, weight.shape[0], -(-weight.shape[0] // LOGITS)) if number not in known]
    rows = [*label_ids.tolist(), *others]
    # without random initial values, which would use up the run's random numbers
    small = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], len(rows), bias=head.bias is not None)
    small.weight = torch.nn.Parameter(weight[rows].detach().float(), requires_grad=False)
    if head.bias is not None:
        small.bias = torch.nn.Parameter(head.bias[rows].detach().float(), requires_grad=False)
    return small


def _fill_zero_b(model: Any) -> None:
    """Gives B matrices that are zero small random values: with B = 0, A has no gradient."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name and not parameter.any():
            parameter.data.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
