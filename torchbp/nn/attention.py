"""Attention as a module. Its equations are in `torchbp/ops/attention/`."""

import torch

from torchbp import ops
from torchbp.ops.attention.multi_head_attention import RULE
from torchbp.ops.registry import implements


@implements(RULE)
class MultiheadAttention(torch.nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` with its backward written out: `dS = P ∘ (dP − Σ_j P ∘ dP)` in each head.

    P = softmax(Q Kᵀ / √(E/H) + mask), O = P V, Z = [O_1 … O_H] W_oᵀ + b_o; Q, K and V are projections of the query
    (L, N, E), the key and the value (S, N, E); with batch_first (N, L, E) and (N, S, E); or of one row, without N.
    Without gradients it is torch's own, with the fused kernel that torch has for evaluation.

    Raises:
        AssertionError, RuntimeError: shapes or dtypes that do not fit.

    Example:
        >>> attention, x = torchbp.nn.MultiheadAttention(8, 4, batch_first=True), torch.randn(2, 5, 8)
        >>> z, p = attention(x, x, x)  # (2, 5, 8), (2, 5, 5)
    """

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        masks = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "is_causal": is_causal}
        returns = {"need_weights": need_weights, "average_attn_weights": average_attn_weights}
        if not torch.is_grad_enabled() or query.is_nested:
            return torch.nn.MultiheadAttention.forward(self, query, key, value, **masks, **returns)
        transposed = self.batch_first and query.dim() == 3
        if transposed:  # the same tensor stays the same tensor: its projections are one product
            same = query is key, key is value
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
            value = key if same[1] else value
            query = key if same[0] else query
        z, weights = ops.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            **masks,
            **returns,
        )
        return z.transpose(0, 1) if transposed else z, weights
