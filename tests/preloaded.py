"""Everything that training imports, for the process that `tests.ranks` forks.

Nothing computes here, as threads do not survive a fork.
"""

import train  # noqa: F401  prepares the process before torch is loaded
from nerfcomp import callbacks, datamodules, exchange, modules, readers  # noqa: F401
from nerfcomp.commands import training  # noqa: F401
