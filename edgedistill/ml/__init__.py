"""Shared tensor code: the one folder that may import torch at module top.

No code comes from a hub: bitsandbytes, as it is imported, and transformers would fetch compiled kernels with the
package `kernels` where that is installed. Here it never is.
"""

import logging
import sys

sys.modules["kernels"] = None  # type: ignore[assignment]  # what makes `import kernels` fail
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells that it misses them
