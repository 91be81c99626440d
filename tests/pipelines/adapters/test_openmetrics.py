import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from files_harness import WRITERS, openmetrics, write
from hypothesis import example, given, settings
from hypothesis import strategies as st
from source_contract import HOSTILE, keyed, truth

from features.frames import SAMPLES
from pipelines.adapters.files import read_samples
from pipelines.adapters.files.find import SUFFIXES
from pipelines.adapters.files.openmetrics import read_openmetrics
from pipelines.errors import InputError

NAMED = '{namespace="shop",kind="Deployment",name="a"}'


def read(text: str | bytes, cluster: str = "prod") -> list[dict]:
    data = text.encode() if isinstance(text, str) else text
    return read_openmetrics(lambda: io.BytesIO(data), "dump.om", cluster=cluster).to_pylist()


def test_stamps_are_seconds_in_openmetrics_and_milliseconds_in_prometheus_text():
    (strict,) = read(f"m{NAMED} 1 1780272000.5\n# EOF\n")
    (lax,) = read(f"m{NAMED} 1 1780272000500\n")
    assert strict == lax
    assert strict["ts"].timestamp() == 1780272000.5


def test_each_samples_own_name_is_its_metric():
    end = f"{NAMED} 1 1780272000\n"
    buckets = "".join(
        f'wait_bucket{NAMED[:-1]},le="{le}"}} 1 1780272000\n' for le in ("0.1", "+Inf")
    )
    text = (
        "# HELP req Requests.\n# TYPE req counter\n"
        f"req_total{end}req_created{end}"
        "# TYPE wait summary\n"
        f"wait_sum{end}wait_count{end}"
        f"plain{end}"
    )
    names = ["req_total", "req_created", "wait_sum", "wait_count", "plain"]
    assert [r["metric"] for r in read(f"{text}# EOF\n")] == names
    assert [r["metric"] for r in read(text.replace("_total", ""))] == ["req", *names[1:]]
    with pytest.raises(InputError, match=r"wait_bucket .* label 'le' only \('\+Inf' and '0.1'\)"):
        read(buckets)


def test_labels_that_are_left_out_have_defaults_and_further_ones_may_be_there():
    (row,) = read('m{name="a",pod="a-1",zone="x"} 1 1780272000\n# EOF\n', cluster="edge")
    parts = (row["cluster"], row["namespace"], row["kind"], row["name"])
    assert parts == ("edge", "default", "Workload", "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"m{NAMED} 1\n", "sample of m without a stamp; a file needs one at every sample"),
        (f"m{NAMED} 1\n# EOF\n", "sample of m without a stamp"),
        ('m{namespace="shop"} 1 1780272000000\n', "series m.* has no label 'name'"),
        (
            'm{name="a",pod="x"} 1 1000\nm{name="a",pod="y"} 1 1000\n',
            r"two series of m .* label 'pod' only \('y' and 'x'\); aggregate .*without \(pod\)",
        ),
        (
            'm{name="a"} 1 1000\nm{name="a",pod="y"} 1 1000\n',
            r"label 'pod' only \('y' and 'None'\)",
        ),
        (f"m{NAMED} 1 1780272000\n# EOF\nm 1 1\n# EOF\n", "cannot be read as OpenMetrics"),
        (f"m{NAMED} 1 17802720000000000000\n", "cannot be read.* out of range"),
        (f"m{NAMED} 1 nan\n", "cannot be read.* out of range"),
        (f"m{NAMED} {'9' * 400} 1000\n", "cannot be read"),
        ("hello\n", "cannot be read"),
        (b'm{name="\xff"} 1 1000\n', "cannot be read"),
    ],
)
def test_a_broken_text_is_named_with_what_is_wrong(text, said):
    with pytest.raises(InputError, match=said) as error:
        read(text)
    assert "dump.om" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_same_workload_with_and_without_its_default_is_one_series():
    text = 'm{name="a",cluster="prod"} 1 1000\nm{name="a"} 2 2000\n'
    assert [r["cluster"] for r in read(text)] == ["prod", "prod"]


labels = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0"), min_size=1
)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    series = draw(st.lists(st.tuples(names, labels, labels), min_size=1, max_size=3, unique=True))
    columns: dict[str, list] = {name: [] for name in SAMPLES.schema.names}
    for metric, namespace, name in series:
        stamps = draw(st.lists(st.integers(0, 4 * 10**12), min_size=1, max_size=4, unique=True))
        row = ("prod", namespace, "Deployment", name, metric)
        for ts in sorted(stamps):
            value = draw(st.floats(width=64))
            for column, item in zip(columns, (*row, ts, value), strict=True):
                columns[column].append(item)
    columns["value"][0] = 1 / 3  # a file without any number is refused
    return pa.table(
        {c: pa.array(v).cast(SAMPLES.schema.field(c).type) for c, v in columns.items()},
        schema=SAMPLES.schema,
    )


@pytest.mark.parametrize("suffix", WRITERS)
@settings(max_examples=20, deadline=None)
@given(samples=tables())
def test_what_was_written_is_read(samples, suffix, tmp_path_factory):
    file = write(samples, tmp_path_factory.mktemp("written") / f"a{suffix}")
    got, want = keyed(read_samples([file])), keyed(samples)
    assert list(got.index) == list(want.index)
    np.testing.assert_array_equal(got.to_numpy(), want.to_numpy())


WHOLE = truth(HOSTILE).slice(0, 20)
SEEDS = {
    suffix: WRITERS.get(suffix, lambda t: openmetrics(t).encode())(WHOLE) for suffix in SUFFIXES
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_bytes_are_samples_or_an_input_error(data, suffix, tmp_path_factory):
    seed = SEEDS[suffix]
    at, until = sorted(data.draw(st.tuples(*[st.integers(0, len(seed))] * 2)))
    replaced = data.draw(st.binary(max_size=12) | st.text(max_size=12).map(str.encode))
    broken = data.draw(st.sampled_from([seed[:at] + replaced + seed[until:], replaced]))
    allowed(tmp_path_factory.mktemp("any") / f"a{suffix}", broken)


SCRAPS = [
    "m",
    "{",
    "}",
    '"',
    "=",
    ",",
    "\\",
    " ",
    "#",
    "# TYPE m ",
    "counter",
    "# EOF",
    "\n",
    "name",
]
SCRAPS += [
    'm{name="a"} 1 2\n',
    "1e400",
    "_",
    ":",
    "NaN",
    "-",
    "\t",
    "\r",
    "# {}",
    "\0",
    "histogram",
]


@settings(max_examples=300, deadline=None)
@given(text=st.lists(st.sampled_from(SCRAPS) | st.text(max_size=2), max_size=15).map("".join))
@example(text='m{"')
def test_any_text_is_samples_or_an_input_error(text):
    for end in ("", "\n# EOF\n"):
        with suppress(InputError):
            read(text + end)


def allowed(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with suppress(InputError):
        assert read_samples([file]).schema.equals(SAMPLES.schema)
