"""diffedu: the companion package of a textbook on diffusion models that runs.

The names of `diffedu.core` and `diffedu.sampling`, and `seeded`, stand here directly. Networks, training, data, metrics
and pictures are imported from their own modules, so that `import diffedu` loads torch and nothing heavier.
"""

from diffedu import core, sampling
from diffedu._tensor import seeded
from diffedu.core import *  # noqa: F403
from diffedu.sampling import *  # noqa: F403

__version__ = "0.1.0"
__all__ = ["seeded", *core.__all__, *sampling.__all__]
