# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

# %% [markdown]
r"""
The token number is $(H/p)\,r + s$ and the number inside is $(c\,p + a)\,p + b$, so the six axes of the
reshaped tokens are $(B, r, s, c, a, b)$. A picture wants $(B, c, (r, a), (s, b))$: rows cross all squares
of their row.
"""


# %% tags=["solution-18.1"]
def put_together(tokens, channels, p):
    """Pictures (B, channels, H, H) from tokens (B, N, channels p^2), in the order of (18.1)."""
    B, N, _ = tokens.shape
    side = math.isqrt(N)
    six = tokens.reshape(B, side, side, channels, p, p)
    return six.permute(0, 3, 1, 4, 2, 5).reshape(B, channels, side * p, side * p)


# %% [markdown]
r"""
(a) By (18.4) at $N = 6\cdot384 = 2304$ tokens, 48 along a side, each two numbers wide. (b) The depth drops
out of the ratio of (18.3) at $N = 1024$ and $N = 256$. The linear part grows fourfold, the pairs
sixteenfold, the condition not at all.
"""

# %% tags=["solution-18.2"]
side = 2 * (6 * 384) ** 0.5
factor = (24 * 1024 * 1152**2 + 4 * 1024**2 * 1152 + 12 * 1152**2) / (
    24 * 256 * 1152**2 + 4 * 256**2 * 1152 + 12 * 1152**2
)

# %% [markdown]
r"""
Heads are slices of the width, so `(heads, d)` in this order. They go in front of the tokens, where matrix
products leave them alone. $d$ is what one head has: its fits are sums of $d$ products.
"""


# %% tags=["solution-18.3"]
def attention_with_heads(Q, K, V, heads):
    """(18.5) in each of `heads` slices; Q, K, V and the result have shape (B, N, width)."""
    Q, K, V = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (Q, K, V))
    shares = torch.softmax(Q @ K.mT / Q.shape[-1] ** 0.5, dim=-1)
    return (shares @ V).transpose(1, 2).flatten(2)


# %% [markdown]
r"""
Each vector of the modulation gets an axis for the tokens, behind the batch. The gate stands before what is
added. The second part reads what the first has written.
"""


# %% tags=["solution-18.4"]
def gated_block(h, attention, mlp, modulation):
    """(18.10): tokens (B, N, d); modulation (B, 6, d) holds beta1, gamma1, g1, beta2, gamma2, g2."""
    beta1, gamma1, g1, beta2, gamma2, g2 = modulation[:, :, None].unbind(1)
    h = h + g1 * attention((1 + gamma1) * F.layer_norm(h, h.shape[-1:]) + beta1)
    return h + g2 * mlp((1 + gamma2) * F.layer_norm(h, h.shape[-1:]) + beta2)


# %% [markdown]
r"""
`apply` visits every layer, those with zeros, too. So the rule comes first, and the zeros after it.
"""


# %% tags=["solution-18.5"]
def initialise(net):
    """Xavier's rule for linear layers, zeros where a DiT must start as nothing; changes the net."""

    def xavier(module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    net.apply(xavier)
    for layer in (*(block.modulate for block in net.blocks), net.modulate, net.leave):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


# %% [markdown]
r"""
By (18.17) the logit of the shifted time is that of the old one plus $\log f$. A normal variable plus a
number is normal, with the mean moved and the same spread. So it is (18.13) with $m + \log f$.
"""


# %% tags=["solution-18.6"]
def shifted_density(t, m, s, factor):
    """The density at t, shape (B,), of shifted(u, factor), where u is logit-normal with m and s."""
    z = (torch.logit(t) - m - math.log(factor)) / s
    return torch.exp(-(z**2) / 2) / (s * math.sqrt(2 * math.pi) * t * (1 - t))


# %% [markdown]
r"""
After the shuffle $x_1$ says nothing about $x_0$. Only the label does, since the shuffle stayed within the
class. The best answer to $x_1 - x_0$ is $x_1 - \mathbb E[x_0\mid\text{label}]$, and the one step ends on the
mean digit of the class: the ghost.
"""

# %% tags=["solution-18.7"]
after_the_shuffle = "the mean digit"

# %% [markdown]
r"""
The mean of (18.22) is $-\tfrac12 r^2\lVert x_0 - x_0'\rVert^2$ with $r = (1-t)/t$. Set it to $-k$: $r =
\sqrt{2k}/d$. And $t = 1/(1 + r)$.
"""


# %% tags=["solution-18.8"]
def crossing_time(distance, nats):
    """The time, shape (B,), at which (18.22) is -nats on average; distance and nats have shape (B,)."""
    return distance / (distance + (2 * nats).sqrt())


# %% [markdown]
r"""
Subtract the floor, take logarithms, fit a line: its slope is $-b$ and its height at $\log C = 0$ is $\log a$.
"""


# %% tags=["solution-18.9"]
def power_law(C, L, floor):
    """(a, b) of L = floor + a C^(-b), by least squares in the logarithms; C and L have shape (B,)."""
    x, y = C.log(), (L - floor).log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return (y.mean() - slope * x.mean()).exp(), -slope


# %% [markdown]
r"""
Their $r$ is the share of data, and they draw *it* with the logit $1 + z$. In the clock of this book the
logit of the noise is $1 + z$: `t`, the mixture, the time that the network is told, and the direction of the
target all change together.
"""


# %% tags=["solution-18.10"]
def foreign_loss(net, x0, eps, z):
    """(18.12), shape (B,), a mean over the axes; 1 + z (B,) is the logit of the share of noise."""
    t = torch.sigmoid(1 + z)
    x_t = (1 - t)[:, None] * x0 + t[:, None] * eps
    return (net(x_t, t) - (eps - x0)).square().mean(1)
