"""The networks of `torchbp bench models`, made from configurations: nothing is downloaded.

Each has two `SIZES`, "small" for tests and "large" for times. Those of Hugging Face are its own classes, as people use
them; an MLP-Mixer, an actor-critic policy, and attention alone are in `written_models.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import rtdl_revisiting_models as rtdl
import torch
import transformers
from torch import nn

from torchbp.benchmarks.helpers.written_models import ActorCritic, Attention, MLPMixer
from torchbp.conversion import convert

# the configurations name tokens that small vocabularies do not have
transformers.logging.set_verbosity_error()


@dataclass
class Task:
    """A network, a batch and the loss of a step.

    network: in train mode, with its usual dropout.
    batch: name: tensor.
    of_batch(network, criterion, batch): the loss, a tensor of one number.
    criterion: a module of the loss, where the network does not compute its own.
    """

    network: nn.Module
    batch: dict[str, torch.Tensor]
    of_batch: Callable
    criterion: nn.Module | None = None

    def loss(self):
        return self.of_batch(self.network, self.criterion, self.batch)

    def converted(self):
        """The task by torchbp's formulas, in place."""
        for module in filter(None, (self.network, self.criterion)):
            convert(module, functional=True)
        return self

    def to(self, device=None, dtype=None):
        """The task on this device and in this dtype, in place; integers stay as they are."""
        self.network.to(device, dtype)
        self.batch = {name: t.to(device, dtype if t.is_floating_point() else None) for name, t in self.batch.items()}
        return self


SIZES = {
    "ResNet-18": {
        "small": {"widths": [8, 12, 16, 24], "rows": 4, "pixels": 32},
        "large": {"widths": [64, 128, 256, 512], "rows": 4, "pixels": 96},
    },
    "ViT": {
        "small": {"width": 64, "blocks": 2, "heads": 4, "rows": 4, "pixels": 8, "patch": 4},
        "large": {"width": 192, "blocks": 4, "heads": 3, "rows": 8, "pixels": 64, "patch": 8},
    },
    "BERT": {
        "small": {"width": 32, "blocks": 2, "heads": 4, "rows": 3, "tokens": 10, "words": 50},
        "large": {"width": 256, "blocks": 4, "heads": 4, "rows": 4, "tokens": 64, "words": 5000},
    },
    "GPT-2": {
        "small": {"width": 32, "blocks": 2, "heads": 4, "rows": 3, "tokens": 10, "words": 50},
        "large": {"width": 256, "blocks": 4, "heads": 4, "rows": 4, "tokens": 64, "words": 5000},
    },
    "Llama": {
        "small": {"width": 64, "blocks": 2, "heads": 4, "rows": 3, "tokens": 10, "words": 50},
        "large": {"width": 256, "blocks": 4, "heads": 4, "rows": 4, "tokens": 64, "words": 5000},
    },
    "MLP-Mixer": {
        "small": {"width": 16, "blocks": 2, "rows": 4, "pixels": 16, "patch": 4},
        "large": {"width": 192, "blocks": 4, "rows": 8, "pixels": 64, "patch": 8},
    },
    "FT-Transformer": {
        "small": {"width": 64, "blocks": 2, "heads": 4, "rows": 8, "numbers": 2},
        "large": {"width": 192, "blocks": 3, "heads": 8, "rows": 64, "numbers": 12},
    },
    "actor-critic": {
        "small": {"width": 16, "rows": 8, "observations": 6, "actions": 3},
        "large": {"width": 512, "rows": 1024, "observations": 64, "actions": 16},
    },
    "attention": {
        "small": {"rows": 2, "heads": 2, "tokens": 20, "width": 8},
        "large": {"rows": 1, "heads": 4, "tokens": 1024, "width": 64},
    },
}


def task(name, size):
    """The `Task` of a model: a name and a size of `SIZES`. It draws from torch's random stream."""
    return _MODELS[name](**SIZES[name][size])


def _own_loss(network, criterion, batch):
    """Hugging Face's networks compute their loss themselves, from `labels`."""
    return network(**batch).loss


def _images(rows, pixels, classes=10):
    return {"pixel_values": torch.randn(rows, 3, pixels, pixels), "labels": torch.randint(classes, (rows,))}


