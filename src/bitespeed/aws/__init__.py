"""The service as AWS Lambda functions.

`api.py` and `queue.py` are the two handlers, `environment.py` what each invocation finds.
"""

import gc

gc.disable()  # until the environment is ready; it took a tenth of a cold start
