"""python -m diffedu: the same as the command diffedu."""

import sys

from diffedu.cli import main

sys.exit(main())
