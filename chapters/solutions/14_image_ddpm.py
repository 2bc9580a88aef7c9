# %%
import torch
import torch.nn.functional as F
from torch import nn

# %% [markdown]
r"""
From $x_t = \alpha_t x_0 + \sigma_t \varepsilon$ follows $x_0 = (x_t - \sigma_t \varepsilon)/\alpha_t$, with
$\alpha_t = \sqrt{\bar\alpha_t}$. Cut at the very end: the division by a small $\alpha_t$ is what makes
values large. `alpha_bar` gets three axes, so that it scales pictures and not columns.
"""


# %% tags=["solution-14.1"]
def clean_guess(x_t, eps_guess, alpha_bar):
    """x0_hat in [-1, 1], from x_t and a guess of the noise, shape (B, C, H, W), and alpha_bar, shape (B,)."""
    alpha_bar = alpha_bar[:, None, None, None]
    return ((x_t - (1 - alpha_bar).sqrt() * eps_guess) / alpha_bar.sqrt()).clamp(-1, 1)


# %% [markdown]
r"""
Term by term: the pixel itself 1; the first fold $(2-1) \cdot 1$; three filters $3 \cdot (3-1) \cdot 2$; the
second fold $(2-1) \cdot 2$; two filters $2 \cdot (5-1) \cdot 4$.
"""

# %% tags=["solution-14.2"]
width_of_view = 1 + 1 + 3 * 2 * 2 + 2 + 2 * 4 * 4

# %% [markdown]
r"""
(a) Two convolutions with $9 \cdot 48 \cdot 48$ weights and 48 biases each; two norms with a scale and a
shift for each channel; a linear layer from 192 to $2 \cdot 48$. The skip is the identity. (b) Heun
evaluates at both ends of a step. The step that lands on $t = 0$ has no second slope, since $\sigma = 0$
there: $2 \cdot 25 - 1 = 49$ evaluations an image.
"""

# %% tags=["solution-14.3"]
parameters = 2 * (9 * 48 * 48 + 48) + 2 * (2 * 48) + (192 * 96 + 96)
image_evaluations = 4000 * (2 * 25 - 1)

# %% [markdown]
r"""
`torch.where` decides for each label by itself, and makes a new tensor. `labels[u < p] = classes` would
change the caller's.
"""


# %% tags=["solution-14.4"]
def hide_labels(labels, u, p, classes):
    """Labels, shape (B,), int64, with `classes` where u, shape (B,), uniform on [0, 1), is below p."""
    return torch.where(u < p, classes, labels)


# %% [markdown]
r"""
Methods whose names end in `_` work in place; `average = decay * average + ...` would make a new tensor that
the network never sees. Without `no_grad` the average would carry the graph of every step so far.
"""


# %% tags=["solution-14.5"]
def update_average(averaged, current, decay):
    """Move each tensor of the list `averaged` towards its partner in the list `current`."""
    with torch.no_grad():
        for average, new in zip(averaged, current):
            average.mul_(decay).add_((1 - decay) * new)


# %% [markdown]
r"""
(a) What is added to `h` is the output of `conv2`; zero weight *and* zero bias make it vanish. Zero nothing
more: a second zero layer before it would leave both without gradient. (b) The forward pass line by line.
The condition gets two axes, so that it scales whole channels.
"""


# %% tags=["solution-14.6"]
def start_as_identity(block):
    """Change the block's weights so that it returns its input; everything else keeps its random start."""
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)


def block_forward(block, h, condition):
    """h + g(h, condition), shape (B, C, H, W), for h of that shape and a condition of shape (B, K)."""
    scale, shift = block.modulate(condition)[:, :, None, None].chunk(2, dim=1)
    y = block.conv1(F.silu(block.norm1(h)))
    y = (1 + scale) * block.norm2(y) + shift
    return h + block.conv2(F.silu(y))


# %% [markdown]
r"""
By (14.19) the random start still has the weight $0.9995^{300} = 0.86$. The last layer of an untrained
network is zero, so the averaged one returns $v$ near 0. By (14.11) that means $\hat x_0 = \alpha_t x_t$ and
$\hat\varepsilon = \sigma_t x_t$: right for pixels that are themselves standard normal. So noise is what it
draws.
"""

# %% tags=["solution-14.7"]
averaged_network_draws = "noise"

# %% [markdown]
r"""
The network belongs to $\bar\alpha_t$, which is `alpha_bar[t - 1]`, but is asked at `t`. The noise has
variance $\beta_t$, so its factor is $\sqrt{\beta_t}$. And `t` runs from T to 1: the last step is `t == 1`,
so the condition must be `t > 1`.
"""


# %% tags=["solution-14.8"]
def old_sampler(net, x, betas, noise):
    """Ho et al. 2020, algorithm 2: x_0, shape (B, D), from x_T; noise has shape (T + 1, B, D)."""
    T = len(betas)
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    for t in range(T, 0, -1):
        beta, bar = betas[t - 1], alpha_bar[t - 1]
        eps_guess = net(x, t)
        x = (x - beta / (1 - bar).sqrt() * eps_guess) / (1 - beta).sqrt()
        if t > 1:
            x = x + beta.sqrt() * noise[t]
    return x


# %% [markdown]
r"""
In training mode a batch norm uses the statistics of the batch (so the result depends on the neighbours) and
moves its running ones (so measuring changes the network). `no_grad` alone prevents neither.
"""


# %% tags=["solution-14.9"]
@torch.no_grad()
def measured_accuracy(classifier, images, labels):
    """The share of images that the classifier reads right, a float."""
    was_training = classifier.training
    classifier.eval()
    right = 0
    for part, truth in zip(images.split(16), labels.split(16)):
        right += (classifier(part).argmax(1) == truth).sum().item()
    classifier.train(was_training)
    return right / len(images)
