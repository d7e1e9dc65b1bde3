"""Settings that libraries read when they are first imported, whichever test comes first."""

import os

os.environ["HF_HUB_DISABLE_XET"] = "1"  # the test server speaks the Hub's protocol without its newer storage back end
os.environ["DO_NOT_TRACK"] = "1"