def _resnet18(widths, rows, pixels):
    config = transformers.ResNetConfig(
        embedding_size=widths[0], hidden_sizes=widths, depths=[2, 2, 2, 2], layer_type="basic", num_labels=10
    )
    return Task(transformers.ResNetForImageClassification(config).train(), _images(rows, pixels), _own_loss)


def _vit(width, blocks, heads, rows, pixels, patch):
    config = transformers.ViTConfig(
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        image_size=pixels,
        patch_size=patch,
        num_labels=10,
    )
    return Task(transformers.ViTForImageClassification(config).train(), _images(rows, pixels), _own_loss)


def _bert(width, blocks, heads, rows, tokens, words):
    config = transformers.BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=tokens,
        num_labels=3,
    )
    padded = torch.ones(rows, tokens, dtype=torch.long)
    padded[0, tokens // 2 :] = 0
    batch = {
        "input_ids": torch.randint(words, (rows, tokens)),
        "attention_mask": padded,
        "labels": torch.randint(3, (rows,)),
    }
    return Task(transformers.BertForSequenceClassification(config).train(), batch, _own_loss)


def _tokens(rows, tokens, words):
    ids = torch.randint(words, (rows, tokens))
    return {"input_ids": ids, "labels": ids}


def _gpt2(width, blocks, heads, rows, tokens, words):
    config = transformers.GPT2Config(
        vocab_size=words, n_embd=width, n_layer=blocks, n_head=heads, n_positions=2 * tokens, loss_type="ForCausalLM"
    )
    return Task(transformers.GPT2LMHeadModel(config).train(), _tokens(rows, tokens, words), _own_loss)


def _llama(width, blocks, heads, rows, tokens, words):
    config = transformers.LlamaConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        intermediate_size=3 * width,
        max_position_embeddings=2 * tokens,
        attention_dropout=0.1,
    )
    return Task(transformers.LlamaForCausalLM(config).train(), _tokens(rows, tokens, words), _own_loss)


def _mlp_mixer(width, blocks, rows, pixels, patch):
    def loss(network, criterion, batch):
        return criterion(network(batch["pixel_values"]), batch["labels"])

    network = MLPMixer(width, blocks, pixels, patch)
    return Task(network, _images(rows, pixels), loss, nn.CrossEntropyLoss(label_smoothing=0.1))


def _ft_transformer(width, blocks, heads, rows, numbers):
    settings = rtdl.FTTransformer.get_default_kwargs(blocks) | {
        "d_block": width,
        "attention_n_heads": heads,
        "n_cont_features": numbers,
        "cat_cardinalities": [4, 3],
        "d_out": 1,
    }
    batch = {
        "numbers": torch.randn(rows, numbers),
        "categories": torch.stack([torch.randint(of, (rows,)) for of in settings["cat_cardinalities"]], 1),
        "labels": torch.rand(rows).round(),
    }

    def loss(network, criterion, batch):
        return criterion(network(batch["numbers"], batch["categories"]).squeeze(-1), batch["labels"])

    return Task(rtdl.FTTransformer(**settings), batch, loss, nn.BCEWithLogitsLoss())


def _actor_critic(width, rows, observations, actions):
    batch = {
        "observations": torch.randn(rows, observations),
        "actions": torch.randint(actions, (rows,)),
        "returns": torch.randn(rows),
    }

    def loss(network, criterion, batch):
        policy, value = network(batch["observations"])
        advantage = (batch["returns"] - value).detach()
        gain = policy.log_prob(batch["actions"]) * advantage
        return criterion(value, batch["returns"]) - gain.mean() - 0.01 * policy.entropy().mean()

    return Task(ActorCritic(observations, width, actions), batch, loss, nn.SmoothL1Loss())


def _attention(rows, heads, tokens, width):
    def loss(network, criterion, batch):
        return network().square().mean()

    return Task(Attention(rows, heads, tokens, width), {}, loss)


_MODELS = {
    "ResNet-18": _resnet18,
    "ViT": _vit,
    "BERT": _bert,
    "GPT-2": _gpt2,
    "Llama": _llama,
    "MLP-Mixer": _mlp_mixer,
    "FT-Transformer": _ft_transformer,
    "actor-critic": _actor_critic,
    "attention": _attention,
}
