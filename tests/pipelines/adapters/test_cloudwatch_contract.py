"""The laws of every source, on moto's server: real HTTP, botocore's own signing and parsing."""

from collections.abc import Iterator

import pytest
from cloudwatch_harness import CloudWatchHarness, serving
from source_contract import ByQuery, OverTheNetwork, SourceContract, WithCredentials


class TestCloudWatch(SourceContract, ByQuery, WithCredentials, OverTheNetwork):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls) -> Iterator[CloudWatchHarness]:
        with serving() as harness:
            yield harness
