"""Array types, named once.

The shape of each array stands in the docstring of whatever takes or returns it; the alias says what its numbers are.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB; or (B, H, W, 3)
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
