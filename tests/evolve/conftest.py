"""Shows the values of failed asserts of the inherited suite."""

import pytest

pytest.register_assert_rewrite("gaprune.testing.algorithm_suite")
